"""Relay's quantised operators in numpy and exact rational arithmetic, for the oracle."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.tvm_ext.importers.relay.reference import numpy_relay_nn as nn


def fixed(ratio: float) -> tuple[int, int]:
    """Return (m, shift) with ratio ~ m * 2**(shift - 31), 2**30 <= m < 2**31."""
    fraction, shift = math.frexp(ratio)
    m = math.floor(Fraction(fraction) * 2**31 + Fraction(1, 2))
    return (m >> 1, shift + 1) if m == 2**31 else (m, shift)


def multiply_shift(x: int, m: int, shift: int, rounding: str) -> int:
    """Compute x * m * 2**(shift - 31), rounded as asked, in Python's unbounded integers."""
    over, under = x * m * 2 ** max(shift - 31, 0), 2 ** max(31 - shift, 0)
    if rounding == "TONEAREST" and over < 0:
        return -((-2 * over + under) // (2 * under))
    return (2 * over + under) // (2 * under)


def scaled(x: np.ndarray, ratio: np.ndarray, axis: int, rounding: str) -> np.ndarray:
    if ratio.ndim == 0 and ratio == 1.0:
        return x.astype(np.int64)
    m, shift = np.frompyfunc(fixed, 1, 2)(ratio if ratio.ndim == 0 else nn.channelwise(ratio, axis, x.ndim))
    return np.frompyfunc(multiply_shift, 4, 1)(x.astype(object), m, shift, rounding).astype(np.int64)


def ratio_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a, np.float64) / np.float64(b)


def saturated(x: np.ndarray, dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.clip(x, info.min, info.max).astype(dtype)


def requantize(x, s_in, z_in, s_out, z_out, *, axis, rounding, compute_dtype, out_dtype):
    rounding = "UPWARD" if rounding == "None" else rounding
    y = scaled(x.astype(np.int64) - z_in, ratio_of(s_in, s_out), axis, rounding)
    return saturated(y + z_out, out_dtype)


def quantize(x, scale, zero, *, out_dtype, axis):
    scale, zero = (nn.channelwise(v, axis, x.ndim) if np.ndim(v) else v for v in (scale, zero))
    y = x / scale
    away = np.sign(y) * np.floor(np.abs(y.astype(np.float64)) + 0.5)
    return saturated(away + zero, out_dtype)


def dequantize(x, scale, zero, *, out_dtype, axis):
    scale, zero = (nn.channelwise(v, axis, x.ndim) if np.ndim(v) else v for v in (scale, zero))
    return ((x.astype(np.int32) - zero).astype(np.float32) * scale).astype(out_dtype)


def conv2d(x, w, z_x, z_w, s_x, s_w, **attrs):
    return nn.conv2d(x.astype(np.int32) - z_x, w.astype(np.int32) - z_w, **attrs)


def dense(x, w, z_x, z_w, s_x, s_w, *, units, out_dtype):
    return nn.dense(x.astype(np.int32) - z_x, w.astype(np.int32) - z_w, out_dtype=out_dtype)


def moved(x, s, z, s_out, z_out):
    """Requantise to the output's scale and zero point, before clipping."""
    return scaled(x.astype(np.int64) - z, ratio_of(s, s_out), -1, "UPWARD") + z_out


def add(x, y, s_x, z_x, s_y, z_y, s_out, z_out, **_):
    return saturated(moved(x, s_x, z_x, s_out, z_out) + moved(y, s_y, z_y, s_out, z_out) - z_out, x.dtype)


def subtract(x, y, s_x, z_x, s_y, z_y, s_out, z_out, **_):
    return saturated(moved(x, s_x, z_x, s_out, z_out) - moved(y, s_y, z_y, s_out, z_out) + z_out, x.dtype)


def mul(x, y, s_x, z_x, s_y, z_y, s_out, z_out, **_):
    product = (x.astype(np.int64) - z_x) * (y.astype(np.int64) - z_y)
    return saturated(scaled(product, ratio_of(np.float32(s_x * s_y), s_out), -1, "UPWARD") + z_out, x.dtype)


def concatenate(parts, scales, zeros, s_out, z_out, *, axis):
    each = zip(parts, scales, zeros, strict=True)
    return np.concatenate([saturated(moved(x, s, z, s_out, z_out), x.dtype) for x, s, z in each], axis)


def fixed_point_multiply(x, *, multiplier, shift):
    y = [multiply_shift(int(v), multiplier, shift, "UPWARD") for v in x.ravel()]
    return np.array(y, np.int64).reshape(x.shape).clip(-(2**31), 2**31 - 1).astype(np.int32)


OPS = {
    "qnn.conv2d": conv2d,
    "qnn.dense": dense,
    "qnn.add": add,
    "qnn.subtract": subtract,
    "qnn.mul": mul,
    "qnn.concatenate": concatenate,
    "qnn.requantize": requantize,
    "qnn.quantize": quantize,
    "qnn.dequantize": dequantize,
    "fixed_point_multiply": fixed_point_multiply,
}
