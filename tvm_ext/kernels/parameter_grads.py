"""Gradients of the convolutions with respect to weight (correlation) and bias, float32.

Both are sums over the positions of the output's gradient g, which may come row by row, or by blocks of channels. Over
channels the weight gradient of a block of filters is complete at once, so that an update can take it before the next
one is made, and the whole of it never lies in memory. However g comes, each element is summed in the same order."""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    floor_div,
    fma,
    function,
    i32,
    largest_divisor,
    let,
    local,
    loop,
    over_channels,
    pixel_index,
    ring_row,
    store,
)


def conv2d_bias_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g (1, H, W, C) -> its sum over positions [C]; rows may come in several calls, the first with y0 == 0."""
    _, height, width, channels = shapes[0]
    ring, block, blocked = attrs.get("ring_in", 0), channel_block(channels), over_channels(attrs)
    with function() as f:
        g, out = f.buffer("g", height * width * channels, "float32"), f.buffer("g_bias", channels, "float32")
        y0, y1 = f.rows()
        acc = local("acc", 1, "float32")
        if blocked:
            with loop("s", y0, y1) as s, loop("i", 0, block) as i:
                store(acc, 0, T.float32(0))
                with loop("p", 0, height * width) as p:
                    store(acc, 0, acc[0] + g[pixel_index(p, s, i, shapes[0], ring)])
                store(out, s * block + i, acc[0])
        else:
            with loop("c", 0, channels) as c:
                store(acc, 0, _continued(out, c, y0))
                with loop("y", y0, y1) as y:
                    row = ring_row(y, ring) * (width * channels)
                    with loop("x", 0, width) as x:
                        store(acc, 0, acc[0] + g[row + x * channels + c])
                store(out, c, acc[0])
    blocks = channels // block
    return Kernel(
        f.func,
        rows=blocks if blocked else height,
        reads=((0, height, 1, 1, 0),),
        accumulates=True,
        by_channel=((blocks, (0,), True),),
        inputs=1,
    )


def _continued(out, index, y0):
    """A sum's value so far: 0 before the first row."""
    return T.if_then_else(y0 > 0, out[index], T.float32(0))


def conv2d_weight_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, H, W, n) (the trained channels alone) int8, or float32 as attrs dtype says, g (1, Ho, Wo, O) ->
    [O, kh, kw, n]; depthwise [n, kh, kw]. Rows of g, or blocks of its channels, may come in several calls, the first
    with y0 == 0."""
    (_, in_h, in_w, in_c), (_, out_h, out_w, out_c) = shapes
    depthwise, (kh, kw), blocked = attrs["depthwise"], attrs["kernel"], over_channels(attrs)
    trained = attrs["trained_channels"] if depthwise else []
    filters, ring = in_c if depthwise else out_c, attrs.get("ring_out", 0)
    block = channel_block(filters)
    channels = 1 if depthwise else largest_divisor(in_c, (4, 2, 1))
    lanes = 1 if depthwise else largest_divisor(block, (2, 1))
    with function() as f:
        x = f.buffer("x", in_h * in_w * in_c, attrs.get("dtype", "int8"))
        g = f.buffer("g", out_h * out_w * out_c, "float32")
        which = f.buffer("channels", len(trained), "int16") if trained else None
        out = f.buffer("g_w", int(np.prod(attrs["shape"])), "float32")
        y0, y1 = f.rows()
        acc = local("acc", lanes * channels, "float32")
        blocks, rows = ((y0, y1), None) if blocked else ((0, filters // block), (y0, y1))

        def tap(ky: object, kx: object, s: object, g_lanes: list, x_channels: list) -> None:
            """One tap, a block of filters x channels, summed over the positions where the tap is inside the image."""
            first = ring_row(s, ring) * block
            row = 1 if depthwise else in_c
            target = [
                (((first + i) * kh + ky) * kw + kx) * row + (0 if depthwise else c) for i in g_lanes for c in x_channels
            ]
            for i, index in enumerate(target):
                store(acc, i, T.float32(0) if rows is None else _continued(out, index, y0))
            channel = None if which is None else i32(which[s * block + g_lanes[0]])
            _sum_tap(x, g, acc, (ky, kx), (s, g_lanes, channel), x_channels, rows, shapes, attrs)
            for i, index in enumerate(target):
                store(out, index, acc[i])

        with loop("s", *blocks) as s, loop("b", 0, block // lanes) as b:
            g_lanes = [b * lanes + i for i in range(lanes)]
            with loop("ky", 0, kh) as ky, loop("kx", 0, kw) as kx:
                if depthwise:
                    tap(ky, kx, s, g_lanes, [s * block + g_lanes[0]])
                else:
                    with loop("cb", 0, in_c // channels) as cb:
                        tap(ky, kx, s, g_lanes, [cb * channels + j for j in range(channels)])
    forms = ((filters // block, (1,), False), (filters // block, (1,), True))
    return Kernel(
        f.func,
        (np.asarray(trained, "int16"),) if trained else (),
        macs=out_h * out_w * int(np.prod(attrs["shape"])),
        rows=filters // block if blocked else out_h,
        reads=((1, out_h, 1, 1, 0),),
        accumulates=True,
        by_channel=() if trained else forms,
        inputs=2,
    )


def _sum_tap(x, g, acc, tap: tuple, g_channel: tuple, x_channels: list, rows: tuple | None, shapes, attrs) -> None:
    """acc += one tap of a block of filters x channels over the positions of `rows` (None: all) where it is inside.
    g_channel: block, lanes in it, and the channel where a table gives it."""
    (_, in_h, in_w, in_c), (_, out_h, out_w, out_c) = shapes
    (sy, sx), (top, left, bottom, right), ring = attrs["stride"], attrs["padding"], attrs.get("ring_in", 0)
    s, lanes, channel = g_channel
    first, last = _inside(tap[0], sy, top, bottom, in_h, out_h)
    if rows is not None:
        first, last = T.max(first, rows[0]), T.min(last, rows[1])
    with loop("oy", first, last) as oy:
        g_row = (oy if rows is None else ring_row(oy, ring)) * out_w
        with loop("ox", *_inside(tap[1], sx, left, right, in_w, out_w)) as ox:
            pixel = ((oy * sy + tap[0] - top) * in_w + ox * sx + tap[1] - left) * in_c
            if channel is not None:
                at = [(g_row + ox) * out_c + channel]
            else:
                at = [pixel_index(g_row + ox, s, lane, shapes[1], 0 if rows else ring) for lane in lanes]
            gv = [let("gv", g[index]) for index in at]
            for j, c in enumerate(x_channels):
                xv = let("xv", _real_steps(x, pixel + c, attrs))
                for i, value in enumerate(gv):
                    store(acc, i * len(x_channels) + j, fma(value, xv, acc[i * len(x_channels) + j]))


def _real_steps(x, index, attrs):
    """x in steps of its scale, whose zero point is subtracted; a float32 x itself."""
    if attrs.get("dtype", "int8") == "float32":
        return x[index]
    return as_float(i32(x[index]) - T.int32(attrs["in_zero"]))


def _inside(tap: object, stride: int, padding: int, behind: int, extent: int, out_extent: int) -> tuple:
    """[first, last) of the output positions whose tap is inside the input: 0 <= o * stride + tap - padding < extent."""
    if padding == 0 and behind == 0:
        return T.int32(0), T.int32(out_extent)
    first = floor_div(T.max(T.int32(0), padding - tap) + (stride - 1), stride, 0)
    last = T.min(T.int32(out_extent), floor_div(extent - 1 + padding - tap, stride, behind) + 1)
    return first, last
