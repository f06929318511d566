"""Forward convolution, dense over channels: columns of a block of pixels are widened once, then met by every filter.

    acc[o] = bias[o] + sum over (tap, c) of (x[tap, c] - z_x) * w[o, tap, c]
    y[o]   = clamp(round_even(float(acc[o]) * scale[o]) + z_y, lo, hi)          (NUMERICS, "Forward")

or, where the attribute `rounding` says so, with an integer multiplier and shift in the place of scale.

Channels that train lie in SRAM and the others in flash: columns are gathered as [taps][frozen] then [taps][trained].
The loops over rows and blocks stand here; what happens to a block is in runtime_c/kernels/mcu_conv.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.operands import channel_tables, split_channels
from mcutrain.tvm_ext.ops.expr import window_output_shape
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, overlap_distance, suffix_minimum
from mcutrain.tvm_ext.ops.rounding import clear, requantisation_table
from mcutrain.tvm_ext.ops.tir import Frame, Index, at, call_kernel, function, loop, ring_row

BLOCK = 4  # pixels that meet a filter together


@dataclass(frozen=True)
class _Layer:
    """Sizes and attributes of one layer, and how its weights are split: widths[i] inputs of weight argument i."""

    x_shape: list[int]
    out_h: int
    out_w: int
    channels: int
    groups: list[list[int]]
    widths: list[int]
    attrs: Attrs
    variant: Variant

    @property
    def mask_row(self) -> int:
        return (self.out_w * self.channels + 7) // 8

    @property
    def is_wide(self) -> bool:
        return self.variant.wide_weights

    @property
    def is_flat(self) -> bool:
        """Whether the pixels of all rows of a call are one run, where a row is no whole number of blocks."""
        has_rings = self.variant.ring_in or self.variant.ring_out
        is_run = _is_pointwise(self.attrs) and self.attrs["stride"] == [1, 1] and not has_rings
        is_better = self.out_w % BLOCK > 0 and self.out_h * self.out_w >= BLOCK
        return is_run and is_better and not (self.variant.keeps and self.out_w * self.channels % 8)


@dataclass(frozen=True)
class _Buffers:
    x: tirx.Buffer
    weights: list[tirx.Buffer]
    bias: tirx.Buffer
    table: tirx.Buffer
    lists: list[tirx.Buffer]
    y: tirx.Buffer
    mask: tirx.Buffer | None
    columns: tirx.Buffer


def qconv2d(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """shapes: of x (1, H, W, I), then weights, bias, requantisation table."""
    x_shape, out_channels = shapes[0], shapes[1][0]
    _, out_h, out_w, _ = window_output_shape(x_shape, out_channels, attrs)
    taps = attrs["kernel"][0] * attrs["kernel"][1]
    groups = split_channels(attrs, x_shape[3])
    layer = _Layer(x_shape, out_h, out_w, out_channels, groups, [taps * len(g) for g in groups], attrs, variant)
    columns_bytes, window_bytes = _scratch(layer)
    with function() as f:
        buffers = _buffers(f, layer, (columns_bytes + window_bytes) // 2)
        y0, y1 = f.rows()
        if layer.is_flat:
            _clear_mask(layer, buffers, y0, y1 - y0)
            _in_blocks((y1 - y0) * out_w, partial(_block, layer, buffers, y0))
        else:
            with loop("oy", y0, y1) as oy:
                _clear_mask(layer, buffers, oy, 1)
                _in_blocks(out_w, partial(_block, layer, buffers, oy))
    return Kernel(
        f.func,
        channel_tables(groups),
        scratch=columns_bytes + window_bytes,
        overlaps=((0, 0, _distance(layer)),),
        macs=out_h * out_w * out_channels * sum(layer.widths),
        rows=out_h,
        reads=((0, x_shape[1], attrs["stride"][0], attrs["kernel"][0], attrs["padding"][0]),),
        inputs=len(shapes),
        outputs=2 if variant.keeps else 1,
        wide=(1,) if layer.is_wide else (),
    )


def _buffers(f: Frame, layer: _Layer, scratch: int) -> _Buffers:
    x, channels = f.buffer("x", int(np.prod(layer.x_shape)), "int8"), layer.channels
    weights = [
        f.buffer(f"w{i}", channels * (_padded(n) if layer.is_wide else n), "int16" if layer.is_wide else "int8")
        for i, n in enumerate(layer.widths)
    ]
    bias, table = f.buffer("bias", channels, "int32"), requantisation_table(f, channels, layer.attrs)
    split = layer.groups if len(layer.groups) > 1 else []
    lists = [f.buffer(f"channels{i}", len(g), "int16") for i, g in enumerate(split)]
    y = f.buffer("y", layer.out_h * layer.out_w * channels, "int8")
    mask = f.buffer("mask", layer.out_h * layer.mask_row, "uint8") if layer.variant.keeps else None
    return _Buffers(x, weights, bias, table, lists, y, mask, f.buffer("columns", scratch, "int16"))


def _clear_mask(layer: _Layer, b: _Buffers, row: tirx.Expr, rows: tirx.Expr | int) -> None:
    """Clears mask rows where a pixel has no whole bytes, so that bits are added one by one."""
    if layer.variant.keeps and layer.channels % 8:
        clear(b.mask, row * layer.mask_row, rows * layer.mask_row)


def _block(layer: _Layer, b: _Buffers, oy: tirx.Expr, ox: Index, pixels: int) -> None:
    """All filters of `pixels` pixels from (oy, ox) on."""
    attrs, widths, channels = layer.attrs, layer.widths, layer.channels
    _widen(layer, b, (oy, ox), pixels)
    first = (ring_row(oy, layer.variant.ring_out) * layer.out_w + ox) * channels
    pair = [(at(w, 0), n) for w, n in zip(b.weights, widths, strict=True)]
    pair += [(at(b.weights[0], 0), 0)] * (2 - len(pair))
    arguments = [at(b.columns, 0), *pair[0], *pair[1], at(b.bias, 0), at(b.table, 0), at(b.y, first), channels]
    arguments += [attrs["out_zero"]]
    row, bit = oy * layer.mask_row, ox * channels
    if layer.is_wide:
        call_kernel("mcu_conv4_wide", at(b.columns, 0), *pair[0], *arguments[5:])
    elif pixels == BLOCK and _is_saturating(widths, channels, attrs, layer.variant.keeps):
        masked = [at(b.mask, row + T.truncdiv(bit, T.int32(8)))] if layer.variant.keeps else []
        name = f"mcu_conv4_full{'_split' if len(widths) > 1 else ''}{'_mask' if layer.variant.keeps else ''}"
        call_kernel(name, *arguments, *masked)
    else:
        masked = [at(b.mask, row), bit] if layer.variant.keeps else []
        name = f"mcu_conv{pixels}_{attrs.get('rounding', 'even')}{'_mask' if layer.variant.keeps else ''}"
        call_kernel(name, *arguments, attrs["lo"], attrs["hi"], *masked)


def _in_blocks(pixels: int | tirx.Expr, block: Callable) -> None:
    """block(first pixel, pixels) of every BLOCK pixels, then of the pixels that are left, one by one."""
    whole = pixels // BLOCK if isinstance(pixels, int) else T.truncdiv(pixels, T.int32(BLOCK))
    if not isinstance(whole, int) or whole:
        with loop("block", 0, whole) as b:
            block(b * BLOCK, BLOCK)
    if not isinstance(pixels, int) or pixels % BLOCK:
        with loop("ox", whole * BLOCK, pixels) as ox:
            block(ox, 1)


def can_be_wide(shapes: Shapes, attrs: Attrs) -> bool:
    """Whether mcu_conv4_wide does all of a layer's pixels. Its weights must be constants that nobody else reads."""
    out_w, widths = window_output_shape(shapes[0], shapes[1][0], attrs)[2], [int(np.prod(shapes[1][1:]))]
    is_whole = not attrs["depthwise"] and not attrs["trained_channels"] and out_w % BLOCK == 0
    return is_whole and _is_saturating(widths, shapes[1][0], attrs, keeps=False)


