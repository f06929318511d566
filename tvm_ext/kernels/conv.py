"""Forward convolution, dense over channels: columns of a pixel block are widened once, then met by every filter.

    acc[o] = bias[o] + sum over (tap, c) of (x[tap, c] - z_x) * w[o, tap, c]
    y[o]   = clamp(round_even(float(acc[o]) * scale[o]) + z_y, lo, hi)          (NUMERICS, "Forward")

or, where the attribute `rounding` says so, with an integer multiplier and shift in the place of scale.

Channels that train lie in SRAM and the others in flash: columns are gathered as [taps][frozen] then [taps][trained].
"""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.dialect import window_output_shape
from tvm_ext.kernels.build import (
    Kernel,
    function,
    i32,
    largest_divisor,
    let,
    local,
    loop,
    overlap_distance,
    requantisation_table,
    requantised,
    ring_row,
    set_mask_bit,
    store,
    store_clamped,
    suffix_minimum,
)


def split_channels(attrs: dict, in_channels: int) -> list[list[int]]:
    """Input channels of each weight argument, in its order: [all], or [frozen, trained]."""
    trained = list(attrs["trained_channels"])
    if not trained:
        return [list(range(in_channels))]
    return [sorted(set(range(in_channels)) - set(trained)), trained]


def channel_tables(groups: list[list[int]]) -> tuple[np.ndarray, ...]:
    """The channel lists as constant tables; none for a weight over all channels."""
    return () if len(groups) == 1 else tuple(np.asarray(g, "int16") for g in groups)


def qconv2d(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """shapes: of x (1, H, W, I), then weights, bias, requantisation table."""
    x_shape, out_channels = shapes[0], shapes[1][0]
    _, out_h, out_w, _ = window_output_shape(x_shape, out_channels, attrs)
    _, in_h, in_w, in_c = x_shape
    taps = attrs["kernel"][0] * attrs["kernel"][1]
    groups = split_channels(attrs, in_c)
    widths = [taps * len(g) for g in groups]
    pixels, filters = largest_divisor(out_w, (2, 1)), largest_divisor(out_channels, (2, 1))
    mask_row = (out_w * out_channels + 7) // 8
    with function() as f:
        x = f.buffer("x", int(np.prod(x_shape)), "int8")
        weights = [f.buffer(f"w{i}", out_channels * n, "int8") for i, n in enumerate(widths)]
        bias, table = f.buffer("bias", out_channels, "int32"), requantisation_table(f, out_channels, attrs)
        tables = [f.buffer(f"channels{i}", len(g), "int16") for i, g in enumerate(groups)] if len(groups) > 1 else None
        y = f.buffer("y", out_h * out_w * out_channels, "int8")
        mask = f.buffer("mask", out_h * mask_row, "uint8") if with_mask else None
        columns = f.buffer("columns", pixels * sum(widths), "int16")
        y0, y1 = f.rows()
        accumulators = local("acc", pixels * filters, "int32")
        with loop("oy", y0, y1) as oy:
            y_row = ring_row(oy, attrs.get("ring_out", 0))
            if with_mask:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            with loop("block", 0, out_w // pixels) as block:
                for p in range(pixels):
                    _gather(x, columns, tables, groups, x_shape, attrs, oy, block * pixels + p, p)
                with loop("ob", 0, out_channels // filters) as ob:
                    _dot_products(accumulators, weights, bias, columns, widths, ob, pixels, filters)
                    for p in range(pixels):
                        for j in range(filters):
                            o = ob * filters + j
                            acc = accumulators[p * filters + j]
                            v = let("v", requantised(acc, table, o, attrs))
                            element = (block * pixels + p) * out_channels + o
                            store_clamped(y, y_row * (out_w * out_channels) + element, v, attrs["lo"], attrs["hi"])
                            if with_mask:
                                set_mask_bit(mask, oy * mask_row, element, v, attrs["lo"], attrs["hi"])
    return Kernel(
        f.func,
        channel_tables(groups),
        scratch=2 * pixels * sum(widths),
        overlaps=((0, 0, _distance(x_shape, out_h, out_w, out_channels, attrs, pixels)),),
        macs=out_h * out_w * out_channels * sum(widths),
        rows=out_h,
        reads=((0, in_h, attrs["stride"][0], attrs["kernel"][0], attrs["padding"][0]),),
        inputs=len(shapes),
        outputs=2 if with_mask else 1,
    )


def _gather(x, columns, tables, groups, x_shape, attrs, oy, ox, pixel) -> None:
    """Widen the window of one output pixel into columns[pixel]: x - z_x as int16, 0 where the window is padding."""
    _, in_h, in_w, in_c = x_shape
    (kh, kw), (sy, sx), (top, left, *_), zero = attrs["kernel"], attrs["stride"], attrs["padding"], attrs["in_zero"]
    base = pixel * kh * kw * in_c
    for index, group in enumerate(groups):
        n = len(group)
        with loop("ky", 0, kh) as ky, loop("kx", 0, kw) as kx:
            iy, ix = oy * sy + ky - top, ox * sx + kx - left
            row = ring_row(iy, attrs.get("ring_in", 0))
            source, target = (row * in_w + ix) * in_c, base + (ky * kw + kx) * n
            if not any(attrs["padding"]):
                _copy(x, columns, tables, index, n, source, target, zero)
            else:
                with T.If(T.And(T.And(iy >= 0, iy < in_h), T.And(ix >= 0, ix < in_w))):
                    with T.Then():
                        _copy(x, columns, tables, index, n, source, target, zero)
                    with T.Else(), loop("c", 0, n) as c:
                        store(columns, target + c, T.int16(0))
        base += kh * kw * n


def _copy(x, columns, tables, index, n, source, target, zero) -> None:
    with loop("c", 0, n) as c:
        channel = c if tables is None else i32(tables[index][c])
        store(columns, target + c, T.Cast("int16", i32(x[source + channel]) - T.int32(zero)))


def _dot_products(accumulators, weights, bias, columns, widths, ob, pixels, filters) -> None:
    """acc[p, j] = bias + columns[p] . w[ob * filters + j] for a block of pixels and filters."""
    for p in range(pixels):
        for j in range(filters):
            store(accumulators, p * filters + j, bias[ob * filters + j])
    base = 0
    for w, width in zip(weights, widths, strict=True):
        unroll = largest_divisor(width, (4, 3, 2, 1))
        with loop("k", 0, width // unroll) as k:
            for u in range(unroll):
                step = k * unroll + u
                filter_values = [let("wv", i32(w[(ob * filters + j) * width + step])) for j in range(filters)]
                for p in range(pixels):
                    xv = let("xv", i32(columns[p * sum(widths) + base + step]))
                    for j in range(filters):
                        index = p * filters + j
                        store(accumulators, index, accumulators[index] + filter_values[j] * xv)
        base += width


def _distance(x_shape, out_h, out_w, out_channels, attrs, pixels) -> int:
    """Of y over x: a block's window is read whole before the block is written."""
    _, in_h, in_w, in_c = x_shape
    (sy, sx), (top, left, *_) = attrs["stride"], attrs["padding"]
    oy, ox = np.divmod(np.arange(out_h * out_w), out_w)
    first_read = (np.maximum(oy * sy - top, 0) * in_w + np.maximum(ox * sx - left, 0)) * in_c
    block_read = first_read.reshape(-1, pixels).min(axis=1)
    still_read = suffix_minimum(block_read)
    still_read[0] = in_h * in_w * in_c  # the first block is read before anything is written
    return overlap_distance(np.arange(len(block_read)) * pixels * out_channels, still_read)
