"""The state of the walk over an integer Relay network (`qnn.*`), and what is known of its values.

The int32 sums of a convolution wait until their requantisation, and its result until the clip behind it. What stands
between a dequantize and a quantize is a function of each number alone, which becomes one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams, Rounding
from mcutrain.tvm_ext.importers.base.fields import LARGEST_SCALE, SMALLEST_SCALE
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value, expect
from mcutrain.tvm_ext.importers.graph.curves import Curve
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Expr, Tuple

# TVM's fixed-point arithmetic: a 31-bit multiplier, one rounding, halves up.
ROUNDING: Rounding = "upward"


@dataclass(frozen=True)
class Sums:
    """The int32 accumulators of a layer wait for its requantisation; then its result, which waits for a clip."""

    x: Value
    layer: ConvParams
    is_requantised: bool = False


@dataclass(frozen=True)
class Wide:
    """An int8 activation stands as int32."""

    value: Value


@dataclass(frozen=True)
class Reals:
    """Real numbers stand behind a dequantize. curve: the function of an int8 activation that they are, in float32 as
    Relay computes it; None where they are none. logits: the activation that a loss works on, where they are the
    network's result and the loss takes over what made them of it. quantised: adds what makes an int8 activation of
    them, given the layer's name and the quantisation; without it that is a table of the curve."""

    curve: Curve | None
    logits: Value | None = None
    quantised: Callable[[str, Quantisation], Value] | None = None


Known: TypeAlias = "Value | Sums | Wide | Reals | np.ndarray | tuple[Known, ...]"


@dataclass
class Reader:
    """body: the network's result. users: how often each node is used. values: what each node is; both by the node's
    identity. names: the layers', by the identity of their weights."""

    network: NetworkBuilder
    body: Expr
    is_nhwc: bool
    users: Counter[int]
    values: dict[Hashable, Known]
    names: dict[int, str] = field(default_factory=dict)

    def known(self, expr: Expr) -> Known:
        if isinstance(expr, Tuple):
            return tuple(self.known(f) for f in expr.fields)
        return self.values[id(expr)]

    def result(self, expr: Expr) -> Value:
        """Return an activation as int8; what waits for a clip waits no more."""
        known = self.known(expr)
        if isinstance(known, Sums) and known.is_requantised:
            known = self.values[id(expr)] = self.made(known)
        if isinstance(known, Wide):
            known = known.value
        if isinstance(known, Reals):
            if expr is not self.body or known.logits is None:
                raise ModelError("works on real numbers inside an integer network", "quantise them again before it")
            known = known.logits
        if not isinstance(known, Value):
            raise ModelError("an int32 result is used as int8", "requantise it first")
        return known

    def reals(self, expr: Expr) -> Reals:
        known = self.known(expr)
        if not isinstance(known, Reals):
            raise ModelError("works on integers", "dequantize before it")
        return known

    def curve(self, expr: Expr) -> Curve:
        """Return the function of an int8 activation that these real numbers are."""
        curve = self.reals(expr).curve
        if curve is None:
            raise ModelError("works on what is no function of each number alone", "build the model without it")
        return curve

    def made(self, sums: Sums) -> Value:
        make = self.network.dense if sums.layer.weight.ndim == 2 else self.network.conv2d
        return make(self.names[id(sums.layer.weight)], sums.x, sums.layer)

    def is_only_user(self, expr: Expr) -> bool:
        """Say whether one operand of one operator alone reads the node."""
        return self.users[id(expr)] == 1


def as_float32(curve: Curve) -> Curve:
    """Round a function's values as float32 does; of + - * / on such values that is float32's own arithmetic."""
    with np.errstate(over="ignore"):
        return replace(curve, y=curve.y.astype(np.float32).astype(np.float64))


def expect_same(value: Value, own: Quantisation, name: str) -> None:
    """Raise ModelError unless the value is quantised as an operator says of its operand."""
    expect(own.scale, own.zero, value.steps.scale, value.steps.zero, name)


def array(call: Call, index: int, what: str) -> np.ndarray:
    """Return the operand that must be a constant."""
    operand = call.args[index] if index < len(call.args) else None
    if not isinstance(operand, Constant):
        raise ModelError(f"its {what} is no constant")
    return operand.value


def scalar(call: Call, index: int) -> float:
    value = array(call, index, f"operand {index}")
    if value.size != 1:
        raise ModelError(f"operand {index} of {call.op} has {value.size} values", "must be one for the whole tensor")
    return float(value.reshape(-1)[0])


def quantisation_at(call: Call, scale: int, zero: int) -> Quantisation:
    """Read a quantisation out of two operands of the call, by their numbers."""
    its_scale, its_zero = scalar(call, scale), scalar(call, zero)
    if not SMALLEST_SCALE <= its_scale <= LARGEST_SCALE:
        raise ModelError(f"a scale of {its_scale:.6g}", "must be positive and finite")
    if not -128 <= its_zero <= 127:
        raise ModelError(f"a zero point of {its_zero:.6g}", "must be an int8")
    return Quantisation(its_scale, int(its_zero))
