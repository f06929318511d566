"""The window of a pool as it slides: loops over windows and their taps, cut to the image; the windows over a position;
and how near the output may lie to the input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.ops.conv.transposed import window
from mcutrain.tvm_ext.ops.expr import window_output_shape
from mcutrain.tvm_ext.ops.kernel import Attrs, Kernel, largest_divisor, overlap_distance, suffix_minimum
from mcutrain.tvm_ext.ops.tir import Frame, Index, loop, ring_row

Span = tuple[Index, Index]  # [first, last) of rows or columns


@dataclass(frozen=True)
class Axis:
    """One direction. Window o covers the positions o * stride - padding + [0, taps) as far as the image has them."""

    extent: int
    windows: int
    taps: int
    stride: int
    padding: int

    @property
    def starts(self) -> np.ndarray:
        return np.arange(self.windows) * self.stride - self.padding

    @property
    def is_cut(self) -> bool:
        """Whether a window reaches beyond the image."""
        return self.padding > 0 or int(self.starts[-1]) + self.taps > self.extent

    def span(self, o: tirx.Expr) -> Span:
        start = o * self.stride - self.padding
        if not self.is_cut:
            return start, start + self.taps
        return T.max(start, T.int32(0)), T.min(start + self.taps, T.int32(self.extent))

    def covering(self, position: tirx.Expr) -> Span:
        """The windows that cover a position."""
        if (self.taps, self.padding) == (self.stride, 0) and self.windows * self.stride == self.extent:
            only = T.truncdiv(position, T.int32(self.stride))
            return only, only + 1
        return window(position, self.taps, self.stride, self.padding, self.windows)

    def first_covering(self) -> np.ndarray:
        """The first window that covers each position, -1 where none does."""
        position = np.arange(self.extent) + self.padding
        first = np.maximum(0, -((self.taps - 1 - position) // self.stride))
        last = np.minimum(self.windows, position // self.stride + 1)
        return np.where(first < last, first, -1)


class Step(NamedTuple):
    """One block of channels of one position: the row, its place in a row (elements), rows and columns that it meets."""

    y: tirx.Expr
    x: tirx.Expr
    channel: tirx.Expr
    rows: Span
    columns: Span


@dataclass(frozen=True)
class Pool:
    """Windows over an image (1, H, W, C). block: channels that are taken at once, in registers."""

    rows: Axis
    columns: Axis
    channels: int
    block: int

    @property
    def image(self) -> int:
        """Elements of the image."""
        return self.rows.extent * self.columns.extent * self.channels

    @property
    def pooled(self) -> int:
        return self.rows.windows * self.columns.windows * self.channels

    @property
    def taps(self) -> int:
        return self.rows.taps * self.columns.taps

    @property
    def is_cut(self) -> bool:
        return self.rows.is_cut or self.columns.is_cut

    def positions(self, rows: Span, columns: Span) -> Index:
        """How many positions of the image a window has: an int where all have the same."""
        return (rows[1] - rows[0]) * (columns[1] - columns[0]) if self.is_cut else self.taps

    @contextmanager
    def windows(self, y: tirx.Expr) -> Iterator[Step]:
        """The windows of pooled row y."""
        rows = self.rows.span(y)
        with loop("ox", 0, self.columns.windows) as x:
            columns = self.columns.span(x)
            with loop("cb", 0, self.channels // self.block) as cb:
                yield Step(y, x, cb * self.block, rows, columns)

    @contextmanager
    def positions_of_row(self, y: tirx.Expr) -> Iterator[Step]:
        """The positions of image row y, with the windows that cover them."""
        rows = self.rows.covering(y)
        with loop("ix", 0, self.columns.extent) as x:
            columns = self.columns.covering(x)
            with loop("cb", 0, self.channels // self.block) as cb:
                yield Step(y, x, cb * self.block, rows, columns)

    @contextmanager
    def taps_of(self, step: Step, ring: int) -> Iterator[tuple[tirx.Expr, tirx.Expr]]:
        """Each position of a window, row by row: (index of its element, its number in the whole window)."""
        with loop("iy", *step.rows) as iy, loop("ix", *step.columns) as ix:
            yield self._tap(step, iy, ix, ring)

    def first_tap(self, step: Step, ring: int) -> tuple[tirx.Expr, tirx.Expr]:
        return self._tap(step, step.rows[0], step.columns[0], ring)

    def _tap(self, step: Step, iy: tirx.Expr, ix: tirx.Expr, ring: int) -> tuple[tirx.Expr, tirx.Expr]:
        element = (ring_row(iy, ring) * self.columns.extent + ix) * self.channels + step.channel
        ky = iy + self.rows.padding - step.y * self.rows.stride
        kx = ix + self.columns.padding - step.x * self.columns.stride
        return element, ky * self.columns.taps + kx

    @contextmanager
    def windows_over(self, step: Step) -> Iterator[tuple[tirx.Expr, tirx.Expr, tirx.Expr]]:
        """Each window over a position, row by row: (its row, its column, which of its taps the position is)."""
        with loop("oy", *step.rows) as oy, loop("ox", *step.columns) as ox:
            ky = step.y + self.rows.padding - oy * self.rows.stride
            kx = step.x + self.columns.padding - ox * self.columns.stride
            yield oy, ox, ky * self.columns.taps + kx

    def pooled_element(self, oy: tirx.Expr, ox: tirx.Expr, step: Step, ring: int) -> tirx.Expr:
        return (ring_row(oy, ring) * self.columns.windows + ox) * self.channels + step.channel

    def distance(self, read_bytes: int, written_bytes: int) -> int:
        """The distance of what is pooled over the image, for elements of so many bytes. A step reads first."""
        y, x = (np.maximum(axis.starts, 0) for axis in (self.rows, self.columns))
        return self._distance(np.add.outer(y * self.columns.extent, x), self.image, read_bytes, written_bytes)

    def gradient_distance(self, read_bytes: int, written_bytes: int) -> int:
        """The distance of the image's gradient over what each position gathers from the windows."""
        y, x = self.rows.first_covering(), self.columns.first_covering()
        first = np.where(np.logical_and.outer(y >= 0, x >= 0), np.add.outer(y * self.columns.windows, x), -1)
        return self._distance(first, self.pooled, read_bytes, written_bytes)

    def _distance(self, first: np.ndarray, elements: int, read_bytes: int, written_bytes: int) -> int:
        """first: the first position that is read for each one that is written, -1 if none; elements: of what is
        read."""
        channel, nothing = np.arange(0, self.channels, self.block), self.image + self.pooled
        reads = np.where(first.ravel() < 0, nothing, first.ravel() * self.channels)
        still_read = suffix_minimum(np.add.outer(reads, channel).ravel())
        still_read[0] = nothing  # the first step reads before anything is written
        written = np.arange(len(still_read)) * self.block * written_bytes
        is_read = still_read < nothing
        apart = -elements * read_bytes  # the output lies behind all that is read
        return overlap_distance(np.append(apart, written[is_read]), np.append(0, still_read[is_read] * read_bytes))


