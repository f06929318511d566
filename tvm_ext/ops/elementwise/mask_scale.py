"""Backward of a clamp: the gradient passes where the mask has a bit, times a scale."""

from __future__ import annotations

from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import Index, at, call_kernel, f32, function, loop, pixel_index, ring_row


def mask_scale(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g, mask[, scale [C]] -> mask * g * scale, or * the attribute `factor` where all channels have one scale."""
    inputs = 2 if "factor" in attrs else 3
    _, height, width, channels = shapes[0]
    row, mask_row, block = width * channels, (width * channels + 7) // 8, channel_block(channels)
    rings = (variant.ring_in, variant.ring_out)
    with function() as f:
        g, mask = f.buffer("g", height * row, "float32"), f.buffer("mask", height * mask_row, "uint8")
        scale = f.buffer("scale", channels, "float32") if inputs == 3 else None
        out = f.buffer("g_acc", height * row, "float32")
        y0, y1 = f.rows()
        is_whole, suffix = channels % 8 == 0, "_by" if scale is None else ""  # a byte of the mask is of one pixel

        def groups(target: tuple, source: tuple, byte: tuple, c: Index, scale_step: int, n: Index) -> None:
            """n groups of 8; each argument an index and a step."""
            places = [at(out, target[0]), target[1], at(g, source[0]), source[1], at(mask, byte[0]), byte[1], n]
            factor = [f32(attrs["factor"])] if scale is None else [at(scale, c), scale_step]
            call_kernel(f"mcu_mask_scale8{suffix}", *places, *factor)

        def elements(target: Index, source: Index, y: Index, bit: Index, c: Index, n: int) -> None:
            factor = f32(attrs["factor"]) if scale is None else at(scale, c)
            call_kernel(
                f"mcu_mask_scale1{suffix}", at(out, target), at(g, source), at(mask, y * mask_row), bit, n, factor
            )

        if variant.over_channels:
            with loop("s", y0, y1) as s:
                source, target = (pixel_index(0, s, 0, shapes[0], ring) for ring in rings)
                source_step, target_step = (block if ring else channels for ring in rings)
                if is_whole:
                    to, of = (target, target_step), (source, source_step)
                    groups(to, of, (s, channels // 8), s * block, 0, height * width)
                else:
                    with loop("y", 0, height) as y, loop("x", 0, width) as x:
                        p, bit = y * width + x, x * channels + s * block
                        elements(target + p * target_step, source + p * source_step, y, bit, s * block, block)
        else:
            with loop("y", y0, y1) as y:
                source, target = (ring_row(y, ring) * row for ring in rings)
                if scale is None and is_whole:
                    groups((target, 8), (source, 8), (y * mask_row, 1), 0, 0, row // 8)
                elif scale is None:
                    elements(target, source, y, T.int32(0), 0, row)
                else:
                    with loop("x", 0, width) as x:
                        c = x * channels
                        if is_whole:
                            byte = (y * mask_row + x * (channels // 8), 1)
                            groups((target + c, 8), (source + c, 8), byte, 0, 8, channels // 8)
                        else:
                            elements(target + c, source + c, y, c, 0, channels)
    # over channels an element may be written before its left neighbour is read: only distance 0 would be safe. What is
    # one group is read before it is written
    distance = -4 * row * height if is_whole and row * height == 8 else 0
    return Kernel(
        f.func,
        overlaps=() if variant.over_channels else ((0, 0, distance),),
        rows=channels // block if variant.over_channels else height,
        reads=((0, height, 1, 1, 0),),
        by_channel=((channels // block, (0,), False),),
        inputs=inputs,
    )


OPS = (
    OpRecord("mask_scale", same_type, mask_scale, "backward", result=":g_acc"),  # g, mask, scale [C]
    OpRecord("mask_scale_by", same_type, mask_scale, "backward", result=":g_operand"),  # g, mask; attr factor
)
