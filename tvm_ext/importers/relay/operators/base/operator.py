"""One record an operator of Relay: its attributes, and what it becomes on each of the two routes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tvm import relax

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.operators import Operator
from mcutrain.tvm_ext.importers.relay.operators.base.fields import REQUIRED, Field
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, Value

# (context, *operands, **attributes) -> the operator's value; a plain tuple is packed.
Conversion = Callable[..., relax.Expr | Value | tuple[Tensor, ...]]
# (reader, the layer's name, call, **attributes) -> the operator's value.
Rule = Callable[..., Known]
# Hints of TVM's tuners: they say nothing about what is computed.
IGNORED = frozenset({"auto_scheduler_rewritten_layout", "meta_schedule_original_shape", "weight_layout"})


@dataclass(frozen=True, kw_only=True)
class RelayOperator(Operator[Rule]):
    """read: adds it to an integer network; None where it has no place in one. to_relax: makes ordinary Relax of it, for
    floats and for any graph. attributes: in the order in which TVM prints them.

    input_quantisation: the operands that hold the scale and the zero point of operand 0, where that one can be the
    network's input. has_weight: operand 1 is a weight, whose name becomes the layer's. takes_tuples: a tuple can be
    an operand. divides: the last operand is a divisor."""

    to_relax: Conversion
    attributes: Mapping[str, Field] = field(default_factory=dict)
    input_quantisation: tuple[int, int] | None = None
    has_weight: bool = False
    takes_tuples: bool = False
    divides: bool = False

    @cached_property
    def signature(self) -> inspect.Signature:
        """Return the signature of to_relax, which a call must fit."""
        return inspect.signature(self.to_relax)

    def complete(self, given: Mapping[str, object], where: str) -> dict[str, object]:
        """Return all attributes in their kinds, with defaults. Raises ModelError: unknown, missing, of another kind."""
        known = self.attributes
        given = {k: v for k, v in given.items() if k not in IGNORED}
        unknown = [k for k in given if k not in known]
        if unknown:
            has = f"its attributes are {', '.join(known)}" if known else "it has none"
            raise LayerError(where, f"{self.name} has no attribute '{unknown[0]}'", has)
        attrs = {}
        for name, kind in known.items():
            value = given.get(name, kind.default)
            if value is REQUIRED:
                raise LayerError(where, f"{self.name} needs the attribute '{name}'")
            attrs[name] = kind.convert(value, f"{where}: {self.name}: attribute '{name}'")
        return attrs


@dataclass(frozen=True)
class Refusal:
    """Operators whose names begin with `prefix` are refused; way_out says what to do about them."""

    prefix: str
    way_out: str
