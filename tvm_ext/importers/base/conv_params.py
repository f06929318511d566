"""One convolution as a frontend reads it, and its requantisation as the kernels take it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.fields import Fields, array, integer, scale, take

INT32_MAX = 2**31 - 1
BIAS_LIMIT = 2**30  # where a trained bias saturates (mcu_math.h)


Rounding = Literal["even", "tflite", "upward"]


@dataclass(frozen=True)
class ConvParams:
    """weight int8 OIHW (depthwise [C, 1, kh, kw]; of a fully connected layer [O, I]), bias int32 [O] in units of
    s_x * s_w, w_scales float32 [O]. padding: top, left, bottom, right. lo, hi: of the int8 output."""

    weight: np.ndarray
    bias: np.ndarray
    w_scales: np.ndarray
    x_scale: float
    x_zero: int
    y_scale: float
    y_zero: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False
    lo: int = -128
    hi: int = 127
    rounding: Rounding = "even"

    @property
    def requantise(self) -> np.ndarray:
        """float32 [O]: s_x * s_w / s_y, formed in float64."""
        exact = np.float64(self.x_scale) * self.w_scales.astype(np.float64) / np.float64(self.y_scale)
        with np.errstate(over="ignore"):  # read_conv refuses an infinity
            return exact.astype(np.float32)


@dataclass(frozen=True)
class FloatConv:
    """weight float32 OIHW (depthwise [C, 1, kh, kw]; of a fully connected layer [O, I]), bias float32 [O]."""

    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False
    lo: float = -math.inf
    hi: float = math.inf


def read_conv(entry: Fields, where: str) -> ConvParams:
    """Check one conv entry of a network pickle. Raises ModelError with the layer and the key."""
    params = take(entry, "params", dict, where)
    weight = array(params, "weight", "int8", 4, where)
    out_channels = weight.shape[0]
    bias, w_scales = array(params, "bias", "int32", 1, where), array(params, "w_scales", "float32", 1, where)
    groups = integer(entry, "groups", 1, 1 << 16, where)
    depthwise = groups > 1
    if depthwise and (groups != out_channels or weight.shape[1] != 1):
        raise LayerError(
            where, f"{groups} groups of a weight {weight.shape}", "only groups == channels (depthwise) or 1"
        )
    if len(bias) != out_channels or len(w_scales) != out_channels:
        raise LayerError(where, f"{len(bias)} biases and {len(w_scales)} w_scales for {out_channels} filters")
    if not np.all(np.isfinite(w_scales)) or np.any(w_scales <= 0):
        raise LayerError(where, "'w_scales' holds a value that is not positive and finite")
    kernel_size = take(entry, "kernel_size", tuple, where)
    if not all(isinstance(n, int | np.integer) for n in kernel_size) or kernel_size != weight.shape[2:]:
        raise LayerError(where, f"kernel_size does not fit the weight {weight.shape}")
    if weight.shape[2] % 2 == 0 or weight.shape[3] % 2 == 0:
        raise LayerError(where, f"kernel {weight.shape[2:]}: only odd sizes have the symmetric padding (k - 1) / 2")
    for key, expected in (("out_channel", out_channels), ("in_channel", weight.shape[1] * groups)):
        if integer(entry, key, 1, 1 << 20, where) != expected:
            raise LayerError(where, f"{key} is {entry[key]}, the weight {weight.shape} says {expected}")
    conv = ConvParams(
        weight=weight,
        bias=bias,
        w_scales=w_scales,
        x_scale=scale(params, "x_scale", where),
        x_zero=integer(params, "x_zero", -128, 127, where),
        y_scale=scale(params, "y_scale", where),
        y_zero=integer(params, "y_zero", -128, 127, where),
        stride=(integer(entry, "stride", 1, 16, where),) * 2,
        padding=((weight.shape[2] - 1) // 2,) * 4,
        depthwise=depthwise,
    )
    if not np.all(np.isfinite(conv.requantise)):
        raise LayerError(where, "'w_scales' times x_scale over y_scale leaves float32", "the scales do not fit")
    return conv


def safe_bias(conv: ConvParams, lo: int, hi: int, where: str) -> np.ndarray:
    """The bias, pulled in on dead channels where acc + bias would leave int32, so that no accumulator wraps.

    The reference adds the bias in float32. Such a channel has a scale near zero and gives one constant output; the
    pulled-in bias must give the same one over the whole range of acc, or the channel is refused.
    Raises ModelError naming the layer and channel."""
    taps = conv.weight[0].size
    # largest |acc| whatever the weights become in training
    reach = np.full(len(conv.bias), 128 * taps * max(127 - conv.x_zero, conv.x_zero + 128), np.int64)
    if reach[0] >= BIAS_LIMIT:
        raise LayerError(where, f"{taps} products of int8 numbers can leave int32 together with a bias")
    bias = conv.bias.astype(np.int64)
    limit = INT32_MAX - reach
    pulled = np.clip(bias, -limit, limit)
    for channel in np.flatnonzero(pulled != bias):
        ends = np.array([-reach[channel], reach[channel]], np.float32)
        eff = conv.requantise[channel]
        true = np.rint((ends + np.float32(bias[channel])) * eff)
        ours = np.rint((ends + np.float64(pulled[channel])).astype(np.float32) * eff)
        outputs = np.clip(np.concatenate([true, ours]) + conv.y_zero, lo, hi)
        if np.any(outputs != outputs[0]):
            raise LayerError(where, f"channel {channel}: bias {bias[channel]} leaves int32 when added to the products")
    return pulled.astype(np.int32)
