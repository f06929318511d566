"""A check before gradients are taken: every op between what trains and the loss must have a rule."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import ENTRIES, attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of


def require_rules(function: relax.Function, wanted: Iterable[relax.Var]) -> None:
    """Every op between the variables to differentiate by and the loss must have a rule. TVM's pass would say so too,
    but as an error of its own. Raises ModelError naming the layer."""
    reached = set(wanted)
    for var, value in bindings_of(function):
        if not isinstance(value, relax.Call) or reached.isdisjoint(value.args):
            continue
        reached.add(var)
        name = op_name(value)
        if name in ENTRIES and ENTRIES[name].record.gradient is None:
            layer = attrs_of(value).get("layer", "?")
            raise ModelError(f"layer {layer}: op mcu.{name} has no gradient; train only layers behind it (last_k)")
