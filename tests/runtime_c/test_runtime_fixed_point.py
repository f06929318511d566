"""The fixed-point products of cores without a 64 bit product (Armv6-M), built on the host, against the 64 bit form and
Python's own integers; and that the core's own code calls no library for them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.firmware import toolchain
from mcutrain.firmware.compiling import Compiler, find_compiler, run_tool

SOURCE = Path(__file__).parent / "fixed_point_cases.c"
KERNELS = toolchain.RUNTIME / "kernels"
INT32 = 2**31
Products = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def built(folder: Path, narrow: int, name: str = "products") -> Products:
    """rows (x, multiplier, shift) -> (tflite, upward)."""
    library = folder / "products.so"
    assert toolchain.build_host([SOURCE], [KERNELS], library, (f"MCU_NARROW_PRODUCT={narrow}",)) == ()
    function = getattr(ctypes.CDLL(str(library)), name)

    def run(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = [np.ascontiguousarray(column, np.int32) for column in rows.T]
        results = np.zeros((2, len(rows)), np.int32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*columns, *results)]
        function(*pointers, ctypes.c_uint32(len(rows)))
        return results[0], results[1]

    return run


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Products:
    return built(tmp_path_factory.mktemp("narrow"), 1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Products:
    return built(tmp_path_factory.mktemp("wide"), 0)


def every_kind_of_row() -> np.ndarray:
    """Each shift with values around every power of two, and random ones."""
    rng = np.random.default_rng(1)
    edges = np.array([s * (2**k + d) for k in range(31) for d in (-1, 0, 1) for s in (-1, 1)] + [-INT32, INT32 - 1])
    factors = np.array([0, 1, 0xFFFF, 0x10000, 2**30, 2**30 + 1, 0x5A82799A, INT32 - 1])
    shifts = np.arange(-31, 31)
    grid = np.stack(np.meshgrid(edges, factors, shifts, indexing="ij"), axis=-1).reshape(-1, 3)
    bits = rng.integers(0, 32, 200_000)
    x = rng.integers(-INT32, INT32, 200_000) >> bits
    return np.concatenate([grid, np.stack([x, rng.integers(0, INT32, len(x)), rng.choice(shifts, len(x))], axis=-1)])


def test_equal_to_the_wide_form(narrow: Products, wide: Products) -> None:
    rows = every_kind_of_row()
    for ours, theirs in zip(narrow(rows), wide(rows), strict=True):
        wrong = ours != theirs
        assert not wrong.any(), (rows[wrong][:5], ours[wrong][:5], theirs[wrong][:5])


@pytest.mark.parametrize("is_narrow", [0, 1])
def test_taken_apart_beforehand(wide: Products, tmp_path: Path, is_narrow: int) -> None:
    rows = every_kind_of_row()
    for ours, theirs in zip(built(tmp_path, is_narrow, "taken_apart")(rows), wide(rows), strict=True):
        wrong = ours != theirs
        assert not wrong.any(), (rows[wrong][:5], ours[wrong][:5], theirs[wrong][:5])


@settings(max_examples=500, deadline=None)
@given(st.integers(-INT32, INT32 - 1), st.integers(0, INT32 - 1), st.integers(-31, 30))
def test_upward_is_the_exact_quotient(narrow: Products, x: int, multiplier: int, shift: int) -> None:
    """floor(x * multiplier / 2^places + 1/2), as a 32 bit number."""
    places = 31 - shift
    exact = (2 * x * multiplier + 2**places) // 2 ** (places + 1)
    (found,) = narrow(np.array([[x, multiplier, shift]]))[1]
    assert int(found) == (exact + INT32) % (2 * INT32) - INT32


def test_no_library_on_armv6m(tmp_path: Path) -> None:
    flags = ("-std=c11", "-O2", "-mcpu=cortex-m0plus", "-mthumb")
    called = {}
    for defines in ((), ("MCU_NARROW_PRODUCT=0",)):  # the core is known by the compiler's own macro
        compiler = Compiler(find_compiler(), flags, (toolchain.INCLUDE, KERNELS), defines)
        run_tool([*compiler.arguments, "-c", SOURCE, "-o", tmp_path / "products.o"], "compiling")
        listing = run_tool([compiler.tool("nm"), "-u", tmp_path / "products.o"], "reading symbols").stdout
        called[defines] = listing.split()[1::2]
    assert called == {(): [], ("MCU_NARROW_PRODUCT=0",): ["__aeabi_lmul"]}
