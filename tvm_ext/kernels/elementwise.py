"""Residual add, global mean, and their backward companions: kernels that touch each element once."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from tvm_ext.fixed_point import multiplier
from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    f32,
    function,
    i32,
    let,
    local,
    loop,
    multiplied,
    over_channels,
    pixel_index,
    ring_row,
    round_even,
    set_mask_bit,
    store,
    store_clamped,
)


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
            if with_mask:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
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
    """a * s_a + b * s_b in steps of the output, by the attribute `rounding`.

    "tflite": both in a common scale, 20 bits up, then the sum. "upward": each rounded to the output's steps by itself,
    as TVM's qnn.add has it."""
    scales = (attrs["a_scale"], attrs["b_scale"])
    rounding = attrs.get("rounding", "even")
    if rounding == "even":
        real_a, real_b = (as_float(q) * f32(s) for q, s in zip((a, b), scales, strict=True))
        return round_even((real_a + real_b) / f32(attrs["out_scale"]))
    if rounding == "upward":
        return sum(
            q if s == attrs["out_scale"] else multiplied(q, *multiplier(s / attrs["out_scale"]), rounding)
            for q, s in zip((a, b), scales, strict=True)
        )
    common = 2 * max(scales)
    lifted = [
        multiplied(q * T.int32(1 << 20), *multiplier(s / common), rounding)
        for q, s in zip((a, b), scales, strict=True)
    ]
    return multiplied(lifted[0] + lifted[1], *multiplier(common / (attrs["out_scale"] * (1 << 20))), rounding)


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
            store_clamped(y, c, round_even(as_float(acc[0]) / f32(positions)), -128, 127)
    # of a single channel, all is read before anything is written
    return Kernel(f.func, overlaps=((0, 0, 0 if channels > 1 else -positions),), inputs=1)


def spread(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Backward of the global mean: g[c] / (H * W) at every position."""
    _, height, width, channels = attrs["shape"]
    with function() as f:
        g, out = f.buffer("g", channels, "float32"), f.buffer("g_x", height * width * channels, "float32")
        with loop("p", 0, height * width) as p, loop("c", 0, channels) as c:
            store(out, p * channels + c, g[c] / f32(height * width))
    return Kernel(f.func, inputs=1)


def _masked(mask, element, mask_row, y, scaled):
    """scaled where the clamp let the value pass, else 0."""
    byte = i32(mask[y * mask_row + T.shift_right(element, T.int32(3))])
    bit = T.bitwise_and(T.shift_right(byte, T.bitwise_and(element, T.int32(7))), T.int32(1))
    return T.Select(bit != 0, scaled, T.float32(0))


def mask_scale(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_acc[p, c] = mask * g[p, c] * scale[c]."""
    _, height, width, channels = shapes[0]
    row, mask_row = width * channels, (width * channels + 7) // 8
    rings, block = [attrs.get(f"ring_{n}", 0) for n in ("in", "out")], channel_block(channels)
    with function() as f:
        g, mask = f.buffer("g", height * row, "float32"), f.buffer("mask", height * mask_row, "uint8")
        scale, out = f.buffer("scale", channels, "float32"), f.buffer("g_acc", height * row, "float32")
        y0, y1 = f.rows()
        if over_channels(attrs):
            with loop("s", y0, y1) as s, loop("y", 0, height) as y, loop("x", 0, width) as x, loop("i", 0, block) as i:
                c = s * block + i
                source, target = (pixel_index(y * width + x, s, i, shapes[0], ring) for ring in rings)
                store(out, target, _masked(mask, x * channels + c, mask_row, y, g[source] * scale[c]))
        else:
            with loop("y", y0, y1) as y, loop("x", 0, width) as x, loop("c", 0, channels) as c:
                element = x * channels + c
                source, target = (ring_row(y, ring) * row + element for ring in rings)
                store(out, target, _masked(mask, element, mask_row, y, g[source] * scale[c]))
    return Kernel(
        f.func,
        # over channels an element may be written before its left neighbour is read: only distance 0 would be safe
        overlaps=() if over_channels(attrs) else ((0, 0, 0),),
        rows=channels // block if over_channels(attrs) else height,
        reads=((0, height, 1, 1, 0),),
        by_channel=((channels // block, (0,), False),),
        inputs=3,
    )


def mask_scale_by(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_a = mask * g * factor (backward of the residual add, for one operand)."""
    _, height, width, channels = shapes[0]
    row, mask_row = width * channels, (width * channels + 7) // 8
    with function() as f:
        g, mask = f.buffer("g", height * row, "float32"), f.buffer("mask", height * mask_row, "uint8")
        out = f.buffer("g_a", height * row, "float32")
        with loop("y", 0, height) as y, loop("i", 0, row) as i:
            scaled = g[y * row + i] * f32(attrs["factor"])
            store(out, y * row + i, _masked(mask, i, mask_row, y, scaled))
    return Kernel(f.func, overlaps=((0, 0, 0),), inputs=2)


def add(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Float sum of two adjoints that meet at a fan-out."""
    length = int(np.prod(shapes[0]))
    with function() as f:
        a, b = f.buffer("a", length, "float32"), f.buffer("b", length, "float32")
        out = f.buffer("sum", length, "float32")
        with loop("i", 0, length) as i:
            store(out, i, a[i] + b[i])
    return Kernel(f.func, overlaps=((0, 0, 0), (1, 0, 0)), inputs=2)
