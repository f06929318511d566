"""Gradients of the convolutions, float32: of input (transposed convolution), weight (correlation), bias.

All loops gather: each gradient element is summed in a register, in one fixed order, and stored once.
"""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    fma,
    function,
    i32,
    largest_divisor,
    let,
    local,
    loop,
    overlap_distance,
    ring_row,
    store,
)
from tvm_ext.kernels.conv import channel_tables, split_channels

FLOAT = 4  # bytes


def conv2d_bias_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g (1, H, W, C) -> its sum over positions [C]; rows may come in several calls, the first with y0 == 0."""
    _, height, width, channels = shapes[0]
    with function() as f:
        g, out = f.buffer("g", height * width * channels, "float32"), f.buffer("g_bias", channels, "float32")
        y0, y1 = f.rows()
        acc = local("acc", 1, "float32")
        with loop("c", 0, channels) as c:
            store(acc, 0, _continued(out, c, y0))
            with loop("y", y0, y1) as y:
                row = ring_row(y, attrs.get("ring_in", 0)) * (width * channels)
                with loop("x", 0, width) as x:
                    store(acc, 0, acc[0] + g[row + x * channels + c])
            store(out, c, acc[0])
    return Kernel(f.func, rows=height, reads=((0, height, 1, 1, 0),), accumulates=True, inputs=1)


def _continued(out, index, y0):
    """A sum's value so far: 0 before the first row."""
    return T.if_then_else(y0 > 0, out[index], T.float32(0))


def conv2d_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g (1, Ho, Wo, O), w[, w_trained] -> (1, H, W, I), with the weights from before this step's update."""
    if attrs["depthwise"]:
        return _depthwise_input_grad(shapes, attrs)
    if attrs["kernel"] == [1, 1] and attrs["stride"] == 1 and attrs["padding"] == 0:
        return _pointwise_input_grad(shapes, attrs)
    return _dense_input_grad(shapes, attrs)


def _pointwise_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_x[p, c] = sum over o of g[p, o] * w[o, c], for a block of pixels and channels at once."""
    _, height, width, out_c = shapes[0]
    in_c = attrs["shape"][3]
    groups = split_channels(attrs, in_c)
    pixels = largest_divisor(width, (4, 2, 1))
    with function() as f:
        g = f.buffer("g", height * width * out_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * len(n), "int8") for i, n in enumerate(groups)]
        tables = [f.buffer(f"channels{i}", len(n), "int16") for i, n in enumerate(groups)] if len(groups) > 1 else None
        out = f.buffer("g_x", height * width * in_c, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pixels * 2, "float32")
        with loop("y", y0, y1) as y, loop("block", 0, width // pixels) as block:
            first = (ring_row(y, attrs.get("ring_in", 0)) * width + block * pixels) * out_c
            target = (ring_row(y, attrs.get("ring_out", 0)) * width + block * pixels) * in_c
            for index, group in enumerate(groups):
                n = len(group)
                channels = largest_divisor(n, (2, 1))
                with loop("cb", 0, n // channels) as cb:
                    for i in range(pixels * channels):
                        store(acc, i, T.float32(0))
                    with loop("o", 0, out_c) as o:
                        w = [let("wv", as_float(weights[index][o * n + cb * channels + j])) for j in range(channels)]
                        for p in range(pixels):
                            gv = let("gv", g[first + p * out_c + o])
                            for j in range(channels):
                                store(acc, p * channels + j, fma(gv, w[j], acc[p * channels + j]))
                    for j in range(channels):
                        c = cb * channels + j
                        channel = c if tables is None else i32(tables[index][c])
                        for p in range(pixels):
                            store(out, target + p * in_c + channel, acc[p * channels + j])
    steps = np.arange(height * width // pixels)
    distance = overlap_distance((steps + 1) * pixels * in_c * FLOAT, steps * pixels * out_c * FLOAT)
    return Kernel(
        f.func,
        channel_tables(groups),
        overlaps=((0, 0, distance),),
        macs=height * width * out_c * in_c,
        rows=height,
        reads=((0, height, 1, 1, 0),),
        inputs=len(shapes),
    )


def _window(position: object, taps: int, stride: int, padding: int, extent: int) -> tuple:
    """[first, last) of the output positions whose window covers the input `position`: o * stride + k - padding."""
    first = T.max(T.int32(0), _floor_div(position + padding - taps + stride, stride, taps))
    last = T.min(T.int32(extent), _floor_div(position + padding + stride, stride, 0))
    return first, last


def _floor_div(value: object, divisor: int, bias: int) -> object:
    """floor(value / divisor) of a value >= -bias, in non-negative arithmetic."""
    if divisor == 1:
        return value
    lift = -(-bias // divisor) + 1
    return T.truncdiv(value + lift * divisor, T.int32(divisor)) - lift


def _dense_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Any window: g_x[iy, ix, c] = sum over the output positions (oy, ox) that saw it, and o."""
    _, out_h, out_w, out_c = shapes[0]
    _, in_h, in_w, in_c = attrs["shape"]
    (kh, kw), stride, padding = attrs["kernel"], attrs["stride"], attrs["padding"]
    groups = split_channels(attrs, in_c)
    with function() as f:
        g = f.buffer("g", out_h * out_w * out_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * kh * kw * len(n), "int8") for i, n in enumerate(groups)]
        tables = [f.buffer(f"channels{i}", len(n), "int16") for i, n in enumerate(groups)] if len(groups) > 1 else None
        out = f.buffer("g_x", in_h * in_w * in_c, "float32")
        acc = local("acc", 1, "float32")
        with loop("iy", 0, in_h) as iy, loop("ix", 0, in_w) as ix:
            for index, group in enumerate(groups):
                n = len(group)
                with loop("c", 0, n) as c:
                    store(acc, 0, T.float32(0))
                    with loop("oy", *_window(iy, kh, stride, padding, out_h)) as oy:
                        with loop("ox", *_window(ix, kw, stride, padding, out_w)) as ox:
                            tap = (iy + padding - oy * stride) * kw + (ix + padding - ox * stride)
                            with loop("o", 0, out_c) as o:
                                w = as_float(weights[index][(o * (kh * kw) + tap) * n + c])
                                store(acc, 0, fma(g[(oy * out_w + ox) * out_c + o], w, acc[0]))
                    channel = c if tables is None else i32(tables[index][c])
                    store(out, (iy * in_w + ix) * in_c + channel, acc[0])
    macs = out_h * out_w * out_c * kh * kw * in_c
    return Kernel(f.func, channel_tables(groups), macs=macs, inputs=len(shapes))


