"""The pointwise input gradient over blocks of channels, float32: two kernels that stand on either side of a depthwise
convolution, so that the hidden tensors of an inverted bottleneck lie in memory a block of channels at a time.

    g_x[p, c] = sum over o of g[p, o] * w[o, c], o ascending, as the whole kernel sums it.

Weights are of the attribute `dtype`, "int8" where it is missing. The sums are in runtime_c/kernels/mcu_backward.c."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.operands import split_channels
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.tir import Frame, Index, at, call_kernel, function, loop, pixel_index, ring_row, store, when

TILE = 4  # channels, and filters


@dataclass(frozen=True)
class Weights:
    """The weight arguments of one kernel. places: of each channel its column, -1 - column in the second argument;
    None where there is one argument."""

    arguments: list[tirx.Buffer]
    widths: list[int]
    places: tirx.Buffer | None
    dtype: str


def weight_places(shapes: Shapes, attrs: Attrs) -> tuple[np.ndarray, ...]:
    """Kernel.tables of a kernel with `weight_arguments`."""
    groups = split_channels(attrs, attrs["shape"][3])
    if len(groups) == 1:
        return ()
    places = np.empty(attrs["shape"][3], "int16")
    places[groups[0]] = np.arange(len(groups[0]))
    places[groups[1]] = -1 - np.arange(len(groups[1]))
    return (places,)


def weight_arguments(f: Frame, shapes: Shapes, attrs: Attrs) -> Weights:
    """Parameters w0[, w1, places]."""
    in_c, dtype = attrs["shape"][3], attrs.get("dtype", "int8")
    widths = [len(group) for group in split_channels(attrs, in_c)]
    arguments = [f.buffer(f"w{i}", shapes[0][3] * n, dtype) for i, n in enumerate(widths)]
    return Weights(arguments, widths, f.buffer("places", in_c, "int16") if len(widths) > 1 else None, dtype)


def add_gradient(out: tuple, g: tuple, weights: Weights, filters: tuple, channels: tuple, pixels: Index) -> None:
    """Adds the gradient of so many pixels. out and g: buffer, index, step from pixel to pixel; filters and channels:
    first and count. Whole tiles first, then the other filters and the other channels."""
    (o, filter_count), (c, channel_count) = filters, channels
    across, down = channel_count // TILE * TILE, filter_count // TILE * TILE
    across = across if down else 0
    parts = [(TILE, 0, across, 0, down), (1, 0, across, down, filter_count - down)]
    for number, at_c, width, at_o, height in (*parts, (1, across, channel_count - across, 0, filter_count)):
        if width and height:
            places = [at(out[0], out[1] + at_c), out[2], width, at(g[0], g[1] + at_o), g[2], height, pixels]
            _call(number, places, weights, o + at_o, c + at_c)


def _call(number: int, places: list, weights: Weights, o: Index, c: Index) -> None:
    suffix = "_float" if weights.dtype == "float32" else ""
    name = f"mcu_pointwise_grad{number}{'' if weights.places is None else '_split'}{suffix}"
    if weights.places is None:
        width = weights.widths[0]
        call_kernel(name, *places, at(weights.arguments[0], o * width + c), width)
        return
    pairs = [(at(w, o * width), width) for w, width in zip(weights.arguments, weights.widths, strict=True)]
    call_kernel(name, *places, *pairs[0], *pairs[1], at(weights.places, c))


def zero(out: tirx.Buffer, first: Index, count: Index) -> None:
    with loop("i", 0, count) as i:
        store(out, first + i, T.float32(0))


def channel_forms(shapes: Shapes, attrs: Attrs) -> tuple:
    """Kernel.by_channel of a pointwise input gradient: blocks of its output from all of g (where no channel table lies
    between), or all of its output as a sum over blocks of g, each with its own filters."""
    out_c, in_c = shapes[0][3], attrs["shape"][3]
    takes = (out_c // channel_block(out_c), tuple(range(len(shapes))), True)
    if len(shapes) > 2:
        return (takes,)
    return ((in_c // channel_block(in_c), (), False), takes)


def pointwise_blocks(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, H, W, O), w[, w_trained] -> (1, H, W, I): the output in a ring of blocks, or a sum over blocks of g."""
    return (_made if variant.ring_out else _taken)(shapes, attrs, variant)


def _made(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Blocks [y0, y1) of the output's channels, each from all of g."""
    _, height, width, out_c = shapes[0]
    in_c, positions = attrs["shape"][3], height * width
    block = channel_block(in_c)
    with function() as f:
        g, weights = f.buffer("g", positions * out_c, "float32"), weight_arguments(f, shapes, attrs)
        out = f.buffer("g_x", positions * in_c, "float32")
        y0, y1 = f.rows()
        with loop("s", y0, y1) as s:
            first = ring_row(s, variant.ring_out) * (positions * block)
            zero(out, first, positions * block)
            source = (g, 0, out_c)
            add_gradient((out, first, block), source, weights, (0, out_c), (s * block, block), positions)
    macs = positions * out_c * in_c
    return Kernel(f.func, macs=macs, rows=in_c // block, by_channel=channel_forms(shapes, attrs), inputs=len(shapes))


def _taken(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """The sum goes on with blocks [y0, y1) of g's channels; it begins where y0 == 0."""
    _, height, width, out_c = shapes[0]
    in_c, positions, ring = attrs["shape"][3], height * width, variant.ring_in
    block = channel_block(out_c)
    with function() as f:
        g, weights = f.buffer("g", positions * out_c, "float32"), weight_arguments(f, shapes, attrs)
        out = f.buffer("g_x", positions * in_c, "float32")
        y0, y1 = f.rows()
        with when(y0 == 0):
            zero(out, 0, positions * in_c)
        with loop("s", y0, y1) as s:
            source = (g, pixel_index(0, s, 0, shapes[0], ring), block if ring else out_c)
            add_gradient((out, 0, in_c), source, weights, (s * block, block), (0, in_c), positions)
    return Kernel(
        f.func,
        weight_places(shapes, attrs),
        macs=positions * out_c * in_c,
        rows=out_c // block,
        accumulates=True,
        by_channel=channel_forms(shapes, attrs),
        inputs=len(shapes),
    )
