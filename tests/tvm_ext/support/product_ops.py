"""Where tests meet the product's ops: the one module here that knows how the product keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcutrain.tvm_ext.gradients import GRADIENTS
from mcutrain.tvm_ext.kernels import conv
from mcutrain.tvm_ext.kernels.build import Kernel as Kernel
from mcutrain.tvm_ext.kernels.table import FORWARD, KERNELS

Attrs = dict[str, Any]
COMPANIONS = ("mask", "index")  # what an op can keep for its gradient, as its second output
CAN_BE_WIDE, WIDE = conv.can_be_wide, conv.wide  # of a constant weight: whether it may lie as pairs, and how
_RINGS = {"qadd": ("ring_a", "ring_b"), "fadd": ("ring_a", "ring_b"), "concat": tuple(f"ring_in{i}" for i in range(9))}


@dataclass(frozen=True)
class Variant:
    """One way for a kernel to run. rings_in: rows (over channels: blocks) of each operand of `Kernel.reads`, 0 for a
    whole tensor; ring_out: of the first output. axis: "channels" where y0, y1 count blocks of channels."""

    rings_in: tuple[int, ...] = ()
    ring_out: int = 0
    axis: str = "rows"
    wide_weights: bool = False


PLAIN = Variant()


def base(name: str) -> str:
    """The op of which `name` is one with a companion, or itself."""
    return next((name.removesuffix(end) for c in COMPANIONS if name.endswith(end := f"_with_{c}")), name)


def op_names() -> dict[str, tuple[str, ...]]:
    """Every op of the dialect that has a kernel -> what of it runs: itself and, if it has one, with its companion."""
    return {op: tuple(name for name in KERNELS if base(name) == op) for op in KERNELS if base(op) == op}


def differentiable() -> set[str]:
    """The ops that have a gradient rule."""
    return set(GRADIENTS)


def forward() -> set[str]:
    return {base(name) for name in FORWARD}


def build(name: str, shapes: list[list[int]], attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """The kernel of a name of `op_names`. shapes: of all operands."""
    rings = zip(_RINGS.get(base(name), ("ring_in",)), variant.rings_in, strict=False)
    more: Attrs = {ring: n for ring, n in (*rings, ("ring_out", variant.ring_out)) if n}
    more |= {"axis": variant.axis} if variant.axis == "channels" else {}
    more |= {"weights": conv.WIDE} if variant.wide_weights else {}
    return KERNELS[name](shapes, {**attrs, **more})
