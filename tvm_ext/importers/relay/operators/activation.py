"""Relay's activation functions, clamps, softmax and dropout."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.graph.curves import itself
from mcutrain.tvm_ext.importers.relay.ast import Call
from mcutrain.tvm_ext.importers.relay.operators.arithmetic import same, unary
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import integer, real
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, Reals, Sums, array, as_float32
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, dtype_of, is_integer


# ---------------------------------------------------------------------- ordinary Relax
def clip(c: Context, x: Tensor, *, a_min: float, a_max: float) -> relax.Expr:
    """Clamp x. On integers the bounds lose their fraction, as a cast does, and saturate."""
    if math.isnan(a_min) or math.isnan(a_max):
        raise c.fail("a bound is not a number")
    if not is_integer(x):
        return op.clip(x, a_min, a_max)
    info = np.iinfo(dtype_of(x))
    low, high = (int(min(max(b, float(info.min)), float(info.max))) for b in (a_min, a_max))
    return op.clip(x, max(low, info.min), min(high, info.max))


def leaky_relu(c: Context, x: Tensor, *, alpha: float) -> relax.Expr:
    return op.nn.leakyrelu(x, alpha)


def prelu(c: Context, x: Tensor, alpha: Tensor, *, axis: int) -> relax.Expr:
    return op.nn.prelu(x, alpha, c.axis(x, axis))


def softmax(c: Context, x: Tensor, *, axis: int) -> relax.Expr:
    return op.nn.softmax(x, c.axis(x, axis))


def log_softmax(c: Context, x: Tensor, *, axis: int) -> relax.Expr:
    return op.nn.log_softmax(x, c.axis(x, axis))


def dropout(c: Context, x: Tensor, *, rate: float) -> tuple[Tensor, Tensor]:
    """At inference nothing is dropped."""
    return x, c(op.ones_like(x))


# ---------------------------------------------------------------------- integer networks
def clip_int8(reader: Reader, name: str, call: Call, *, a_min: float, a_max: float) -> Known:
    """The bounds join the requantisation before, where nobody else reads it; or the function of real numbers."""
    known = reader.known(call.args[0])
    if isinstance(known, Reals):
        return Reals(reader.curve(call.args[0]).clipped(float(np.float32(a_min)), float(np.float32(a_max))))
    low, high = (int(np.clip(float(bound), -128, 127)) for bound in (a_min, a_max))
    if isinstance(known, Sums) and known.is_requantised and reader.is_only_user(call.args[0]):
        layer = known.layer
        return replace(known, layer=replace(layer, lo=max(layer.lo, low), hi=min(layer.hi, high)))
    value = reader.result(call.args[0])
    if (low, high) == (-128, 127):
        return value
    return reader.network.requantise(name, value, value.steps, lo=low, hi=high)


def relu_int8(reader: Reader, name: str, call: Call) -> Known:
    if isinstance(reader.known(call.args[0]), Reals):
        return clip_int8(reader, name, call, a_min=0, a_max=math.inf)
    return clip_int8(reader, name, call, a_min=0, a_max=127)


def leaky_relu_int8(reader: Reader, name: str, call: Call, *, alpha: float) -> Known:
    parameters = {"alpha": float(np.float32(alpha))}
    return Reals(as_float32(reader.curve(call.args[0]).through("leaky_relu", parameters)))


def prelu_int8(reader: Reader, name: str, call: Call, *, axis: int) -> Known:
    """A slope a channel is no table: the layer is made by the quantize behind it, halves to even."""
    curve, slopes = reader.curve(call.args[0]), array(call, 1, "slopes").reshape(-1).astype(np.float32)
    if len(np.unique(slopes)) == 1:
        return leaky_relu_int8(reader, name, call, alpha=float(slopes[0]))
    x = curve.of
    if not np.array_equal(curve.y, as_float32(itself(x)).y):
        raise ModelError("has slopes a channel behind another function", "quantise between them")
    is_image = x.shape[1] * x.shape[2] > 1
    if is_image and (x.order or axis not in ((3, -1) if reader.is_nhwc else (1,))):
        raise ModelError(f"slopes along axis {axis} of an image", "only along the channels")
    return Reals(None, quantised=lambda layer, out: reader.network.prelu(layer, x, slopes, out))


def tanh_int8(reader: Reader, name: str, call: Call) -> Known:
    return Reals(as_float32(reader.curve(call.args[0]).through("tanh", {})))


def sigmoid_int8(reader: Reader, name: str, call: Call) -> Known:
    """Inside the network it is a function as others; at its end the loss works on what stands before it."""
    known = reader.reals(call.args[0])
    return Reals(known.curve and as_float32(known.curve.through("sigmoid", {})), known.logits)


def take_off_softmax(reader: Reader, name: str, call: Call, *, axis: int) -> Known:
    """A softmax ends the network: the loss works on what stands before it."""
    return Reals(None, reader.reals(call.args[0]).logits)


OPERATORS = (
    RelayOperator("clip", clip_int8, to_relax=clip, attributes={"a_min": real(), "a_max": real()}),
    RelayOperator("nn.relu", relu_int8, to_relax=unary(op.nn.relu)),
    RelayOperator("nn.leaky_relu", leaky_relu_int8, to_relax=leaky_relu, attributes={"alpha": real(0.25)}),
    RelayOperator("nn.prelu", prelu_int8, to_relax=prelu, attributes={"axis": integer(1)}),
    RelayOperator("sigmoid", sigmoid_int8, to_relax=unary(op.sigmoid)),
    RelayOperator("tanh", tanh_int8, to_relax=unary(op.tanh)),
    RelayOperator("nn.softmax", take_off_softmax, to_relax=softmax, attributes={"axis": integer(-1)}),
    RelayOperator("nn.log_softmax", to_relax=log_softmax, attributes={"axis": integer(-1)}),
    RelayOperator("nn.dropout", same, to_relax=dropout, attributes={"rate": real(0.5)}),
)
