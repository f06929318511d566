"""What the numpy references of the ops are made of (docs/NUMERICS.md): windows, roundings, clamps and masks in exact
integers (int64), sums in float64 and how far a float32 sum may be from them, the random bits of an update.

They share nothing with the kernels: windows are cut by numpy, never by index arithmetic."""

from __future__ import annotations

import math

import numpy as np

MCU_LIMIT = 2**22  # the runtime's rounding saturates here
HALF_STEP = 2.0**-24  # of a float32, relative


# --------------------------------------------------------------------------- windows
def windows(x: np.ndarray, attrs: dict, border: float = 0) -> np.ndarray:
    """(1, H, W, C) -> [Ho, Wo, C, kh, kw], padded with `border` (0 where x is real: its zero point is subtracted)."""
    (top, left, bottom, right), (sy, sx) = attrs["padding"], attrs["stride"]
    padded = np.pad(x[0], ((top, bottom), (left, right), (0, 0)), constant_values=border)
    return np.lib.stride_tricks.sliding_window_view(padded, attrs["kernel"], axis=(0, 1))[::sy, ::sx]


def scattered(patches: np.ndarray, shape: list[int], attrs: dict) -> np.ndarray:
    """float64 (1, H, W, C): patches [Ho, Wo, kh, kw, C] added to where their windows stand."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    _, height, width, channels = shape
    out = np.zeros((height + top + bottom, width + left + right, channels))
    for oy, ox in np.ndindex(*patches.shape[:2]):
        out[oy * sy : oy * sy + kh, ox * sx : ox * sx + kw] += patches[oy, ox]
    return out[top : top + height, left : left + width][None]


def products(cut: np.ndarray, w: np.ndarray, depthwise: bool) -> np.ndarray:
    """float64 (1, Ho, Wo, O): windows times weights [O, kh, kw, I] or [C, kh, kw]; exact for integers below 2^53."""
    if depthwise:
        return np.einsum("hwckl,ckl->hwc", cut, w.astype(np.float64))[None]
    height, width = cut.shape[:2]
    im2col = cut.transpose(0, 1, 3, 4, 2).reshape(height * width, -1)
    return (im2col @ w.reshape(len(w), -1).T.astype(np.float64)).reshape(1, height, width, -1)


# --------------------------------------------------------------------------- rounding
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
    """x * m / 2^31 * 2^shift; int64 in and out. "upward": one rounding, halves up. "tflite": halves up at 31 places,
    then halves away from zero at those of the shift (as gemmlowp multiplies and shifts)."""
    m, shift = np.asarray(m, np.int64), np.asarray(shift, np.int64)
    if rounding == "upward":
        return (x * m + (1 << (30 - shift))) >> (31 - shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    product = _wrap32(x << left) * m
    high = np.where(product >= 0, product + 2**30, product + 1 - 2**30)
    high = np.sign(high) * (np.abs(high) // 2**31)
    return np.sign(high) * ((np.abs(high) + ((1 << right) >> 1)) >> right)


def _wrap32(x: np.ndarray) -> np.ndarray:
    return (x + 2**31) % 2**32 - 2**31


def scaled(x: np.ndarray, real: float, rounding: str) -> np.ndarray:
    """x * real, rounded."""
    if rounding == "even":
        return np.rint(x.astype(np.float32) * np.float32(real)).astype(np.int64)
    return multiply(x, *fixed_point(real), rounding)


def divided(total: np.ndarray, n: np.ndarray | int, rounding: str) -> np.ndarray:
    """total / n in exact integers."""
    magnitude, sign = np.abs(total), np.sign(total)
    if rounding == "tflite":
        return sign * ((2 * magnitude + n - n % 2) // (2 * n))
    if rounding == "truncate":
        return sign * (magnitude // n)
    floor, rest = total // n, total % n
    up = 2 * rest > n
    return floor + (up | ((2 * rest == n) & ((rounding == "upward") | (floor % 2 == 1))))


def requantise(acc: np.ndarray, table: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp: round_half_even(float32(acc) * scale) + z_y, or by integer multipliers. table: float32
    [O] scales, or int32 [2, O] multipliers and shifts."""
    rounding = attrs.get("rounding", "even")
    if rounding != "even":
        return multiply(acc.astype(np.int64), *table, rounding) + attrs["out_zero"]
    product = acc.astype(np.float32) * table
    assert product.dtype == np.float32
    return np.clip(np.rint(product), -MCU_LIMIT, MCU_LIMIT).astype(np.int64) + attrs["out_zero"]


def multipliers(scale: np.ndarray) -> np.ndarray:
    """int32 [2, O] of float32 [O]."""
    return np.array([fixed_point(float(s)) for s in scale], np.int32).T.copy()


