"""Forward depthwise convolution: for each output row and channel, k input rows are widened into padded scratch rows,
then slid over by the k x k taps, two output pixels at a time. Weights [C, kh, kw]."""

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

UNROLLED_TAPS = 25  # a larger window keeps its loop over rows


def depthwise(shapes: list[list[int]], attrs: dict, with_mask: bool) -> Kernel:
    """shapes: of x (1, H, W, C), w [C, kh, kw], bias, requantisation table."""
    x_shape, channels = shapes[0], shapes[1][0]
    _, in_h, in_w, _ = x_shape
    _, out_h, out_w, _ = window_output_shape(x_shape, channels, attrs)
    (kh, kw), (sy, sx), (top, left, _, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    row_width = in_w + left + right
    pixels = largest_divisor(out_w, (2, 1))
    mask_row = (out_w * channels + 7) // 8
    with function() as f:
        x, w = f.buffer("x", in_h * in_w * channels, "int8"), f.buffer("w", channels * kh * kw, "int8")
        bias, table = f.buffer("bias", channels, "int32"), requantisation_table(f, channels, attrs)
        y = f.buffer("y", out_h * out_w * channels, "int8")
        mask = f.buffer("mask", out_h * mask_row, "uint8") if with_mask else None
        rows = f.buffer("rows", kh * row_width, "int16")
        y0, y1 = f.rows()
        accumulators = local("acc", pixels, "int32")
        with loop("i", 0, kh * row_width) as i:  # the borders stay zero from here on
            store(rows, i, T.int16(0))
        with loop("oy", y0, y1) as oy:
            y_row = ring_row(oy, attrs.get("ring_out", 0))
            if with_mask:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            with loop("c", 0, channels) as c:
                _widen(x, rows, x_shape, attrs, oy, c)
                with loop("block", 0, out_w // pixels) as block:
                    for p in range(pixels):
                        store(accumulators, p, bias[c])
                    _taps(accumulators, rows, w, c, block, (kh, kw), sx, row_width, pixels)
                    for p in range(pixels):
                        v = let("v", requantised(accumulators[p], table, c, attrs))
                        element = (block * pixels + p) * channels + c
                        store_clamped(y, y_row * (out_w * channels) + element, v, attrs["lo"], attrs["hi"])
                        if with_mask:
                            set_mask_bit(mask, oy * mask_row, element, v, attrs["lo"], attrs["hi"])
    return Kernel(
        f.func,
        scratch=2 * kh * row_width,
        overlaps=((0, 0, _distance(x_shape, out_h, out_w, sy, top)),),
        macs=out_h * out_w * channels * kh * kw,
        rows=out_h,
        reads=((0, in_h, sy, kh, top),),
        inputs=len(shapes),
        outputs=2 if with_mask else 1,
    )


def _widen(x, rows, x_shape, attrs, oy, c) -> None:
    """rows[ky] = channel c of the input row under tap row ky, minus the zero point; zeros outside the image."""
    _, in_h, in_w, channels = x_shape
    (kh, _), (sy, _), (top, left, _, right), zero = attrs["kernel"], attrs["stride"], attrs["padding"], attrs["in_zero"]
    row_width = in_w + left + right
    with loop("ky", 0, kh) as ky:
        iy = oy * sy + ky - top
        target = ky * row_width + left
        with T.If(T.And(iy >= 0, iy < in_h)):
            with T.Then(), loop("ix", 0, in_w) as ix:
                value = i32(x[(ring_row(iy, attrs.get("ring_in", 0)) * in_w + ix) * channels + c]) - T.int32(zero)
                store(rows, target + ix, T.Cast("int16", value))
            with T.Else(), loop("ix", 0, in_w) as ix:
                store(rows, target + ix, T.int16(0))


def _taps(accumulators, rows, w, c, block, kernel, stride, row_width, pixels) -> None:
    kh, kw = kernel

    def tap_row(ky: object) -> None:
        for kx in range(kw):
            wv = let("wv", i32(w[c * (kh * kw) + ky * kw + kx]))
            for p in range(pixels):
                position = ky * row_width + (block * pixels + p) * stride + kx
                store(accumulators, p, accumulators[p] + wv * i32(rows[position]))

    if kh * kw <= UNROLLED_TAPS:
        for ky in range(kh):
            tap_row(ky)
    else:
        with loop("ky", 0, kh) as ky:
            tap_row(ky)


def _distance(x_shape, out_h, out_w, stride, padding) -> int:
    """Of y over x: one channel of a row's window is read whole before that channel of the row is written."""
    _, in_h, in_w, channels = x_shape
    oy, c = np.divmod(np.arange(out_h * channels), channels)
    still_read = suffix_minimum(np.maximum(oy * stride - padding, 0) * in_w * channels + c)
    still_read[0] = in_h * in_w * channels  # the first channel is read before anything is written
    written = ((oy + 1) * out_w - 1) * channels + c + 1
    return overlap_distance(np.append(0, written[:-1]), still_read)