def _depthwise_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_x[iy, ix, c] = sum over the output positions that saw it of g[oy, ox, c] * w[c, iy.., ix..]."""
    _, out_h, out_w, channels = shapes[0]
    _, in_h, in_w, _ = attrs["shape"]
    (kh, kw), stride, padding = attrs["kernel"], attrs["stride"], attrs["padding"]
    with function() as f:
        g = f.buffer("g", out_h * out_w * channels, "float32")
        w = f.buffer("w", channels * kh * kw, "int8")
        out = f.buffer("g_x", in_h * in_w * channels, "float32")
        y0, y1 = f.rows()
        acc = local("acc", 1, "float32")
        with loop("iy", y0, y1) as iy, loop("ix", 0, in_w) as ix, loop("c", 0, channels) as c:
            store(acc, 0, T.float32(0))
            with loop("oy", *_window(iy, kh, stride, padding, out_h)) as oy:
                with loop("ox", *_window(ix, kw, stride, padding, out_w)) as ox:
                    tap = (iy + padding - oy * stride) * kw + (ix + padding - ox * stride)
                    gv = g[(ring_row(oy, attrs.get("ring_in", 0)) * out_w + ox) * channels + c]
                    store(acc, 0, fma(gv, as_float(w[c * (kh * kw) + tap]), acc[0]))
            store(out, (ring_row(iy, attrs.get("ring_out", 0)) * in_w + ix) * channels + c, acc[0])
    return Kernel(
        f.func,
        macs=out_h * out_w * channels * kh * kw,
        rows=in_h,
        reads=((0, out_h, stride, kh, padding, True),),
        inputs=len(shapes),
    )


def conv2d_weight_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, H, W, n) int8 (the trained channels alone), g (1, Ho, Wo, O) -> [O, kh, kw, n]; depthwise [n, kh, kw].
    Rows of g may come in several calls, the first with y0 == 0."""
    _, in_h, in_w, in_c = shapes[0]
    _, out_h, out_w, out_c = shapes[1]
    (kh, kw), stride, padding, zero = attrs["kernel"], attrs["stride"], attrs["padding"], attrs["in_zero"]
    trained = attrs["trained_channels"] if attrs["depthwise"] else []
    table = (np.asarray(trained, "int16"),) if trained else ()
    filters = 1 if attrs["depthwise"] else largest_divisor(out_c, (2, 1))
    channels = 1 if attrs["depthwise"] else largest_divisor(in_c, (4, 2, 1))
    with function() as f:
        x = f.buffer("x", in_h * in_w * in_c, "int8")
        g = f.buffer("g", out_h * out_w * out_c, "float32")
        which = f.buffer("channels", len(trained), "int16") if trained else None
        out = f.buffer("g_w", int(np.prod(attrs["shape"])), "float32")
        y0, y1 = f.rows()
        acc = local("acc", filters * channels, "float32")

        def sums(ky: object, kx: object, g_channel: list, x_channel: list, target: list) -> None:
            """One tap, a block of filters x channels, summed over the positions where the tap is inside the image."""
            for i, index in enumerate(target):
                store(acc, i, _continued(out, index, y0))
            first, last = _inside(ky, stride, padding, in_h, out_h)
            with loop("oy", T.max(first, y0), T.min(last, y1)) as oy:
                g_row = ring_row(oy, attrs.get("ring_in", 0))
                with loop("ox", *_inside(kx, stride, padding, in_w, out_w)) as ox:
                    pixel = ((oy * stride + ky - padding) * in_w + ox * stride + kx - padding) * in_c
                    gv = [let("gv", g[(g_row * out_w + ox) * out_c + o]) for o in g_channel]
                    for j, c in enumerate(x_channel):
                        xv = let("xv", as_float(i32(x[pixel + c]) - T.int32(zero)))
                        for i in range(filters):
                            store(acc, i * channels + j, fma(gv[i], xv, acc[i * channels + j]))
            for i, index in enumerate(target):
                store(out, index, acc[i])

        if attrs["depthwise"]:
            with loop("c", 0, in_c) as c, loop("ky", 0, kh) as ky, loop("kx", 0, kw) as kx:
                o = c if which is None else i32(which[c])
                sums(ky, kx, [o], [c], [(c * kh + ky) * kw + kx])
        else:
            with loop("ob", 0, out_c // filters) as ob, loop("ky", 0, kh) as ky, loop("kx", 0, kw) as kx:
                with loop("cb", 0, in_c // channels) as cb:
                    o, c = [ob * filters + i for i in range(filters)], [cb * channels + j for j in range(channels)]
                    sums(ky, kx, o, c, [((i * kh + ky) * kw + kx) * in_c + j for i in o for j in c])
    macs = out_h * out_w * int(np.prod(attrs["shape"]))
    reads = ((1, out_h, 1, 1, 0),)
    return Kernel(f.func, table, macs=macs, rows=out_h, reads=reads, accumulates=True, inputs=2)


def _inside(tap: object, stride: int, padding: int, extent: int, out_extent: int) -> tuple:
    """[first, last) of the output positions whose tap is inside the input: 0 <= o * stride + tap - padding < extent."""
    if padding == 0:
        return T.int32(0), T.int32(out_extent)
    first = _floor_div(T.max(T.int32(0), padding - tap) + (stride - 1), stride, 0)
    last = T.min(T.int32(out_extent), _floor_div(extent - 1 + padding - tap, stride, 0) + 1)
    return first, last


def take_channels(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, H, W, C) -> (1, H, W, n): the channels whose weights train, kept for the weight gradient."""
    _, height, width, in_c = shapes[0]
    channels = attrs["channels"]
    n, positions = len(channels), height * width
    with function() as f:
        x, table = f.buffer("x", positions * in_c, "int8"), f.buffer("channels", n, "int16")
        out = f.buffer("y", positions * n, "int8")
        with loop("p", 0, positions) as p, loop("c", 0, n) as c:
            store(out, p * n + c, x[p * in_c + i32(table[c])])
    steps = np.arange(positions)
    # an ascending list never writes past the channel that it has just read
    overlaps = ((0, 0, overlap_distance(steps * n, steps * in_c)),) if channels == sorted(channels) else ()
    return Kernel(f.func, (np.asarray(channels, "int16"),), overlaps=overlaps, inputs=1)
