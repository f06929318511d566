"""Functions of one number that a network applies element by element: as a table over int8, and in float32.

Each function and its slope are written once, over `Algebra`: numpy computes them in float64 for tables, kernels in
float32 by mcu_math.h."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.elementwise.rows import Element, Operand, adjoint_by_element, by_element
from mcutrain.tvm_ext.ops.expr import attrs_of, call, same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import OpRecord, no_gradient
from mcutrain.tvm_ext.ops.tir import f32, i32, let

Number = Any  # what an Algebra computes with: arrays of float64, or expressions of TIR


class Algebra(Protocol):
    """The functions are made of these, beside + - * /."""

    def exp(self, x: Number) -> Number: ...

    def tanh(self, x: Number) -> Number: ...

    def sigmoid(self, x: Number) -> Number: ...

    def erf(self, x: Number) -> Number: ...

    def clip(self, x: Number, lo: float, hi: float) -> Number: ...

    def where(self, condition: Number, yes: Number, no: Number) -> Number: ...


class Float64:
    """The algebra of float64 arrays."""

    def exp(self, x: Number) -> Number:
        with np.errstate(over="ignore"):
            return np.exp(x)

    def tanh(self, x: Number) -> Number:
        return np.tanh(x)

    def sigmoid(self, x: Number) -> Number:
        return 1 / (1 + self.exp(-x))

    def erf(self, x: Number) -> Number:
        return np.vectorize(math.erf, otypes=[np.float64])(x)

    def clip(self, x: Number, lo: float, hi: float) -> Number:
        return np.clip(x, lo, hi)

    def where(self, condition: Number, yes: Number, no: Number) -> Number:
        return np.where(condition, yes, no)


class _Real:
    """A float32 expression of a kernel; numbers that it meets become exact constants."""

    def __init__(self, expr: tirx.Expr) -> None:
        self.expr = expr

    def __add__(self, other: Number) -> _Real:
        return _Real(self.expr + _expr(other))

    def __sub__(self, other: Number) -> _Real:
        return _Real(self.expr - _expr(other))

    def __rsub__(self, other: Number) -> _Real:
        return _Real(_expr(other) - self.expr)

    def __mul__(self, other: Number) -> _Real:
        return _Real(self.expr * _expr(other))

    def __gt__(self, other: float) -> Number:
        return self.expr > f32(other)

    def __lt__(self, other: float) -> Number:
        return self.expr < f32(other)


def _expr(value: Number) -> tirx.Expr:
    return value.expr if isinstance(value, _Real) else f32(value)


class Float32:
    """The algebra of float32 inside a kernel, by the functions of mcu_math.h. NaN stays NaN."""

    def exp(self, x: Number) -> Number:
        return self._called("mcu_expf", x)

    def tanh(self, x: Number) -> Number:
        return self._called("mcu_tanhf", x)

    def sigmoid(self, x: Number) -> Number:
        return self._called("mcu_sigmoidf", x)

    def erf(self, x: Number) -> Number:
        return self._called("mcu_erff", x)

    def clip(self, x: Number, lo: float, hi: float) -> Number:
        return self.where(x < lo, lo, self.where(x > hi, hi, x))

    def where(self, condition: Number, yes: Number, no: Number) -> Number:
        return _Real(T.Select(condition, _expr(yes), _expr(no)))

    def _called(self, name: str, x: Number) -> Number:
        return _Real(let("f", T.call_pure_extern("float32", name, _expr(x))))


@dataclass(frozen=True)
class Function:
    """value(x, algebra, parameters) and its derivative by x. defaults: the parameters that it has."""

    value: Callable[[Number, Algebra, Mapping[str, float]], Number]
    slope: Callable[[Number, Algebra, Mapping[str, float]], Number]
    defaults: Mapping[str, float] = field(default_factory=dict)


def _silu_slope(x: Number, m: Algebra, _: Mapping[str, float]) -> Number:
    s = m.sigmoid(x)
    return s * (x * (1 - s) + 1)


def _gelu_slope(x: Number, m: Algebra, _: Mapping[str, float]) -> Number:
    density = m.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return (m.erf(x * math.sqrt(0.5)) + 1) * 0.5 + x * density


def _gelu_inner(x: Number) -> Number:
    return (x * x * x * 0.044715 + x) * math.sqrt(2 / math.pi)


def _gelu_tanh_slope(x: Number, m: Algebra, _: Mapping[str, float]) -> Number:
    t, inner_slope = m.tanh(_gelu_inner(x)), (x * x * (3 * 0.044715) + 1) * math.sqrt(2 / math.pi)
    return (t + 1) * 0.5 + x * 0.5 * (1 - t * t) * inner_slope


def _hard_sigmoid_slope(x: Number, m: Algebra, p: Mapping[str, float]) -> Number:
    y = x * p["alpha"] + p["beta"]
    return m.where(y > 0.0, m.where(y < 1.0, p["alpha"], 0.0), 0.0)


def _hard_swish_slope(x: Number, m: Algebra, _: Mapping[str, float]) -> Number:
    return m.where(x > -3.0, m.where(x < 3.0, x * (1 / 3) + 0.5, 1.0), 0.0)


# slopes are those of PyTorch, at the kinks as well
FUNCTIONS: dict[str, Function] = {
    "elu": Function(
        lambda x, m, p: m.where(x > 0.0, x, (m.exp(m.where(x > 0.0, 0.0, x)) - 1.0) * p["alpha"]),
        lambda x, m, p: m.where(x > 0.0, 1.0, m.exp(m.where(x > 0.0, 0.0, x)) * p["alpha"]),
        {"alpha": 1.0},
    ),
    "gelu": Function(lambda x, m, _: x * (m.erf(x * math.sqrt(0.5)) + 1) * 0.5, _gelu_slope),
    "gelu_tanh": Function(lambda x, m, _: x * (m.tanh(_gelu_inner(x)) + 1) * 0.5, _gelu_tanh_slope),
    "hard_sigmoid": Function(
        lambda x, m, p: m.clip(x * p["alpha"] + p["beta"], 0.0, 1.0), _hard_sigmoid_slope, {"alpha": 1 / 6, "beta": 0.5}
    ),
    "hard_swish": Function(lambda x, m, _: x * m.clip(x + 3.0, 0.0, 6.0) * (1 / 6), _hard_swish_slope),
    "leaky_relu": Function(
        lambda x, m, p: m.where(x > 0.0, x, x * p["alpha"]),
        lambda x, m, p: m.where(x > 0.0, 1.0, p["alpha"]),
        {"alpha": 0.01},
    ),
    "sigmoid": Function(lambda x, m, _: m.sigmoid(x), lambda x, m, _: m.sigmoid(x) * (1 - m.sigmoid(x))),
    "silu": Function(lambda x, m, _: x * m.sigmoid(x), _silu_slope),
    "tanh": Function(lambda x, m, _: m.tanh(x), lambda x, m, _: 1 - m.tanh(x) * m.tanh(x)),
}


def tabulate(
    function: str, x: tuple[float, int], out: tuple[float, int], **parameters: float
) -> tuple[np.ndarray, np.ndarray]:
    """(table int8 [256], slope float32 [256]) of a function of FUNCTIONS between two quantisations (scale, zero point).

    table[q + 128] is the function of (q - zero) * scale in float64, rounded to the nearest step, halves to even, and
    clamped to int8; slope is its derivative in steps of the output by steps of the input, 0 where the table is clamped.
    A frontend whose arithmetic gives other integers makes its own table and takes the slope from here."""
    found = FUNCTIONS[function]
    known, (x_scale, x_zero), (out_scale, out_zero) = {**found.defaults, **parameters}, x, out
    real = (np.arange(-128, 128) - np.float64(x_zero)) * x_scale
    steps = np.rint(found.value(real, Float64(), known) / out_scale) + out_zero
    slope = found.slope(real, Float64(), known) * (x_scale / out_scale)
    is_inside = (steps >= -128) & (steps <= 127)
    return np.clip(steps, -128, 127).astype(np.int8), np.where(is_inside, slope, 0.0).astype(np.float32)


# ---------------------------------------------------------------------- ops
def lookup(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x int8 (1, H, W, C), table int8 [256] -> table[x + 128]."""

    def value(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        return element.operands[0][i32(element.x) + 128], T.int32(1)

    return by_element(shapes, "int8", variant, value, operands=(Operand("table", "int8"),))


def lookup_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g, x int8, slope float32 [256] -> g * slope[x + 128]."""
    slope = (Operand("slope", "float32"),)
    return adjoint_by_element(shapes, "int8", variant, lambda e: e.operands[0][i32(e.x) + 128], slope)


def factivation(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x float32 (1, H, W, C) -> the function that the attribute `function` names, with its parameters."""

    def value(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        return _expr(FUNCTIONS[attrs["function"]].value(_Real(element.x), Float32(), attrs)), T.int32(1)

    return by_element(shapes, "float32", variant, value)


def factivation_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g, x float32 -> g times the function's slope at x."""

    def slope(element: Element) -> tirx.Expr:
        return _expr(FUNCTIONS[attrs["function"]].slope(_Real(element.x), Float32(), attrs))

    return adjoint_by_element(shapes, "float32", variant, slope)


def _lookup_runs(op: relax.Call, args: list[relax.Expr]) -> relax.Call:
    """Without the slope, which the backward pass alone reads."""
    return call("lookup", args[:2], **attrs_of(op))


def _lookup_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    x, table, slope = op.args
    g_x = call("lookup_grad", [g_y, x, slope], layer=attrs_of(op)["layer"])
    return [g_x, no_gradient(table), no_gradient(slope)]


def _factivation_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    return [call("factivation_grad", [g_y, op.args[0]], **attrs_of(op))]


OPS = (
    # x, table[, slope]
    OpRecord("lookup", same_type, lookup, gradient=_lookup_gradient, runs=_lookup_runs, words="lookup table"),
    OpRecord("lookup_grad", same_type, lookup_grad, "backward", result=":g_x"),  # g, x, slope
    # x; attrs function and its parameters
    OpRecord("factivation", same_type, factivation, gradient=_factivation_gradient, words="activation"),
    OpRecord("factivation_grad", same_type, factivation_grad, "backward", result=":g_x"),  # g, x
)
