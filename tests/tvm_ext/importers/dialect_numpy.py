"""Evaluates the integer part of the dialect in exact numpy, call by call, for tests of importers. It reads the ops'
attributes alone and shares nothing with the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.model import NETWORK, Model


def evaluate(model: Model, x: np.ndarray) -> np.ndarray:
    """The logits of one input, in the shape that the dialect gives them."""
    return trace(model, x)[-1][1]


def trace(model: Model, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(layer, its output) in order."""
    main = model.module[NETWORK]
    values = {p: model.params[p.name] for p in main.params[1:]}
    values[main.params[0]] = np.asarray(x).reshape(model.input_shape)
    outputs = []
    for var, call in bindings_of(main):
        if op_name(call) is None:
            values[var] = values.get(call)
            continue
        attrs = attrs_of(call)
        values[var] = OPS[op_name(call)](*(values[a] for a in call.args), **attrs)
        outputs.append((attrs["layer"], values[var]))
    return outputs


# --------------------------------------------------------------------------- rounding
def wrap32(x: np.ndarray) -> np.ndarray:
    return (x + 2**31) % 2**32 - 2**31


def fixed_point(real: float) -> tuple[int, int]:
    """(m, shift): real = m / 2^31 * 2^shift, m of 31 bits."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    m = math.floor(fraction * 2**31 + 0.5)
    if m == 2**31:
        m, shift = 2**30, shift + 1
    return (m, shift) if shift >= -31 else (0, 0)


def multiply(x: np.ndarray, m: np.ndarray | int, shift: np.ndarray | int, rounding: str) -> np.ndarray:
    """x * m / 2^31 * 2^shift; int64 in and out."""
    m, shift = np.asarray(m, np.int64), np.asarray(shift, np.int64)
    if rounding == "upward":
        return (x * m + (1 << (30 - shift))) >> (31 - shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product = wrap32(x << left) * m
    high = np.where(product >= 0, product + 2**30, product + 1 - 2**30)
    high = np.sign(high) * (np.abs(high) // 2**31)
    # halves away from zero
    return np.sign(high) * ((np.abs(high) + ((1 << right) >> 1)) >> right)


def scaled(x: np.ndarray, real: float, rounding: str) -> np.ndarray:
    """x * real, rounded."""
    if rounding == "even":
        return np.rint(x.astype(np.float32) * np.float32(real)).astype(np.int64)
    return multiply(x, *fixed_point(real), rounding)


def divided(total: np.ndarray, n: np.ndarray, rounding: str) -> np.ndarray:
    """total / n in exact integers."""
    magnitude, sign = np.abs(total), np.sign(total)
    if rounding == "tflite":
        return sign * ((2 * magnitude + n - n % 2) // (2 * n))
    if rounding == "truncate":
        return sign * (magnitude // n)
    floor, rest = total // n, total % n
    up = 2 * rest > n
    return floor + (up | ((2 * rest == n) & ((rounding == "upward") | (floor % 2 == 1))))


def clamp(v: np.ndarray, lo: int, hi: int) -> np.ndarray:
    return np.clip(v, lo, hi).astype(np.int8)


# --------------------------------------------------------------------------- ops
def windows(x: np.ndarray, fill: int, kernel: list, stride: list, padding: list) -> np.ndarray:
    """(1, H, W, C) -> int64 [Ho, Wo, C, kh, kw]."""
    top, left, bottom, right = padding
    padded = np.pad(x[0].astype(np.int64), ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(0, 1))[:: stride[0], :: stride[1]]


def qconv2d(x, w, bias, scale, multipliers=None, *, kernel, stride, padding, in_zero, out_zero, lo, hi, rounding,
            depthwise, **_: object) -> np.ndarray:  # fmt: skip
    cut = windows(x.astype(np.int64) - in_zero, 0, kernel, stride, padding)
    if depthwise:
        acc = np.einsum("hwckl,ckl->hwc", cut, w.astype(np.int64))
    else:
        height, width = cut.shape[:2]
        # below 2^53, so that float64 is exact and fast
        columns = cut.transpose(0, 1, 3, 4, 2).reshape(height * width, -1).astype(np.float64)
        acc = (columns @ w.reshape(len(w), -1).T.astype(np.float64)).astype(np.int64).reshape(height, width, -1)
    acc += bias.astype(np.int64)
    assert np.abs(acc).max() < 2**31
    if rounding == "even":
        v = np.rint(acc.astype(np.float32) * scale).astype(np.int64)
    else:
        v = multiply(acc, multipliers[0], multipliers[1], rounding)
    return clamp(v + out_zero, lo, hi)[None]


def qadd(a, b, *, a_scale, a_zero, b_scale, b_zero, out_scale, out_zero, lo, hi, rounding, **_: object) -> np.ndarray:
    a, b = a.astype(np.int64) - a_zero, b.astype(np.int64) - b_zero
    if rounding == "even":
        real = a.astype(np.float32) * np.float32(a_scale) + b.astype(np.float32) * np.float32(b_scale)
        total = np.rint(real / np.float32(out_scale)).astype(np.int64)
    elif rounding == "upward":
        total = sum(
            q if s == out_scale else scaled(q, s / out_scale, rounding) for q, s in ((a, a_scale), (b, b_scale))
        )
    else:
        twice = 2 * max(a_scale, b_scale)
        total = sum(scaled(q << 20, s / twice, rounding) for q, s in ((a, a_scale), (b, b_scale)))
        total = scaled(total, twice / (2**20 * out_scale), rounding)
    return clamp(total + out_zero, lo, hi)


def qavg_pool(x, *, kernel, stride, padding, counts_padding, in_scale, in_zero, out_scale, out_zero, rounding, lo, hi,
              **_: object) -> np.ndarray:  # fmt: skip
    taps = kernel[0] * kernel[1]
    inside = windows(np.ones_like(x[..., :1]), 0, kernel, stride, padding).sum((3, 4))
    n = np.full_like(inside, taps) if counts_padding else inside
    if (in_scale, in_zero) == (out_scale, out_zero) and rounding != "tflite_mean":
        total = windows(x, in_zero if counts_padding else 0, kernel, stride, padding).sum((3, 4))
        return clamp(divided(total, n, rounding), lo, hi)[None]
    total = windows(x.astype(np.int64) - in_zero, 0, kernel, stride, padding).sum((3, 4))
    if rounding == "even":
        factor = (in_scale / (n * np.float64(out_scale))).astype(np.float32)
        v = np.rint(total.astype(np.float32) * factor).astype(np.int64)
    else:
        m, shift = fixed_point(in_scale / out_scale)
        more = np.minimum(np.floor(np.log2(n)).astype(np.int64), 31 + shift)
        v = multiply(total, (np.int64(m) << more) // n, shift - more, "tflite")
    return clamp(v + out_zero, lo, hi)[None]


def qmean(x, **_: object) -> np.ndarray:
    n = np.int64(x.shape[1] * x.shape[2])
    return divided(x.astype(np.int64).sum((1, 2), keepdims=True), n, "even").astype(np.int8)


def requantise(x, *, in_scale, in_zero, out_scale, out_zero, rounding, lo, hi, **_: object) -> np.ndarray:
    x = x.astype(np.int64)
    if (in_scale, in_zero) == (out_scale, out_zero):
        return clamp(x, lo, hi)
    return clamp(scaled(x - in_zero, in_scale / out_scale, rounding) + out_zero, lo, hi)


def lookup(x, table, _slope, **__: object) -> np.ndarray:
    return table[x.astype(np.int64) + 128]


def qprelu(
    x, scale, slopes=None, *, in_zero, out_zero, positive, negative, rounding, lo, hi, **_: object
) -> np.ndarray:
    x = x.astype(np.int64) - in_zero
    if rounding == "even":
        v = np.rint(x.astype(np.float32) * np.where(x > 0, np.float32(positive), scale)).astype(np.int64)
    else:
        below = multiply(x * slopes.astype(np.int64), *fixed_point(negative), rounding)
        v = np.where(x > 0, multiply(x, *fixed_point(positive), rounding), below)
    return clamp(v + out_zero, lo, hi)


def max_pool(x, *, kernel, stride, padding, **_: object) -> np.ndarray:
    return windows(x, -128, kernel, stride, padding).max((3, 4))[None].astype(np.int8)


def concat(*values, **_: object) -> np.ndarray:
    return np.concatenate(values, axis=3)


def pad(x, *, padding, value, **_: object) -> np.ndarray:
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=int(value))


def dense(x, w, b, *, in_scale, in_zero, **_: object) -> np.ndarray:
    """The float head over int8 features, in float64."""
    real = (x.astype(np.float64) - in_zero) * in_scale
    return (w.astype(np.float64) @ real.reshape(-1) + b).astype(np.float32)


OPS: dict[str, Callable[..., np.ndarray]] = {
    f.__name__: f for f in (qconv2d, qadd, qavg_pool, qmean, requantise, lookup, qprelu, max_pool, concat, pad, dense)
}
