"""Averages of integers: exact references, every sum of a window, TFLite's reference kernels; refusals."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.ops.kernel import Kernel
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.pool_cases import (
    GEOMETRIES,
    OTHER,
    SAME,
    TFLITE,
    attrs_of,
    counts,
    cut,
    out_shape,
    pool_options,
    shape_of,
)
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.tflite_op import Quantised, run_op


def sums(x: np.ndarray, attrs: dict, border: int) -> np.ndarray:
    return cut(x, attrs, border).sum(axis=3).astype(np.int64)[None]


def rounded(total: np.ndarray, n: np.ndarray, rounding: str) -> np.ndarray:
    """total / n in exact integers."""
    away = np.sign(total) * ((2 * np.abs(total) + n) // (2 * n))
    if rounding == "tflite":
        return np.sign(total) * ((np.abs(total) + n // 2) // n)
    if rounding == "truncate":
        return np.sign(total) * (np.abs(total) // n)
    if rounding == "upward":
        return (2 * total + n) // (2 * n)
    is_half = 2 * np.abs(total) % (2 * n) == n
    return np.where(is_half, away - np.sign(total) * (away % 2), away)


def average_values(x: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp."""
    n = counts(x.shape, attrs)
    if attrs["in_scale"] == attrs["out_scale"] and attrs["in_zero"] == attrs["out_zero"]:
        return rounded(sums(x, attrs, attrs["in_zero"] if attrs["counts_padding"] else 0), n, attrs["rounding"])
    total = sums(x.astype(np.int64) - attrs["in_zero"], attrs, 0)
    factor = (np.float64(attrs["in_scale"]) / (n * np.float64(attrs["out_scale"]))).astype(np.float32)
    return np.rint(total.astype(np.float32) * factor).astype(np.int64) + attrs["out_zero"]


