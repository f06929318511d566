"""Chains of operators on each number alone: their tables, their slopes, and what they are recognised as."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from tvm import relax

from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.curves import Curve, itself, pairs
from mcutrain.tvm_ext.ops.activation import tabulate


def activation(quantisation: Quantisation | None = None) -> Value:
    dtype = "int8" if quantisation else "float32"
    return Value(relax.Var("x", relax.TensorType([1, 2, 2, 4], dtype)), quantisation)


def erf(x: Curve) -> Curve:
    return x.mapped(np.vectorize(math.erf), lambda y: 2 / math.sqrt(math.pi) * np.exp(-y * y))


# as exporters write them, with the constants of float32
CHAINS: dict[str, Callable[[Curve], Curve]] = {
    "hard_sigmoid": lambda x: x.affine(1, 3).clipped(0, 6).affine(1 / 6, 0),
    "hard_swish": lambda x: x.times(x.affine(1, 3).clipped(0, 6)).affine(float(np.float32(1 / 6)), 0),
    "silu": lambda x: x.times(x.through("sigmoid", {})),
    "gelu": lambda x: x.times(erf(x.affine(float(np.float32(math.sqrt(0.5))), 0)).affine(1, 1)).affine(0.5, 0),
    "gelu_tanh": lambda x: x.affine(0.5, 0).times(
        x.plus(x.times(x).times(x).affine(float(np.float32(0.044715)), 0))
        .affine(float(np.float32(math.sqrt(2 / math.pi))), 0)
        .through("tanh", {})
        .affine(1, 1)
    ),
    "tanh": lambda x: x.affine(2, 0).through("sigmoid", {}).affine(2, -1),
}


@pytest.mark.parametrize("function", CHAINS)
def test_a_chain_over_float32_is_recognised(function: str) -> None:
    found = CHAINS[function](itself(activation())).recognised()
    assert found is not None and (found.function, found.parameters) == (function, {})


@pytest.mark.parametrize("function", CHAINS)
def test_a_chain_over_int8_is_the_functions_own_table(function: str) -> None:
    x, out = Quantisation(0.05, -7), Quantisation(0.031, 11)
    table, slope = CHAINS[function](itself(activation(x))).table(out, -128, 127)
    expected, its_slope = tabulate(function, (x.scale, x.zero), (out.scale, out.zero))
    assert np.mean(table == expected) > 0.99 and np.abs(table.astype(int) - expected).max() <= 1
    smooth = table == expected
    np.testing.assert_allclose(slope[smooth], its_slope[smooth], atol=1e-5)


def test_parameters_are_those_of_the_operator() -> None:
    x = itself(activation())
    known = x.through("leaky_relu", {"alpha": 0.3}).recognised()
    assert known is not None and (known.function, known.parameters) == ("leaky_relu", {"alpha": 0.3})
    behind = x.affine(2, 0).through("leaky_relu", {"alpha": 0.3})
    assert behind.function == "" and behind.recognised() is None


def test_other_functions_are_not_taken_for_known_ones() -> None:
    x = itself(activation())
    assert x.recognised() is None and x.affine(2, 1).recognised() is None
    assert x.clipped(-1e6, 1e6).times(x.through("sigmoid", {})).recognised() is None
    assert x.times(x.affine(1.001, 0).through("sigmoid", {})).recognised() is None


def test_what_is_quantised_on_the_way_keeps_its_steps() -> None:
    x, middle, out = Quantisation(0.05, -7), Quantisation(1 / 256, -128), Quantisation(0.02, 3)
    curve = itself(activation(x))
    gate = curve.through("sigmoid", {}).quantised(middle)
    steps = np.rint(gate.y / middle.scale) + middle.zero
    np.testing.assert_allclose(gate.y, (steps - middle.zero) * middle.scale)
    assert set(steps) <= set(range(-128, 128))
    table, slope = curve.times(gate).table(out, -100, 100)
    real = (np.arange(-128, 128) + 7) * 0.05
    np.testing.assert_array_equal(table, np.clip(np.rint(real * gate.y / 0.02) + 3, -100, 100))
    assert not slope[np.abs(real * gate.y / 0.02 + 3) > 101].any() and slope[150] > 0


def test_pairs_are_functions_of_one_activation() -> None:
    x, y = itself(activation()), itself(activation())
    assert pairs((x, y), (y,)) == [(y, y)] and not pairs((x,), (y,))
