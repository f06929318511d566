"""Pools. A window is cut to the image by the bounds of its loops, so that nothing is tested inside
them; a few channels are taken at once, in registers. Window attributes: dialect.py.

An average whose quantisation does not change is one of the stored integers, by the attribute `rounding`:

    even: halves to even      tflite: halves away from zero      upward: halves up      truncate: towards zero

("even" is exact for windows of up to 2^16 positions). Else it is requantised; with n positions in the window:

    even:   round_even(float32(sum of x - z_x) * float32(s_x / (n * s_y))) + z_y
    tflite: 1 / n goes into the integer multiplier of s_x / s_y, as in TFLite's MEAN

"tflite_mean" is that second form also where the quantisation does not change: TFLite's MEAN and AVERAGE_POOL_2D do not
round alike. A factor that differs by window, for padding that does not count, comes from a table over n.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.fixed_point import multiplier
from mcutrain.tvm_ext.kernels.build import (
    Kernel,
    as_float,
    f32,
    function,
    i32,
    let,
    local,
    loop,
    multiplied,
    ring_row,
    round_even,
    set_mask_bit,
    store,
    store_clamped,
)
from mcutrain.tvm_ext.kernels.pool_window import Pool, Step, pool_of

FLOAT = 4  # bytes


def qavg_pool(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """x int8 (1, H, W, C) -> averages, clamped, and where lo <= value <= hi held."""
    pool = pool_of(shapes[0], attrs)
    counted = pool.taps if attrs["counts_padding"] else None
    factors = _factors(pool, attrs) if _requantises(attrs) else None
    tables = () if factors is None or counted or not pool.is_cut else (factors,)
    row = pool.columns.windows * pool.channels
    mask_row = (row + 7) // 8
    lo, hi = attrs["lo"], attrs["hi"]
    with function() as f:
        x = f.buffer("x", pool.image, "int8")
        table = f.buffer("factors", factors.size, str(factors.dtype)) if tables else None
        y = f.buffer("y", pool.pooled, "int8")
        mask = f.buffer("mask", pool.rows.windows * mask_row, "uint8") if with_mask else None
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "int32")
        with loop("oy", y0, y1) as oy:
            if with_mask:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            target = ring_row(oy, attrs.get("ring_out", 0)) * row
            with pool.windows(oy) as step:
                inside = pool.positions(step.rows, step.columns)
                n = counted or inside
                _sum(acc, x, pool, step, attrs, _start(inside, pool, attrs))
                for j in range(pool.block):
                    v = let("v", _average(acc[j], n, factors, table, attrs))
                    element = step.x * pool.channels + step.channel + j
                    store_clamped(y, target + element, v, lo, hi)
                    if with_mask:
                        set_mask_bit(mask, oy * mask_row, element, v, lo, hi)
    return _kernel(f, pool, tables, (pool.distance(1, 1),), 2 if with_mask else 1)


def _kernel(f, pool: Pool, tables: tuple, distances: tuple[int, ...], outputs: int = 1) -> Kernel:
    """distances: of each output that may lie over the image."""
    axis = pool.rows
    reads = ((0, axis.extent, axis.stride, axis.taps, axis.padding),)
    overlaps = tuple((0, output, distance) for output, distance in enumerate(distances))
    return Kernel(f.func, tables, overlaps=overlaps, rows=axis.windows, reads=reads, inputs=1, outputs=outputs)


def _sum(acc: tirx.Buffer, x: tirx.Buffer, pool: Pool, step: Step, attrs: dict, start: tirx.Expr) -> None:
    """acc[j] = start + the channels j of a window, row by row."""
    for j in range(pool.block):
        store(acc, j, start)
    widen = i32 if str(acc.dtype) == "int32" else lambda v: v
    with pool.taps_of(step, attrs.get("ring_in", 0)) as (element, _):
        for j in range(pool.block):
            store(acc, j, acc[j] + widen(x[element + j]))


def _requantises(attrs: dict) -> bool:
    """Whether the average is another multiple of another step than x."""
    is_same = (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"])
    if not is_same and attrs["rounding"] not in ("even", "tflite", "tflite_mean"):
        raise ModelError(
            f"layer {attrs.get('layer', '?')}: an average by rounding {attrs['rounding']!r} keeps scale and zero "
            "point; requantise behind it"
        )
    return not is_same or attrs["rounding"] == "tflite_mean"


def _start(inside: object, pool: Pool, attrs: dict) -> tirx.Expr:
    """What is in the sum besides x: minus z_x for each position inside, or padding that counts, which holds z_x."""
    if _requantises(attrs):
        value = inside * -attrs["in_zero"]
    else:
        value = (pool.taps - inside) * attrs["in_zero"] if attrs["counts_padding"] else 0
    return T.int32(value) if isinstance(value, int) else value


def _factors(pool: Pool, attrs: dict) -> np.ndarray:
    """By the number of positions less one: float32 factors, or int32 multipliers and behind them their shifts."""
    counts = np.arange(1, pool.taps + 1)
    if attrs["rounding"] == "even":
        return (attrs["in_scale"] / (counts * np.float64(attrs["out_scale"]))).astype(np.float32)
    ratio = attrs["in_scale"] / attrs["out_scale"]
    return np.array([_mean_multiplier(ratio, int(n)) for n in counts], np.int32).T.ravel()


def _mean_multiplier(ratio: float, n: int) -> tuple[int, int]:
    """ratio / n: the multiplier of ratio, made as long as int64 allows, divided by n and cut off."""
    value, shift = multiplier(ratio)
    more = min(n.bit_length() - 1, 31 + shift)
    return (value << more) // n, shift - more


def _average(acc: tirx.Expr, n: object, factors: np.ndarray | None, table: tirx.Buffer | None, attrs: dict):
    """The value before the clamp, of a window with n positions. table: `factors` where n is not an int."""
    rounding = attrs["rounding"]
    if factors is None:
        return _rounded_quotient(acc, n, rounding)
    z, half = T.int32(attrs["out_zero"]), len(factors) // 2
    if rounding == "even":
        return round_even(as_float(acc) * (f32(factors[n - 1]) if table is None else table[n - 1])) + z
    places = (n - 1, half + n - 1)
    numbers = [int(factors[i]) for i in places] if table is None else [table[i] for i in places]
    return multiplied(acc, *numbers, "tflite") + z


def _rounded_quotient(acc: tirx.Expr, n: object, rounding: str) -> tirx.Expr:
    """acc / n of the sum of n int8 values."""
    count = T.int32(n) if isinstance(n, int) else n
    if rounding == "even":
        return round_even(as_float(acc) / (f32(n) if isinstance(n, int) else as_float(n)))
    if rounding == "upward":  # lifted by 128, so that the division is of what is not negative
        return T.truncdiv(acc * 2 + count * 257, count * 2) - 128
    if rounding == "truncate":
        return T.truncdiv(acc, count)
    half = T.truncdiv(count, T.int32(2))
    return T.truncdiv(acc + T.Select(acc > 0, half, T.int32(0) - half), count)


def favg_pool(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x float32 (1, H, W, C): the sum over the window, row by row from 0, over its size (attr counts_padding: with the
    padding)."""
    pool = pool_of(shapes[0], attrs)
    with function() as f:
        x, y = f.buffer("x", pool.image, "float32"), f.buffer("y", pool.pooled, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "float32")
        with loop("oy", y0, y1) as oy:
            target = ring_row(oy, attrs.get("ring_out", 0)) * (pool.columns.windows * pool.channels)
            with pool.windows(oy) as step:
                n = pool.taps if attrs["counts_padding"] else pool.positions(step.rows, step.columns)
                count = f32(n) if isinstance(n, int) else as_float(n)
                _sum(acc, x, pool, step, attrs, T.float32(0))
                for j in range(pool.block):
                    store(y, target + step.x * pool.channels + step.channel + j, acc[j] / count)
    return _kernel(f, pool, (), (pool.distance(FLOAT, FLOAT),))


