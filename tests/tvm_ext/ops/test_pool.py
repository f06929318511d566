"""Pools: every sum of a window, large windows, ties of maxima, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from tests.tvm_ext.ops.cases.pool import qavg_pool_values
from tests.tvm_ext.support import product_ops, reference
from tests.tvm_ext.support.pool_windows import GEOMETRIES, OTHER, SAME, attrs_of, shape_of
from tests.tvm_ext.support.product_ops import Attrs
from tests.tvm_ext.support.run_kernel import run


def check_average(name: str, x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """Compares the bits of outputs and mask; the values before the clamp are returned."""
    v = qavg_pool_values(x, attrs)
    expected = reference.clamped(v, attrs)
    kernel = product_ops.build(name, [list(x.shape)], attrs)
    outputs = [np.full(v.shape, 77, np.int8), np.full(expected[1].shape, 0xFF, np.uint8)][: kernel.outputs]
    run(kernel, [x], outputs)
    for ours, right in zip(outputs, expected, strict=False):
        np.testing.assert_array_equal(ours, right)
    return v


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward", "truncate"])
@pytest.mark.parametrize("n", [2, 3, 4, 49])
def test_every_sum_is_rounded_as_it_should_be(rounding: str, n: int) -> None:
    """One channel for each possible sum: every half, both ends."""
    totals = np.arange(-128 * n, 127 * n + 1)
    x = (totals[None, :] // n + (np.arange(n)[:, None] < totals % n)).astype(np.int8).reshape(1, n, 1, -1)
    attrs = attrs_of(((n, 1, len(totals)), (n, 1), (1, 1), (0, 0, 0, 0)), **SAME, rounding=rounding)
    v = check_average("qavg_pool_with_mask", x, attrs).reshape(-1)
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
    v = check_average("qavg_pool", x, attrs)
    assert v[0, 0, 0, 1:].tolist() == [-128, 126]


def test_the_factor_of_a_mean_by_window_is_the_one_of_its_size() -> None:
    """With padding that does not count, the integer multipliers come from a table: each position as a mean alone."""
    geometry = ((4, 4, 8), (3, 3), (1, 1), (1, 1, 1, 1))
    attrs, rng = attrs_of(geometry, **OTHER, rounding="tflite"), np.random.default_rng(7)
    x, y = rng.integers(-128, 128, shape_of(geometry)).astype(np.int8), np.zeros(shape_of(geometry), np.int8)
    run(product_ops.build("qavg_pool", [list(x.shape)], attrs), [x], [y])
    for oy, ox in np.ndindex(4, 4):
        part = np.ascontiguousarray(x[:, max(0, oy - 1) : oy + 2, max(0, ox - 1) : ox + 2])
        extents = part.shape[1:3]
        alone = np.zeros((1, 1, 1, 8), np.int8)
        whole = attrs_of((part.shape[1:], extents, (1, 1), (0, 0, 0, 0)), **OTHER, rounding="tflite")
        run(product_ops.build("qavg_pool", [list(part.shape)], whole), [part], [alone])
        np.testing.assert_array_equal(y[0, oy, ox], alone[0, 0, 0])


@pytest.mark.parametrize("rounding", ["upward", "truncate"])
def test_an_average_that_cannot_requantise_is_refused(rounding: str) -> None:
    with pytest.raises(ModelError, match="layer under test: .*'" + rounding + "' keeps scale .* requantise behind it"):
        product_ops.build("qavg_pool", [[1, 6, 8, 4]], attrs_of(GEOMETRIES[0], **{**OTHER, "rounding": rounding}))


def test_a_window_in_the_padding_is_refused() -> None:
    for padding in ((3, 0, 0, 0), (0, 0, 0, 4)):
        attrs = attrs_of(((6, 6, 2), (3, 3), (1, 1), padding), dtype="int8")
        with pytest.raises(ModelError, match=r"layer under test: a window 3 x 3 .* lies in the padding alone"):
            product_ops.build("max_pool", [[1, 6, 6, 2]], attrs)


def test_the_first_of_equal_maxima_inside_the_image_is_kept() -> None:
    attrs = attrs_of(((2, 2, 1), (3, 3), (1, 1), (1, 1, 1, 1)), dtype="int8")
    y, index = np.zeros((1, 2, 2, 1), np.int8), np.zeros((1, 2, 2, 1), np.uint8)
    run(
        product_ops.build("max_pool_with_index", [[1, 2, 2, 1]], attrs),
        [np.full((1, 2, 2, 1), -128, np.int8)],
        [y, index],
    )
    assert y.reshape(-1).tolist() == [-128] * 4
    assert index.reshape(-1).tolist() == [4, 3, 1, 0]


def test_the_last_of_256_places_has_its_number() -> None:
    attrs = attrs_of(((16, 16, 1), (16, 16), (1, 1), (0, 0, 0, 0)), dtype="float32")
    y, index = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.uint8)
    x = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    run(product_ops.build("max_pool_with_index", [list(x.shape)], attrs), [x], [y, index])
    assert (y.item(), index.item()) == (255, 255)
