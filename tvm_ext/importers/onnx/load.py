"""ONNX -> dialect: int8 networks in QDQ form or of QLinear operators, and float32 ones.

The file is read within bounds before anything is trusted; what is read is the neutral graph of graph/translate.py."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.heads import requested
from mcutrain.tvm_ext.importers.graph.graph import Node, OpGraph, Tensor
from mcutrain.tvm_ext.importers.graph.operators import named
from mcutrain.tvm_ext.importers.graph.translate import build
from mcutrain.tvm_ext.model import Model

if TYPE_CHECKING:
    import onnx

MAX_BYTES = 256 << 20
MAX_NODES = 50_000
DOMAINS = ("", "ai.onnx", "com.microsoft")
DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "int64", "bool")
INLINE = "call onnx.inliner.inline_local_functions on it"


def load(
    path: str | Path,
    classes: int | None = None,
    head: str = "model",
    logits: str | None = None,
    loss: str | None = None,
) -> Model:
    """Read an ONNX model of one input and one output, batch size 1 (a batch size left open counts as 1).

    The input is (1, C, H, W), (1, C, L) or (1, n), in float32, int8 or uint8, or channels-last where the network turns
    it at once; inside it is (1, H, W, C), (1, 1, L, C), (1, 1, 1, n). A quantised network reads int8, of which the real
    value is (x - input_zero) * input_scale; uint8 is int8 with a zero point 128 lower. head: "model", the network's own
    output layer, or "float", a fresh float32 one with `classes` outputs in its place. logits: "dequantized" (default)
    or "raw", the integers themselves. loss: as in Model; by default binary_cross_entropy behind a Sigmoid and
    cross_entropy else. A Softmax or Sigmoid at the end is taken off: losses work on logits.

    Raises one ModelError that names every operator that cannot be expressed, with its layer, why, and a way out."""
    wanted = requested(head, classes, logits, loss)
    return build(read(path), Path(path).stem, path, wanted, loss)


def read(path: str | Path) -> OpGraph:
    """The graph of an ONNX file. Raises ModelError for anything that is none, or that is out of bounds."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{path}: {size} B; more than {MAX_BYTES} B are refused")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of an ONNX model") from None
    try:
        return _graph(_parsed(data))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _parsed(data: bytes) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, RecursionError, ValueError):
        raise ModelError("no ONNX model, or truncated; export it anew") from None
    if not all(isinstance(text, str) for text in _texts(model.graph)):
        raise ModelError("a name in it is no text; export it anew")
    if model.functions:
        raise ModelError(f"holds functions of its own ({len(model.functions)}); {INLINE}")
    if not model.graph.node or len(model.graph.node) > MAX_NODES:
        raise ModelError(f"a graph of {len(model.graph.node)} operators; from 1 to {MAX_NODES}")
    if model.graph.sparse_initializer:
        raise ModelError("holds sparse weights; save them as dense ones")
    for tensor in _tensors(model.graph):
        _check_tensor(tensor)
    foreign = sorted({node.domain for node in model.graph.node} - set(DOMAINS))
    if foreign:
        raise ModelError(f"operators of {', '.join(foreign)[:100]}; only ONNX's own and com.microsoft's")
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker's errors have no common base that is documented
        raise ModelError(f"no valid ONNX model: {' '.join(str(error).split())[:300]}; export it anew") from None
    return model


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    """All names that are used: protobuf leaves what is no UTF-8 as bytes."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for entry in (*graph.initializer, *graph.input, *graph.output):
        yield entry.name
    for value in graph.input:
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The constants that are read; subgraphs belong to operators that are refused."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Raises ModelError where its bytes are not in the file, or not as many as its dimensions say."""
    import onnx

    name = str(tensor.name)[-60:] or "a constant"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(f"{name}: its data stands in another file; save the model as one file")
    if len(tensor.dims) > 8 or any(n < 0 for n in tensor.dims):
        raise ModelError(f"{name}: dimensions {list(tensor.dims)[:8]}; export the model anew")
    held = max(len(getattr(tensor, f"{kind}_data")) for kind in ("float", "double", "int32", "int64", "uint64", "raw"))
    held = max(held, len(tensor.string_data))
    if math.prod(tensor.dims) > 2 * held:  # two 4-bit numbers to a byte
        raise ModelError(f"{name}: {math.prod(tensor.dims)} numbers, but fewer in the file; export the model anew")


