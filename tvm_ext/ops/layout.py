"""Kernels that only move values: channels joined and taken apart, borders added and taken off. Each output element is
written once, in memory order; each input element is read at most once, in memory order, just before it is written."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from tvm import relax, tirx
from tvm.relax import TensorType
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import adjoint_type, attrs_of, call, dtype_of, shape_of
from mcutrain.tvm_ext.ops.kernel import ITEM_BYTES, PLAIN, Attrs, Kernel, Shapes, Variant, overlap_distance
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import f32, function, loop, ring_row, store


def concat(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Any number of (1, H, W, C) -> (1, H, W, sum of C)."""
    _, height, width, _ = shapes[0]
    counts, dtype = [s[3] for s in shapes], attrs["dtype"]
    begins, total = list(accumulate(counts, initial=0)), sum(counts)
    with function() as f:
        inputs = [f.buffer(f"x{i}", height * width * n, dtype) for i, n in enumerate(counts)]
        y = f.buffer("y", height * width * total, dtype)
        y0, y1 = f.rows()
        with loop("y", y0, y1) as row, loop("x", 0, width) as x:
            target = (ring_row(row, variant.ring_out) * width + x) * total
            for i, n in enumerate(counts):
                source = (ring_row(row, variant.ring_of(i)) * width + x) * n
                with loop("c", 0, n) as c:
                    store(y, target + begins[i] + c, inputs[i][source + c])
    position = np.arange(height * width)[:, None]
    overlaps = tuple(
        (i, 0, _distance(shapes[i], position * n + np.arange(n), position * total + begins[i] + np.arange(n), dtype))
        for i, n in enumerate(counts)
    )
    reads = tuple((i, height, 1, 1, 0) for i in range(len(counts)))
    return Kernel(f.func, overlaps=overlaps, rows=height, reads=reads, inputs=len(counts))


def pad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """(1, H, W, C) with borders [top, left, bottom, right] of `value`."""
    _, height, width, channels = shapes[0]
    (top, left, bottom, right), dtype = attrs["padding"], attrs["dtype"]
    taken, before, behind = (n * channels for n in (width, left, right))
    value = f32(attrs["value"]) if dtype == "float32" else T.int8(int(attrs["value"]))
    row = before + taken + behind
    with function() as f:
        x = f.buffer("x", height * taken, dtype)
        y = f.buffer("y", (top + height + bottom) * row, dtype)
        y0, y1 = f.rows()

        def fill(start: tirx.Expr, length: int) -> None:
            if length:
                with loop("i", 0, length) as i:
                    store(y, start + i, value)

        with loop("oy", y0, y1) as oy:
            target = ring_row(oy, variant.ring_out) * row
            iy = oy - top
            with T.If(T.And(iy >= 0, iy < height)):
                with T.Then():
                    fill(target, before)
                    with loop("i", 0, taken) as i:
                        store(y, target + before + i, x[ring_row(iy, variant.ring_in) * taken + i])
                    fill(target + before + taken, behind)
                with T.Else():
                    fill(target, row)
    rows, i = np.arange(height)[:, None], np.arange(taken)
    distance = _distance(shapes[0], rows * taken + i, (rows + top) * row + before + i, dtype)
    reads = ((0, height, 1, 1, top),)
    return Kernel(f.func, overlaps=((0, 0, distance),), rows=top + height + bottom, reads=reads, inputs=1)


def slice_channels(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g float32 (1, H, W, C) -> its channels from `begin` on, as many as `shape` says."""
    _, _, _, channels = shapes[0]
    _, height, width, n = attrs["shape"]
    source = np.arange(height * width)[:, None] * channels + attrs["begin"] + np.arange(n)
    return _cut(shapes[0], attrs, variant, (n, channels), attrs["begin"], source, 0)


def crop(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g float32 (1, H, W, C) -> `shape`, without borders [top, left, bottom, right] (attr padding)."""
    _, _, whole, channels = shapes[0]
    _, height, width, _ = attrs["shape"]
    top, left, *_ = attrs["padding"]
    taken = width * channels
    source = (np.arange(height)[:, None] + top) * whole * channels + left * channels + np.arange(taken)
    return _cut(shapes[0], attrs, variant, (taken, whole * channels), left * channels, source, top)


def _cut(
    shape: list[int], attrs: Attrs, variant: Variant, run: tuple[int, int], begin: int, source: np.ndarray, top: int
) -> Kernel:
    """Takes of every run[1] elements the run[0] from `begin` on. source: where each is read; top: rows left out."""
    _, rows, _, _ = shape
    _, height, width, channels = attrs["shape"]
    (taken, period), row = run, width * channels
    of_row = int(np.prod(shape)) // rows
    with function() as f:
        g, out = f.buffer("g", rows * of_row, "float32"), f.buffer("g_x", height * row, "float32")
        y0, y1 = f.rows()
        with loop("y", y0, y1) as y, loop("p", 0, row // taken) as p, loop("i", 0, taken) as i:
            first = ring_row(y + top, variant.ring_in) * of_row + p * period + begin
            store(out, ring_row(y, variant.ring_out) * row + p * taken + i, g[first + i])
    distance = _distance(shape, source, np.arange(source.size), "float32")
    reads = ((0, rows, 1, 1, -top),)
    return Kernel(f.func, overlaps=((0, 0, distance),), rows=height, reads=reads, inputs=1)


def _distance(shape: list[int], read: np.ndarray, written: np.ndarray, dtype: str) -> int:
    """The distance of the output over an input of `shape`, whose element read[i] goes to written[i]; both ascend."""
    still_read, before = read.ravel().copy(), written.ravel()
    if before[0] == 0:
        still_read[0] = np.prod(shape)  # it is read before anything is written
    return overlap_distance(before, still_read) * ITEM_BYTES[dtype]


def _concat_type(c: relax.Call) -> relax.Type:
    _, height, width, _ = shape_of(c.args[0])
    return TensorType([1, height, width, sum(shape_of(a)[3] for a in c.args)], dtype_of(c.args[0]))


def _pad_type(c: relax.Call) -> relax.Type:
    (_, height, width, channels), (top, left, bottom, right) = shape_of(c.args[0]), attrs_of(c)["padding"]
    return TensorType([1, height + top + bottom, width + left + right, channels], dtype_of(c.args[0]))


def _concat_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    """Each input's channels of g_y."""
    begins = accumulate((shape_of(a)[3] for a in op.args), initial=0)
    layer = attrs_of(op)["layer"]
    return [
        call("slice_channels", [g_y], shape=shape_of(a), begin=begin, layer=layer)
        for a, begin in zip(op.args, begins, strict=False)
    ]


def _pad_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attrs_of(op)
    return [call("crop", [g_y], shape=shape_of(op.args[0]), padding=attrs["padding"], layer=attrs["layer"])]


OPS = (
    OpRecord("concat", _concat_type, concat, gradient=_concat_gradient),  # inputs of one quantisation
    OpRecord("pad", _pad_type, pad, gradient=_pad_gradient),  # x; attrs padding, value
    OpRecord("slice_channels", adjoint_type, slice_channels, "backward", result=":g_x"),  # g; attr begin
    OpRecord("crop", adjoint_type, crop, "backward", result=":g_x"),  # g; attr padding
)
