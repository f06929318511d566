"""Small ONNX networks with random weights and sensible scales, and onnxruntime as oracle, for tests of importers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mcutrain.tvm_ext.importers.onnx.load import load
from mcutrain.tvm_ext.model import Model
from tests.tvm_ext.importers.dialect_eval import channels_last, evaluate

ELEMENTS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
MIDDLE = {"int8": 0, "uint8": 128}
LARGEST_WEIGHT = 63  # onnxruntime's products on processors without VNNI saturate beyond


class Net:
    """An ONNX graph under construction. Methods add operators and give the name of the tensor that they make; in a
    quantised net these are the dequantised ones, whose scale and dtype it remembers."""

    def __init__(self, shape: tuple, dtype: str | None = "int8", seed: int = 0, input_dtype: str = "float32") -> None:
        self.rng = np.random.RandomState(seed)
        self.dtype, self.shape, self.input_dtype = dtype, shape, input_dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.scales: dict[str, float] = {}

    def const(self, value: object, dtype: str = "float32") -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, op: str, *inputs: str, domain: str = "", name: str = "", **attrs: object) -> str:
        out = f"t{len(self.nodes)}"
        node = helper.make_node(op, list(inputs), [out], name=name or f"{op}_{len(self.nodes)}", domain=domain, **attrs)
        self.nodes.append(node)
        return out

    def q(self, real: str, scale: float, zero: int | None = None) -> str:
        """QuantizeLinear; zero: counted from the middle of the dtype."""
        zero = self.rng.randint(-20, 20) if zero is None else zero
        self.steps = self.const(scale), self.const(zero + MIDDLE[self.dtype], self.dtype)
        return self.op("QuantizeLinear", real, *self.steps)

    def dq(self, ints: str, scale: float) -> str:
        out = self.op("DequantizeLinear", ints, *self.steps)
        self.scales[out] = scale
        return out

    def qdq(self, real: str, scale: float, zero: int | None = None) -> str:
        return self.dq(self.q(real, scale, zero), scale)

    def weight(self, shape: tuple, axis: int = 0, per_channel: bool = True, real: np.ndarray | None = None) -> str:
        """A dequantised weight: int8 with zero point 0, uint8 with 128."""
        count = shape[axis] if per_channel else 1
        scales = self.rng.uniform(0.004, 0.02, count).astype(np.float32)
        ints = self.rng.randint(-LARGEST_WEIGHT, LARGEST_WEIGHT + 1, shape) + MIDDLE[self.dtype]
        zeros = np.full(count, MIDDLE[self.dtype])
        if not per_channel:
            scales, zeros = scales[0], zeros[0]
        self.w_scales = np.atleast_1d(scales)
        names = self.const(ints, self.dtype), self.const(scales), self.const(zeros, self.dtype)
        return self.op("DequantizeLinear", *names, axis=axis)

    def bias(self, x: str, count: int) -> str:
        unit = (np.float32(self.scales[x]) * self.w_scales).astype(np.float32)
        ints = self.rng.randint(-20000, 20000, count)
        if len(unit) == 1:
            return self.op("DequantizeLinear", self.const(ints, "int32"), self.const(unit[0]))
        return self.op("DequantizeLinear", self.const(ints, "int32"), self.const(unit), axis=0)

    def spread(self, x: str, taps: int) -> float:
        """A scale that spreads sums of `taps` products over int8."""
        return float(np.float32(self.scales[x] * self.w_scales.mean() * 73 * 36 * math.sqrt(taps) / 50))

    def conv(self, x: str, channels: int, out: int, kernel: tuple, per_channel: bool = True, after: str = "",
             quantise: bool = True, **attrs: object) -> str:  # fmt: skip
        depthwise = attrs.get("group", 1) > 1
        taken = 1 if depthwise else channels
        if self.dtype is None:
            weight = self.const(self.rng.normal(size=(out, taken, *kernel)) / math.sqrt(taken * math.prod(kernel)))
            return self.op("Conv", x, weight, self.const(self.rng.normal(size=out)), **attrs)
        weight = self.weight((out, taken, *kernel), 0, per_channel)
        y = self.op("Conv", x, weight, self.bias(x, out), **attrs)
        y = self.op(after, y) if after else y
        return self.qdq(y, self.spread(x, taken * math.prod(kernel))) if quantise else y

    def model(self, output: str, dtype: str | None = None) -> onnx.ModelProto:
        """dtype: of the output, by default that of the net."""
        elem = ELEMENTS[dtype or self.dtype or "float32"]
        given = [helper.make_tensor_value_info("x", ELEMENTS[self.input_dtype], self.shape)]
        made = [helper.make_tensor_value_info(output, elem, None)]
        graph = helper.make_graph(self.nodes, "net", given, made, self.constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        dims = [n if isinstance(n, int) else 1 for n in self.shape]
        result = run(model, np.zeros(dims, np.dtype(self.input_dtype)))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, elem, result.shape))
        return model


def unrun(net: Net, output: str, **changes: object) -> onnx.ModelProto:
    """A model that onnxruntime might not run."""
    shape = changes.pop("shape", (1, 4, 8, 8))
    given = helper.make_tensor_value_info("x", changes.pop("elem", TensorProto.FLOAT), shape)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?"]) for name in output.split()]
    graph = helper.make_graph(net.nodes, "net", [given], made, net.constants)
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own.ops", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What onnxruntime computes, all graph rewrites on (QDQ becomes integer kernels)."""
    return session(model.SerializeToString()).run(None, {"x": x})[0]


