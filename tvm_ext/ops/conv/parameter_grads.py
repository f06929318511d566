"""Gradients of the convolutions with respect to weight (correlation) and bias, float32.

Both are sums over the positions of the output's gradient g, which may come row by row, or by blocks of channels. Over
channels the weight gradient of a block of filters is complete at once, so that an update can take it before the next
one is made, and the whole of it never lies in memory. However g comes, each element is summed in the same order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tvm import relax, tirx
from tvm.relax import TensorType
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.pointwise_blocks import zero
from mcutrain.tvm_ext.ops.expr import adjoint_type, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import Index, at, call_kernel, floor_div, function, i32, loop, pixel_index, ring_row, when


def conv2d_bias_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, H, W, C) -> its sum over positions [C]; rows may come in several calls, the first with y0 == 0."""
    _, height, width, channels = shapes[0]
    ring, block, blocked = variant.ring_in, channel_block(channels), variant.over_channels
    with function() as f:
        g, out = f.buffer("g", height * width * channels, "float32"), f.buffer("g_bias", channels, "float32")
        y0, y1 = f.rows()
        if blocked:
            with loop("s", y0, y1) as s:
                zero(out, s * block, block)
                source = (at(g, pixel_index(0, s, 0, shapes[0], ring)), block if ring else channels)
                call_kernel(f"mcu_bias_grad{lanes(block)}", at(out, s * block), block, *source, height * width)
        else:
            with when(y0 == 0):
                zero(out, 0, channels)
            with loop("y", y0, y1) as y:
                row = ring_row(y, ring) * (width * channels)
                for c, count in lane_groups(channels):
                    call_kernel(f"mcu_bias_grad{lanes(count)}", at(out, c), count, at(g, row + c), channels, width)
    blocks = channels // block
    return Kernel(
        f.func,
        rows=blocks if blocked else height,
        reads=((0, height, 1, 1, 0),),
        accumulates=True,
        by_channel=((blocks, (0,), True),),
        inputs=1,
    )


