"""Forward convolution, dense over channels: columns of a block of pixels are widened once, then met by every filter.

    acc[o] = bias[o] + sum over (tap, c) of (x[tap, c] - z_x) * w[o, tap, c]
    y[o]   = clamp(round_even(float(acc[o]) * scale[o]) + z_y, lo, hi)          (NUMERICS, "Forward")

or, where the attribute `rounding` says so, with an integer multiplier and shift in the place of scale.

Channels that train lie in SRAM and the others in flash: columns are gathered as [taps][frozen] then [taps][trained].
The loops over rows and blocks stand here; what happens to a block is in runtime_c/kernels/mcu_conv.c.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from tvm_ext.dialect import window_output_shape
from tvm_ext.kernels.build import (
    Kernel,
    at,
    call,
    clear,
    function,
    loop,
    overlap_distance,
    requantisation_table,
    ring_row,
    suffix_minimum,
)

BLOCK = 4  # pixels that meet a filter together
WIDE = "wide"  # attribute `weights`: laid out by wide()


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
    _, in_h, _, in_c = x_shape
    taps = attrs["kernel"][0] * attrs["kernel"][1]
    groups = split_channels(attrs, in_c)
    widths = [taps * len(g) for g in groups]
    is_flat = _is_flat((out_h, out_w), out_channels, attrs, with_mask)
    columns_bytes, window_bytes = _scratch(groups, widths, attrs, BLOCK if is_flat else min(BLOCK, out_w))
    mask_row = (out_w * out_channels + 7) // 8
    with function() as f:
        x = f.buffer("x", int(np.prod(x_shape)), "int8")
        is_wide = attrs.get("weights") == WIDE
        weights = [
            f.buffer(f"w{i}", out_channels * (_padded(n) if is_wide else n), "int16" if is_wide else "int8")
            for i, n in enumerate(widths)
        ]
        bias, table = f.buffer("bias", out_channels, "int32"), requantisation_table(f, out_channels, attrs)
        tables = [f.buffer(f"channels{i}", len(g), "int16") for i, g in enumerate(groups)] if len(groups) > 1 else []
        y = f.buffer("y", out_h * out_w * out_channels, "int8")
        mask = f.buffer("mask", out_h * mask_row, "uint8") if with_mask else None
        columns = f.buffer("columns", (columns_bytes + window_bytes) // 2, "int16")
        y0, y1 = f.rows()
        suffix = f"_{attrs.get('rounding', 'even')}{'_mask' if with_mask else ''}"

        def block(oy: tirx.Expr, ox: object, pixels: int) -> None:
            _widen(x, columns, columns_bytes // 2, tables, widths, x_shape, attrs, (oy, ox), pixels)
            first = (ring_row(oy, attrs.get("ring_out", 0)) * out_w + ox) * out_channels
            pair = [(at(w, 0), n) for w, n in zip(weights, widths, strict=True)]
            pair += [(at(weights[0], 0), 0)] * (2 - len(pair))
            arguments = [at(columns, 0), *pair[0], *pair[1], at(bias, 0), at(table, 0), at(y, first), out_channels]
            arguments += [attrs["out_zero"]]
            bit = ox * out_channels
            if is_wide:
                call("mcu_conv4_wide", at(columns, 0), *pair[0], *arguments[5:])
            elif pixels == BLOCK and _is_full(widths, out_channels, attrs, with_mask):
                masked = [at(mask, oy * mask_row + T.truncdiv(bit, T.int32(8)))] if with_mask else []
                name = f"mcu_conv4_full{'_split' if len(groups) > 1 else ''}{'_mask' if with_mask else ''}"
                call(name, *arguments, *masked)
            else:
                masked = [at(mask, oy * mask_row), bit] if with_mask else []
                call(f"mcu_conv{pixels}{suffix}", *arguments, attrs["lo"], attrs["hi"], *masked)

        if is_flat:
            if with_mask and out_channels % 8:
                clear(mask, y0 * mask_row, (y1 - y0) * mask_row)
            _in_blocks((y1 - y0) * out_w, partial(block, y0))
        else:
            with loop("oy", y0, y1) as oy:
                if with_mask and out_channels % 8:
                    clear(mask, oy * mask_row, mask_row)
                _in_blocks(out_w, partial(block, oy))
    return Kernel(
        f.func,
        channel_tables(groups),
        scratch=columns_bytes + window_bytes,
        overlaps=((0, 0, _distance(x_shape, out_h, out_w, out_channels, attrs, is_flat)),),
        macs=out_h * out_w * out_channels * sum(widths),
        rows=out_h,
        reads=((0, in_h, attrs["stride"][0], attrs["kernel"][0], attrs["padding"][0]),),
        inputs=len(shapes),
        outputs=2 if with_mask else 1,
        wide=(1,) if attrs.get("weights") == WIDE else (),
    )


def _in_blocks(pixels: int | tirx.Expr, block: Callable) -> None:
    """block(first pixel, pixels) of every BLOCK pixels, then of the pixels that are left, one by one."""
    whole = pixels // BLOCK if isinstance(pixels, int) else T.truncdiv(pixels, T.int32(BLOCK))
    if not isinstance(whole, int) or whole:
        with loop("block", 0, whole) as b:
            block(b * BLOCK, BLOCK)
    if not isinstance(pixels, int) or pixels % BLOCK:
        with loop("ox", whole * BLOCK, pixels) as ox:
            block(ox, 1)


def can_be_wide(shapes: list[list[int]], attrs: dict) -> bool:
    """Whether mcu_conv4_wide does all of a layer's pixels. Its weights must be constants that nobody else reads."""
    out_w, widths = window_output_shape(shapes[0], shapes[1][0], attrs)[2], [int(np.prod(shapes[1][1:]))]
    is_whole = not attrs["depthwise"] and not attrs["trained_channels"] and out_w % BLOCK == 0
    return is_whole and _is_full(widths, shapes[1][0], attrs, with_mask=False)


