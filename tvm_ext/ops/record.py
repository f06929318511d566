"""An op of the dialect is one frozen record, which registration, training, lowering and reports read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from tvm import relax
from tvm.relax import TensorType

from mcutrain.tvm_ext.ops.expr import attrs_of, call, mask_shape, op_name, shape_of_type
from mcutrain.tvm_ext.ops.kernel import Attrs, Kernel, Shapes, Variant

Phase = Literal["forward", "backward", "update"]
TypeRule = Callable[[relax.Call], relax.Type]
# (call, adjoint of its result, builder) -> adjoint of each operand, or `no_gradient` of it
GradientRule = Callable[[relax.Call, relax.Var, relax.BlockBuilder], list[relax.Expr]]
KernelRule = Callable[[Shapes, Attrs, Variant], Kernel]
RunRule = Callable[[relax.Call, list[relax.Expr]], relax.Call]  # (call, its operands as they stand now)
VariantRule = Callable[[Shapes, Attrs], Mapping[str, Variant]]


@dataclass(frozen=True)
class IntegerForm:
    """The way in which an op that rounds "even" computes by integers alone. rounding: the one to take. multipliers:
    int32 values of one more operand, None for none."""

    rounding: str
    multipliers: np.ndarray | None = None


# (operands' values by place, None of an activation; attrs) -> how it computes by integers. Raises ModelError
IntegerRule = Callable[[list[np.ndarray | None], Attrs], IntegerForm]


@dataclass(frozen=True)
class Companion:
    """A forward op can keep it for its gradient, as a second output. name: the kept tensor is called so behind the
    layer. infer: its type from the type of the op's result."""

    name: str
    infer: Callable[[relax.Type], relax.Type]

    def alone(self, op: str) -> str:
        """The Relax op that stands for the companion alone, which a gradient rule asks for: `qconv2d_mask`,
        `max_pool_index`."""
        return f"{op}_{self.name}"

    def both(self, op: str) -> str:
        """The Relax op that makes result and companion, which is what runs: `qconv2d_with_mask`."""
        return f"{op}_with_{self.name}"


# one bit an element: whether a gradient passes the clamp
MASK = Companion("mask", lambda ty: TensorType(mask_shape(shape_of_type(ty)), "uint8"))
# one byte an element: where in its window the maximum stood
INDEX = Companion("index", lambda ty: TensorType(shape_of_type(ty), "uint8"))


@dataclass(frozen=True)
class OpRecord:
    """An op of the dialect.

    infer: the type of its result; None of an op of Relax itself. kernel: its kernel by shapes, attributes and variant;
    layers that agree in all three share one. gradient: None where there is none (the error names the layer).
    companion: what it can keep for its gradient. result: what its result is called behind the layer's name.
    trains: how its weight and bias train: "slots" are float32 operands that stand for integers or for some channels;
    "itself" takes the gradients of the operands; None for an op without parameters that train.
    runs: the call as it runs, where the gradient rule reads operands that the kernel does not; None for the same call.
    integer: how a board without an FPU computes it, None where rounding plays no part.
    variants: those to choose from by measured instructions, by name, the default first; None for no choice.
    not_in_kernel: attributes that the kernel does not depend on, beside the layer's name.
    gradient_operand: of an update, the place of the gradient that it consumes.
    words: what people call the layer; empty for its own name. is_weight_gradient: it makes the gradient of a weight.
    """

    name: str
    infer: TypeRule | None
    kernel: KernelRule
    phase: Phase = "forward"
    gradient: GradientRule | None = None
    companion: Companion | None = None
    result: str = ""
    trains: Literal["slots", "itself"] | None = None
    runs: RunRule | None = None
    integer: IntegerRule | None = None
    variants: VariantRule | None = None
    not_in_kernel: tuple[str, ...] = ()
    gradient_operand: int | None = None
    words: str = ""
    is_weight_gradient: bool = False


def kept(op: relax.Call, companion: Companion, bb: relax.BlockBuilder) -> relax.Var:
    """The companion of a forward op, by an op of its own; train.training fuses it into the forward op."""
    attrs = attrs_of(op)
    args = list(op.args)[: len(op.args) - len(attrs.get("slots", ""))]
    name = companion.alone(str(op_name(op)))
    return bb.emit(call(name, args, **{k: v for k, v in attrs.items() if k != "slots"}))


def masked(op: relax.Call, g_y: relax.Var, factor: float, bb: relax.BlockBuilder) -> relax.Var:
    """mask * g_y * factor of an op that clamps; g_y itself where there is nothing to do."""
    attrs = attrs_of(op)
    if not can_clamp(attrs) and factor == 1.0:
        return g_y
    mask = kept(op, MASK, bb)
    return bb.emit(call("mask_scale_by", [g_y, mask], factor=factor, layer=attrs["layer"]))


def can_clamp(attrs: Attrs) -> bool:
    """Whether the clamp can stop a gradient: the integers of an average stay within int8 by themselves."""
    own = [(attrs.get(f"{n}_scale"), attrs.get(f"{n}_zero")) for n in ("in", "out")]
    widest = (-128, 127) if own[0] == own[1] and own[0][0] is not None else (-math.inf, math.inf)
    return bool(attrs["lo"] > widest[0] or attrs["hi"] < widest[1])


def no_gradient(operand: relax.Expr) -> relax.Expr:
    """Stands for "no gradient": the pass drops it, since nobody may ask for the gradient of an integer or a scale."""
    return operand
