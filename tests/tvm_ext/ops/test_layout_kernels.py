"""Kernels that move values: numpy as the reference, TFLite's reference kernels, overlaps, rows and rings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_overlaps import check as check_overlaps
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.streaming import check_rows
from tests.tvm_ext.support.tflite_op import Quantised, run_op

# every example calls the C compiler
FEW = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
DRAWS = 8


@dataclass(frozen=True)
class Case:
    """build(more attributes), operands of a seed, and what numpy makes of them."""

    build: Callable[[Variant], Kernel]
    operands: Callable[[int], list[np.ndarray]]
    result: Callable[..., np.ndarray]


def random(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32) if dtype == "float32" else rng.integers(-128, 128, shape, np.int8)


def concat(height: int, width: int, counts: list[int], dtype: str) -> Case:
    shapes = [(1, height, width, n) for n in counts]
    return Case(
        lambda variant: build("concat", [list(s) for s in shapes], {"dtype": dtype}, variant),
        lambda seed: [random(s, dtype, seed + 100 * i) for i, s in enumerate(shapes)],
        lambda *inputs: np.concatenate(inputs, axis=3),
    )


def pad(shape: tuple[int, ...], padding: list[int], dtype: str, value: float) -> Case:
    (top, left, bottom, right), attrs = padding, {"padding": padding, "value": value, "dtype": dtype}
    return Case(
        lambda variant: build("pad", [list(shape)], attrs, variant),
        lambda seed: [random(shape, dtype, seed)],
        lambda x: np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=np.float32(value)),
    )


def slice_channels(shape: tuple[int, ...], begin: int, n: int) -> Case:
    attrs = {"shape": [*shape[:3], n], "begin": begin}
    return Case(
        lambda variant: build("slice_channels", [list(shape)], attrs, variant),
        lambda seed: [random(shape, "float32", seed)],
        lambda g: g[..., begin : begin + n],
    )


def crop(shape: tuple[int, ...], padding: list[int]) -> Case:
    """shape: of what is left."""
    top, left, bottom, right = padding
    whole = (1, shape[1] + top + bottom, shape[2] + left + right, shape[3])
    attrs = {"shape": list(shape), "padding": padding}
    return Case(
        lambda variant: build("crop", [list(whole)], attrs, variant),
        lambda seed: [random(whole, "float32", seed)],
        lambda g: g[:, top : top + shape[1], left : left + shape[2]],
    )


CASES = [
    concat(3, 4, [2, 5, 1], "int8"),
    concat(2, 3, [4, 4], "float32"),
    concat(1, 1, [6, 10, 3, 2], "int8"),
    concat(4, 2, [3], "int8"),
    pad((1, 4, 5, 3), [1, 2, 3, 0], "int8", -128.0),
    pad((1, 3, 2, 4), [0, 0, 2, 0], "int8", 7.0),
    pad((1, 3, 2, 4), [0, 0, 0, 1], "float32", 0.1),
    pad((1, 2, 3, 1), [2, 0, 0, 0], "float32", 0.0),
    slice_channels((1, 3, 4, 7), 2, 4),
    slice_channels((1, 2, 3, 5), 0, 1),
    slice_channels((1, 5, 1, 4), 3, 1),
    crop((1, 4, 5, 3), [1, 2, 3, 0]),
    crop((1, 3, 2, 2), [0, 0, 2, 1]),
    crop((1, 2, 4, 1), [2, 1, 0, 1]),
]


def check(cases: list[Case]) -> None:
    kernels = [case.build(PLAIN) for case in cases]
    prepare(kernels)
    for case, kernel in zip(cases, kernels, strict=True):
        operands = case.operands(1)
        expected = case.result(*operands)
        assert kernel.rows == expected.shape[1]
        y = np.full(expected.shape, 99, expected.dtype)
        run(kernel, operands, [y])
        np.testing.assert_array_equal(y, expected)


def test_values() -> None:
    check(CASES)


@pytest.mark.parametrize("case", CASES)
def test_rows_and_rings(case: Case) -> None:
    operands = case.operands(2)
    check_rows(case.build, operands, [case.result(*operands)])


def overlaps(*cases: Case) -> None:
    kernels = [case.build(PLAIN) for case in cases]
    prepare(kernels)
    for case, kernel in zip(cases, kernels, strict=True):
        draws = [case.operands(seed) for seed in range(DRAWS)]
        y = case.result(*draws[0])
        assert len(kernel.overlaps) == len(draws[0])
        check_overlaps(kernel, draws, [y.shape], [str(y.dtype)], slack=int(y.size == 1))


EXTENTS, DTYPES = st.integers(1, 6), st.sampled_from(["int8", "float32"])
BORDERS = st.tuples(*[st.integers(0, 3)] * 4).map(list)
COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@FEW
@given(EXTENTS, EXTENTS, COUNTS, DTYPES)
def test_overlaps_of_concat(height: int, width: int, counts: list[int], dtype: str) -> None:
    overlaps(concat(height, width, counts, dtype))


@FEW
@given(EXTENTS, EXTENTS, EXTENTS, BORDERS, DTYPES)
def test_overlaps_of_borders(height: int, width: int, channels: int, padding: list[int], dtype: str) -> None:
    shape = (1, height, width, channels)
    overlaps(pad(shape, padding, dtype, 3.0), crop(shape, padding))


@FEW
@given(EXTENTS, EXTENTS, COUNTS, st.integers(0, 3))
def test_overlaps_of_slices(height: int, width: int, counts: list[int], which: int) -> None:
    which %= len(counts)
    overlaps(slice_channels((1, height, width, sum(counts)), sum(counts[:which]), counts[which]))


# --------------------------------------------------------------------------- TFLite
def test_concat_equals_tflites() -> None:
    case, options = CASES[0], schema.ConcatenationOptionsT()
    options.axis = 3
    operands = case.operands(3)
    y = np.zeros_like(case.result(*operands))
    theirs = run_op("CONCATENATION", options, [Quantised(x, 0.2, 5) for x in operands], Quantised(y, 0.2, 5))
    run(case.build(PLAIN), operands, [y])
    np.testing.assert_array_equal(y, theirs)


def test_pad_equals_tflites() -> None:
    """Borders of real 0 are the zero point."""
    padding = [1, 2, 3, 0]
    case = pad((1, 4, 5, 3), padding, "int8", -9.0)
    (x,) = case.operands(4)
    y = np.zeros_like(case.result(x))
    amounts = np.array([[0, 0], [1, 3], [2, 0], [0, 0]])
    theirs = run_op("PAD", schema.PadOptionsT(), [Quantised(x, 0.2, -9)], Quantised(y, 0.2, -9), [amounts])
    run(case.build(PLAIN), [x], [y])
    np.testing.assert_array_equal(y, theirs)
