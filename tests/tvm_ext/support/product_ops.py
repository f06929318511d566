"""Where tests meet the product's ops: the one module here that knows how the product keeps them."""

from __future__ import annotations

from mcutrain.tvm_ext.ops.conv.dense import can_be_wide, wide
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Variant, float_bits
from mcutrain.tvm_ext.ops.table import KERNELS, OPS, build

__all__ = ["PLAIN", "Attrs", "Kernel", "Variant", "build", "can_be_wide", "differentiable", "float_bits", "op_names",
           "wide"]  # fmt: skip


def op_names() -> dict[str, tuple[str, ...]]:
    """Every op of the dialect -> what of it runs: itself and, if it has one, with its companion."""
    found = {op: (op, *([record.companion.both(op)] if record.companion else [])) for op, record in OPS.items()}
    assert {name for names in found.values() for name in names} == set(KERNELS)
    return found


def differentiable() -> set[str]:
    """The ops that have a gradient rule."""
    return {op for op, record in OPS.items() if record.gradient is not None}
