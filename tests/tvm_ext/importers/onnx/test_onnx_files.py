"""What an ONNX file may not be: damaged, too large, of another kind; and mutants of good ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.onnx.load import load
from tests.tvm_ext.importers.graph.qdq_cases import QDQ, float_net
from tests.tvm_ext.importers.graph.qlinear_cases import qlinear_net
from tests.tvm_ext.importers.onnx.onnx_models import Net, unrun


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
