"""The functions of mcu_math.h that activations call, tables of functions, and what the builder refuses."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable

import numpy as np
import pytest

from mcutrain.firmware import toolchain
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation
from mcutrain.tvm_ext.ops.activation import FUNCTIONS, tabulate

EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mcu_sigmoidf": lambda x: 1 / (1 + np.exp(-x)),
    "mcu_tanhf": np.tanh,
    "mcu_erff": np.vectorize(math.erf, otypes=[np.float64]),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("functions")
    loops = "".join(
        f"void {name}_all(const float *x, float *y, int32_t n) {{\n"
        f"    for (int32_t i = 0; i < n; i++) y[i] = {name}(x[i]);\n}}\n"
        for name in EXACT
    )
    (folder / "functions.c").write_text('#include "mcu_math.h"\n' + loops)
    toolchain.build_host([folder / "functions.c"], [], folder / "functions.so")
    return ctypes.CDLL(str(folder / "functions.so"))


def computed(library: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    y = np.zeros_like(x)
    getattr(library, f"{name}_all")(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)), ctypes.c_int32(len(x)))
    return y


@pytest.mark.parametrize("name", EXACT)
def test_a_function_is_within_four_units_in_the_last_place(library: ctypes.CDLL, name: str) -> None:
    """Where a result is so small that e^x is 0, its distance counts."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-6, 6, 200001), rng.normal(0, 40, 50000), rng.normal(0, 1e-3, 50000)])
    x = np.concatenate([x, 10.0 ** rng.uniform(-38, 38, 20000) * rng.choice([-1, 1], 20000)]).astype(np.float32)
    with np.errstate(over="ignore"):
        exact = EXACT[name](x.astype(np.float64))
    error = np.abs(computed(library, name, x) - exact)
    assert (error <= np.maximum(4 * np.spacing(np.abs(exact).astype(np.float32)), 1e-37)).all()


@pytest.mark.parametrize("name", EXACT)
def test_a_function_far_out(library: ctypes.CDLL, name: str) -> None:
    y = computed(library, name, np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30], np.float32))
    low = 0 if name == "mcu_sigmoidf" else -1
    assert np.isnan(y[0])
    np.testing.assert_array_equal(y[1:], [1, low, 0.5 if low == 0 else 0, 1, low])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_table_rises_by_its_slope(function: str) -> None:
    """The sum of the slopes between two inputs is the way of the table, but for what is rounded at its ends."""
    table, slope = tabulate(function, (0.03, -10), (0.017, 5))
    middle = (slope[1:].astype(np.float64) + slope[:-1]) / 2
    way = np.concatenate([[0], np.cumsum(middle)])
    is_inside = (table > -128) & (table < 127)
    drift = (table - way)[is_inside]
    assert is_inside.sum() > 100 and drift.max() - drift.min() < 2
    assert not slope[(table == 127) & (np.arange(256) > 250) & (slope == 0)].any()


def test_a_clamped_table_lets_no_gradient_through() -> None:
    table, slope = tabulate("silu", (0.1, 0), (0.01, 0))
    assert (table[150:] == 127).all() and not slope[150:].any() and slope[129:139].all()


def test_the_builder_refuses_other_tables_and_functions() -> None:
    q = Quantisation(0.1, 0)
    table, slope = tabulate("tanh", (q.scale, q.zero), (1 / 128, 0))
    ints, reals = NetworkBuilder((1, 2, 2, 3), q), NetworkBuilder((1, 2, 2, 3), None)
    with pytest.raises(ModelError, match=r"act: a table is int8 \[256\]"):
        ints.lookup("act", ints.input, table[:255], slope, q)
    with pytest.raises(ModelError, match="act: an int8 layer reads float32"):
        reals.lookup("act", reals.input, table, slope, q)
    with pytest.raises(ModelError, match="act: a float32 layer reads int8"):
        ints.activation("act", ints.input, "tanh")
    with pytest.raises(ModelError, match="act: no function mish; there are elu, gelu"):
        reals.activation("act", reals.input, "mish")
    with pytest.raises(ModelError, match="act: no function tanh, alpha"):
        reals.activation("act", reals.input, "tanh", alpha=1.0)
