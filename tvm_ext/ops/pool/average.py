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
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.fixed_point import LARGEST_STEP, multiplier, require_int32
from mcutrain.tvm_ext.ops.expr import attrs_of, call, pooled_type, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.pool.window import Pool, Step, pool_of, pooling_kernel
from mcutrain.tvm_ext.ops.record import MASK, IntegerForm, OpRecord, masked
from mcutrain.tvm_ext.ops.rounding import multiplied, set_mask_bit, store_clamped
from mcutrain.tvm_ext.ops.tir import Index, as_float, f32, function, i32, let, local, loop, ring_row, round_even, store

FLOAT = 4  # bytes


def qavg_pool(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x int8 (1, H, W, C) -> averages, clamped, and where lo <= value <= hi held."""
    pool = pool_of(shapes[0], attrs)
    counted = pool.taps if attrs["counts_padding"] else None
    factors = _factors(pool, attrs) if _requantises(attrs) else None
    tabulated = None if counted or not pool.is_cut else factors
    row = pool.columns.windows * pool.channels
    mask_row = (row + 7) // 8
    lo, hi = attrs["lo"], attrs["hi"]
    with function() as f:
        x = f.buffer("x", pool.image, "int8")
        table = None if tabulated is None else f.buffer("factors", tabulated.size, str(tabulated.dtype))
        y = f.buffer("y", pool.pooled, "int8")
        mask = f.buffer("mask", pool.rows.windows * mask_row, "uint8") if variant.keeps else None
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "int32")
        with loop("oy", y0, y1) as oy:
            if variant.keeps:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            target = ring_row(oy, variant.ring_out) * row
            with pool.windows(oy) as step:
                inside = pool.positions(step.rows, step.columns)
                n = counted or inside
                _sum(acc, x, pool, step, variant.ring_in, _start(inside, pool, attrs))
                for j in range(pool.block):
                    v = let("v", _average(acc[j], n, factors, table, attrs))
                    element = step.x * pool.channels + step.channel + j
                    store_clamped(y, target + element, v, lo, hi)
                    if variant.keeps:
                        set_mask_bit(mask, oy * mask_row, element, v, lo, hi)
    return pooling_kernel(
        f, pool, () if tabulated is None else (tabulated,), (pool.distance(1, 1),), 2 if variant.keeps else 1
    )


def _sum(acc: tirx.Buffer, x: tirx.Buffer, pool: Pool, step: Step, ring: int, start: tirx.Expr) -> None:
    """acc[j] = start + the channels j of a window, row by row."""
    for j in range(pool.block):
        store(acc, j, start)
    widen = i32 if str(acc.dtype) == "int32" else lambda v: v
    with pool.taps_of(step, ring) as (element, _):
        for j in range(pool.block):
            store(acc, j, acc[j] + widen(x[element + j]))


def _requantises(attrs: Attrs) -> bool:
    """Whether the average is another multiple of another step than x."""
    is_same = (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"])
    if not is_same and attrs["rounding"] not in ("even", "tflite", "tflite_mean"):
        raise ModelError(
            f"layer {attrs.get('layer', '?')}: an average by rounding {attrs['rounding']!r} keeps scale and zero "
            "point; requantise behind it"
        )
    return not is_same or attrs["rounding"] == "tflite_mean"


def _start(inside: Index, pool: Pool, attrs: Attrs) -> tirx.Expr:
    """The sum begins with it: minus z_x for each position inside, or padding that counts, which holds z_x."""
    if _requantises(attrs):
        value = inside * -attrs["in_zero"]
    else:
        value = (pool.taps - inside) * attrs["in_zero"] if attrs["counts_padding"] else 0
    return T.int32(value) if isinstance(value, int) else value


def _factors(pool: Pool, attrs: Attrs) -> np.ndarray:
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


def _average(
    acc: tirx.Expr, n: Index, factors: np.ndarray | None, table: tirx.Buffer | None, attrs: Attrs
) -> tirx.Expr:
    """The value before the clamp, of a window with n positions. table: `factors` where n is not an int."""
    rounding = attrs["rounding"]
    if factors is None:
        return _rounded_quotient(acc, n, rounding)
    z, half = T.int32(attrs["out_zero"]), len(factors) // 2
    if rounding == "even":
        return round_even(as_float(acc) * (f32(factors[n - 1]) if table is None else table[n - 1])) + z
    factor, shift = ((int(factors[i]) if table is None else table[i]) for i in (n - 1, half + n - 1))
    return multiplied(acc, factor, shift, "tflite") + z


def _rounded_quotient(acc: tirx.Expr, n: Index, rounding: str) -> tirx.Expr:
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


def favg_pool(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x float32 (1, H, W, C): the sum over the window, row by row from 0, over its size (attr counts_padding: with the
    padding)."""
    pool = pool_of(shapes[0], attrs)
    with function() as f:
        x, y = f.buffer("x", pool.image, "float32"), f.buffer("y", pool.pooled, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "float32")
        with loop("oy", y0, y1) as oy:
            target = ring_row(oy, variant.ring_out) * (pool.columns.windows * pool.channels)
            with pool.windows(oy) as step:
                n = pool.taps if attrs["counts_padding"] else pool.positions(step.rows, step.columns)
                count = f32(n) if isinstance(n, int) else as_float(n)
                _sum(acc, x, pool, step, variant.ring_in, T.float32(0))
                for j in range(pool.block):
                    store(y, target + step.x * pool.channels + step.channel + j, acc[j] / count)
    return pooling_kernel(f, pool, (), (pool.distance(FLOAT, FLOAT),))


def _qavg_gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = mask * g_y * s_x / s_y over the number of positions, spread over the window."""
    attrs = attrs_of(op)
    return _favg_gradient(op, masked(op, g_y, attrs["in_scale"] / attrs["out_scale"], bb), bb)


def _favg_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attrs_of(op)
    window = {k: attrs[k] for k in ("layer", "kernel", "stride", "padding", "counts_padding")}
    return [call("avg_pool_grad", [g_y], shape=shape_of(op.args[0]), **window)]


def _qavg_by_integers(_: list, attrs: Attrs) -> IntegerForm:
    """Without a new quantisation the quotient itself is rounded; else 1 / positions goes into the multiplier, at most a
    step away, but rounded twice and so less often equal."""
    if (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"]):
        return IntegerForm("upward")
    largest = LARGEST_STEP * int(np.prod(attrs["kernel"]))
    require_int32(attrs["in_scale"] / attrs["out_scale"], largest, attrs["layer"])
    return IntegerForm("tflite")


OPS = (
    OpRecord(  # x
        "qavg_pool",
        pooled_type,
        qavg_pool,
        gradient=_qavg_gradient,
        companion=MASK,
        integer=_qavg_by_integers,
        words="avg pool",
    ),
    OpRecord("favg_pool", pooled_type, favg_pool, gradient=_favg_gradient, words="avg pool"),  # x
)
