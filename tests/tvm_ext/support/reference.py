"""numpy references of every op, after NUMERICS: exact integers (int64), exact float32 formulas, float64 gradients.

They share nothing with the kernels: windows are cut by numpy, never by index arithmetic."""

from __future__ import annotations

import numpy as np

MCU_LIMIT = 2**22  # the runtime's rounding saturates here


def windows(x: np.ndarray, attrs: dict) -> np.ndarray:
    """(1, H, W, C) -> [Ho, Wo, C, kh, kw], padded with zeros (x is real: its zero point is subtracted)."""
    (top, left, bottom, right), (sy, sx) = attrs["padding"], attrs["stride"]
    padded = np.pad(x[0], ((top, bottom), (left, right), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, attrs["kernel"], axis=(0, 1))[::sy, ::sx]


def accumulate(x: np.ndarray, w: np.ndarray, bias: np.ndarray, attrs: dict) -> np.ndarray:
    """int64 accumulators (1, Ho, Wo, O) of x int8, w [O, kh, kw, I] or depthwise [C, kh, kw], bias int32."""
    cut = windows(x.astype(np.int64) - attrs["in_zero"], attrs)
    formula = "hwckl,ckl->hwc" if attrs["depthwise"] else "hwckl,oklc->hwo"
    return (np.einsum(formula, cut, w.astype(np.int64)) + bias.astype(np.int64))[None]


def requantise(acc: np.ndarray, scale: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp: round_half_even(float32(acc) * scale) + z_y, or by integer multipliers."""
    if attrs.get("rounding", "even") != "even":
        factors = np.broadcast_to(scale, acc.shape)
        exact = [fixed_point(int(a), float(s), attrs["rounding"]) for a, s in zip(acc.flat, factors.flat, strict=True)]
        return np.array(exact, np.int64).reshape(acc.shape) + attrs["out_zero"]
    product = acc.astype(np.float32) * scale
    assert product.dtype == np.float32
    return np.clip(np.rint(product), -MCU_LIMIT, MCU_LIMIT).astype(np.int64) + attrs["out_zero"]


def fixed_point(x: int, real: float, rounding: str) -> int:
    """x * real in Python's integers. "upward": the 31-bit multiplier, one rounding, halves up. "tflite": halves up at
    31 places, then halves away from zero at those of the shift (as gemmlowp multiplies and shifts)."""
    fraction, shift = np.frexp(real)
    multiplier = int(fraction * 2**31 + 0.5)
    if rounding == "upward":
        return (x * multiplier + (1 << (30 - int(shift)))) >> (31 - int(shift))
    left, right = max(int(shift), 0), max(-int(shift), 0)
    high = ((x << left) * multiplier + (1 << 30)) >> 31
    rounded = (abs(high) + (1 << right >> 1)) >> right
    return rounded if high >= 0 else -rounded


def clamp(v: np.ndarray, attrs: dict) -> np.ndarray:
    return np.clip(v, attrs["lo"], attrs["hi"]).astype(np.int8)


def inside(v: np.ndarray, attrs: dict) -> np.ndarray:
    """Where the clamp passes a gradient: equality included."""
    return (v >= attrs["lo"]) & (v <= attrs["hi"])


def pack_mask(passes: np.ndarray) -> np.ndarray:
    """bool (1, H, W, C) -> uint8 [1, H, bytes]: one bit an element, lowest first, a row starts on a byte."""
    return np.packbits(passes[0].reshape(passes.shape[1], -1), axis=1, bitorder="little")[None]


def add_values(a: np.ndarray, b: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp of the residual add, in float32 or with integer multipliers."""
    scales, out = [attrs[f"{n}_scale"] for n in "ab"], attrs["out_scale"]
    if attrs.get("rounding", "even") != "even":
        pairs = zip(a.flat, b.flat, strict=True)
        sums = [_integer_sum(int(p) - attrs["a_zero"], int(q) - attrs["b_zero"], scales, out, attrs) for p, q in pairs]
        return np.array(sums, np.int64).reshape(a.shape) + attrs["out_zero"]
    real_a = (a.astype(np.float32) - np.float32(attrs["a_zero"])) * np.float32(attrs["a_scale"])
    real_b = (b.astype(np.float32) - np.float32(attrs["b_zero"])) * np.float32(attrs["b_scale"])
    return np.rint((real_a + real_b) / np.float32(attrs["out_scale"])).astype(np.int64) + attrs["out_zero"]


def _integer_sum(a: int, b: int, scales: list[float], out: float, attrs: dict) -> int:
    if attrs["rounding"] == "upward":
        return sum(fixed_point(q, s / out, "upward") if s != out else q for q, s in zip((a, b), scales, strict=True))
    common = 2 * max(scales)
    lifted = sum(fixed_point(q << 20, s / common, "tflite") for q, s in zip((a, b), scales, strict=True))
    return fixed_point(lifted, common / (out * 2**20), "tflite")


def mean(x: np.ndarray) -> np.ndarray:
    """Rounded mean over the positions in exact integers, halves to even."""
    total, count = x.astype(np.int64).sum(axis=(1, 2), keepdims=True), x.shape[1] * x.shape[2]
    floor, rest = total // count, total % count
    up = (2 * rest > count) | ((2 * rest == count) & (floor % 2 == 1))
    return (floor + up).astype(np.int8)


def weight_grad(x: np.ndarray, g: np.ndarray, attrs: dict) -> np.ndarray:
    """float64 [O, kh, kw, I] (depthwise [C, kh, kw]) of x int8 (real: zero point subtracted) and g (1, Ho, Wo, O)."""
    cut = windows(x.astype(np.float64) - attrs["in_zero"], attrs)
    return np.einsum("hwckl,hwc->ckl" if attrs["depthwise"] else "hwckl,hwo->oklc", cut, g[0].astype(np.float64))


def input_grad(g: np.ndarray, w: np.ndarray, shape: list[int], attrs: dict) -> np.ndarray:
    """float64 (1, H, W, I): every output position scatters its window."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    _, height, width, channels = shape
    out = np.zeros((height + top + bottom, width + left + right, channels))
    for oy in range(g.shape[1]):
        for ox in range(g.shape[2]):
            formula = "c,ckl->klc" if attrs["depthwise"] else "o,oklc->klc"
            patch = np.einsum(formula, g[0, oy, ox].astype(np.float64), w.astype(np.float64))
            out[oy * sy : oy * sy + kh, ox * sx : ox * sx + kw] += patch
    return out[top : top + height, left : left + width][None]


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64."""
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


def assert_sum(ours: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, terms: int) -> None:
    """A float32 sum of `terms` products whose absolute values sum to `magnitude`: each step rounds once, at 2^-24."""
    assert ours.dtype == np.float32 and ours.shape == exact.shape
    error = np.abs(ours.astype(np.float64) - exact)
    worst = np.max(error - (terms + 2) * 2.0**-24 * magnitude)
    assert worst <= 1e-30, f"error {error.max():.3g} of {np.abs(exact).max():.3g} over {terms} terms"


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
