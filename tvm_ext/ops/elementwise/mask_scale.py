"""Backward of a clamp: the gradient passes where the mask has a bit, times a scale."""

from __future__ import annotations

from typing import NamedTuple

from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import Index, at, call_kernel, f32, function, loop, pixel_index, ring_row


class _Scaling(NamedTuple):
    """The buffers of a kernel over tensors of `shape`. scale: None where all channels have one scale, the `factor`."""

    out: tirx.Buffer
    g: tirx.Buffer
    mask: tirx.Buffer
    scale: tirx.Buffer | None
    factor: float
    shape: list[int]
    rings: tuple[int, int]  # of g and of out

    @property
    def is_whole(self) -> bool:
        """A byte of the mask is of one pixel."""
        return self.shape[3] % 8 == 0

    @property
    def suffix(self) -> str:
        return "_by" if self.scale is None else ""

    @property
    def mask_row(self) -> int:
        """The bytes of a row of the mask."""
        return (self.shape[2] * self.shape[3] + 7) // 8

    def groups(self, target: tuple, source: tuple, byte: tuple, c: Index, scale_step: int, n: Index) -> None:
        """Calls the kernel for n groups of 8; target, source and byte are an index and a step each."""
        places = [at(self.out, target[0]), target[1], at(self.g, source[0]), source[1], at(self.mask, byte[0]), byte[1]]
        factor = [f32(self.factor)] if self.scale is None else [at(self.scale, c), scale_step]
        call_kernel(f"mcu_mask_scale8{self.suffix}", *places, n, *factor)

    def elements(self, target: Index, source: Index, y: Index, bit: Index, c: Index, n: int) -> None:
        """Calls the kernel for n elements that begin at `bit` of row y of the mask."""
        factor = f32(self.factor) if self.scale is None else at(self.scale, c)
        places = at(self.out, target), at(self.g, source), at(self.mask, y * self.mask_row)
        call_kernel(f"mcu_mask_scale1{self.suffix}", *places, bit, n, factor)


def mask_scale(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g, mask[, scale [C]] -> mask * g * scale, or * the attribute `factor` where all channels have one scale."""
    inputs = 2 if "factor" in attrs else 3
    _, height, width, channels = shapes[0]
    row, mask_row, block = width * channels, (width * channels + 7) // 8, channel_block(channels)
    with function() as f:
        g, mask = f.buffer("g", height * row, "float32"), f.buffer("mask", height * mask_row, "uint8")
        scale = f.buffer("scale", channels, "float32") if inputs == 3 else None
        out = f.buffer("g_acc", height * row, "float32")
        rings = (variant.ring_in, variant.ring_out)
        scaling = _Scaling(out, g, mask, scale, attrs.get("factor", 1.0), shapes[0], rings)
        (_over_channels if variant.over_channels else _over_rows)(scaling, *f.rows())
    is_whole = scaling.is_whole
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


def _over_channels(scaling: _Scaling, y0: tirx.Var, y1: tirx.Var) -> None:
    """Runs over the blocks [y0, y1) of channels."""
    _, height, width, channels = scaling.shape
    block = channel_block(channels)
    with loop("s", y0, y1) as s:
        source, target = (pixel_index(0, s, 0, scaling.shape, ring) for ring in scaling.rings)
        source_step, target_step = (block if ring else channels for ring in scaling.rings)
        if scaling.is_whole:
            to, of = (target, target_step), (source, source_step)
            scaling.groups(to, of, (s, channels // 8), s * block, 0, height * width)
        else:
            with loop("y", 0, height) as y, loop("x", 0, width) as x:
                p, bit = y * width + x, x * channels + s * block
                scaling.elements(target + p * target_step, source + p * source_step, y, bit, s * block, block)


def _over_rows(scaling: _Scaling, y0: tirx.Var, y1: tirx.Var) -> None:
    """Runs over the rows [y0, y1)."""
    _, _, width, channels = scaling.shape
    row, mask_row = width * channels, scaling.mask_row
    with loop("y", y0, y1) as y:
        source, target = (ring_row(y, ring) * row for ring in scaling.rings)
        if scaling.scale is None and scaling.is_whole:
            scaling.groups((target, 8), (source, 8), (y * mask_row, 1), 0, 0, row // 8)
        elif scaling.scale is None:
            scaling.elements(target, source, y, T.int32(0), 0, row)
        else:
            with loop("x", 0, width) as x:
                c = x * channels
                if scaling.is_whole:
                    byte = (y * mask_row + x * (channels // 8), 1)
                    scaling.groups((target + c, 8), (source + c, 8), byte, 0, 8, channels // 8)
                else:
                    scaling.elements(target + c, source + c, y, c, 0, channels)


OPS = (
    OpRecord("mask_scale", same_type, mask_scale, "backward", result=":g_acc"),  # g, mask, scale [C]
    OpRecord("mask_scale_by", same_type, mask_scale, "backward", result=":g_operand"),  # g, mask; attr factor
)
