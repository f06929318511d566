"""Sums, clamps, requantisation, global mean, softmax and their backward companions: kernels that take element by
element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.fixed_point import multiplier
from mcutrain.tvm_ext.kernels.build import (
    Kernel,
    as_float,
    at,
    call,
    clear,
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
from mcutrain.tvm_ext.kernels.mask_scale import mask_scale as mask_scale


def qadd(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """y = clamp(round_even(((a - z_a) * s_a + (b - z_b) * s_b) / s_y) + z_y), or with integer multipliers."""
    _, height, width, channels = shapes[0]
    row, mask_row = width * channels, (width * channels + 7) // 8
    lo, hi = attrs["lo"], attrs["hi"]
    with function() as f:
        a, b = f.buffer("a", height * row, "int8"), f.buffer("b", height * row, "int8")
        y = f.buffer("y", height * row, "int8")
        mask = f.buffer("mask", height * mask_row, "uint8") if with_mask else None
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            a_row, b_row, y_row = (ring_row(oy, attrs.get(f"ring_{n}", 0)) for n in ("a", "b", "out"))
            if attrs.get("rounding", "even") == "even":
                arguments = [at(a, a_row * row), at(b, b_row * row), at(y, y_row * row), row, attrs["a_zero"]]
                arguments += [attrs["b_zero"], *(f32(attrs[f"{n}_scale"]) for n in ("a", "b", "out"))]
                masked = [at(mask, oy * mask_row)] if with_mask else []
                call(f"mcu_add_even{'_mask' * with_mask}", *arguments, attrs["out_zero"], lo, hi, *masked)
            else:
                if with_mask:
                    clear(mask, oy * mask_row, mask_row)
                with loop("i", 0, row) as i:
                    steps = [
                        i32(operand[index * row + i]) - T.int32(attrs[f"{n}_zero"])
                        for n, operand, index in (("a", a, a_row), ("b", b, b_row))
                    ]
                    v = let("v", _sum(*steps, attrs) + T.int32(attrs["out_zero"]))
                    store_clamped(y, y_row * row + i, v, lo, hi)
                    if with_mask:
                        set_mask_bit(mask, oy * mask_row, i, v, lo, hi)
    return Kernel(
        f.func,
        overlaps=((0, 0, 0), (1, 0, 0)),
        rows=height,
        reads=((0, height, 1, 1, 0), (1, height, 1, 1, 0)),
        inputs=2,
        outputs=2 if with_mask else 1,
    )


def _sum(a: tirx.Expr, b: tirx.Expr, attrs: dict) -> tirx.Expr:
    """a * s_a + b * s_b in steps of the output, by the attribute `rounding` and integers alone.

    "tflite": both in a common scale, 20 bits up, then the sum. "upward": each rounded to the output's steps by itself,
    as TVM's qnn.add has it."""
    scales, rounding = (attrs["a_scale"], attrs["b_scale"]), attrs["rounding"]
    if rounding == "upward":
        return sum(
            q if s == attrs["out_scale"] else multiplied(q, *multiplier(s / attrs["out_scale"]), rounding)
            for q, s in zip((a, b), scales, strict=True)
        )
    common = 2 * max(scales)
    lifted = [
        multiplied(q * T.int32(1 << 20), *multiplier(s / common), rounding) for q, s in zip((a, b), scales, strict=True)
    ]
    return multiplied(lifted[0] + lifted[1], *multiplier(common / (attrs["out_scale"] * (1 << 20))), rounding)