def wide(weights: np.ndarray) -> np.ndarray:
    """int8 [O, ...] as mcu_conv4_wide reads it: int16 [O, n], n filled up to a multiple of 4, every four in the order
    0, 2, 1, 3."""
    rows = weights.reshape(len(weights), -1).astype(np.int16)
    rows = np.pad(rows, ((0, 0), (0, _padded(rows.shape[1]) - rows.shape[1])))
    return rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(rows), -1)


def _is_saturating(widths: list[int], out_channels: int, attrs: Attrs, keeps: bool) -> bool:
    """Whether the faster kernel for the whole range of int8 serves."""
    whole_range = attrs.get("rounding", "even") == "even" and (attrs["lo"], attrs["hi"]) == (-128, 127)
    return whole_range and min(widths) >= 4 and not (keeps and out_channels % 8)


def _is_pointwise(attrs: Attrs) -> bool:
    """Whether the inputs of a pixel lie side by side in x: no window is gathered."""
    return attrs["kernel"] == [1, 1] and not any(attrs["padding"]) and not attrs["trained_channels"]


def _scratch(layer: _Layer) -> tuple[int, int]:
    """Bytes of the int16 columns of a block, and of the gathered windows behind them."""
    pixels = BLOCK if layer.is_flat else min(BLOCK, layer.out_w)
    columns = 2 * pixels * sum(map(_padded, layer.widths))
    return columns, 0 if _is_pointwise(layer.attrs) else pixels * _padded(max(layer.widths))


