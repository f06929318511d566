"""Parts of kernels that requantise, clamp, and keep a bit of a clamp's mask."""

from __future__ import annotations

import math

from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.tir import Frame, Index, as_float, f32, i32, loop, round_even, store


def requantised(acc: tirx.Expr, table: tirx.Buffer, o: tirx.Expr, attrs: dict) -> tirx.Expr:
    """The accumulator of channel o in steps of the output, before the clamp. table: float32 [O], or (integer rounding)
    int32 [2, O] of multipliers and shifts."""
    if attrs.get("rounding", "even") == "even":
        return round_even(as_float(acc) * table[o]) + T.int32(attrs["out_zero"])
    channels = int(table.shape[0]) // 2
    return multiplied(acc, table[o], table[channels + o], attrs["rounding"]) + T.int32(attrs["out_zero"])


def requantisation_table(f: Frame, channels: int, attrs: dict) -> tirx.Buffer:
    """The argument of `requantised`."""
    is_float = attrs.get("rounding", "even") == "even"
    return f.buffer("scale", channels, "float32") if is_float else f.buffer("multipliers", 2 * channels, "int32")


def multiplied(x: tirx.Expr, multiplier: Index, shift: Index, rounding: str) -> tirx.Expr:
    """x * multiplier / 2^31 * 2^shift, rounded as "tflite" or "upward" says (mcu_math.h)."""
    numbers = (T.int32(n) if isinstance(n, int) else n for n in (multiplier, shift))
    return T.call_pure_extern("int32", f"mcu_multiply_{rounding}", x, *numbers)


def store_clamped(y: tirx.Buffer, index: Index, value: tirx.Expr, lo: int, hi: int) -> None:
    store(y, index, T.Cast("int8", T.max(T.min(value, T.int32(hi)), T.int32(lo))))


def clear(mask: tirx.Buffer, start: tirx.Expr, nbytes: int) -> None:
    with loop("i", 0, nbytes) as i:
        store(mask, start + i, T.uint8(0))


def set_mask_bit(mask: tirx.Buffer, row: tirx.Expr, element: tirx.Expr, value: tirx.Expr, lo: int, hi: int) -> None:
    """Set the bit of `element` of the mask row at byte `row` where lo <= value <= hi (the row was cleared before)."""
    inside = T.bitwise_and(i32(value >= T.int32(lo)), i32(value <= T.int32(hi)))
    index = row + T.shift_right(element, T.int32(3))
    bit = T.shift_left(inside, T.bitwise_and(element, T.int32(7)))
    store(mask, index, T.Cast("uint8", T.bitwise_or(i32(mask[index]), bit)))


def clamped_real(v: tirx.Expr, lo: float, hi: float) -> tuple[tirx.Expr, tirx.Expr]:
    """v inside [lo, hi] (NaN stays NaN, as in PyTorch), and 1 where a gradient passes: strictly inside."""
    y, passes = v, T.int32(1)
    if lo > -math.inf:
        y, passes = T.Select(v < f32(lo), f32(lo), v), i32(v > f32(lo))
    if hi < math.inf:
        y, passes = T.Select(v > f32(hi), f32(hi), y), T.bitwise_and(passes, i32(v < f32(hi)))
    return y, passes
