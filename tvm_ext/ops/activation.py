"""Functions of one number that a network applies element by element, and how an int8 network tabulates one.

Each function and its slope are written once, over `Algebra`: in float64 by numpy here, for tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

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
    t = m.tanh(_gelu_inner(x))
    return (t + 1) * 0.5 + x * 0.5 * (1 - t * t) * ((x * x * (3 * 0.044715) + 1) * math.sqrt(2 / math.pi))


def _hard_sigmoid(x: Number, m: Algebra, p: Mapping[str, float]) -> Number:
    return m.clip(x * p["alpha"] + p["beta"], 0.0, 1.0)


def _hard_sigmoid_slope(x: Number, m: Algebra, p: Mapping[str, float]) -> Number:
    y = x * p["alpha"] + p["beta"]
    return m.where(y > 0.0, m.where(y < 1.0, x * 0.0 + p["alpha"], x * 0.0), x * 0.0)


def _hard_swish_slope(x: Number, m: Algebra, _: Mapping[str, float]) -> Number:
    return m.where(x > -3.0, m.where(x < 3.0, x * (1 / 3) + 0.5, x * 0.0 + 1.0), x * 0.0)


# slopes are those of PyTorch, at the kinks as well
FUNCTIONS: dict[str, Function] = {
    "elu": Function(
        lambda x, m, p: m.where(x > 0.0, x, (m.exp(m.where(x > 0.0, x * 0.0, x)) - 1.0) * p["alpha"]),
        lambda x, m, p: m.where(x > 0.0, x * 0.0 + 1.0, m.exp(m.where(x > 0.0, x * 0.0, x)) * p["alpha"]),
        {"alpha": 1.0},
    ),
    "gelu": Function(lambda x, m, _: x * (m.erf(x * math.sqrt(0.5)) + 1) * 0.5, _gelu_slope),
    "gelu_tanh": Function(lambda x, m, _: x * (m.tanh(_gelu_inner(x)) + 1) * 0.5, _gelu_tanh_slope),
    "hard_sigmoid": Function(_hard_sigmoid, _hard_sigmoid_slope, {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": Function(lambda x, m, _: x * m.clip(x + 3.0, 0.0, 6.0) * (1 / 6), _hard_swish_slope),
    "leaky_relu": Function(
        lambda x, m, p: m.where(x > 0.0, x, x * p["alpha"]),
        lambda x, m, p: m.where(x > 0.0, x * 0.0 + 1.0, x * 0.0 + p["alpha"]),
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
