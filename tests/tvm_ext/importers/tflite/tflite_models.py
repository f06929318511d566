"""Small int8 TFLite models with random weights and scales that spread the activations, and TFLite's reference
interpreter as their oracle. Built with the object API of the runtime's own schema, not with what the importer reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ACTIVATION, PADDING = schema.ActivationFunctionType, schema.Padding
TYPES = {"int8": 9, "uint8": 3, "int32": 2, "int64": 4, "float32": 0, "int16": 7}
SPREAD = 50.0  # standard deviation of an activation in its steps, about


class TfliteModel:
    """A graph under construction. Every method that adds an operator returns the number of its output tensor."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list = []
        self.buffers: list = [schema.BufferT()]  # number 0 is the empty one of everything that is computed
        self.operators: list = []
        self.codes: list[str] = []
        self.inputs: list[int] = []

    # ------------------------------------------------------------------ tensors
    def input(self, shape: Sequence[int], scale: float = 0.02, zero: int = -3, dtype: str = "int8") -> int:
        number = self.tensor(shape, dtype, [scale] if dtype != "float32" else [], [zero], name="input")
        self.inputs.append(number)
        return number

    def tensor(self, shape, dtype="int8", scales=(), zeros=(), data=None, axis=0, name="") -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.array(shape, np.int32), TYPES[dtype], 0
        tensor.name = name.encode()
        if len(scales):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scales, np.float32)
            tensor.quantization.zeroPoint = np.array(zeros, np.int64)
            tensor.quantization.quantizedDimension = axis
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, values: object, dtype: str = "int32") -> int:
        array = np.array(values, dtype)
        return self.tensor(array.shape, dtype, data=array, name="constant")

    def shape(self, number: int) -> list[int]:
        return [int(n) for n in self.tensors[number].shape]

    def quantised(self, number: int) -> tuple[float, int]:
        own = self.tensors[number].quantization
        return float(own.scale[0]), int(own.zeroPoint[0])

    # ------------------------------------------------------------------ operators
    def op(self, code, inputs, shape, scale=None, zero=0, options=None, name="", dtype="int8") -> int:
        """One operator; without a scale, the output has the quantisation of the first input."""
        if scale is None and dtype == "int8":
            scale, zero = self.quantised(inputs[0])
        out = self.tensor(shape, dtype, [scale] if scale else [], [zero], name=name or f"model/{code.lower()}")
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([out], np.int32)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        if code not in self.codes:
            self.codes.append(code)
        operator.opcodeIndex = self.codes.index(code)
        self.operators.append(operator)
        return out

    def conv(self, x, filters, kernel=(3, 3), stride=(1, 1), padding="SAME", activation="NONE", depthwise=False,
             per_channel=True, bias=True, zero=-5, name="model/conv2d") -> int:  # fmt: skip
        """depthwise: `filters` a multiple of the input's channels."""
        channels = self.shape(x)[3]
        shape = [1, *kernel, filters] if depthwise else [filters, *kernel, channels]
        taps = int(np.prod(kernel)) * (1 if depthwise else channels)
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = filters // channels
        options.strideH, options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        self._set(options, padding, activation)
        weights, scale = self._weights(x, shape, filters, taps, per_channel, bias, 3 if depthwise else 0, name)
        size = [output_size(n, k, s, padding) for n, k, s in zip(self.shape(x)[1:3], kernel, stride, strict=True)]
        code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.op(code, [x, *weights], [1, *size, filters], scale, zero, options, f"{name}/BiasAdd")

    def dense(self, x, units, activation="NONE", per_channel=False, bias=True, zero=7, features=None, keep=False,
              name="model/dense") -> int:  # fmt: skip
        """features: of the input that one product takes, all by default. keep: the input's rank is kept."""
        total = int(np.prod(self.shape(x)))
        features = features or total
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction, options.keepNumDims = getattr(ACTIVATION, activation), keep
        weights, scale = self._weights(x, [units, features], units, features, per_channel, bias, 0, name)
        shape = [*self.shape(x)[:-1], units] if keep else [total // features, units]
        return self.op("FULLY_CONNECTED", [x, *weights], shape, scale, zero, options, f"{name}/BiasAdd")

    def _weights(self, x, shape, filters, taps, per_channel, bias, axis, name) -> tuple[list[int], float]:
        """(weight and bias, the output's scale)."""
        x_scale, _ = self.quantised(x)
        scales = (self.rng.uniform(0.6, 1.6, filters if per_channel else 1) * 0.01).astype(np.float32)
        weight = self.rng.integers(-127, 128, shape).astype(np.int8)
        numbers = [self.tensor(shape, "int8", scales, [0] * len(scales), weight, axis, f"{name}/Conv2D")]
        spread = 60 * 73 * np.sqrt(taps)
        if bias:
            b_scales = (x_scale * scales.astype(np.float64)).astype(np.float32)
            values = np.rint(self.rng.normal(0, spread / 4, filters)).astype(np.int32)
            numbers.append(self.tensor([filters], "int32", b_scales, [0] * len(b_scales), values, 0, f"{name}/bias"))
        return numbers, float(np.float32(x_scale * float(scales.mean()) * spread / SPREAD))

    def pool(self, x, kernel, stride=None, padding="VALID", activation="NONE", code="AVERAGE_POOL_2D") -> int:
        options, stride = schema.Pool2DOptionsT(), stride or kernel
        options.filterHeight, options.filterWidth = kernel
        options.strideH, options.strideW = stride
        self._set(options, padding, activation)
        _, *size, channels = self.shape(x)
        size = [output_size(n, k, s, padding) for n, k, s in zip(size, kernel, stride, strict=True)]
        return self.op(code, [x], [1, *size, channels], options=options)

    def add(self, a, b, activation="NONE", scale=None, zero=11, name="model/add") -> int:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = getattr(ACTIVATION, activation)
        spread = np.hypot(self.quantised(a)[0], self.quantised(b)[0])
        return self.op("ADD", [a, b], self.shape(a), scale or float(np.float32(spread)), zero, options, f"{name}/add")

    def mean(self, x, axes=(1, 2), keep=True, scale=None, zero=0) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = keep
        rank = len(self.shape(x))
        gone = {axis % rank for axis in axes}
        shape = [1 if i in gone else n for i, n in enumerate(self.shape(x)) if keep or i not in gone]
        return self.op("MEAN", [x, self.constant(list(axes))], shape, scale, zero, options)

    def pad(self, x, paddings, value: int | None = None) -> int:
        shape = [n + sum(p) for n, p in zip(self.shape(x), paddings, strict=True)]
        inputs = [x, self.constant(paddings)]
        if value is None:
            return self.op("PAD", inputs, shape, options=schema.PadOptionsT())
        scale, zero = self.quantised(x)
        inputs.append(self.tensor([1], "int8", [scale], [zero], np.array([value], np.int8)))
        return self.op("PADV2", inputs, shape, options=schema.PadV2OptionsT())

    def reshape(self, x, shape) -> int:
        return self.op("RESHAPE", [x, self.constant(shape)], shape)

    def expand(self, x, axis) -> int:
        shape = self.shape(x)
        return self.op("EXPAND_DIMS", [x, self.constant(axis)], [*shape[:axis], 1, *shape[axis:]])

    def squeeze(self, x, axis) -> int:
        options, shape = schema.SqueezeOptionsT(), self.shape(x)
        options.squeezeDims = np.array([axis], np.int32)
        return self.op("SQUEEZE", [x], shape[:axis] + shape[axis + 1 :], options=options)

    def concat(self, values, axis=3) -> int:
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        shape = self.shape(values[0])
        shape[axis] = sum(self.shape(v)[axis] for v in values)
        return self.op("CONCATENATION", values, shape, options=options)

    def softmax(self, x, beta=1.0) -> int:
        options = schema.SoftmaxOptionsT()
        options.beta = beta
        return self.op("SOFTMAX", [x], self.shape(x), 1 / 256, -128, options, "Identity")

    def unary(self, code, x, scale=None, zero=0, options=None, dtype="int8") -> int:
        """An operator of one operand and one shape: RELU, QUANTIZE, LOGISTIC, ..."""
        return self.op(code, [x], self.shape(x), scale, zero, options, dtype=dtype)

    @staticmethod
    def _set(options: object, padding: str, activation: str) -> None:
        options.padding = getattr(PADDING, padding)
        options.fusedActivationFunction = getattr(ACTIVATION, activation)

    # ------------------------------------------------------------------ the file
    def content(self, *outputs: int) -> bytes:
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = np.array(self.inputs, np.int32), np.array(outputs, np.int32)
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, []
        for name in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def save(self, folder: Path, *outputs: int) -> Path:
        path = folder / "model.tflite"
        path.write_bytes(self.content(*outputs))
        return path


def output_size(n: int, kernel: int, stride: int, padding: str) -> int:
    return -(-n // stride) if padding == "SAME" else (n - kernel) // stride + 1


class Reference:
    """TFLite's reference interpreter of a file, or of a file's content."""

    def __init__(self, file: Path | bytes, resolver: OpResolverType = OpResolverType.BUILTIN_REF) -> None:
        self.interpreter = Interpreter(
            model_path=str(file) if isinstance(file, Path) else None,
            model_content=file if isinstance(file, bytes) else None,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        (self.input,) = self.interpreter.get_input_details()
        (self.output,) = self.interpreter.get_output_details()

    def run(self, x: np.ndarray, tensor: int | None = None) -> np.ndarray:
        """Tensor `tensor`, by default the output, for the input x."""
        self.interpreter.set_tensor(self.input["index"], x.reshape(self.input["shape"]))
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output["index"] if tensor is None else tensor).copy()


def images(count: int, shape: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """int8 inputs: uniform noise, and clouds of any mean and width, which reach the ends of the range."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        x = rng.integers(-128, 128, shape) if i % 2 else rng.normal(rng.integers(-99, 100), rng.uniform(2, 70), shape)
        made.append(np.clip(x, -128, 127).astype(np.int8))
    return made