def _graph(model: onnx.ModelProto) -> OpGraph:
    constants = {tensor.name: _array(tensor) for tensor in model.graph.initializer}
    raw: list[Node] = []
    for proto in model.graph.node:
        name = proto.name[:200]
        if proto.op_type == "Constant" and proto.output:
            constants[proto.output[0]] = _constant(proto)
        elif proto.output:
            attrs = {a.name: _attribute(a) for a in proto.attribute}
            raw.append(Node(proto.op_type[:60], name, tuple(proto.input), tuple(proto.output), attrs))
    inputs = tuple(_input(info) for info in model.graph.input if info.name not in constants)
    sources = {node.outputs[0]: node for node in raw}
    nodes = named(raw, [_told_by_source(node, sources) for node in raw])
    outputs = tuple(info.name for info in model.graph.output)
    return OpGraph(nodes, constants, inputs, outputs, lambda: _shapes(model))


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The dimensions of the tensors whose sizes ONNX infers; an open batch is 1."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # it serves the list of what is refused alone: without shapes that is shorter
        graph = model.graph
    found = {}
    for info in (*graph.value_info, *graph.output):
        dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
        if dims and all(n > 0 for n in dims[1:]):
            found[info.name] = (dims[0] or 1, *dims[1:])
    return found


def _told_by_source(node: Node, sources: dict[str, Node]) -> Node:
    """The node with the names of the tensors that its weights are made from, which say what module they belong to."""
    inputs = []
    for name in node.inputs:
        for _ in range(4):  # dequantised, quantised, transposed, renamed
            source = sources.get(name)
            if source is None or source.op not in ("DequantizeLinear", "QuantizeLinear", "Transpose", "Identity"):
                break
            name = source.inputs[0] if source.inputs else ""
        inputs.append(name)
    return Node(node.op, node.name, tuple(inputs), node.outputs)


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    from onnx import numpy_helper

    name = str(tensor.name)[-60:] or "a constant"
    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever a file can hold that does not fit
        raise ModelError(f"{name}: cannot be read ({' '.join(str(error).split())[:100]}); export it anew") from None
    if array.dtype.name not in DTYPES:
        raise ModelError(f"{name}: a constant in {array.dtype.name}; use float32, int8 or uint8")
    array = np.array(array, array.dtype.newbyteorder("="), order="C")  # ascontiguousarray adds an axis
    return array.astype(np.float32) if array.dtype.name in ("float16", "float64") else array


def _constant(proto: onnx.NodeProto) -> np.ndarray:
    for attribute in proto.attribute:
        value = _attribute(attribute)
        if attribute.name == "value" and isinstance(value, np.ndarray):
            return value
        if attribute.name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if attribute.name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise ModelError(f"{proto.name[-60:] or 'Constant'}: holds no numbers; export the model anew")


def _attribute(attribute: onnx.AttributeProto) -> object:
    """The value in plain Python; None for what no operator that is supported has (graphs, sparse tensors)."""
    import onnx

    kinds = onnx.AttributeProto
    if attribute.type == kinds.TENSOR:
        return _array(attribute.t)
    plain = {kinds.FLOAT: attribute.f, kinds.INT: attribute.i, kinds.STRING: attribute.s.decode(errors="replace")[:60]}
    if attribute.type in plain:
        return plain[attribute.type]
    lists = {kinds.FLOATS: attribute.floats, kinds.INTS: attribute.ints}
    return list(lists[attribute.type]) if attribute.type in lists else None


def _input(info: onnx.ValueInfoProto) -> Tensor:
    """An input with its batch size, if that is left open, as 1."""
    import onnx

    name, kind = info.name[-60:], info.type.tensor_type
    types = onnx.TensorProto
    known: dict[int, str] = {types.FLOAT: "float32", types.INT8: "int8", types.UINT8: "uint8"}
    if not info.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise ModelError(f"the input '{name}' has no shape; export with a fixed one")
    if kind.elem_type not in known:
        raise ModelError(f"the input '{name}' is {_type_name(kind.elem_type)}; must be float32, int8 or uint8")
    given = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    if given and not (isinstance(given[0], int) and given[0] > 0):
        given[0] = 1
    dims = tuple(n for n in given if isinstance(n, int) and n > 0)
    if len(dims) < len(given):
        shown = ", ".join(str(n)[:20] for n in given[:8])
        raise ModelError(f"the input '{name}' is ({shown}); export with fixed sizes, or fix them by "
                         "`python -m onnxruntime.tools.make_dynamic_shape_fixed`")  # fmt: skip
    return Tensor(info.name, dims, known[kind.elem_type])


def _type_name(number: int) -> str:
    import onnx

    return onnx.TensorProto.DataType.Name(number).lower() if number in onnx.TensorProto.DataType.values() else "untyped"
