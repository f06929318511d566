"""Gradients of the convolutions with respect to their inputs, float32 (transposed convolution), and saved channels.

All loops gather: each gradient element is summed in one fixed order. The loops over rows and blocks stand here; what
happens to a row is in runtime_c/kernels/mcu_backward*.c. The attribute `dtype` is that of weights and activations,
"int8" where it is missing.
"""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.pointwise_blocks import (
    add_gradient,
    channel_forms,
    pointwise_blocks,
    weight_arguments,
    weight_places,
    zero,
)
from mcutrain.tvm_ext.ops.conv.transposed import transposed_conv
from mcutrain.tvm_ext.ops.expr import adjoint_type
from mcutrain.tvm_ext.ops.kernel import (
    PLAIN,
    Attrs,
    Kernel,
    Shapes,
    Variant,
    channel_block,
    overlap_distance,
)
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import Index, at, call_kernel, function, loop, pixel_index, ring_row

PIXELS = 16  # that meet a tile of weights, at least where the image has as many
LANES = 8  # channels of a depthwise convolution that are taken together
FLOAT = 4  # bytes


def conv2d_input_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, Ho, Wo, O), w[, w_trained] -> (1, H, W, I), with the weights from before this step's update."""
    if attrs["depthwise"]:
        return _depthwise_input_grad(shapes, attrs, variant)
    if attrs["kernel"] == [1, 1] and attrs["stride"] == [1, 1] and not any(attrs["padding"]):
        return (pointwise_blocks if variant.over_channels else _pointwise_input_grad)(shapes, attrs, variant)
    return transposed_conv(shapes, attrs, variant)


def _pointwise_input_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g_x[p, c] = sum over o of g[p, o] * w[o, c], over rows: a few at a time, whose sums lie in g_x meanwhile."""
    _, height, width, out_c = shapes[0]
    in_c, rings = attrs["shape"][3], (variant.ring_in, variant.ring_out)
    rows = 1 if any(rings) else max(1, PIXELS // width)  # rows of a ring do not follow one another
    with function() as f:
        g, weights = f.buffer("g", height * width * out_c, "float32"), weight_arguments(f, shapes, attrs)
        out = f.buffer("g_x", height * width * in_c, "float32")
        y0, y1 = f.rows()
        with loop("b", 0, T.truncdiv(y1 - y0 + (rows - 1), T.int32(rows))) as b:
            y = y0 + b * rows
            pixels = T.min(T.int32(rows), y1 - y) * width
            source, target = (ring_row(y, ring) * (width * n) for ring, n in zip(rings, (out_c, in_c), strict=True))
            zero(out, target, pixels * in_c)
            add_gradient((out, target, in_c), (g, source, out_c), weights, (0, out_c), (0, in_c), pixels)
    # all of a block of rows is written before the first of g in it is read for the last time
    first = np.arange(0, height, rows) * width
    written = np.minimum(first + rows * width, height * width) * in_c
    return Kernel(
        f.func,
        weight_places(shapes, attrs),
        overlaps=((0, 0, overlap_distance(written, first * out_c) * FLOAT),),
        macs=height * width * out_c * in_c,
        rows=height,
        reads=((0, height, 1, 1, 0),),
        by_channel=channel_forms(shapes, attrs),
        inputs=len(shapes),
    )


def _depthwise_input_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g_x[iy, ix, c] = sum over the output positions that saw it of g[oy, ox, c] * w[c, iy.., ix..], over rows or over
    blocks of channels."""
    _, out_h, out_w, channels = shapes[0]
    _, in_h, in_w, _ = attrs["shape"]
    (kh, kw), (top, left, *_) = attrs["kernel"], attrs["padding"]
    block, blocked, window = channel_block(channels), variant.over_channels, [kh, kw, *attrs["stride"], top, left]
    ring_in, ring_out, dtype = variant.ring_in, variant.ring_out, attrs.get("dtype", "int8")
    with function() as f:
        g = f.buffer("g", out_h * out_w * channels, "float32")
        w = f.buffer("w", channels * kh * kw, dtype)
        out = f.buffer("g_x", in_h * in_w * channels, "float32")
        y0, y1 = f.rows()

        def add(target: tuple, source: tuple, rings: list, rows: list, c: Index, count: int) -> None:
            """count channels; target and source: index and step."""
            lanes = 1 if count % LANES else LANES
            name = f"mcu_depthwise_grad{lanes}{'_float' if dtype == 'float32' else ''}"
            with loop("i", 0, count // lanes) as i:
                places = [at(out, target[0] + i * lanes), target[1], in_w, rings[1]]
                places += [at(g, source[0] + i * lanes), source[1], out_h, out_w, rings[0]]
                call_kernel(name, *places, *window, *rows, at(w, (c + i * lanes) * (kh * kw)))

        if blocked:
            with loop("s", y0, y1) as s:
                target = pixel_index(0, s, 0, attrs["shape"], ring_out)  # a ring: blocks of a depthwise are never whole
                zero(out, target, in_h * in_w * block)
                source = (pixel_index(0, s, 0, shapes[0], ring_in), block if ring_in else channels)
                add((target, block), source, [0, 0], [0, in_h], s * block, block)
        else:
            with loop("iy", y0, y1) as iy:
                zero(out, ring_row(iy, ring_out) * (in_w * channels), in_w * channels)
            whole = channels // LANES * LANES
            for c, count in ((0, whole), (whole, channels - whole)):
                if count:
                    add((c, channels), (c, channels), [ring_in, ring_out], [y0, y1], c, count)
    return Kernel(
        f.func,
        macs=out_h * out_w * channels * kh * kw,
        rows=channels // block if blocked else in_h,
        reads=((0, out_h, attrs["stride"][0], kh, top, True),),
        by_channel=((channels // block, (0, 1), False),),
        inputs=len(shapes),
    )


OPS = (OpRecord("conv2d_input_grad", adjoint_type, conv2d_input_grad, "backward", result=":g_x"),)  # g, w[, w_trained]
