"""Forward convolution in float32, dense over channels or depthwise, for blocks of pixels x filters in registers.

    acc[o] = bias[o] + sum of x[tap, c] * w[o, tap, c]                 by fused multiply-adds, in this order:
             the frozen channels, then the trained ones; of each ky, kx, c ascending
    y[o]   = clamp(acc[o], lo, hi)

Where a window hangs over the border its loops are cut to what is inside: padding is nowhere read or multiplied."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.operands import channel_tables, split_channels
from mcutrain.tvm_ext.ops.expr import window_output_shape
from mcutrain.tvm_ext.ops.kernel import (
    PLAIN,
    Attrs,
    Kernel,
    Shapes,
    Variant,
    largest_divisor,
    overlap_distance,
    suffix_minimum,
)
from mcutrain.tvm_ext.ops.rounding import clamped_real, set_mask_bit
from mcutrain.tvm_ext.ops.tir import Index, fma, function, i32, let, local, loop, ring_row, store

FLOAT = 4  # bytes
UNROLLED_COLUMNS = 8  # a wider depthwise window keeps its loop over columns
Spans = list[tuple[int, int, int]]


class _Layer(NamedTuple):
    """The buffers of a kernel and what its blocks must know. groups: input channels of each weight; tables: the same as
    buffers, None of a weight over all channels; mask: None where it is not kept."""

    x: tirx.Buffer
    weights: list[tirx.Buffer]
    bias: tirx.Buffer
    tables: list[tirx.Buffer] | None
    y: tirx.Buffer
    mask: tirx.Buffer | None
    acc: tirx.Buffer
    groups: list[list[int]]
    x_shape: list[int]
    out_w: int
    out_c: int
    attrs: Attrs
    variant: Variant

    @property
    def mask_row(self) -> int:
        """The bytes of a row of the mask."""
        return (self.out_w * self.out_c + 7) // 8

    def window_row(self, oy: tirx.Expr, ky: tirx.Expr, ox: tirx.Expr) -> tirx.Expr:
        """The index in x of row ky of the window of pixel (oy, ox)."""
        (_, _, in_w, in_c), (sy, sx), (top, left, *_) = self.x_shape, self.attrs["stride"], self.attrs["padding"]
        return (ring_row(oy * sy + ky - top, self.variant.ring_in) * in_w + ox * sx - left) * in_c


def fconv2d(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x (1, H, W, I), w[, w_trained] [O, kh, kw, n] (depthwise [C, kh, kw]), bias [O] -> y (1, Ho, Wo, O), and the mask
    of lo < acc < hi. lo or hi may be infinite."""
    (_, in_h, in_w, in_c), out_c = shapes[0], shapes[1][0]
    _, out_h, out_w, _ = window_output_shape(shapes[0], out_c, attrs)
    depthwise, taps = attrs["depthwise"], attrs["kernel"][0] * attrs["kernel"][1]
    groups, spans = [[0]] if depthwise else split_channels(attrs, in_c), _spans(in_w, out_w, attrs)
    with function() as f:
        x = f.buffer("x", in_h * in_w * in_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * taps * len(n), "float32") for i, n in enumerate(groups)]
        bias = f.buffer("bias", out_c, "float32")
        tables = [f.buffer(f"channels{i}", len(n), "int16") for i, n in enumerate(groups)] if len(groups) > 1 else None
        y = f.buffer("y", out_h * out_w * out_c, "float32")
        mask = f.buffer("mask", out_h * ((out_w * out_c + 7) // 8), "uint8") if variant.keeps else None
        y0, y1 = f.rows()
        acc = local("acc", max(p * _filters(p, out_c, depthwise) for _, _, p in spans), "float32")
        layer = _Layer(x, weights, bias, tables, y, mask, acc, groups, shapes[0], out_w, out_c, attrs, variant)
        with loop("oy", y0, y1) as oy:
            if mask is not None:
                with loop("i", 0, layer.mask_row) as i:
                    store(mask, oy * layer.mask_row + i, T.uint8(0))
            rows = _inside(oy, *_vertical(attrs), in_h, out_h)
            for start, count, pixels in spans:
                filters = _filters(pixels, out_c, depthwise)
                with loop("b", 0, count) as b, loop("ob", 0, out_c // filters) as ob:
                    o = [ob * filters + j for j in range(filters)]
                    _block(layer, (oy, start + b * pixels, o), pixels, rows)
    return Kernel(
        f.func,
        channel_tables(groups),
        overlaps=((0, 0, _distance(shapes[0], (out_h, out_w, out_c), attrs, spans)),),
        macs=out_h * out_w * out_c * taps * (1 if depthwise else in_c),
        rows=out_h,
        reads=((0, in_h, attrs["stride"][0], attrs["kernel"][0], attrs["padding"][0]),),
        inputs=len(shapes),
        outputs=2 if variant.keeps else 1,
    )


def _block(layer: _Layer, at: tuple, pixels: int, rows: tuple) -> None:
    """Computes some filters of `pixels` pixels of a row. at: row, first column, filters."""
    (oy, ox, o), acc, attrs, in_w = at, layer.acc, layer.attrs, layer.x_shape[2]
    for p in range(pixels):
        for j, filter_ in enumerate(o):
            store(acc, p * len(o) + j, layer.bias[filter_])
    columns = _inside(ox, *_horizontal(attrs), in_w, layer.out_w) if pixels == 1 else (0, attrs["kernel"][1])
    (_slide if attrs["depthwise"] else _multiply)(layer, at, pixels, rows, columns)
    for p in range(pixels):
        for j, filter_ in enumerate(o):
            v, element = let("v", acc[p * len(o) + j]), (ox + p) * layer.out_c + filter_
            value, passes = clamped_real(v, attrs["lo"], attrs["hi"])
            store(layer.y, ring_row(oy, layer.variant.ring_out) * (layer.out_w * layer.out_c) + element, value)
            if layer.mask is not None:
                set_mask_bit(layer.mask, oy * layer.mask_row, element, passes, 1, 1)


def _vertical(attrs: Attrs) -> tuple[int, int, int]:
    """Taps, stride and padding in front."""
    return attrs["kernel"][0], attrs["stride"][0], attrs["padding"][0]


def _horizontal(attrs: Attrs) -> tuple[int, int, int]:
    return attrs["kernel"][1], attrs["stride"][1], attrs["padding"][1]


def _spans(in_w: int, out_w: int, attrs: Attrs) -> Spans:
    """(first column, blocks, pixels of a block) from left to right: blocks of several pixels where the window is inside
    the row, single ones before and behind."""
    taps, stride, left = _horizontal(attrs)
    begin = min(out_w, -(-left // stride))
    inside = max(0, min(out_w, (in_w + left - taps) // stride + 1) - begin)
    pixels = 4 if inside >= 4 and inside % 4 == 0 else min(2, max(1, inside))
    if pixels == 1:
        return [(0, out_w, 1)]
    behind = begin + inside // pixels * pixels
    return [s for s in ((0, begin, 1), (begin, inside // pixels, pixels), (behind, out_w - behind, 1)) if s[1]]


def _filters(pixels: int, out_channels: int, depthwise: bool) -> int:
    """Filters of a block: more of them where there is a single pixel."""
    return 1 if depthwise else largest_divisor(out_channels, (4, 2, 1) if pixels == 1 else (2, 1))


def _inside(position: Index, taps: int, stride: int, padding: int, extent: int, out_extent: int) -> tuple:
    """[first, end) of the taps that are inside the input where the window stands at `position`."""
    first = T.max(T.int32(0), padding - position * stride) if padding else 0
    hangs_over = (out_extent - 1) * stride - padding + taps > extent
    return first, T.min(T.int32(taps), extent + padding - position * stride) if hangs_over else taps


def _multiply(layer: _Layer, at: tuple, pixels: int, rows: tuple, columns: tuple) -> None:
    """acc[p, j] += window of pixel p . filter j. at: row, first column, filters."""
    (oy, ox, o), (_, _, _, in_c), (kh, kw) = at, layer.x_shape, layer.attrs["kernel"]

    def step(w: tirx.Buffer, w_at: list, x_at: Index) -> None:
        wv, acc = [let("wv", w[index]) for index in w_at], layer.acc
        for p in range(pixels):
            xv = let("xv", layer.x[x_at + p * layer.attrs["stride"][1] * in_c])
            for j, value in enumerate(wv):
                store(acc, p * len(wv) + j, fma(xv, value, acc[p * len(wv) + j]))

    for index, (w, group) in enumerate(zip(layer.weights, layer.groups, strict=True)):
        n = len(group)
        with loop("ky", *rows) as ky:
            x_row = layer.window_row(oy, ky, ox)
            w_rows = [(j * kh + ky) * (kw * n) for j in o]
            if layer.tables is None:  # the columns of a window's row lie in one piece, in x as in w
                (first, end), piece = ((0, 1), kw * n) if columns == (0, kw) else (columns, n)
                unroll = largest_divisor(piece, (4, 3, 2, 1))
                with loop("k", first * (piece // unroll), end * (piece // unroll)) as k:
                    for i in range(unroll):
                        step(w, [row + k * unroll + i for row in w_rows], x_row + k * unroll + i)
            else:
                unroll = largest_divisor(n, (4, 3, 2, 1))
                with loop("kx", *columns) as kx, loop("c", 0, n // unroll) as c:
                    for i in range(unroll):
                        channel = let("channel", i32(layer.tables[index][c * unroll + i]))
                        w_at = [row + kx * n + c * unroll + i for row in w_rows]
                        step(w, w_at, x_row + kx * in_c + channel)


def _slide(layer: _Layer, at: tuple, pixels: int, rows: tuple, columns: tuple) -> None:
    """acc[p] += window of pixel p in one channel . its filter: a value is loaded once for all pixels that meet it."""
    (oy, ox, (c,)), (_, _, _, in_c), (kh, kw) = at, layer.x_shape, layer.attrs["kernel"]
    sx, acc, x = layer.attrs["stride"][1], layer.acc, layer.x
    with loop("ky", *rows) as ky:
        x_row = layer.window_row(oy, ky, ox) + c
        w_row = (c * kh + ky) * kw

        def column(kx: Index, values: dict) -> None:
            wv = let("wv", layer.weights[0][w_row + kx])
            for p in range(pixels):
                place = p * sx + kx
                key = place if isinstance(kx, int) else p
                if key not in values:
                    values[key] = let("xv", x[x_row + place * in_c])
                store(acc, p, fma(values[key], wv, acc[p]))

        if columns == (0, kw) and kw <= UNROLLED_COLUMNS:
            known: dict = {}
            for kx in range(kw):
                column(kx, known)
        else:
            with loop("kx", *columns) as kx:
                column(kx, {})


def _distance(x_shape: list[int], out_shape: tuple[int, int, int], attrs: Attrs, spans: Spans) -> int:
    """The distance of y over x: a block reads its windows whole (depthwise: one channel of each) before it is
    written."""
    _, in_h, in_w, in_c = x_shape
    out_h, out_w, out_c = out_shape
    steps = []  # of a row: first and last pixel, first and end channel of each block
    for start, count, pixels in spans:
        filters = _filters(pixels, out_c, attrs["depthwise"])
        for first in range(start, start + count * pixels, pixels):
            steps += [(first, first + pixels - 1, o, o + filters) for o in range(0, out_c, filters)]
    first, last, channel, end = np.array(steps).T
    (y_first, y_end), (x_first, x_end) = (
        (np.maximum(n * stride - padding, 0), np.minimum(n * stride - padding + taps, extent))
        for n, (taps, stride, padding), extent in (
            (np.arange(out_h)[:, None], _vertical(attrs), in_h),
            (first, _horizontal(attrs), in_w),
        )
    )
    read = (y_first * in_w + x_first) * in_c + (channel if attrs["depthwise"] else 0)
    never = (in_h * in_w + out_h * out_w) * max(in_c, out_c)  # of a window that is all padding
    read = np.where((y_end > y_first) & (x_end > x_first), read, never).ravel()
    written = ((np.arange(out_h)[:, None] * out_w + last) * out_c + end).ravel()
    still_read = suffix_minimum(read)
    still_read[0] = in_h * in_w * in_c  # the first block is read before anything is written
    return overlap_distance(np.append(0, np.maximum.accumulate(written)[:-1]), still_read) * FLOAT
