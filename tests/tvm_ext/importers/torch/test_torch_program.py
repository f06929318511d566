"""PyTorch programs against PyTorch: float32 as exported and decomposed, int8 as PT2E leaves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.importers.graph import translate as qdq
from mcutrain.tvm_ext.importers.graph.ends import begin
from mcutrain.tvm_ext.importers.graph.reals import Stored
from mcutrain.tvm_ext.importers.torch.load import load
from mcutrain.tvm_ext.model import Model
from tests.tvm_ext.importers import dialect_numpy
from tests.tvm_ext.importers.dialect_eval import channels_last, evaluate
from tests.tvm_ext.importers.torch import torch_nets
from tests.tvm_ext.importers.torch.torch_nets import exported, quantised_program

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch's, about itself
NETS = {
    "MobileNet": (torch_nets.MobileNet, (1, 3, 32, 32)),
    "Branches": (torch_nets.Branches, (1, 3, 16, 16)),
    "Sequence": (torch_nets.Sequence, (1, 2, 40)),
}
FORMS = ("exported", "decomposed", "open batch")
LAYERS = {
    "MobileNet": ["features.0.0", "features.1.conv.0"],
    "Branches": ["stem", "left"],
    "Sequence": ["body.0", "body.3"],
}


def without_end(name: str, y: torch.Tensor) -> np.ndarray:
    """The logits that stand before the Softmax (up to a sum) or the Sigmoid."""
    y = y.detach().numpy().astype(np.float64).reshape(-1)
    return {"Branches": np.log(y), "Sequence": np.log(y / (1 - y))}.get(name, y) if name != "MobileNet" else y


# --------------------------------------------------------------------------- float32
@pytest.mark.parametrize(
    ("name", "form"),
    [("MobileNet", "decomposed"), *((name, form) for name in ("Branches", "Sequence") for form in FORMS)],
)
def test_float_programs_equal_torch(name: str, form: str) -> None:
    kind, shape = NETS[name]
    net = torch_nets.prepared(kind(), shape)
    if form == "open batch":
        program = exported(net, (3, *shape[1:]), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    else:
        program = exported(net, shape)
    model = load(program.run_decompositions() if form == "decomposed" else program)
    assert [layer.name for layer in model.layers][:2] == LAYERS[name] and model.name == "model"
    assert model.loss == ("binary_cross_entropy" if name == "Sequence" else "cross_entropy")
    for _ in range(3):
        x = torch.randn(*shape)
        ours = evaluate(model, channels_last(x.numpy())).reshape(-1)
        ours = ours - ours.mean() if name == "Branches" else ours
        theirs = without_end(name, net(x))
        theirs = theirs - theirs.mean() if name == "Branches" else theirs
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Operators(nn.Module):
    """What the networks do without: other ways to write the same, paddings, constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding="same", bias=False)
        self.pad = nn.ZeroPad2d((1, 2, 0, 1))
        self.register_buffer("shift", torch.randn(6, 1, 1))
        self.matrix = nn.Parameter(torch.randn(96, 4) / 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.clamp(self.conv((x - 0.5) / 0.25), -1.0, 2.0) * 0.7 + self.shift
        x = self.pad(nn.functional.relu6(x))
        x = nn.functional.max_pool2d(x, (2, 3), stride=2, ceil_mode=True).clone()
        x = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = nn.functional.adaptive_avg_pool2d(nn.functional.dropout(x, training=False), (4, 4))
        x = x.permute(0, 2, 3, 1).transpose(1, 3).transpose(2, 3)
        return x.flatten(1) @ self.matrix


def test_operators_equal_torch() -> None:
    torch.manual_seed(1)
    net = Operators().eval()
    for program in (exported(net, (1, 3, 15, 14)), exported(net, (1, 3, 15, 14)).run_decompositions()):
        model = load(program)
        x = torch.randn(1, 3, 15, 14)
        ours = evaluate(model, channels_last(x.numpy())).reshape(1, -1)
        np.testing.assert_allclose(ours, net(x).detach().numpy(), atol=1e-5)


# --------------------------------------------------------------------------- int8
def snap_biases(program: torch.export.ExportedProgram) -> None:
    """Biases on multiples of s_x * s_w, as int32 has them. PT2E keeps them float32, and rounding them moves one sum in
    a thousand across a rounding boundary."""
    specs = [spec for spec in program.graph_signature.input_specs if spec.target in program.state_dict]
    held = {spec.arg.name: program.state_dict[spec.target] for spec in specs}
    for node in program.graph.nodes:
        if any(op in str(node.target) for op in ("conv1d", "conv2d", "linear")):
            x, weight, bias = node.args[:3]
            unit = x.args[1] * held[weight.args[1].name].double()
            held[bias.name].data.copy_((torch.round(held[bias.name].double() / unit) * unit).float())


class Codes(torch.fx.Interpreter):
    """Keeps the integers of every QuantizeLinear."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.module())
        self.codes: dict[str, np.ndarray] = {}

    def run_node(self, node: torch.fx.Node) -> object:
        result = super().run_node(node)
        if node.name.startswith("quantize_per"):
            self.codes[node.name] = result.numpy()
        return result


def in_shape(codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(1, C, H, W), or that image as a vector, as (1, H, W, C)."""
    _, height, width, channels = shape
    return codes.reshape(1, channels, height, width).transpose(0, 2, 3, 1)


def differences(model: Model, tensors: dict, codes: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """|torch - imported| of every layer's integers, and of the output's. Each layer reads torch's own integers: one
    difference would grow into many behind it. tensors: the variable that holds a tensor of the program."""
    main = model.module["main"]
    values = {p: model.params[p.name] for p in main.params[1:]} | {
        main.params[0]: channels_last(codes["quantize_per_tensor"])
    }
    named = {var: name for name, var in tensors.items()}
    found = []
    for var, call in bindings_of(main):
        if op_name(call) is None:
            continue
        y = dialect_numpy.OPS[op_name(call)](*(values[a] for a in call.args), **attrs_of(call))
        theirs = in_shape(codes[named[var]], y.shape) if var in named else y
        found.append(np.abs(y.astype(int) - theirs).reshape(-1))
        values[var] = theirs.astype(np.int8)
    return np.concatenate(found), found[-1]


@pytest.mark.parametrize(
    ("name", "is_snapped", "equal"),
    [*((name, True, 0.999) for name in NETS), ("Branches", False, 0.997), ("Sequence", False, 0.997)],
)
def test_pt2e_programs_equal_torch(name: str, is_snapped: bool, equal: float, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, shape = NETS[name]
    program = quantised_program(torch_nets.prepared(kind(), shape), shape)
    if is_snapped:
        snap_biases(program)
    begun = []
    monkeypatch.setattr(qdq, "begin", lambda graph: begun.append(begin(graph)) or begun[-1])
    model = load(program)
    assert [layer.name for layer in model.layers][:2] == LAYERS[name] and model.input_dtype == "int8"
    tensors = {key: v.value.var for key, v in begun[0][0].values.items() if isinstance(v, Stored)}
    _, height, width, channels = model.input_shape
    torch.manual_seed(3)
    layers, outputs, run = [], [], Codes(program)
    for _ in range(8):
        ints = torch.randint(-128, 128, (1, channels, height, width))
        run.run(((ints - model.input_zero) * model.input_scale).reshape(shape).float())
        np.testing.assert_array_equal(run.codes["quantize_per_tensor"].reshape(ints.shape), ints.numpy())
        for kept, found in zip((layers, outputs), differences(model, tensors, run.codes), strict=True):
            kept.append(found)
    wrong, last = np.concatenate(layers), np.concatenate(outputs)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= equal and np.mean(last == 0) >= 0.95
    assert wrong.size > 8 * sum(layer.weight.shape[0] for layer in model.layers)