def check_average(kernel: Kernel, x: np.ndarray, attrs: dict) -> np.ndarray:
    v = average_values(x, attrs)
    expected_mask = reference.pack_mask(reference.inside(v, attrs))
    outputs = [np.full(v.shape, 77, np.int8), np.full(expected_mask.shape, 0xFF, np.uint8)][: kernel.outputs]
    run(kernel, [x], outputs)
    np.testing.assert_array_equal(outputs[0], reference.clamp(v, attrs))
    if kernel.outputs == 2:
        np.testing.assert_array_equal(outputs[1], expected_mask)
    return v


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward", "truncate", "requantised"])
def test_average(rounding: str) -> None:
    quantisation = OTHER if rounding == "requantised" else {**SAME, "rounding": rounding}
    cases = [(g, False) for g in GEOMETRIES] + [(g, True) for g in GEOMETRIES if any(g[3])]
    shapes, clamps = [shape_of(g) for g, _ in cases], [(-128, 127), (-5, 9)]
    attrs_by_case = [
        attrs_of(g, **{**quantisation, "counts_padding": counted, "lo": clamps[i % 2][0], "hi": clamps[i % 2][1]})
        for i, (g, counted) in enumerate(cases)
    ]
    kernels = [
        build("qavg_pool_with_mask" if i % 3 > 0 else "qavg_pool", [list(s)], a)
        for i, (s, a) in enumerate(zip(shapes, attrs_by_case, strict=True))
    ]
    prepare(kernels)
    rng = np.random.default_rng(1)
    for kernel, shape, attrs in zip(kernels, shapes, attrs_by_case, strict=True):
        for width in (128, 6):
            check_average(kernel, rng.integers(-width, width, shape).astype(np.int8), attrs)


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward", "truncate"])
@pytest.mark.parametrize("n", [2, 3, 4, 49])
def test_every_sum_is_rounded_as_it_should_be(rounding: str, n: int) -> None:
    """One channel for each possible sum: every half, both ends."""
    totals = np.arange(-128 * n, 127 * n + 1)
    x = (totals[None, :] // n + (np.arange(n)[:, None] < totals % n)).astype(np.int8).reshape(1, n, 1, -1)
    attrs = attrs_of(((n, 1, len(totals)), (n, 1), (1, 1), (0, 0, 0, 0)), **SAME, rounding=rounding)
    v = check_average(build("qavg_pool_with_mask", [list(x.shape)], attrs), x, attrs).reshape(-1)
    assert (v[0], v[-1]) == (-128, 127)
    if n == 2:  # -3/2, -1/2, 1/2, 3/2
        halves = {"even": [-2, 0, 0, 2], "tflite": [-2, -1, 1, 2], "upward": [-1, 0, 1, 2], "truncate": [-1, 0, 0, 1]}
        assert v[np.isin(totals, (-3, -1, 1, 3))].tolist() == halves[rounding]


def test_a_large_window_is_exact() -> None:
    rng = np.random.default_rng(3)
    attrs = attrs_of(((64, 96, 3), (64, 96), (1, 1), (0, 0, 0, 0)), **SAME)
    x = rng.integers(-128, 128, (1, 64, 96, 3)).astype(np.int8)
    x[..., 1], x[..., 2] = -128, 127
    x[0, : 64 // 2, :, 2] = 126  # a half, from which 126 is the even one
    v = check_average(build("qavg_pool", [list(x.shape)], attrs), x, attrs)
    assert v[0, 0, 0, 1:].tolist() == [-128, 126]


@pytest.mark.parametrize("geometry", TFLITE)
def test_average_equals_tflites(geometry: tuple) -> None:
    rng, attrs = np.random.default_rng(5), attrs_of(geometry, **SAME, rounding="tflite")
    for width in (128, 4):
        x = rng.integers(-width, width, shape_of(geometry)).astype(np.int8)
        y = np.zeros(out_shape(x.shape, attrs), np.int8)
        theirs = run_op("AVERAGE_POOL_2D", pool_options(geometry), [Quantised(x, 0.1, -7)], Quantised(y, 0.1, -7))
        run(build("qavg_pool", [list(x.shape)], attrs), [x], [y])
        np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize("quantisation", [SAME, OTHER, {**OTHER, "out_scale": 0.1}, {**OTHER, "out_scale": 0.31}])
def test_mean_equals_tflites(quantisation: dict) -> None:
    """MEAN over both axes, whatever the quantisation: it never rounds as AVERAGE_POOL_2D does."""
    options = schema.ReducerOptionsT()
    options.keepDims = True
    rng, scales = np.random.default_rng(6), {k: float(np.float32(v)) for k, v in quantisation.items() if "scale" in k}
    rounding = "tflite_mean" if quantisation is SAME else "tflite"
    for height, width in ((4, 4), (7, 7), (1, 3), (25, 5), (1, 1)):
        x = rng.integers(-128, 128, (1, height, width, 300)).astype(np.int8)
        geometry = ((height, width, 300), (height, width), (1, 1), (0, 0, 0, 0))
        attrs = attrs_of(geometry, **{**quantisation, **scales}, rounding=rounding)
        y = np.zeros((1, 1, 1, 300), np.int8)
        source, target = (Quantised(a, attrs[f"{n}_scale"], attrs[f"{n}_zero"]) for a, n in ((x, "in"), (y, "out")))
        theirs = run_op("MEAN", options, [source], target, [np.array([1, 2])])
        run(build("qavg_pool", [list(x.shape)], attrs), [x], [y])
        np.testing.assert_array_equal(y, theirs)


def test_the_factor_of_a_mean_by_window_is_the_one_of_its_size() -> None:
    """With padding that does not count, the integer multipliers come from a table: each position as a mean alone."""
    geometry = ((4, 4, 8), (3, 3), (1, 1), (1, 1, 1, 1))
    attrs, rng = attrs_of(geometry, **OTHER, rounding="tflite"), np.random.default_rng(7)
    x, y = rng.integers(-128, 128, shape_of(geometry)).astype(np.int8), np.zeros(shape_of(geometry), np.int8)
    run(build("qavg_pool", [list(x.shape)], attrs), [x], [y])
    for oy, ox in np.ndindex(4, 4):
        part = np.ascontiguousarray(x[:, max(0, oy - 1) : oy + 2, max(0, ox - 1) : ox + 2])
        extents = part.shape[1:3]
        alone = np.zeros((1, 1, 1, 8), np.int8)
        whole = attrs_of((part.shape[1:], extents, (1, 1), (0, 0, 0, 0)), **OTHER, rounding="tflite")
        run(build("qavg_pool", [list(part.shape)], whole), [part], [alone])
        np.testing.assert_array_equal(y[0, oy, ox], alone[0, 0, 0])


@pytest.mark.parametrize("rounding", ["upward", "truncate"])
def test_an_average_that_cannot_requantise_is_refused(rounding: str) -> None:
    with pytest.raises(ModelError, match="layer under test: .*'" + rounding + "' keeps scale .* requantise behind it"):
        build("qavg_pool", [[1, 6, 8, 4]], attrs_of(GEOMETRIES[0], **OTHER, rounding=rounding))


def test_a_window_in_the_padding_is_refused() -> None:
    for padding in ((3, 0, 0, 0), (0, 0, 0, 4)):
        attrs = attrs_of(((6, 6, 2), (3, 3), (1, 1), padding), dtype="int8")
        with pytest.raises(ModelError, match=r"layer under test: a window 3 x 3 .* lies in the padding alone"):
            build("max_pool", [[1, 6, 6, 2]], attrs)
