"""The table of Relax's operators."""

from __future__ import annotations

from mcutrain.tvm_ext.importers.base.operators import by_name
from mcutrain.tvm_ext.importers.relax import layers, pointwise, shapes
from mcutrain.tvm_ext.importers.relax.nodes import RelaxOperator

OPERATORS: dict[str, RelaxOperator] = by_name(layers.OPERATORS, pointwise.OPERATORS, shapes.OPERATORS)
