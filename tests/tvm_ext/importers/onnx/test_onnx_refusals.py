"""ONNX files that are refused, each with its message, and mutants of ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.onnx.load import load
from tests.tvm_ext.importers.graph.qdq_cases import QDQ, begin, classifier, float_net, qlinear_net
from tests.tvm_ext.importers.onnx.onnx_models import Net, imported


def flat(net: Net, *ops: tuple, **attrs: object) -> str:
    x = begin(net)
    for op, *inputs in ops:
        x = net.op(op, x, *inputs, **attrs)
    return net.qdq(x, 0.04)


def transposed(net: Net) -> str:
    return net.qdq(net.op("GlobalAveragePool", net.op("Transpose", begin(net), perm=[0, 2, 1, 3])), 0.04)


def padded(net: Net) -> str:
    return flat(net, ("Pad", net.const([0] * 3 + [1] * 5, "int64"), net.const(2.0)))


def grouped(net: Net) -> str:
    weight = net.weight((4, 2, 3, 3))
    return net.qdq(net.op("Conv", begin(net), weight, group=2), 0.04)


def asymmetric_weight(net: Net) -> str:
    x, ints = begin(net), net.const(np.ones((4, 4, 1, 1)), "int8")
    return net.qdq(net.op("Conv", x, net.op("DequantizeLinear", ints, net.const(0.1), net.const(5, "int8"))), 0.04)


def float_weight(net: Net) -> str:
    return net.qdq(net.op("Conv", begin(net), net.const(np.ones((4, 4, 1, 1)))), 0.04)


def unquantised_middle(net: Net) -> str:
    x = begin(net)
    y = net.conv(x, 4, 4, (1, 1), quantise=False)
    return net.qdq(net.op("Conv", y, net.weight((2, 4, 1, 1))), 0.04)


def quantised_late(net: Net) -> str:
    return net.qdq(net.op("Sub", "x", net.const(1.0)), 0.04)


def two_ways(net: Net) -> str:
    y = net.conv(begin(net), 4, 4, (1, 1), quantise=False)
    return net.qdq(net.op("Add", net.qdq(y, 0.1), net.qdq(y, 0.2)), 0.1)


def mismatched(net: Net) -> str:
    y = net.conv(begin(net), 4, 4, (1, 1))
    return net.op("DequantizeLinear", net.nodes[-2].output[0], net.const(9.0), net.const(0, "int8")) if y else ""


def scale_of(value: float) -> Callable[[Net], str]:
    return lambda net: net.qdq(net.conv(begin(net), 4, 4, (1, 1), quantise=False), value)


REFUSALS = {
    "groups": (grouped, "Conv conv: 2 groups of 4 channels and 4 filters; only groups == channels == filters"),
    "asymmetric": (asymmetric_weight, r"int8 weights with zero point \[5\]; quantise weights symmetrically"),
    "float_weight": (float_weight, "float32 weights on int8 activations; quantise the weights, too"),
    "middle": (
        unquantised_middle,
        "conv_1: its input is not quantised; put a QuantizeLinear and a Deq",
    ),
    "late": (quantised_late, "quantises what was computed in float32; quantise all operators, or none"),
    "two_ways": (two_ways, "the result of conv is quantised in two ways; quantise it once"),
    "mismatched": (mismatched, "reads scale 9, zero point 0; what it reads was written with"),
    "zero_scale": (scale_of(0.0), "the scale 0 is no positive finite number"),
    "nan_scale": (scale_of(np.nan), "the scale nan is no positive finite number"),
    "tiny_scale": (scale_of(1e-12), "do not fit each other; quantise anew"),
    "multiply": (
        lambda n: n.qdq(n.op("Mul", x := begin(n), n.conv(x, 4, 4, (1, 1))), 1),
        "Mul of two activations; only with a constant a ch",
    ),
    "batch": (lambda n: flat(n, ("Reshape", n.const([4, -1], "int64"))), r"reshapes \(1, 4, 8, 8\) to \(4, 64\)"),
    "transposed": (transposed, "its input has the axes NHCW"),
    "all_axes": (lambda n: flat(n, ("ReduceMean",)), "a mean over all axes; name the axes of the image"),
    "channels": (lambda n: flat(n, ("ReduceMean", n.const([1], "int64"))), "only over the image"),
    "pad": (padded, "pads by constant 2; only by constant 0"),
    "dilation": (lambda n: n.conv(begin(n), 4, 2, (3, 3), dilations=[2, 2]), r"dilation \[2, 2\]; train it without"),
    "softmax": (lambda n: n.conv(flat(n, ("Softmax",)), 4, 2, (1, 1)), "Softmax softmax: .*last operator alone"),
    "unquantised": (
        lambda n: classifier(n, quantise=False),
        "its output is not quantised; quantise it, too, or",
    ),
    "image": (lambda n: n.conv(begin(n), 4, 2, (1, 1)), r"its output is an image \[8, 8, 2\]; use the loss mse"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str, tmp_path: Path) -> None:
    build, message = REFUSALS[case]
    net = Net((1, 4, 8, 8))
    loss = None if case in ("image", "unquantised") else "mse"
    with pytest.raises(ModelError, match=message):
        imported(unrun(net, build(net)), tmp_path, loss=loss)


def unrun(net: Net, output: str, **changes: object) -> onnx.ModelProto:
    """A model that onnxruntime might not run."""
    shape = changes.pop("shape", (1, 4, 8, 8))
    given = helper.make_tensor_value_info("x", changes.pop("elem", TensorProto.FLOAT), shape)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?"]) for name in output.split()]
    graph = helper.make_graph(net.nodes, "net", [given], made, net.constants)
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own.ops", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_all_problems_at_once(tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8), None)
    x = net.op("Mish", net.conv("x", 4, 4, (3, 3), name="/stem/Conv"), name="/stem/act/Mish")
    y = net.op("LSTM", net.conv("x", 4, 4, (3, 3), dilations=[2, 1]), x, x)
    with pytest.raises(ModelError) as caught:
        imported(unrun(net, net.op("Add", x, y)), tmp_path)
    message = str(caught.value)
    assert "net.onnx: 3 problems in the network" in message
    assert "Mish stem.act.mish: the operator is not supported; use Relu or Relu6" in message
    assert "Conv conv: dilation [2, 1]; train it without dilation" in message
    assert "LSTM lstm: the operator is not supported; only feed-forward networks" in message  # behind both
    assert "Traceback" not in message


@pytest.mark.parametrize("dtype", [None, "int8"])
def test_a_chain_of_problems(dtype: str | None, tmp_path: Path) -> None:
    """Behind a refused operator the shapes that ONNX infers stand in, of a float32 network and of a quantised one; what
    is right there is not called a problem."""
    net = Net((1, 4, 8, 8), dtype)

    def quantised(x: str) -> str:
        return net.qdq(x, 0.04) if dtype else x

    weight = net.const(np.ones((4, 2, 3, 3)))
    x = quantised(net.op("Mish", quantised("x")))
    x = quantised(net.op("Conv", x, weight if dtype is None else net.weight((4, 2, 3, 3)), group=2))
    x = quantised(net.op("Softplus", net.conv(net.conv(x, 4, 6, (1, 1)), 6, 6, (3, 3), group=6)))
    out = net.conv(x, 6, 3, (3, 3), dilations=[2, 2])
    with pytest.raises(ModelError) as caught:
        imported(unrun(net, out), tmp_path)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["Mish", "Conv", "Softplus", "Conv"]
    assert "2 groups of 4 channels" in lines[2] and "dilation [2, 2]" in lines[4]


def broken(path: Path) -> dict[str, tuple[Callable[[], object], str]]:
    """How a file can be none that is read, and what is said."""

    def write(model: onnx.ModelProto) -> None:
        path.write_bytes(model.SerializeToString())

    def changed(change: Callable[[onnx.ModelProto], object]) -> Callable[[], object]:
        def make() -> None:
            net = Net((1, 4, 8, 8), None)
            model = unrun(net, net.conv("x", 4, 2, (3, 3)))
            change(model)
            write(model)

        return make

    def elem(number: int) -> Callable[[], object]:
        return changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", number))

    def dims(**sizes: object) -> Callable[[], object]:
        def change(m: onnx.ModelProto) -> None:
            for index, n in sizes.items():
                d = m.graph.input[0].type.tensor_type.shape.dim[int(index[1:])]
                if isinstance(n, str):
                    d.dim_param = n
                else:
                    d.dim_value = n

        return changed(change)

    def external(m: onnx.ModelProto) -> None:
        m.graph.initializer[0].data_location = TensorProto.EXTERNAL

    def huge(m: onnx.ModelProto) -> None:
        m.graph.initializer[0].dims[0] = 1 << 40

    def function(m: onnx.ModelProto) -> None:
        m.functions.add(name="f", domain="own.ops")

    def foreign(m: onnx.ModelProto) -> None:
        m.graph.node[0].domain = "own.ops"

    def twice(m: onnx.ModelProto) -> None:
        m.graph.output.append(m.graph.input[0])

    def half(m: onnx.ModelProto) -> None:
        m.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2, 4, 3, 3), complex), "c0"))

    return {
        "missing": (lambda: None, "No such file or directory; give the path of an ONNX model"),
        "text": (lambda: path.write_text("hello"), "no ONNX model, or truncated; export it anew"),
        "empty": (lambda: path.write_bytes(b""), "a graph of 0 operators"),
        "external": (changed(external), "its data stands in another file; save the model as one file"),
        "huge": (changed(huge), "numbers, but fewer in the file"),
        "function": (changed(function), "holds functions of its own"),
        "foreign": (changed(foreign), "operators of own.ops; only ONNX's own"),
        "outputs": (changed(twice), "has 2 outputs, must have 1"),
        "complex": (changed(half), "a constant in complex128; use float32"),
        "no_input": (changed(lambda m: m.graph.ClearField("input")), "no valid ONNX model: "),
        "float16": (elem(TensorProto.FLOAT16), "the input 'x' is float16; must be float32, int8 or uint8"),
        "raw_bytes": (elem(TensorProto.UINT8), "an input in uint8 that is not dequantised; quantise the model in QDQ"),
        "dynamic": (
            dims(d2="height"),
            r"the input 'x' is \(1, 4, height, 8\); export with fixed sizes, or",
        ),
        "batch": (dims(d0=2), r"an input of \[2, 4, 8, 8\]; export with a batch size of 1"),
        "giant": (dims(d2=1 << 40), "export with a batch size of 1"),
        "name": (changed(lambda m: setattr(m.graph.node[0], "op_type", "Fonv")), "no valid ONNX model: "),
    }


@pytest.mark.parametrize("case", broken(Path()))
def test_files_that_are_none(case: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    make, message = broken(path)[case]
    make()
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate((256 << 20) + 1)  # sparse
    with pytest.raises(ModelError, match="more than 268435456 B are refused"):
        load(path)


# --------------------------------------------------------------------------- mutants
def mutants() -> list[bytes]:
    """60 of them: bytes changed and cut, constants replaced, attributes, operators and operands exchanged."""
    rng = np.random.RandomState(0)
    nets = [(Net((1, 4, 8, 8), input_dtype="int8"), qlinear_net, None), (Net((1, 4, 9, 8), None), float_net, None)]
    cases = ("concat", "batch_norm", "padded", "matmul_add", "mean")
    nets += [(Net((1, 4, 9, 8)), QDQ[case], "float32") for case in cases]
    models = [net.model(build(net), dtype) for net, build, dtype in nets]
    found = []
    for number in range(60):
        model = onnx.ModelProto()
        model.CopyFrom(models[number % len(models)])
        kind = number // len(models) % 6
        if kind < 2:
            data = bytearray(model.SerializeToString())
            for index in rng.randint(0, len(data), 4):
                data[index] = rng.randint(256)
            found.append(bytes(data[: rng.randint(len(data)) if kind else len(data)]))
            continue
        for node in rng.choice(model.graph.node, 2, replace=False):
            _mutate(model.graph, node, kind, rng)
        found.append(model.SerializeToString())
    return found


def _mutate(graph: onnx.GraphProto, node: onnx.NodeProto, kind: int, rng: np.random.RandomState) -> None:
    tensor = graph.initializer[rng.randint(len(graph.initializer))]
    if kind == 2 and tensor.dims:
        tensor.dims[0] = int(rng.choice([0, -1, 1 << 40]))
    elif kind == 2:
        value = np.array(rng.choice([0, np.nan, np.inf, -1, 1e30]), np.float32)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    elif kind == 3:
        for attribute in node.attribute:
            attribute.i = -1
            for index in range(len(attribute.ints)):
                attribute.ints[index] = int(rng.choice([0, -1, 3, 1 << 40, -(1 << 63)]))
    elif kind == 4:
        node.op_type = rng.choice(["Conv", "Add", "Reshape", "Gemm", "Transpose", "Concat", "Gather", "ReduceMean"])
    elif node.input:
        other = graph.node[rng.randint(len(graph.node))]
        node.input[rng.randint(len(node.input))] = other.output[0]


def test_mutants_are_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    refused = 0
    for data in mutants():
        path.write_bytes(data)
        try:
            model = load(path, loss="mse")
        except ModelError:
            refused += 1
        else:
            assert model.layers and all(n > 0 for n in model.input_shape)
    assert 30 < refused < 60