def session(content: bytes, as_written: bool = False) -> onnxruntime.InferenceSession:
    """as_written: each operator by itself, in float32 between QDQ pairs; else onnxruntime's integer kernels."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def imported(model: onnx.ModelProto, folder: Path, **options: object) -> Model:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path, **options)


def differences(
    model: onnx.ModelProto, ours: Model, inputs: int = 8, channels_first: bool = True, as_written: bool = False
) -> np.ndarray:
    """|onnxruntime - imported| of all outputs over random inputs: int8 steps, or (float32) fractions of the largest
    output. Shapes are compared, too."""
    rng = np.random.RandomState(1)
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    runs = session(model.SerializeToString(), as_written)
    found = []
    for _ in range(inputs):
        x = model_input(model, rng, shape)
        (theirs,) = runs.run(None, {"x": x})
        given = channels_last(network_input(ours, x)) if channels_first else network_input(ours, x)
        y = evaluate(ours, given)
        theirs = channels_last(theirs) if theirs.ndim > 1 and channels_first else theirs
        if theirs.dtype == np.uint8:
            theirs = theirs.astype(np.int16) - 128
        if theirs.dtype == np.float32 and y.dtype == np.int8:
            theirs = np.rint(theirs / np.float32(ours.logits_scale)) + ours.logits_zero
        assert theirs.size == y.size and (theirs.size in theirs.shape or theirs.shape == y.shape)
        error = np.abs(theirs.reshape(y.shape).astype(np.float64) - y)
        found.append(error if y.dtype == np.int8 else error / np.abs(theirs).max())
    return np.concatenate([f.reshape(-1) for f in found])


def model_input(model: onnx.ModelProto, rng: np.random.RandomState, shape: list[int]) -> np.ndarray:
    element = model.graph.input[0].type.tensor_type.elem_type
    if element == TensorProto.FLOAT:
        return rng.normal(size=shape).astype(np.float32)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(element))
    return rng.randint(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)


def network_input(ours: Model, x: np.ndarray) -> np.ndarray:
    """x as the imported network reads it, its axes as they are."""
    if ours.input_dtype == "float32" or x.dtype == np.int8:
        return x
    if x.dtype == np.uint8:
        return (x.astype(np.int16) - 128).astype(np.int8)
    steps = np.rint(x / np.float32(ours.input_scale)) + ours.input_zero
    return np.clip(steps, -128, 127).astype(np.int8)
