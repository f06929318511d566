"""Kernels that take a tensor element by element, row by row: the function itself and the product with its slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.kernel import Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.rounding import set_mask_bit
from mcutrain.tvm_ext.ops.tir import Frame, Index, function, loop, pixel_index, ring_row, store


@dataclass(frozen=True)
class Operand:
    """One more array that a function reads, whole: a table, or a value a channel. Its length is that of the argument
    behind x."""

    name: str
    dtype: str


@dataclass(frozen=True)
class Element:
    """One element as a function sees it. channel: its index, None where none was asked for. operands: the arrays behind
    x."""

    x: tirx.Expr
    channel: Any
    operands: tuple[tirx.Buffer, ...]


# (what is stored, an integer that lies inside the bounds where a gradient passes)
Value = Callable[[Element], tuple[tirx.Expr, tirx.Expr]]


def by_element(
    shapes: Shapes,
    dtype: str,
    variant: Variant,
    value: Value,
    passing: tuple[int, int] = (1, 1),
    operands: Sequence[Operand] = (),
    by_channel: bool = False,
) -> Kernel:
    """y = value(x) over (1, H, W, C), in place or apart. passing: the bounds of the companion mask. by_channel: whether
    value wants to know the channel."""
    _, height, width, channels = shapes[0]
    row, mask_row = width * channels, (width * channels + 7) // 8
    with function() as f:
        x = f.buffer("x", height * row, dtype)
        arrays = _arrays(f, operands, shapes[1:])
        y = f.buffer("y", height * row, dtype)
        mask = f.buffer("mask", height * mask_row, "uint8") if variant.keeps else None
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            source, target = (ring_row(oy, n) * row for n in (variant.ring_in, variant.ring_out))
            if mask is not None:
                with loop("i", 0, mask_row) as i:
                    store(mask, oy * mask_row + i, T.uint8(0))
            with _elements(width, channels, by_channel) as (i, channel):
                stored, tested = value(Element(x[source + i], channel, arrays))
                store(y, target + i, stored)
                if mask is not None:
                    set_mask_bit(mask, oy * mask_row, i, tested, *passing)
    return Kernel(
        f.func,
        overlaps=((0, 0, 0),),
        rows=height,
        reads=((0, height, 1, 1, 0),),
        inputs=1 + len(arrays),
        outputs=1 if mask is None else 2,
    )


def adjoint_by_element(
    shapes: Shapes,
    dtype: str,
    variant: Variant,
    slope: Callable[[Element], tirx.Expr],
    operands: Sequence[Operand] = (),
) -> Kernel:
    """g, x -> g * slope(x), float32, over rows or over blocks of channels; x, of `dtype`, is whole."""
    _, height, width, channels = shapes[0]
    row, block = width * channels, channel_block(channels)
    rings = (variant.ring_in, variant.ring_out)
    with function() as f:
        g, x = f.buffer("g", height * row, "float32"), f.buffer("x", height * row, dtype)
        arrays = _arrays(f, operands, shapes[2:])
        out = f.buffer("g_x", height * row, "float32")
        y0, y1 = f.rows()
        if variant.over_channels:
            with loop("s", y0, y1) as s, loop("p", 0, height * width) as p, loop("c", 0, block) as c:
                source, target = (pixel_index(p, s, c, shapes[0], ring) for ring in rings)
                channel = s * block + c
                store(out, target, g[source] * slope(Element(x[p * channels + channel], channel, arrays)))
        else:
            with loop("y", y0, y1) as y:
                source, target = (ring_row(y, ring) * row for ring in rings)
                with _elements(width, channels, True) as (i, channel):
                    store(out, target + i, g[source + i] * slope(Element(x[y * row + i], channel, arrays)))
    return Kernel(
        f.func,
        overlaps=() if variant.over_channels else ((0, 0, 0),),
        rows=channels // block if variant.over_channels else height,
        reads=((0, height, 1, 1, 0),),
        by_channel=((channels // block, (0,), False),),
        inputs=2 + len(arrays),
    )


def _arrays(f: Frame, operands: Sequence[Operand], shapes: Shapes) -> tuple[tirx.Buffer, ...]:
    return tuple(f.buffer(o.name, math.prod(shape), o.dtype) for o, shape in zip(operands, shapes, strict=True))


@contextmanager
def _elements(width: int, channels: int, by_channel: bool) -> Iterator[tuple[Index, Index | None]]:
    """Each element of a row, and its channel if asked for."""
    if not by_channel:
        with loop("i", 0, width * channels) as i:
            yield i, None
        return
    with loop("x", 0, width) as x, loop("c", 0, channels) as c:
        yield x * channels + c, c