def _padded(n: int) -> int:
    return (n + 3) // 4 * 4


def _widen(layer: _Layer, b: _Buffers, position: tuple, pixels: int) -> None:
    """Columns of `pixels` output pixels from `position` (oy, ox) on; windows are gathered behind them."""
    attrs, (_, in_h, in_w, in_c) = layer.attrs, layer.x_shape
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    (oy, ox), zero, ring, start = position, attrs["in_zero"], layer.variant.ring_in, 0
    if _is_pointwise(attrs):
        source = at(b.x, (ring_row(oy * sy, ring) * in_w + ox * sx) * in_c)
        call_kernel(f"mcu_columns{pixels}", at(b.columns, 0), source, sx * in_c, in_c, zero)
        return
    geometry = [at(b.x, 0), in_h, in_w, in_c, ring, kh, kw, oy * sy - top, ox * sx - left, sx, pixels, zero]
    windows = _scratch(layer)[0] // 2
    for i, n in enumerate(layer.widths):
        listed = [at(b.lists[i], 0), n // (kh * kw)] if b.lists else []
        call_kernel("mcu_windows_listed" if b.lists else "mcu_windows", at(b.columns, windows), *geometry, *listed)
        filled = _padded(n)
        call_kernel(f"mcu_columns{pixels}", at(b.columns, start), at(b.columns, windows), filled, filled, zero)
        start += pixels * filled


def _distance(layer: _Layer) -> int:
    """The distance of y over x: a block's window is read whole before the block is written."""
    _, in_h, in_w, in_c = layer.x_shape
    (sy, sx), (top, left, *_) = layer.attrs["stride"], layer.attrs["padding"]
    out_h, out_w = layer.out_h, layer.out_w
    runs, run = (1, out_h * out_w) if layer.is_flat else (out_h, out_w)
    blocks = [*range(0, run // BLOCK * BLOCK, BLOCK), *range(run // BLOCK * BLOCK, run)]
    begins = np.add.outer(np.arange(runs) * run, blocks).ravel()  # first pixel of each block
    oy, ox = np.divmod(begins, out_w)
    still_read = suffix_minimum((np.maximum(oy * sy - top, 0) * in_w + np.maximum(ox * sx - left, 0)) * in_c)
    still_read[0] = in_h * in_w * in_c  # the first block is read before anything is written
    return overlap_distance(begins * layer.channels, still_read)
