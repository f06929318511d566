"""All ops of the dialect in one table, and their registration with Relax: `relax.mcu.*`.

An op with a companion is three Relax ops: alone, its companion alone (what a gradient asks for), and both (what runs).
To add an op, write its record beside its kernel and name the module in FAMILIES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from types import ModuleType

import tvm
from tvm import relax
from tvm.relax import TupleType
from tvm.relax.op.base import register_gradient

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.ops import activation, head, layout, losses, prelu, update
from mcutrain.tvm_ext.ops.conv import convolution, input_grad, parameter_grads, taken
from mcutrain.tvm_ext.ops.elementwise import clamp, mask_scale, sums
from mcutrain.tvm_ext.ops.expr import PREFIX, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.pool import average, backward, maximum, mean
from mcutrain.tvm_ext.ops.record import OpRecord

FAMILIES: tuple[ModuleType, ...] = (
    convolution,
    input_grad,
    parameter_grads,
    taken,
    average,
    maximum,
    mean,
    backward,
    sums,
    clamp,
    mask_scale,
    activation,
    prelu,
    layout,
    head,
    losses,
    update,
)


class Part(Enum):
    """A Relax op stands for an op's result, for its companion, or for both."""

    RESULT = "result"
    COMPANION = "companion"
    BOTH = "both"


@dataclass(frozen=True)
class Entry:
    """A Relax op by the record that it comes from."""

    record: OpRecord
    part: Part

    def build(self, shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
        return self.record.kernel(shapes, attrs, replace(variant, keeps=self.part is Part.BOTH))


def _entries(record: OpRecord) -> dict[str, Entry]:
    found = {record.name: Entry(record, Part.RESULT)}
    if record.companion is not None:
        found[record.companion.alone(record.name)] = Entry(record, Part.COMPANION)
        found[record.companion.both(record.name)] = Entry(record, Part.BOTH)
    return found


OPS: dict[str, OpRecord] = {record.name: record for family in FAMILIES for record in family.OPS}
ENTRIES: dict[str, Entry] = {name: entry for record in OPS.values() for name, entry in _entries(record).items()}
# what can run: a companion alone becomes the second output of its op before that
KERNELS = tuple(name for name, entry in ENTRIES.items() if entry.part is not Part.COMPANION)


def build(kind: str, shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """The kernel of a Relax op by its name without the prefix. Raises ModelError naming the layer if it has none."""
    if kind not in KERNELS:
        raise ModelError(f"layer {attrs.get('layer', '?')}: op {kind} has no kernel")
    return ENTRIES[kind].build(shapes, attrs, variant)


def _type_rule(entry: Entry) -> Callable[[relax.Call, relax.BlockBuilder], relax.Type]:
    infer, companion = entry.record.infer, entry.record.companion
    assert infer is not None, f"op {entry.record.name} is registered, but has no type rule"
    if entry.part is Part.RESULT or companion is None:
        return lambda c, _: infer(c)
    if entry.part is Part.COMPANION:
        return lambda c, _: companion.infer(infer(c))
    return lambda c, _: TupleType([infer(c), companion.infer(infer(c))])


def _register(record: OpRecord) -> None:
    """Tells Relax of an op of ours; another Relax op, which has a kernel here alone, it knows."""
    if record.infer is None:
        return
    for name, entry in _entries(record).items():
        tvm.ir._ffi_api.RegisterOp(PREFIX + name, "")
        tvm.ir.register_op_attr(PREFIX + name, "FInferType", _type_rule(entry))
        tvm.ir.register_op_attr(PREFIX + name, "FPurity", True)
    rule = record.gradient
    if rule is not None:
        register_gradient(PREFIX + record.name, lambda _, op, g_y, bb: rule(op, g_y, bb))
    elif record.phase == "forward":
        register_gradient(PREFIX + record.name, _zeros)


def _zeros(_var: relax.Var, op: relax.Call, _g: relax.Var, _bb: relax.BlockBuilder) -> list[relax.Expr]:
    """TVM's pass asks for the gradients of an op without a rule even where nobody needs the answer; train.rules has
    seen to that."""
    return [relax.op.zeros(shape_of(a), "float32") for a in op.args]


for _record in OPS.values():
    _register(_record)