def conv2d_weight_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x (1, H, W, n) (the trained channels alone) int8, or float32 as attrs dtype says, g (1, Ho, Wo, O) ->
    [O, kh, kw, n]; depthwise [n, kh, kw]. Rows of g, or blocks of its channels, may come in several calls, the first
    with y0 == 0."""
    (_, in_h, in_w, in_c), (_, out_h, out_w, out_c) = shapes
    depthwise, blocked = attrs["depthwise"], variant.over_channels
    trained, filters = attrs["trained_channels"] if depthwise else [], in_c if depthwise else out_c
    block, size = channel_block(filters), int(np.prod(attrs["shape"]))
    with function() as f:
        x = f.buffer("x", in_h * in_w * in_c, attrs.get("dtype", "int8"))
        g = f.buffer("g", out_h * out_w * out_c, "float32")
        which = f.buffer("channels", len(trained), "int16") if trained else None
        out = f.buffer("g_w", size, "float32")
        y0, y1 = f.rows()
        ring_in, ring_out = variant.ring_in, variant.ring_out
        if blocked:
            step = block if ring_in else out_c
            with loop("s", y0, y1) as s:
                first = ring_row(s, ring_out) * (size // filters * block)
                zero(out, first, size // filters * block)
                source = _Source(g, pixel_index(0, s, 0, shapes[1], ring_in), step)
                _add_rows(x, source, (out, first), (s * block, block), None, shapes, attrs, ring_in)
        else:
            with when(y0 == 0):
                zero(out, 0, size)
            for o, count in lane_groups(filters) if which is None else ():
                _add_rows(
                    x, _Source(g, o, out_c), (out, o * (size // filters)), (o, count), (y0, y1), shapes, attrs, ring_in
                )
            if which is not None:
                with loop("c", 0, filters) as c:
                    _add_rows(
                        x,
                        _Source(g, i32(which[c]), out_c),
                        (out, c * (size // filters)),
                        (c, 1),
                        (y0, y1),
                        shapes,
                        attrs,
                        ring_in,
                    )
    forms = ((filters // block, (1,), False), (filters // block, (1,), True))
    return Kernel(
        f.func,
        (np.asarray(trained, "int16"),) if trained else (),
        macs=out_h * out_w * size,
        rows=filters // block if blocked else out_h,
        reads=((1, out_h, 1, 1, 0),),
        accumulates=True,
        by_channel=() if trained else forms,
        inputs=2,
    )


class _Source(NamedTuple):
    """The place of some filters' gradients: g, the index of the first filter at pixel 0, and g's step from pixel to
    pixel."""

    g: tirx.Buffer
    first: Index
    step: int


def _add_rows(
    x: tirx.Buffer,
    source: _Source,
    target: tuple[tirx.Buffer, Index],
    filters: tuple[Index, int],
    rows: tuple[Index, Index] | None,
    shapes: Shapes,
    attrs: Attrs,
    ring: int,
) -> None:
    """Adds the gradient of filters (first, count), all taps, over `rows` (None: all), where a tap is inside the image.
    target: a buffer and where these filters begin. ring: of the rows of g."""
    (_, in_h, in_w, in_c), (_, out_h, out_w, _) = shapes
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    depthwise, ring = attrs["depthwise"], ring if rows else 0
    (out, start), (o, count) = target, filters

    def add(tap: Index, pixel: Index, of_g: Index, n: Index) -> None:
        to, from_x = at(out, start + tap * (1 if depthwise else in_c)), at(x, pixel * in_c + (o if depthwise else 0))
        is_float = attrs.get("dtype", "int8") == "float32"
        name = f"{'depthwise_' if depthwise else ''}weight_grad{lanes(count)}{'_float' if is_float else ''}"
        sizes = [kh * kw, count] if depthwise else [kh * kw * in_c, in_c]
        g_arguments = [
            at(source.g, of_g * source.step + source.first),
            source.step,
            *(() if depthwise else (count,)),
            n,
        ]
        zero_point = [] if is_float else [attrs["in_zero"]]
        call_kernel(f"mcu_{name}", to, *sizes, sx * in_c, *g_arguments, from_x, *zero_point)

    if [kh, kw, sy, sx, top, left, bottom, right] == [1, 1, 1, 1, 0, 0, 0, 0] and not ring:
        first, last = rows or (T.int32(0), T.int32(out_h))
        add(0, first * in_w, first * out_w, (last - first) * out_w)  # the rows follow one another
        return
    with loop("ky", 0, kh) as ky, loop("kx", 0, kw) as kx:
        first, last = _inside(ky, sy, top, bottom, in_h, out_h)
        if rows is not None:
            first, last = T.max(first, rows[0]), T.min(last, rows[1])
        left_end, right_end = _inside(kx, sx, left, right, in_w, out_w)
        with loop("oy", first, last) as oy:
            pixel = (oy * sy + ky - top) * in_w + left_end * sx + kx - left
            add(ky * kw + kx, pixel, ring_row(oy, ring) * out_w + left_end, right_end - left_end)


def lanes(count: int) -> int:
    """Two kernels share the channels: one takes a multiple of 8 (8), one any number (1)."""
    return 1 if count % 8 else 8


def lane_groups(channels: int) -> list[tuple[int, int]]:
    """(first, count): a multiple of 8 channels, and the rest."""
    whole = channels // 8 * 8
    return [group for group in ((0, whole), (whole, channels - whole)) if group[1]]


def _inside(tap: Index, stride: int, padding: int, behind: int, extent: int, out_extent: int) -> tuple:
    """[first, last) of the output positions whose tap is inside the input: 0 <= o * stride + tap - padding < extent."""
    if padding == 0 and behind == 0:
        return T.int32(0), T.int32(out_extent)
    first = floor_div(T.max(T.int32(0), padding - tap) + (stride - 1), stride, 0)
    last = T.min(T.int32(out_extent), floor_div(extent - 1 + padding - tap, stride, behind) + 1)
    return first, last


def _bias_type(c: relax.Call) -> relax.Type:
    return TensorType([shape_of(c.args[0])[3]], "float32")


OPS = (
    OpRecord("conv2d_bias_grad", _bias_type, conv2d_bias_grad, "backward", result=":g_bias"),  # g
    OpRecord(  # x (or its taken channels), g
        "conv2d_weight_grad", adjoint_type, conv2d_weight_grad, "backward", result=":g_weight", is_weight_gradient=True
    ),
)