def max_pool(shapes: list[list[int]], attrs: dict, with_index: bool) -> Kernel:
    """x int8 or float32 (attr dtype) -> maxima, and uint8 ky * kw + kx of the first one in its window."""
    pool, is_float = pool_of(shapes[0], attrs), attrs["dtype"] == "float32"
    size, work, widen = (FLOAT, "float32", lambda v: v) if is_float else (1, "int32", i32)
    row = pool.columns.windows * pool.channels
    with function() as f:
        x, y = f.buffer("x", pool.image, attrs["dtype"]), f.buffer("y", pool.pooled, attrs["dtype"])
        index = f.buffer("index", pool.pooled, "uint8") if with_index else None
        y0, y1 = f.rows()
        best, place = local("best", pool.block, work), local("place", pool.block, "int32") if with_index else None
        with loop("oy", y0, y1) as oy:
            target = ring_row(oy, attrs.get("ring_out", 0)) * row
            with pool.windows(oy) as step:
                first, first_tap = pool.first_tap(step, attrs.get("ring_in", 0))
                for j in range(pool.block):
                    store(best, j, widen(x[first + j]))
                    if with_index:
                        store(place, j, first_tap)
                with pool.taps_of(step, attrs.get("ring_in", 0)) as (element, tap):
                    for j in range(pool.block):
                        v = let("v", widen(x[element + j]))
                        if with_index:
                            store(place, j, T.Select(v > best[j], tap, place[j]))
                        store(best, j, T.Select(v > best[j], v, best[j]))
                for j in range(pool.block):
                    at = step.x * pool.channels + step.channel + j
                    store(y, target + at, T.Cast(attrs["dtype"], best[j]))
                    if with_index:
                        store(index, oy * row + at, T.Cast("uint8", place[j]))
    distances = [pool.distance(size, size), pool.distance(size, 1)][: 2 if with_index else 1]
    return _kernel(f, pool, (), tuple(distances), 2 if with_index else 1)