def pool_of(shape: list[int], attrs: Attrs) -> Pool:
    """shape: of the image. Raises ModelError naming the layer if a window lies in the padding alone."""
    _, height, width, channels = shape
    _, out_h, out_w, _ = window_output_shape(shape, channels, attrs)
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    rows, columns = Axis(height, out_h, kh, sy, top), Axis(width, out_w, kw, sx, left)
    for axis in (rows, columns):
        if np.any(axis.starts + axis.taps <= 0) or np.any(axis.starts >= axis.extent):
            where = f"layer {attrs.get('layer', '?')}"
            raise ModelError(f"{where}: a window {kh} x {kw} of the pool lies in the padding alone; pad by less")
    return Pool(rows, columns, channels, largest_divisor(channels, (4, 2, 1)))


def pooling_kernel(
    f: Frame, pool: Pool, tables: tuple[np.ndarray, ...], distances: tuple[int, ...], outputs: int = 1
) -> Kernel:
    """The kernel of a pool over an image. distances: of each output that may lie over the image."""
    axis = pool.rows
    reads = ((0, axis.extent, axis.stride, axis.taps, axis.padding),)
    overlaps = tuple((0, output, distance) for output, distance in enumerate(distances))
    return Kernel(f.func, tables, overlaps=overlaps, rows=axis.windows, reads=reads, inputs=1, outputs=outputs)
