"""Forward depthwise convolution, row by row: for each channel, a row's window is read, then slid over by the taps.

    acc[c] = bias[c] + sum over taps of (x[tap, c] - z_x) * w[c, tap]                    weights [C, kh, kw]
    y[c]   = clamp(round_even(float(acc[c]) * scale[c]) + z_y, lo, hi)          (NUMERICS, "Forward")

or, where the attribute `rounding` says so, with an integer multiplier and shift in the place of scale.

The loop over rows stands here; what happens to a row is in runtime_c/kernels/mcu_depthwise.c.
"""

from __future__ import annotations

import numpy as np

from mcutrain.tvm_ext.ops.expr import window_output_shape
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, overlap_distance, suffix_minimum
from mcutrain.tvm_ext.ops.rounding import requantisation_table
from mcutrain.tvm_ext.ops.tir import at, call_kernel, function, loop, ring_row


def depthwise(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """shapes: of x (1, H, W, C), w [C, kh, kw], bias, requantisation table."""
    x_shape, channels = shapes[0], shapes[1][0]
    _, in_h, in_w, _ = x_shape
    _, out_h, out_w, _ = window_output_shape(x_shape, channels, attrs)
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    mask_row, row = (out_w * channels + 7) // 8, out_w * channels
    size = _specialised(attrs, channels, variant.keeps)
    rounding = "full" if _is_saturating(size, attrs, x_shape, out_w) else attrs.get("rounding", "even")
    scratch = 2 * _scratch_elements(size, attrs, out_w)
    window_name = f"{size}_s{sx}" if size else ""
    with function() as f:
        x, w = f.buffer("x", in_h * in_w * channels, "int8"), f.buffer("w", channels * kh * kw, "int8")
        bias, table = f.buffer("bias", channels, "int32"), requantisation_table(f, channels, attrs)
        y = f.buffer("y", out_h * row, "int8")
        mask = f.buffer("mask", out_h * mask_row, "uint8") if variant.keeps else None
        rows = f.buffer("rows", scratch // 2, "int16")
        y0, y1 = f.rows()
        name = f"mcu_depthwise{window_name}_{rounding}{'_mask' if variant.keeps else ''}"
        with loop("oy", y0, y1) as oy:
            target = at(y, ring_row(oy, variant.ring_out) * row)
            arrays = [at(x, 0), at(w, 0), at(bias, 0), at(table, 0), target, at(rows, 0)]
            window = [in_h, in_w, channels, variant.ring_in, oy * sy - top, out_w]
            numbers = [attrs["in_zero"], attrs["out_zero"]]
            numbers += [] if rounding == "full" else [left, attrs["lo"], attrs["hi"]]
            numbers += [] if size else [kh, kw, sx]
            call_kernel(name, *arrays, *window, *numbers, *([at(mask, oy * mask_row)] if variant.keeps else []))
    return Kernel(
        f.func,
        scratch=scratch,
        overlaps=((0, 0, _distance(x_shape, out_h, out_w, sy, top)),),
        macs=out_h * out_w * channels * kh * kw,
        rows=out_h,
        reads=((0, in_h, sy, kh, top),),
        inputs=len(shapes),
        outputs=2 if variant.keeps else 1,
    )


def _specialised(attrs: Attrs, channels: int, keeps: bool) -> int:
    """The size of the window that a micro-kernel is made for, 0 where the one that serves all does."""
    (kh, kw), (_, sx), left = attrs["kernel"], attrs["stride"], attrs["padding"][1]
    has_one = kh == kw and kh in (3, 5, 7) and sx in (1, 2)
    if not has_one or (keeps and channels % 8) or (kh == 3 and (channels == 1 or left > 2)):
        return 0
    return int(kh)


def _is_saturating(size: int, attrs: Attrs, x_shape: list[int], out_w: int) -> bool:
    """Whether the faster kernel for the whole range of int8 serves (mcu_kernels.h)."""
    _, _, in_w, channels = x_shape
    left, whole_range = attrs["padding"][1], (attrs["lo"], attrs["hi"]) == (-128, 127)
    if not size or not whole_range or attrs.get("rounding", "even") != "even" or left != attrs["kernel"][1] // 2:
        return False
    if size == 3:
        return out_w % 2 == 0 and in_w == out_w * attrs["stride"][1]
    return out_w % 4 == 0 and in_w % 4 == 0 and channels % 4 == 0


def _scratch_elements(size: int, attrs: Attrs, out_w: int) -> int:
    """int16 elements that a row's call needs (mcu_kernels.h)."""
    (kh, kw), sx = attrs["kernel"], attrs["stride"][1]
    if size not in (5, 7):
        return kh * ((out_w - 1) * sx + kw)
    blocks = -(-out_w // 4) * 4
    return 4 * kh * (-(-((9 - kw) // 2 + (blocks - 1) * sx + kw) // 4) * 4)


def _distance(x_shape: list[int], out_h: int, out_w: int, stride: int, padding: int) -> int:
    """The distance of y over x: one channel of a row's window is read whole before that channel of the row is written.
    Kernels that read more channels first, or write while they move to the right, ask for no more: the next channel
    begins at the left again."""
    _, in_h, in_w, channels = x_shape
    oy, c = np.divmod(np.arange(out_h * channels), channels)
    still_read = suffix_minimum(np.maximum(oy * stride - padding, 0) * in_w * channels + c)
    still_read[0] = in_h * in_w * channels  # the first channel is read before anything is written
    written = ((oy + 1) * out_w - 1) * channels + c + 1
    return overlap_distance(np.append(0, written[:-1]), still_read)
