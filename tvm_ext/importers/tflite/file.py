"""A TFLite file as plain checked values. The flatbuffer is read by the accessors that are generated from TFLite's own
schema; they trust the file, so every length and index is held against it here before it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import tflite

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite.record import TfliteOperator

R = TypeVar("R")
MAX_BYTES = 64 << 20
MAX_ITEMS = 1 << 14  # tensors, operators
MAX_OPERANDS, MAX_RANK = 256, 8
LARGEST_ACTIVATION = 1 << 24  # elements; no microcontroller holds more
DTYPES = {number: name.lower() for name, number in vars(tflite.TensorType).items() if isinstance(number, int)}
READABLE = ("int8", "int32", "int64", "float32")
Table = Mapping[str, TfliteOperator[R]]


@dataclass(frozen=True)
class FileTensor:
    """scales float32 [n], zeros int64 [n]: empty without quantisation. axis: of several scales. content: the bytes of a
    constant, a view of the file; empty for what is computed."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zeros: np.ndarray
    axis: int
    content: np.ndarray
    is_sparse: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """The name in a few words; a converter joins many."""
        return self.name.split(";")[0][-60:]

    @property
    def is_constant(self) -> bool:
        return self.content.size > 0

    def array(self) -> np.ndarray:
        """The value of a constant. Raises ModelError where bytes and shape disagree."""
        if self.dtype not in READABLE or self.is_sparse:
            kind = "sparse" if self.is_sparse else self.dtype
            raise ModelError(f"the constant '{self.label}' is {kind}", "convert to dense int8 weights")
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if self.content.size != self.size * dtype.itemsize:
            raise ModelError(
                f"the constant '{self.label}' of shape {list(self.shape)} holds {self.content.size} B, not "
                f"{self.size * dtype.itemsize}",
                "convert the model anew",
            )
        return self.content.view(dtype).reshape(self.shape)


@dataclass(frozen=True)
class FileOperator:
    """op: name in TFLite's schema. inputs, outputs: tensor numbers, -1 for an input that is left out. options: fields
    of the schema's options, by their names there."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float]


@dataclass(frozen=True)
class TfliteGraph:
    """The first subgraph. Operators stand in the order in which they run; each tensor is written at most once."""

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: str | Path, known: Table[R]) -> TfliteGraph:
    """The graph of a file. known: the operators whose options are read.

    Raises ModelError for a file that is missing, too large, truncated, or none of TFLite's."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a TFLite model") from None
    if len(data) > MAX_BYTES:
        raise ModelError(f"{path}: larger than {MAX_BYTES >> 20} MiB; no microcontroller holds that model")
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path}: no TFLite model (its identifier TFL3 is missing); convert it anew")
    try:
        return _graph(data, known)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except Exception as error:  # the accessors read wherever a damaged file points, and stumble over anything
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise ModelError(f"{path}: damaged or truncated ({text}); convert or download it anew") from None


def _graph(data: bytes, known: Table[R]) -> TfliteGraph:
    model = tflite.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise ModelError("holds no graph", "convert it anew")
    graph = model.Subgraphs(0)
    codes = [_code(model.OperatorCodes(i)) for i in range(_count(model.OperatorCodesLength(), "operator codes"))]
    buffers = [model.Buffers(i) for i in range(_count(model.BuffersLength(), "buffers"))]
    tensors = tuple(_tensor(graph.Tensors(i), buffers) for i in range(_count(graph.TensorsLength(), "tensors")))
    count = _count(graph.OperatorsLength(), "operators")
    operators = tuple(_operator(graph.Operators(i), codes, len(tensors), known) for i in range(count))
    read = TfliteGraph(
        tensors,
        operators,
        _numbers(graph.Inputs, graph.InputsLength(), 0, len(tensors)),
        _numbers(graph.Outputs, graph.OutputsLength(), 0, len(tensors)),
    )
    written = [n for op in operators for n in op.outputs] + list(read.inputs)
    if len(set(written)) != len(written) or any(tensors[n].is_constant for n in written):
        raise ModelError("a tensor is written twice", "convert the model anew")
    return read


def _count(length: int, what: str, limit: int = MAX_ITEMS) -> int:
    if length > limit:
        raise ModelError(f"holds {length} {what}, more than {limit}", "convert a smaller model, or this one anew")
    return length


def _code(code: tflite.OperatorCode) -> str:
    """The name; a number above 127 stands in a field of its own."""
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = tflite.BUILTIN_OPCODE2NAME.get(number, f"operator {number}")
    if name == "CUSTOM":
        own = (code.CustomCode() or b"").decode("utf-8", "replace")[:60]
        return f"CUSTOM {''.join(c if c.isprintable() else '?' for c in own)}"
    return name


def _numbers(item: Callable[[int], int], length: int, low: int, high: int) -> tuple[int, ...]:
    numbers = tuple(item(i) for i in range(_count(length, "operands", MAX_OPERANDS)))
    if not all(low <= n < high for n in numbers):
        raise ModelError("a tensor number lies outside the file", "convert the model anew")
    return numbers


def _operator(operator: tflite.Operator, codes: list[str], tensors: int, known: Table[R]) -> FileOperator:
    if operator.OpcodeIndex() >= len(codes):
        raise ModelError("an operator code lies outside the file", "convert the model anew")
    op = codes[operator.OpcodeIndex()]
    inputs = _numbers(operator.Inputs, operator.InputsLength(), -1, tensors)
    outputs = _numbers(operator.Outputs, operator.OutputsLength(), 0, tensors)
    record = known.get(op, TfliteOperator(op))
    return FileOperator(op, inputs[: record.operands], outputs, _options(operator, *record.options))


def _options(operator: tflite.Operator, kind: str, fields: tuple[str, ...]) -> dict[str, int | float]:
    table = operator.BuiltinOptions()
    if not fields or table is None or operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, kind):
        return {}
    options = getattr(tflite, kind)()
    options.Init(table.Bytes, table.Pos)
    return {field: getattr(options, field)() for field in fields}


def _tensor(tensor: tflite.Tensor, buffers: list[tflite.Buffer]) -> FileTensor:
    if tensor.Buffer() >= len(buffers):
        raise ModelError("a buffer number lies outside the file", "convert the model anew")
    buffer, quantised = buffers[tensor.Buffer()], tensor.Quantization()
    none = np.zeros(0)
    name = (tensor.Name() or b"").decode("utf-8", "replace")
    shape = tuple(tensor.Shape(i) for i in range(_count(tensor.ShapeLength(), "dimensions of a tensor", MAX_RANK)))
    if min(shape, default=0) < 0:
        raise ModelError(f"a tensor of shape {list(shape)}", "convert the model anew")
    return FileTensor(
        name="".join(c if c.isprintable() else "?" for c in name[:2000]),
        shape=shape,
        dtype=DTYPES.get(tensor.Type(), f"type {tensor.Type()}"),
        scales=quantised.ScaleAsNumpy() if quantised and quantised.ScaleLength() else none.astype(np.float32),
        zeros=quantised.ZeroPointAsNumpy() if quantised and quantised.ZeroPointLength() else none.astype(np.int64),
        axis=quantised.QuantizedDimension() if quantised else 0,
        content=buffer.DataAsNumpy() if buffer.DataLength() else none.astype(np.uint8),
        is_sparse=tensor.Sparsity() is not None,
    )