def wide(weights: np.ndarray) -> np.ndarray:
    """int8 [O, ...] as mcu_conv4_wide reads it: int16 [O, n], n filled up to a multiple of 4, every four in the order
    0, 2, 1, 3."""
    rows = weights.reshape(len(weights), -1).astype(np.int16)
    rows = np.pad(rows, ((0, 0), (0, _padded(rows.shape[1]) - rows.shape[1])))
    return rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(rows), -1)


def _is_full(widths: list[int], out_channels: int, attrs: dict, with_mask: bool) -> bool:
    """Whether the faster kernel for the whole range of int8 serves."""
    whole_range = attrs.get("rounding", "even") == "even" and (attrs["lo"], attrs["hi"]) == (-128, 127)
    return whole_range and min(widths) >= 4 and not (with_mask and out_channels % 8)


def _is_pointwise(attrs: dict) -> bool:
    """Whether the inputs of a pixel lie side by side in x: no window is gathered."""
    return attrs["kernel"] == [1, 1] and not any(attrs["padding"]) and not attrs["trained_channels"]


def _is_flat(extents: tuple[int, int], channels: int, attrs: dict, with_mask: bool) -> bool:
    """Whether the pixels of all rows of a call are one run, where a row (H, W) is no whole number of blocks."""
    height, width = extents
    has_rings = attrs.get("ring_in", 0) or attrs.get("ring_out", 0)
    is_run = _is_pointwise(attrs) and attrs["stride"] == [1, 1] and not has_rings
    is_better = width % BLOCK > 0 and height * width >= BLOCK
    return is_run and is_better and not (with_mask and width * channels % 8)


def _scratch(groups: list[list[int]], widths: list[int], attrs: dict, pixels: int) -> tuple[int, int]:
    """Bytes of the int16 columns of a block, and of the gathered windows behind them."""
    columns = 2 * pixels * sum(map(_padded, widths))
    return columns, 0 if _is_pointwise(attrs) else pixels * _padded(max(widths))


def _padded(n: int) -> int:
    return (n + 3) // 4 * 4


def _widen(x, columns, windows: int, tables, widths, x_shape, attrs, position: tuple, pixels: int) -> None:
    """Columns of `pixels` output pixels from `position` (oy, ox) on; windows: where in `columns` these are gathered."""
    _, in_h, in_w, in_c = x_shape
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    (oy, ox), zero, ring, start = position, attrs["in_zero"], attrs.get("ring_in", 0), 0
    if _is_pointwise(attrs):
        source = at(x, (ring_row(oy * sy, ring) * in_w + ox * sx) * in_c)
        call(f"mcu_columns{pixels}", at(columns, 0), source, sx * in_c, in_c, zero)
        return
    geometry = [at(x, 0), in_h, in_w, in_c, ring, kh, kw, oy * sy - top, ox * sx - left, sx, pixels, zero]
    for i, n in enumerate(widths):
        listed = [at(tables[i], 0), n // (kh * kw)] if tables else []
        call("mcu_windows_listed" if tables else "mcu_windows", at(columns, windows), *geometry, *listed)
        filled = _padded(n)
        call(f"mcu_columns{pixels}", at(columns, start), at(columns, windows), filled, filled, zero)
        start += pixels * filled


def _distance(x_shape, out_h, out_w, out_channels, attrs, is_flat: bool) -> int:
    """Of y over x: a block's window is read whole before the block is written."""
    _, in_h, in_w, in_c = x_shape
    (sy, sx), (top, left, *_) = attrs["stride"], attrs["padding"]
    runs, run = (1, out_h * out_w) if is_flat else (out_h, out_w)
    blocks = [*range(0, run // BLOCK * BLOCK, BLOCK), *range(run // BLOCK * BLOCK, run)]
    begins = np.add.outer(np.arange(runs) * run, blocks).ravel()  # first pixel of each block
    oy, ox = np.divmod(begins, out_w)
    still_read = suffix_minimum((np.maximum(oy * sy - top, 0) * in_w + np.maximum(ox * sx - left, 0)) * in_c)
    still_read[0] = in_h * in_w * in_c  # the first block is read before anything is written
    return overlap_distance(begins * out_channels, still_read)