def add_values(a: np.ndarray, b: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp of the residual add, in float32 or with integer multipliers."""
    scales, out, rounding = [attrs[f"{n}_scale"] for n in "ab"], attrs["out_scale"], attrs.get("rounding", "even")
    if rounding == "even":
        real_a = (a.astype(np.float32) - np.float32(attrs["a_zero"])) * np.float32(scales[0])
        real_b = (b.astype(np.float32) - np.float32(attrs["b_zero"])) * np.float32(scales[1])
        with np.errstate(over="ignore"):
            real = np.rint((real_a + real_b) / np.float32(out))
        return np.clip(real, -MCU_LIMIT, MCU_LIMIT).astype(np.int64) + attrs["out_zero"]
    steps = a.astype(np.int64) - attrs["a_zero"], b.astype(np.int64) - attrs["b_zero"]
    if rounding == "upward":
        parts = (q if s == out else scaled(q, s / out, rounding) for q, s in zip(steps, scales, strict=True))
        return sum(parts) + attrs["out_zero"]
    twice = 2 * max(scales)
    lifted = sum(scaled(q << 20, s / twice, rounding) for q, s in zip(steps, scales, strict=True))
    return scaled(lifted, twice / (out * 2**20), rounding) + attrs["out_zero"]


def mean(x: np.ndarray) -> np.ndarray:
    """Rounded mean over the positions in exact integers, halves to even."""
    total = x.astype(np.int64).sum(axis=(1, 2), keepdims=True)
    return divided(total, x.shape[1] * x.shape[2], "even").astype(np.int8)


# --------------------------------------------------------------------------- clamps and masks
def clamp(v: np.ndarray, attrs: dict) -> np.ndarray:
    return np.clip(v, attrs["lo"], attrs["hi"]).astype(np.int8)


def inside(v: np.ndarray, attrs: dict) -> np.ndarray:
    """Where the clamp of integers passes a gradient: equality included."""
    return (v >= attrs["lo"]) & (v <= attrs["hi"])


def clamped(v: np.ndarray, attrs: dict) -> list[np.ndarray]:
    """Result and mask of integers before the clamp."""
    return [clamp(v, attrs), pack_mask(inside(v, attrs))]


def pack_mask(passes: np.ndarray) -> np.ndarray:
    """bool (1, H, W, C) -> uint8 [1, H, bytes]: one bit an element, lowest first, a row starts on a byte."""
    return np.packbits(passes[0].reshape(passes.shape[1], -1), axis=1, bitorder="little")[None]


def unpack_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """bool (1, H, W, C) of the packed bits."""
    bits = np.unpackbits(mask, axis=2, bitorder="little")[..., : shape[2] * shape[3]]
    return bits.reshape(shape).astype(bool)


# --------------------------------------------------------------------------- float32
def sum_error(magnitude: np.ndarray, terms: int) -> np.ndarray:
    """How far a float32 sum of `terms` products, whose absolute values sum to `magnitude`, may be from the exact one:
    each step rounds once, at 2^-24."""
    return (terms + 2) * HALF_STEP * magnitude + 1e-30


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64."""
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


def real(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """float64 of the float32 number that is stored: itself, or (q - zero) * scale of int8."""
    if values.dtype == np.float32:
        return values.astype(np.float64)
    return ((values.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float64)


# --------------------------------------------------------------------------- updates
def mcu_hash(seed: int, step: int, element: np.ndarray) -> np.ndarray:
    """The runtime's random bits, in uint32 arithmetic that wraps."""
    with np.errstate(over="ignore"):
        u = np.uint32
        key = u(seed) * u(0x85EBCA77) + (u(step) + u(0x3C6EF372)) * u(0x9E3779B1)
        key = (key ^ (key >> u(15))) * u(0x2C1B3C6D)
        key ^= key >> u(13)
        h = element.astype(u) * u(0x9E3779B1) + key
        h = (h ^ (h >> u(16))) * u(0x7FEB352D) + key
        h = (h ^ (h >> u(15))) * u(0x846CA68B)
        return h ^ (h >> u(16))


def stochastic_round(v: np.ndarray, random: np.ndarray) -> np.ndarray:
    """floor(v + u) in float32, clamped to +-2^30, NaN gives 0."""
    u = (random >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    rounded = np.floor((np.nan_to_num(v, nan=0.0, posinf=3e38, neginf=-3e38) + u).astype(np.float32))
    limited = np.clip(rounded.astype(np.float64), -(2.0**30), 2.0**30).astype(np.int64)
    return np.where(np.isnan(v), 0, limited)
