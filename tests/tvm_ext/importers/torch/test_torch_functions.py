"""PyTorch's activation functions, as they are exported and decomposed: outputs and gradients of the emitted C are
PyTorch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mcutrain
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.importers.torch.load import load
from mcutrain.tvm_ext.model import NETWORK, Model
from tests.tvm_ext.importers.dialect_eval import channels_last, evaluate
from tests.tvm_ext.importers.torch.torch_nets import exported, quantised_program

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch's, about itself
Function = Callable[[torch.Tensor], torch.Tensor]
FUNCTIONS: dict[str, tuple[Function, str]] = {
    "hardswish": (F.hardswish, "hard_swish"),
    "hardsigmoid": (F.hardsigmoid, "hard_sigmoid"),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.15), "leaky_relu"),
    "elu": (lambda x: F.elu(x, 0.7), "elu"),
    "tanh": (torch.tanh, "tanh"),
    "sigmoid": (torch.sigmoid, "sigmoid"),
    "silu": (F.silu, "silu"),
    "gelu": (F.gelu, "gelu"),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"),
    "written out": (
        lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3)))),
        "gelu_tanh",
    ),
    "in place": (lambda x: F.leaky_relu_(F.hardswish(x, inplace=True), 0.3), "hard_swish"),
}


class Network(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.avg_pool2d(self.function(self.stem(x) * 3), 2).flatten(1))


def ops_of(model: Model) -> list[str]:
    return [name for name in map(op_name, (c for _, c in bindings_of(model.module[NETWORK]))) if name]


@pytest.mark.parametrize("is_decomposed", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_float_programs_equal_torch(function: str, is_decomposed: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = Network(FUNCTIONS[function][0]).eval()
    program = exported(net, (1, 3, 8, 8))
    model = load(program.run_decompositions() if is_decomposed else program)
    calls = [c for _, c in bindings_of(model.module[NETWORK]) if op_name(c) == "factivation"]
    if function == "hardsigmoid" and is_decomposed:  # its sum and its clamp go into the convolution
        assert ops_of(model) == ["fconv2d", "fconv2d", "favg_pool", "fconv2d"]
    else:
        assert calls[0].attrs["function"] == FUNCTIONS[function][1]
        assert ops_of(model) == ["fconv2d", *["factivation"] * len(calls), "favg_pool", "fconv2d"]
    x = torch.randn(1, 3, 8, 8)
    ours = evaluate(model, channels_last(x.numpy())).reshape(1, -1)
    np.testing.assert_allclose(ours, net(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_equal_torch(function: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = Network(FUNCTIONS[function][0]).eval()
    model = load(exported(net, (1, 3, 8, 8)))
    twin = mcutrain.host(mcutrain.compile(model, "full", budget="1MB", out=tmp_path / "out", seconds=1.0).directory)
    for label in range(2):
        x = torch.randn(1, 3, 8, 8)
        net.zero_grad()
        F.cross_entropy(net(x), torch.tensor([label])).backward()
        found = twin.gradients(channels_last(x.numpy()), label)
        head = net.head.weight.grad.numpy().reshape(5, 6, 4, 4)
        for name, theirs in (("head.weight", head), ("stem.weight", net.stem.weight.grad.numpy() / 3)):
            np.testing.assert_allclose(found[name], theirs, atol=2e-5 * np.abs(theirs).max(), err_msg=name)


class Slopes(nn.Module):
    """A slope a channel, and one of a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.PReLU(6), nn.Linear(6 * 4 * 4, 5)
        self.last = nn.PReLU()
        nn.init.uniform_(self.act.weight, -0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.head(F.avg_pool2d(self.act(self.stem(x)), 2).flatten(1)))


def test_prelu_equals_torch(tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = Slopes().eval()
    model = load(exported(net, (1, 3, 8, 8)))
    assert ops_of(model) == ["fconv2d", "fprelu", "favg_pool", "fconv2d", "fprelu"]
    artifact = mcutrain.compile(model, "full", budget="1MB", out=tmp_path / "out", seconds=1.0)
    twin, x = mcutrain.host(artifact.directory), torch.randn(1, 3, 8, 8)
    np.testing.assert_allclose(evaluate(model, channels_last(x.numpy()))[0, 0], net(x).detach().numpy(), atol=1e-5)
    F.cross_entropy(net(x), torch.tensor([2])).backward()
    found = twin.gradients(channels_last(x.numpy()), 2)
    for name, theirs in (("stem.weight", net.stem.weight.grad), ("head.bias", net.head.bias.grad)):
        np.testing.assert_allclose(found[name], theirs.numpy(), atol=2e-5 * float(theirs.abs().max()), err_msg=name)


def test_pt2e_leaves_a_table_between_its_quantisations() -> None:
    """Within a step of PyTorch on what the convolution before it gives."""
    torch.manual_seed(6)
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Hardswish(), nn.Conv2d(6, 4, 1), nn.SiLU(), nn.Conv2d(4, 4, 1)).eval()
    program = quantised_program(net, (1, 3, 8, 8))
    model = load(program, loss="mse")
    assert ops_of(model) == ["qconv2d", "lookup", "qconv2d", "lookup", "qconv2d"]
    run, wrong = program.module(), []
    for _ in range(8):
        ints = torch.randint(-128, 128, (1, 3, 8, 8))
        theirs = run(((ints - model.input_zero) * model.input_scale).float()).detach().numpy()
        steps = evaluate(model, channels_last(ints.numpy()).astype(np.int8)).astype(np.float64)
        ours = (steps - model.logits_zero) * model.logits_scale
        wrong.append(np.abs(ours - channels_last(theirs)) / model.logits_scale)
    assert np.max(wrong) < 2.5 and np.mean(np.stack(wrong) < 0.5) > 0.97  # three roundings behind each other


def test_a_scaled_elu_is_refused() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.aten.elu(x, 1.0, 1.5)

    with pytest.raises(ModelError, match="a scaled ELU; use ELU, or ReLU"):
        load(exported(nn.Sequential(nn.Conv2d(3, 6, 1), Scaled()), (1, 3, 8, 8)), loss="mse")
