"""Chains of operators that act on each number alone, known by their values.

An int8 activation holds 256 numbers, so that whatever a chain computes of it is one table. A float32 one holds any:
there a chain is recognised as one of the functions that the builder knows by its values at points of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mcutrain.tvm_ext.importers.base.activations import Table, clamped
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.ops.activation import FUNCTIONS, Float64

FAR = np.geomspace(12, 1e30, 200)  # a clamp anywhere makes another function
GRID = np.concatenate([-FAR[:0:-1], np.linspace(-12, 12, 2401), FAR[1:]])
TOLERANCE = 2e-6  # the constants of a chain are float32; the two forms of GELU lie 5e-4 apart
Elementwise = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Curve:
    """A function of the activation `of`, which is there already. y, slope: its values and its derivatives, float64, at
    the 256 numbers that an int8 activation holds, or at GRID. function, parameters: its name among the builder's
    functions, "" where it has none so far."""

    of: Value
    y: np.ndarray
    slope: np.ndarray
    function: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)

    def through(self, function: str, parameters: Mapping[str, float]) -> Curve:
        """One of the builder's functions of this one."""
        found = FUNCTIONS[function]
        given, is_own = {**found.defaults, **parameters}, np.array_equal(self.y, points(self.of))
        y, slope = found.value(self.y, Float64(), given), found.slope(self.y, Float64(), given)
        return Curve(self.of, y, self.slope * slope, function if is_own else "", parameters if is_own else {})

    def mapped(self, f: Elementwise, derivative: Elementwise) -> Curve:
        """f of this one."""
        return Curve(self.of, f(self.y), self.slope * derivative(self.y))

    def clipped(self, lo: float, hi: float) -> Curve:
        """This one, clamped; the clamp passes a gradient strictly inside."""
        inside = (self.y > lo) & (self.y < hi)
        return Curve(self.of, np.clip(self.y, lo, hi), np.where(inside, self.slope, 0))

    def plus(self, other: Curve) -> Curve:
        return Curve(self.of, self.y + other.y, self.slope + other.slope)

    def times(self, other: Curve) -> Curve:
        return Curve(self.of, self.y * other.y, self.slope * other.y + self.y * other.slope)

    def affine(self, factor: float, shift: float) -> Curve:
        return Curve(self.of, self.y * factor + shift, self.slope * factor)

    def quantised(self, q: Quantisation) -> Curve:
        """This one as QuantizeLinear and DequantizeLinear leave it."""
        table, slope = self.table(q, -128, 127)
        return Curve(self.of, (table.astype(np.float64) - q.zero) * q.scale, slope * (q.scale / self.of.steps.scale))

    def table(self, out: Quantisation, lo: int, hi: int) -> Table:
        """(int8 [256], float32 [256]) over an int8 activation: halves to even, clamped to [lo, hi]; and the slope in
        steps of the output by steps of the input, 0 where it is clamped."""
        with np.errstate(over="ignore"):
            steps = np.nan_to_num(np.rint(self.y / out.scale)) + out.zero
            slope = self.slope * (self.of.steps.scale / out.scale)
        return clamped(steps, slope, lo, hi)

    def recognised(self) -> Curve | None:
        """This one under its name, None where it is none of the builder's functions (with their usual parameters)."""
        if self.function:
            return self
        for name, found in FUNCTIONS.items():
            y = found.value(points(self.of), Float64(), found.defaults)
            if np.all(np.abs(self.y - y) <= TOLERANCE * np.maximum(1, np.abs(y))):
                return replace(self, function=name)
        return None


def points(value: Value) -> np.ndarray:
    """The real numbers at which functions of `value` are known."""
    if value.quantisation is None:
        return GRID
    return (np.arange(-128, 128) - np.float64(value.quantisation.zero)) * value.quantisation.scale


def itself(value: Value) -> Curve:
    """The function that changes nothing."""
    x = points(value)
    return Curve(value, x, np.ones_like(x))


def pairs(a: tuple[Curve, ...], b: tuple[Curve, ...]) -> list[tuple[Curve, Curve]]:
    """Curves of two activations that are functions of one and the same."""
    return [(c, d) for c in a for d in b if c.of.var.same_as(d.of.var) and c.of.order == d.of.order]
