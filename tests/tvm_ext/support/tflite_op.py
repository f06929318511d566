"""Single-op int8 TFLite models, built in memory and run by TFLite's reference kernels: an oracle for pointwise ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

TYPES = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}


@dataclass(frozen=True)
class Quantised:
    """An int8 array with its scale and zero point; of an output the values do not count."""

    array: np.ndarray
    scale: float = 1.0
    zero: int = 0


def run_op(
    code: str, options: object, inputs: Sequence[Quantised], out: Quantised, constants: Sequence = (), version: int = 2
) -> np.ndarray:
    """What the op `code` (a name of BuiltinOperator) makes of `inputs` and then int32 `constants`. options: an object
    of the schema, e.g. Pool2DOptionsT, or None."""
    model = _model(code, options, inputs, out, constants, version)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = Interpreter(
        model_content=bytes(builder.Output()), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for number, value in enumerate(inputs):
        interpreter.set_tensor(number, value.array)
    interpreter.invoke()
    return interpreter.get_tensor(len(inputs) + len(constants))


def _model(
    code: str, options: object, inputs: Sequence[Quantised], out: Quantised, constants: Sequence, version: int
) -> object:
    number = getattr(schema.BuiltinOperator, code)
    operator = schema.OperatorT()
    operator.inputs = np.arange(len(inputs) + len(constants), dtype=np.int32)
    operator.outputs = np.array([len(inputs) + len(constants)], np.int32)
    if options is not None:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
    graph = schema.SubGraphT()
    buffers = [schema.BufferT()]  # number 0 is the empty one of everything that is computed
    graph.tensors = [_tensor(v) for v in inputs]
    for constant in constants:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.astype(np.int32).tobytes(), np.uint8)
        buffers.append(buffer)
        graph.tensors.append(_tensor(constant, len(buffers) - 1))
    graph.tensors.append(_tensor(out))
    graph.inputs, graph.outputs = np.arange(len(inputs), dtype=np.int32), operator.outputs
    graph.operators = [operator]
    model, kind = schema.ModelT(), schema.OperatorCodeT()
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = number, min(number, 127), version
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [kind], [graph], buffers
    return model


def _tensor(value: Quantised | np.ndarray, buffer: int = 0) -> object:
    tensor = schema.TensorT()
    array = value.array if isinstance(value, Quantised) else value.astype(np.int32)
    tensor.name, tensor.shape, tensor.buffer = b"tensor", np.array(array.shape, np.int32), buffer
    tensor.type = TYPES[str(array.dtype)]
    if isinstance(value, Quantised):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([value.scale], np.float32)
        tensor.quantization.zeroPoint = np.array([value.zero], np.int64)
    return tensor
