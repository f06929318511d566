"""Convolutions and fully connected layers of a graph, with all that can be folded into them: batch normalisation,
scalings and shifts a channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.conv_params import BIAS_LIMIT, ConvParams, FloatConv
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Real, Shape, Weight, as_array, check_ratio, once
from mcutrain.tvm_ext.importers.graph.windows import output_shape, window_of

SYMMETRIC = "quantise weights symmetrically (QInt8, zero point 0)"


@dataclass(frozen=True)
class Linear:
    """weight: int8 with w_scales float32 [O], or float64 without; OIHW, depthwise [C, 1, kh, kw], of a fully connected
    layer [O, features]. bias: float64 [O], real; bias_ints: int32 [O] in units of s_x * s_w where the file has them."""

    name: str
    x: Real
    weight: np.ndarray
    w_scales: np.ndarray | None
    bias: np.ndarray
    bias_ints: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False

    def scaled(self, factor: np.ndarray, shift: np.ndarray) -> Linear:
        """The layer whose result is this one's times factor [O] plus shift [O]."""
        bias = self.bias * factor + shift
        if np.all(factor == 1):
            return replace(self, bias=bias, bias_ints=None)
        column = factor.reshape(-1, *[1] * (self.weight.ndim - 1))
        if self.w_scales is None:
            return replace(self, weight=self.weight * column, bias=bias)
        # the weights keep their integers up to the sign
        weight = np.clip(self.weight.astype(np.int32) * np.sign(column).astype(np.int32), -128, 127).astype(np.int8)
        scales = np.where(factor == 0, self.w_scales, self.w_scales * np.abs(factor)).astype(np.float32)
        return replace(self, weight=weight, w_scales=scales, bias=bias, bias_ints=None)

    def integers(self, own_scales: np.ndarray, x_scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(weight int8, bias int32, float32 [O] scales of the weight). own_scales: the layer's w_scales, which it must
        have. A channel whose bias is too large for units of s_x * s_w, since its weights are next to nothing, gets a
        coarser scale."""
        if self.bias_ints is not None:
            return self.weight, self.bias_ints, own_scales
        coarsest = (np.abs(self.bias) / (BIAS_LIMIT * x_scale)).astype(np.float32)
        w_scales = np.maximum(own_scales, coarsest)
        ratio = own_scales.astype(np.float64) / w_scales
        weight = np.rint(self.weight * ratio.reshape(-1, *[1] * (self.weight.ndim - 1))).astype(np.int8)
        return weight, np.rint(self.bias / (x_scale * w_scales.astype(np.float64))).astype(np.int32), w_scales

    def quantised(self, state: Import, out: Quantisation, lo: int, hi: int) -> Value:
        x = self.x.ints(self.name)
        if self.w_scales is None:
            raise LayerError(self.name, "float32 weights on int8 activations", "quantise the weights, too")
        own = x.steps
        check_ratio(own.scale * float(self.w_scales.max()), out, self.name)
        weight, bias, w_scales = self.integers(self.w_scales, own.scale)
        conv = ConvParams(
            weight=weight,
            bias=bias,
            w_scales=w_scales,
            x_scale=own.scale,
            x_zero=own.zero,
            y_scale=out.scale,
            y_zero=out.zero,
            stride=self.stride,
            padding=self.padding,
            depthwise=self.depthwise,
            lo=lo,
            hi=hi,
        )
        if self.weight.ndim == 2:
            return state.network.dense(self.name, x, conv)
        return state.network.conv2d(self.name, x, conv)

    def floating(self, state: Import, lo: float, hi: float) -> Value:
        x = self.x.make(None, -INF, INF, self.name)
        weight = self.weight.astype(np.float64)
        if self.w_scales is not None:  # weights alone are quantised
            weight = weight * self.w_scales.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
        bias = self.bias.astype(np.float32)
        conv = FloatConv(weight.astype(np.float32), bias, self.stride, self.padding, self.depthwise, lo, hi)
        if not np.all(np.isfinite(conv.weight)) or not np.all(np.isfinite(bias)):
            raise LayerError(self.name, "a weight or bias is not finite", "train the model anew")
        if self.weight.ndim == 2:
            return state.network.dense(self.name, x, conv)
        return state.network.float_conv2d(self.name, x, conv)


def linear_real(state: Import, layer: Linear, layout: str, shape: Shape) -> Real:
    """The layer's result, made once its clamp and its quantisation are known."""

    def rescaled(x: Real, factor: np.ndarray, shift: np.ndarray) -> Real:
        return linear_real(state, layer.scaled(factor, shift), x.layout, x.shape)

    if layer.x.is_quantised:
        make = once(layer.name, lambda q, lo, hi: layer.quantised(state, q, lo, hi))
        return Real(layout, shape, make, True, None, rescaled)

    def make_float(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        if q is not None:
            raise LayerError(reader, "quantises what was computed in float32", "quantise all operators, or none")
        return layer.floating(state, lo, hi)

    return Real(layout, shape, make_float, False, None, rescaled)


def _conv(state: Import, node: Node) -> Real:
    """Conv: dense or depthwise, one or two spatial axes."""
    x = state.image(node)
    spatial = x.layout[2:]
    weight, w_scales = _weight(state, node, 0)
    if weight.ndim != 2 + len(spatial) or weight.size == 0:
        raise LayerError(node.name, f"a weight of {weight.shape} for an input of {x.dims}", "export the model anew")
    group, channels, (out, taken) = int(number(node, "group", 1)), x.size("C"), weight.shape[:2]
    depthwise = group > 1
    if depthwise and not (group == channels == out and taken == 1):
        raise LayerError(
            node.name,
            f"{group} groups of {channels} channels and {out} filters",
            "only groups == channels == filters (depthwise) or 1",
        )
    if not depthwise and taken != channels:
        raise LayerError(node.name, f"takes {taken} channels, but {channels} reach it", "export the model anew")
    kernel = list(weight.shape[2:])
    if node.attrs.get("kernel_shape", kernel) not in (kernel, [], tuple(kernel)):
        raise LayerError(node.name, f"kernel_shape {node.attrs['kernel_shape']} for a weight of {weight.shape}")
    window = window_of(node, x, kernel)
    if spatial == "WH":
        weight = weight.swapaxes(2, 3)
    weight = np.ascontiguousarray(weight.reshape(out, taken, *window.kernel))
    bias, bias_ints = _bias(state, node, 2, out, x, w_scales)
    layer = Linear(node.name, x, weight, w_scales, bias, bias_ints, window.stride, window.padding, depthwise)
    return linear_real(state, layer, x.layout, output_shape(x, window, out))


def _dense(state: Import, node: Node) -> Real:
    """Gemm, or MatMul with a constant: a fully connected layer."""
    x = state.real(node)
    if x.layout != "NC":
        raise LayerError(node.name, f"acts on the last axis of a tensor {x.dims}", "flatten it to (1, n) first")
    if node.attrs.get("transA", 0):
        raise LayerError(node.name, "transA", "export the layer as x W + b")
    if number(node, "alpha", 1.0) != 1 or number(node, "beta", 1.0) != 1:
        raise LayerError(node.name, "alpha and beta other than 1", "fold them into the weight")
    axis = 0 if node.op == "Gemm" and node.attrs.get("transB", 0) else 1  # of the outputs
    weight, w_scales = _weight(state, node, axis)
    if weight.ndim != 2 or weight.size == 0:
        raise LayerError(node.name, f"a weight of {weight.shape}, must be a matrix", "export the model anew")
    weight = np.ascontiguousarray(weight if axis == 0 else weight.T)
    if weight.shape[1] != x.dims[1]:
        raise LayerError(node.name, f"takes {weight.shape[1]} features, but {x.dims[1]} reach it")
    bias, bias_ints = _bias(state, node, 2, len(weight), x, w_scales)
    return linear_real(state, Linear(node.name, x, weight, w_scales, bias, bias_ints), "NC", (1, 1, 1, len(weight)))


def affine(state: Import, node: Node, x: Real, index: int, factor: np.ndarray, shift: np.ndarray) -> Real:
    """x * factor + shift, float64 [C] each: folded into the layer that makes x if nobody else reads that, else a
    depthwise 1 x 1 convolution. index: x among the node's operands."""
    if not np.all(np.isfinite(factor)) or not np.all(np.isfinite(shift)):
        raise LayerError(node.name, "a factor or shift that is not finite", "train the model anew")
    if x.rescaled is not None and state.is_only_reader(node, index):
        return x.rescaled(x, factor, shift)
    weight, w_scales = factor.reshape(-1, 1, 1, 1), None
    if x.is_quantised:
        weight, w_scales = np.sign(weight) * 127, np.where(factor == 0, 1, np.abs(factor)).astype(np.float32) / 127
        weight = weight.astype(np.int8)
    return linear_real(state, Linear(node.name, x, weight, w_scales, shift, depthwise=True), x.layout, x.shape)


def _weight(state: Import, node: Node, axis: int) -> tuple[np.ndarray, np.ndarray | None]:
    """(weight, float32 scales of its outputs along `axis`): int8 with scales, or float64 without."""
    known = state.known(node, 1)
    if not isinstance(known, Weight):
        with np.errstate(invalid="ignore"):  # what is not finite is refused where it counts
            return state.constant(node, 1, "weight").astype(np.float64), None
    if known.ints.dtype == np.uint8 and np.all(known.zero == 128):
        ints = (known.ints.astype(np.int16) - 128).astype(np.int8)
    elif known.ints.dtype == np.int8 and np.all(known.zero == 0):
        ints = known.ints
    else:
        zeros = sorted({int(z) for z in known.zero.reshape(-1)})[:4]
        raise LayerError(node.name, f"{known.ints.dtype} weights with zero point {zeros}", SYMMETRIC)
    if known.scale.size > 1 and known.axis != axis:
        raise LayerError(node.name, f"weights quantised along axis {known.axis}", f"per channel is axis {axis}")
    if ints.ndim <= axis:
        raise LayerError(node.name, f"a weight of {ints.shape}", "export the model anew")
    scales = np.broadcast_to(known.scale.astype(np.float32).reshape(-1), ints.shape[axis]).copy()
    if not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        raise LayerError(node.name, "a scale of its weights is not positive and finite", "quantise the model anew")
    return ints, scales


def _bias(state: Import, node: Node, index: int, count: int, x: Real,
          w_scales: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """(float64 [count], int32 [count] if the file holds integers in units of s_x * s_w)."""
    known = state.known(node, index)
    if known is None:
        return np.zeros(count), None
    array = as_array(known)
    if array is None or array.size not in (1, count) or array.ndim > 2:
        raise LayerError(node.name, f"its bias must be a constant of {count} numbers", "export the model anew")
    with np.errstate(invalid="ignore"):
        real = np.broadcast_to(array.astype(np.float64).reshape(-1), count).copy()
    if not np.all(np.isfinite(real)):
        raise LayerError(node.name, "its bias is not finite", "train the model anew")
    if not isinstance(known, Weight) or known.ints.dtype != np.int32 or w_scales is None or x.own is None:
        return real, None
    if np.any(known.zero != 0) or known.ints.size != count:
        return real, None
    unit = np.float64(x.own.scale) * w_scales.astype(np.float64)
    is_unit = np.all(np.abs(known.scale.astype(np.float64) - unit) <= 1e-5 * unit)
    return real, np.ascontiguousarray(known.ints.reshape(-1)) if is_unit else None


OPERATORS = (
    GraphOperator("Conv", _conv, has_weight=True),
    GraphOperator("Gemm", _dense, has_weight=True),
    GraphOperator("MatMul", _dense, has_weight=True),
    GraphOperator("ConvTranspose", way_out="only Conv, at full or lower resolution"),
    GraphOperator("FusedConv", way_out="give the file as it was before onnxruntime optimised it"),
)
