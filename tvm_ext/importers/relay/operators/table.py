"""The operators of Relay that are read, one record each, and what to do about the others."""

from __future__ import annotations

from mcutrain.tvm_ext.importers.base.operators import by_name
from mcutrain.tvm_ext.importers.relay.operators import (
    activation,
    arithmetic,
    conv,
    fill,
    fixed_point,
    image,
    norm,
    pieces,
    pool,
    qnn,
    qnn_layers,
    reduce,
    reshape,
)
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Refusal, RelayOperator

OPERATORS: dict[str, RelayOperator] = by_name(
    arithmetic.OPERATORS,
    activation.OPERATORS,
    conv.OPERATORS,
    pool.OPERATORS,
    image.OPERATORS,
    norm.OPERATORS,
    reduce.OPERATORS,
    reshape.OPERATORS,
    pieces.OPERATORS,
    fill.OPERATORS,
    fixed_point.OPERATORS,
    qnn.OPERATORS,
    qnn_layers.OPERATORS,
)

_AS_THE_FRONTEND = "(as the frontend gives it)"
REFUSALS = (
    Refusal("vision.", "cut the network before it and do this step on the host"),
    Refusal("nn.conv1d", "express it as nn.conv2d with one dimension of size 1"),
    Refusal("nn.conv3d", "only two-dimensional convolutions are supported"),
    Refusal("nn.contrib_", f"save the module before TVM changes layouts {_AS_THE_FRONTEND}"),
    Refusal("dyn.", "fix all shapes before export (relay.transform.DynamicToStatic)"),
    Refusal("shape_of", "fix all shapes before export (relay.transform.DynamicToStatic, FoldConstant)"),
    Refusal("vm.", f"save the module before TVM lowers it {_AS_THE_FRONTEND}"),
    Refusal("memory.", f"save the module before TVM lowers it {_AS_THE_FRONTEND}"),
    Refusal("on_device", f"save the module before TVM plans devices {_AS_THE_FRONTEND}"),
    Refusal("fast_", "save the module without the FastMath pass"),
    Refusal(
        "qnn.", "quantise with qnn.conv2d, dense, add, subtract, mul, concatenate, quantize, dequantize, requantize"
    ),
)
_WAY_OUT = "replace it with supported operators before export, or cut the network there"


def way_out(name: str) -> str:
    """Say what to do about an operator that is not supported."""
    return next((r.way_out for r in REFUSALS if name.startswith(r.prefix)), _WAY_OUT)


def complete(op: str, given: dict[str, object], where: str) -> dict[str, object]:
    """Return a call's attributes as RelayOperator.complete does; those of an unknown operator as the file has them."""
    return OPERATORS[op].complete(given, where) if op in OPERATORS else given
