"""TFLite operators that compute: convolutions, fully connected layers, sums, concatenations. Numbers are formed as
TFLite's reference kernels form them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tflite

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams, Rounding
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.tflite.context import (
    WINDOW,
    Import,
    NamedOperator,
    Padding,
    Record,
    check_ratio,
    checked_scale,
    flat,
    fused_clamp,
    option,
    quantisation,
    same,
    strides,
    window_padding,
)

ROUNDING: Rounding = "tflite"
# The reference kernel of FULLY_CONNECTED rounds acc * (s_x * s_w / s_y) once, in float64; a 31-bit multiplier rounded
# once differs from that by 2^-31 of the value, and in exact halves below zero
DENSE_ROUNDING: Rounding = "upward"
LIFT = 1 << 20  # of both operands of a sum, before they are scaled


def _conv2d(state: Import, step: NamedOperator) -> Value:
    x, weight = state.image(step), _weight(state, step, 4)
    if weight.shape[3] != x.shape[3]:
        raise LayerError(
            step.name,
            f"filters of {weight.shape[3]} channels over {x.shape[3]}: a grouped convolution",
            "use a dense or a depthwise one",
        )
    return _convolution(state, step, x, weight.transpose(0, 3, 1, 2), False, axis=0)


def _depthwise(state: Import, step: NamedOperator) -> Value:
    """A depthwise convolution; over one input channel, whatever the number of filters, it is a dense one."""
    x, weight = state.image(step), _weight(state, step, 4)
    _, _, _, filters = weight.shape
    if weight.shape[0] != 1 or (filters != x.shape[3] and x.shape[3] != 1):
        raise LayerError(
            step.name, f"{filters} filters over {x.shape[3]} channels: a depth multiplier", "use 1, or a dense layer"
        )
    return _convolution(state, step, x, weight.transpose(3, 0, 1, 2), x.shape[3] > 1, axis=3)


def _convolution(
    state: Import, step: NamedOperator, x: Value, weight: np.ndarray, is_depthwise: bool, axis: int
) -> Value:
    """weight: OIHW, its scales along `axis` of the stored one."""
    if option(step, "DilationHFactor") != 1 or option(step, "DilationWFactor") != 1:
        raise LayerError(step.name, "a dilated convolution", "use dilation 1")
    kernel, stride = weight.shape[2:], strides(step)
    padding: Padding = window_padding(state, step, x, kernel, stride)
    if any(p >= kernel[i % 2] for i, p in enumerate(padding)):  # a PAD was taken over that is wider than the window
        before = state.padding[step.inputs[0]]
        x = state.network.pad(f"{step.name}.pad", x, before)
        top, left, bottom, right = (both - p for both, p in zip(padding, before, strict=True))
        padding = top, left, bottom, right
    conv = _params(state, step, x, weight, axis)
    return state.network.conv2d(step.name, x, replace(conv, stride=stride, padding=padding, depthwise=is_depthwise))


def _fully_connected(state: Import, step: NamedOperator) -> Value:
    """A product over all features; or, where its weight fits the channels alone, at each position by itself."""
    if option(step, "WeightsFormat") != 0:
        raise LayerError(step.name, "shuffled weights", "convert with the default weights format")
    if option(step, "FusedActivationFunction") == tflite.ActivationFunctionType.TANH:
        raise LayerError(step.name, "a fused TANH, which TFLite's kernel refuses, too", "put a TANH behind it")
    x, weight = state.value(step), _weight(state, step, 2)
    conv = replace(_params(state, step, x, weight, 0), rounding=DENSE_ROUNDING)
    if weight.shape[1] == x.features:
        return state.network.dense(step.name, flat(state, x), conv)
    if x.order is None and weight.shape[1] == x.shape[3]:
        return state.network.conv2d(step.name, x, replace(conv, weight=conv.weight[:, :, None, None]))
    raise LayerError(step.name, f"a weight for {weight.shape[1]} features, but {x.features} reach it")


def _weight(state: Import, step: NamedOperator, ndim: int) -> np.ndarray:
    """A copy, with no zero in its shape."""
    weight = state.constant(step, 1, ("int8",))
    if weight.ndim != ndim or weight.size == 0:
        raise LayerError(step.name, f"a weight of shape {list(weight.shape)}", f"{ndim} dimensions are expected")
    return weight.copy()


def _params(state: Import, step: NamedOperator, x: Value, weight: np.ndarray, axis: int) -> ConvParams:
    """weight: filters first."""
    tensor, filters = state.tensor(step, 1), weight.shape[0]
    if np.any(tensor.zeros != 0):
        raise LayerError(step.name, "weights with a zero point", "quantise them symmetrically (int8, not uint8)")
    per_channel = len(tensor.scales) > 1
    if len(tensor.scales) not in (1, filters) or (per_channel and tensor.axis != axis):
        raise LayerError(
            step.name,
            f"{len(tensor.scales)} scales along axis {tensor.axis} of a weight {list(tensor.shape)}",
            f"1 or {filters} along axis {axis} are expected",
        )
    for scale in tensor.scales:
        checked_scale(scale, step.name)
    out = quantisation(state.output(step), step.name)
    lo, hi = fused_clamp(step, out)
    return ConvParams(
        weight=weight,
        bias=_bias(state, step, filters),
        w_scales=np.broadcast_to(tensor.scales.astype(np.float32), (filters,)).copy(),
        x_scale=x.steps.scale,
        x_zero=x.steps.zero,
        y_scale=out.scale,
        y_zero=out.zero,
        lo=lo,
        hi=hi,
        rounding=ROUNDING,
    )


def _bias(state: Import, step: NamedOperator, filters: int) -> np.ndarray:
    if len(step.inputs) < 3 or step.inputs[2] < 0:
        return np.zeros(filters, np.int32)
    bias = state.constant(step, 2, ("int32",))
    if bias.size != filters:
        raise LayerError(step.name, f"{bias.size} biases for {filters} filters", "convert the model anew")
    return bias.reshape(-1).astype(np.int32)


def _add(state: Import, step: NamedOperator) -> Value:
    a, b = state.value(step, 0), state.value(step, 1)
    out = quantisation(state.output(step), step.name)
    scales = a.steps.scale, b.steps.scale
    if 2 * max(scales) >= LIFT * out.scale:  # TFLite stops there, too
        raise LayerError(step.name, f"the scales {max(scales):.3g} and {out.scale:.3g} do not fit each other")
    lo, hi = fused_clamp(step, out)
    return state.network.add(step.name, a, b, out, ROUNDING, lo, hi)


def _quantize(state: Import, step: NamedOperator) -> Value:
    """int8 to int8; from and to other types it stands at the ends, where it is taken off."""
    return requantised(state, step, quantisation(state.output(step), step.name), -128, 127)


def requantised(
    state: Import, step: NamedOperator, out: Quantisation, lo: int, hi: int, is_float_ratio: bool = False
) -> Value:
    """The operand of `step`, requantised and clamped. is_float_ratio: its kernel divides the scales in float32."""
    x = state.value(step)
    own = x.steps
    check_ratio(own.scale, out.scale, step.name)
    if is_float_ratio and own != out:  # own's scale is moved to the same quotient
        ratio = float(np.float32(own.scale) / np.float32(out.scale))
        x = replace(x, quantisation=replace(own, scale=checked_scale(ratio * out.scale, step.name)))
    return state.network.requantise(step.name, x, out, ROUNDING, lo, hi)


def _concatenation(state: Import, step: NamedOperator) -> Value:
    axis, rank = option(step, "Axis"), len(state.output(step).shape)
    if rank < 2 or axis not in (-1, rank - 1):
        raise LayerError(step.name, f"joins along axis {axis}", "only the last one, the channels, is supported")
    if option(step, "FusedActivationFunction") != 0:
        raise LayerError(step.name, "a fused activation, which TFLite does not have here", "convert the model anew")
    values = [state.image(step, i) for i in range(len(step.inputs))]
    if not values:
        raise LayerError(step.name, "joins nothing", "convert the model anew")
    out = quantisation(state.output(step), step.name)
    for value in values:
        same(value.steps, out, step.name)
    if any(v.shape[1:3] != values[0].shape[1:3] for v in values):
        raise LayerError(step.name, f"joins images of different sizes: {[v.shape[1:3] for v in values][:8]}")
    return state.network.concat(step.name, values)


DILATED = (*WINDOW, "DilationHFactor", "DilationWFactor")
OPERATORS = (
    Record(
        "CONV_2D",
        _conv2d,
        options=("Conv2DOptions", DILATED),
        word="conv2d",
        product="Conv2D|convolution",
        has_bias=True,
    ),
    Record(
        "DEPTHWISE_CONV_2D",
        _depthwise,
        options=("DepthwiseConv2DOptions", DILATED),
        word="depthwise_conv2d",
        product="depthwise|Conv2D|convolution",
        has_bias=True,
    ),
    Record(
        "FULLY_CONNECTED",
        _fully_connected,
        options=("FullyConnectedOptions", ("FusedActivationFunction", "WeightsFormat", "KeepNumDims")),
        word="dense",
        product="MatMul",
        has_bias=True,
    ),
    Record("ADD", _add, options=("AddOptions", ("FusedActivationFunction",)), product="add|AddV2|Add"),
    Record(
        "CONCATENATION",
        _concatenation,
        options=("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
        word="concatenate",
    ),
    Record("QUANTIZE", _quantize, behind="type"),
    Record(
        "DEQUANTIZE",
        way_out="float32 in the middle: convert with full-integer quantisation, int8 operators alone",
        behind="type",
    ),
    Record("MUL", way_out="fold a scaling (batch normalisation) into the layer before"),
    Record("SUB", way_out="fold a constant into the layer before"),
)
