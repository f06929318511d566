"""Gradients of the convolutions with respect to their inputs, float32 (transposed convolution), and saved channels.

All loops gather: each gradient element is summed in a register, in one fixed order, and stored once. The attribute
`dtype` is that of weights and activations, "int8" where it is missing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    fma,
    function,
    i32,
    largest_divisor,
    let,
    local,
    loop,
    over_channels,
    overlap_distance,
    pixel_index,
    ring_row,
    store,
    suffix_minimum,
)
from tvm_ext.kernels.conv import channel_tables, split_channels
from tvm_ext.kernels.pointwise_blocks import forms as pointwise_forms
from tvm_ext.kernels.pointwise_blocks import pointwise_blocks
from tvm_ext.kernels.transposed_conv import transposed_conv, window

FLOAT = 4  # bytes


def conv2d_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g (1, Ho, Wo, O), w[, w_trained] -> (1, H, W, I), with the weights from before this step's update."""
    if attrs["depthwise"]:
        return _depthwise_input_grad(shapes, attrs)
    if attrs["kernel"] == [1, 1] and attrs["stride"] == [1, 1] and not any(attrs["padding"]):
        return pointwise_blocks(shapes, attrs) if over_channels(attrs) else _pointwise_input_grad(shapes, attrs)
    return transposed_conv(shapes, attrs)


def _pointwise_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_x[p, c] = sum over o of g[p, o] * w[o, c], for a block of pixels and channels at once."""
    _, height, width, out_c = shapes[0]
    in_c = attrs["shape"][3]
    groups, dtype = split_channels(attrs, in_c), attrs.get("dtype", "int8")
    pixels = largest_divisor(width, (4, 2, 1))
    with function() as f:
        g = f.buffer("g", height * width * out_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * len(n), dtype) for i, n in enumerate(groups)]
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
    return Kernel(
        f.func,
        channel_tables(groups),
        overlaps=((0, 0, _pointwise_distance(groups, height * width, in_c, out_c, pixels)),),
        macs=height * width * out_c * in_c,
        rows=height,
        reads=((0, height, 1, 1, 0),),
        by_channel=pointwise_forms(shapes, attrs),
        inputs=len(shapes),
    )


def _pointwise_distance(groups: list[list[int]], positions: int, in_c: int, out_c: int, pixels: int) -> int:
    """Of g_x over g: a block of pixels is read anew for each one or two channels, which are written behind that."""
    last = [np.reshape(g, (-1, largest_divisor(len(g), (2, 1)))).max(axis=1) for g in groups]
    channel, first = np.concatenate(last), np.arange(0, positions, pixels)
    written = np.maximum.accumulate(np.add.outer((first + pixels - 1) * in_c, channel + 1).ravel())
    still_read = np.repeat(first * out_c, len(channel))
    still_read[0] = positions * out_c  # the first block is read before anything is written
    return overlap_distance(np.append(0, written[:-1]), still_read) * FLOAT


def _depthwise_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g_x[iy, ix, c] = sum over the output positions that saw it of g[oy, ox, c] * w[c, iy.., ix..], over rows or over
    blocks of channels."""
    _, out_h, out_w, channels = shapes[0]
    _, in_h, in_w, _ = attrs["shape"]
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    block = channel_block(channels)
    ring_in, ring_out, blocked = attrs.get("ring_in", 0), attrs.get("ring_out", 0), over_channels(attrs)
    with function() as f:
        g = f.buffer("g", out_h * out_w * channels, "float32")
        w = f.buffer("w", channels * kh * kw, attrs.get("dtype", "int8"))
        out = f.buffer("g_x", in_h * in_w * channels, "float32")
        y0, y1 = f.rows()
        acc = local("acc", 1, "float32")

        def element(iy: object, ix: object, c: object, g_index: Callable, target: object) -> None:
            store(acc, 0, T.float32(0))
            with loop("oy", *window(iy, kh, sy, top, out_h)) as oy:
                with loop("ox", *window(ix, kw, sx, left, out_w)) as ox:
                    tap = (iy + top - oy * sy) * kw + (ix + left - ox * sx)
                    store(acc, 0, fma(g[g_index(oy, ox)], as_float(w[c * (kh * kw) + tap]), acc[0]))
            store(out, target, acc[0])

        if blocked:
            with loop("s", y0, y1) as s, loop("iy", 0, in_h) as iy, loop("ix", 0, in_w) as ix, loop("i", 0, block) as i:
                target = pixel_index(iy * in_w + ix, s, i, attrs["shape"], ring_out)
                element(
                    iy, ix, s * block + i, lambda y, x: pixel_index(y * out_w + x, s, i, shapes[0], ring_in), target
                )
        else:
            with loop("iy", y0, y1) as iy, loop("ix", 0, in_w) as ix, loop("c", 0, channels) as c:
                target = (ring_row(iy, ring_out) * in_w + ix) * channels + c
                element(iy, ix, c, lambda y, x: (ring_row(y, ring_in) * out_w + x) * channels + c, target)
    return Kernel(
        f.func,
        macs=out_h * out_w * channels * kh * kw,
        rows=channels // block if blocked else in_h,
        reads=((0, out_h, sy, kh, top, True),),
        by_channel=((channels // block, (0, 1), False),),
        inputs=len(shapes),
    )


def take_channels(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, H, W, C) -> (1, H, W, n): the channels whose weights train, kept for the weight gradient."""
    _, height, width, in_c = shapes[0]
    channels, dtype = attrs["channels"], attrs.get("dtype", "int8")
    n, positions = len(channels), height * width
    with function() as f:
        x, table = f.buffer("x", positions * in_c, dtype), f.buffer("channels", n, "int16")
        out = f.buffer("y", positions * n, dtype)
        with loop("p", 0, positions) as p, loop("c", 0, n) as c:
            store(out, p * n + c, x[p * in_c + i32(table[c])])
    still_read = suffix_minimum((np.arange(positions)[:, None] * in_c + channels).ravel())
    still_read[0] = positions * in_c  # the first value is read before anything is written
    overlaps = ((0, 0, overlap_distance(np.arange(positions * n), still_read) * np.dtype(dtype).itemsize),)
    return Kernel(f.func, (np.asarray(channels, "int16"),), overlaps=overlaps, inputs=1)