def requantise(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """int8 of one quantisation as int8 of another; where they are equal, x itself, clamped."""
    zeros, ratio = [attrs[f"{n}_zero"] for n in ("in", "out")], attrs["in_scale"] / attrs["out_scale"]

    def value(x: tirx.Expr) -> tirx.Expr:
        if attrs["in_scale"] == attrs["out_scale"] and zeros[0] == zeros[1]:
            return i32(x)
        step = i32(x) - T.int32(zeros[0])
        if attrs["rounding"] == "even":
            return round_even(as_float(step) * f32(ratio)) + T.int32(zeros[1])
        return multiplied(step, *multiplier(ratio), attrs["rounding"]) + T.int32(zeros[1])

    def clamped(x: tirx.Expr) -> tuple:
        v = let("v", value(x))
        return T.Cast("int8", T.max(T.min(v, T.int32(attrs["hi"])), T.int32(attrs["lo"]))), v

    return _clamp(shapes[0], "int8", attrs, clamped, (attrs["lo"], attrs["hi"]) if with_mask else None)


def fclip(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """float32 clamp; the mask passes strictly inside, as PyTorch differentiates relu and hardtanh."""
    lo, hi = attrs["lo"], attrs["hi"]

    def clamped(x: tirx.Expr) -> tuple:
        y = v = let("v", x)
        passes = T.int32(1)
        if lo > -math.inf:
            y, passes = T.Select(v < f32(lo), f32(lo), v), i32(v > f32(lo))
        if hi < math.inf:
            y, passes = T.Select(v > f32(hi), f32(hi), y), T.bitwise_and(passes, i32(v < f32(hi)))
        return y, passes

    return _clamp(shapes[0], "float32", attrs, clamped, (1, 1) if with_mask else None)


def _clamp(shape: list[int], dtype: str, attrs: dict, clamped: Callable, passing: tuple[int, int] | None) -> Kernel:
    """clamped(x): what is stored, and an integer that lies in `passing` where a gradient passes (None: no mask)."""
    _, height, width, channels = shape
    row, mask_row = width * channels, (width * channels + 7) // 8
    with function() as f:
        x, y = f.buffer("x", height * row, dtype), f.buffer("y", height * row, dtype)
        mask = f.buffer("mask", height * mask_row, "uint8") if passing else None
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            source, target = (ring_row(oy, attrs.get(f"ring_{n}", 0)) * row for n in ("in", "out"))
            if passing:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            with loop("i", 0, row) as i:
                value, tested = clamped(x[source + i])
                store(y, target + i, value)
                if passing:
                    set_mask_bit(mask, oy * mask_row, i, tested, *passing)
    reads = ((0, height, 1, 1, 0),)
    return Kernel(f.func, overlaps=((0, 0, 0),), rows=height, reads=reads, inputs=1, outputs=2 if passing else 1)


def fadd(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Float residual add. Rings: ring_a, ring_b, ring_out."""
    _, height, width, channels = shapes[0]
    row = width * channels
    with function() as f:
        a, b = f.buffer("a", height * row, "float32"), f.buffer("b", height * row, "float32")
        y = f.buffer("y", height * row, "float32")
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            a_row, b_row, y_row = (ring_row(oy, attrs.get(f"ring_{n}", 0)) * row for n in ("a", "b", "out"))
            with loop("i", 0, row) as i:
                store(y, y_row + i, a[a_row + i] + b[b_row + i])
    reads = tuple((i, height, 1, 1, 0) for i in range(2))
    return Kernel(f.func, overlaps=((0, 0, 0), (1, 0, 0)), rows=height, reads=reads, inputs=2)


def qsoftmax(shapes: list[list[int]], attrs: dict) -> Kernel:
    """int8 -> int8 over all elements, in float32: round_even(e^((x - max) * s_x) / sum / s_y) + z_y."""
    length = int(np.prod(shapes[0]))
    with function() as f:
        x, y = f.buffer("x", length, "int8"), f.buffer("y", length, "int8")
        largest, total = local("largest", 1, "int32"), local("total", 1, "float32")

        def power(i: tirx.Expr) -> tirx.Expr:
            real = as_float(i32(x[i]) - largest[0]) * f32(attrs["in_scale"])
            return T.call_pure_extern("float32", "mcu_expf", real)

        store(largest, 0, T.int32(-128))
        with loop("i", 0, length) as i:
            store(largest, 0, T.max(largest[0], i32(x[i])))
        store(total, 0, T.float32(0))
        with loop("i", 0, length) as i:
            store(total, 0, total[0] + power(i))
        with loop("i", 0, length) as i:
            v = round_even(power(i) / total[0] / f32(attrs["out_scale"])) + T.int32(attrs["out_zero"])
            store_clamped(y, i, v, -128, 127)
    # a single element is read for the last time before it is written
    return Kernel(f.func, overlaps=((0, 0, 0 if length > 1 else -1),), inputs=1)


def qmean(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Global average pool: the mean of the int8 values, halves to even; scale and zero point pass through."""
    _, height, width, channels = shapes[0]
    positions = height * width
    with function() as f:
        x, y = f.buffer("x", positions * channels, "int8"), f.buffer("y", channels, "int8")
        acc = local("acc", 1, "int32")
        with loop("c", 0, channels) as c:
            store(acc, 0, T.int32(0))
            with loop("p", 0, positions) as p:
                store(acc, 0, acc[0] + i32(x[p * channels + c]))
            store(y, c, T.Cast("int8", _even_quotient(acc[0], positions)))
    # of a single channel, all is read before anything is written
    return Kernel(f.func, overlaps=((0, 0, 0 if channels > 1 else -positions),), inputs=1)


def _even_quotient(total: tirx.Expr, n: int) -> tirx.Expr:
    """total / n of the sum of n int8 values, halves to even, by integers alone."""
    lifted = let("lifted", total + 128 * n)  # not negative, and 128 keeps even what is even
    whole, rest = T.truncdiv(lifted, T.int32(n)), T.truncmod(lifted, T.int32(n))
    return whole - 128 + i32(2 * rest + T.bitwise_and(whole, T.int32(1)) > n)


def spread(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Backward of the global mean: g[c] / (H * W) at every position."""
    _, height, width, channels = attrs["shape"]
    with function() as f:
        g, out = f.buffer("g", channels, "float32"), f.buffer("g_x", height * width * channels, "float32")
        with loop("p", 0, height * width) as p, loop("c", 0, channels) as c:
            store(out, p * channels + c, g[c] / f32(height * width))
    return Kernel(f.func, inputs=1)


def add(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Float sum of two adjoints that meet at a fan-out."""
    length = int(np.prod(shapes[0]))
    with function() as f:
        a, b = f.buffer("a", length, "float32"), f.buffer("b", length, "float32")
        out = f.buffer("sum", length, "float32")
        with loop("i", 0, length) as i:
            store(out, i, a[i] + b[i])
    return Kernel(f.func, overlaps=((0, 0, 0), (1, 0, 0)), inputs=2)
