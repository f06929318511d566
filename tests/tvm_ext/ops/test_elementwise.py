"""Sums, roundings, clamps and the global mean on the values where they could go wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.tvm_ext.ops.cases.elementwise import BOUNDS, CLAMPS, ROUNDINGS, SHAPES, clip, fclip, quantisation, two
from tests.tvm_ext.support import product_ops, reference
from tests.tvm_ext.support.run_kernel import run
from tests.tvm_ext.support.torch_parts import to_torch


@pytest.mark.parametrize(("lo", "hi"), CLAMPS)
def test_sums_lie_on_each_bound_and_one_step_outside(lo: int, hi: int) -> None:
    """What is compared with the reference goes through every branch of clamp and mask."""
    values = [reference.add_values(*case.draw(0), case.attrs) for case in [two((1, 32, 16, 8), lo & 255, lo=lo, hi=hi)]]
    assert {lo, hi, lo - 1, hi + 1} <= set(np.concatenate(values).reshape(-1).tolist())


def test_roundings_differ_where_they_should() -> None:
    """x / 4: halves to even, away from zero, upward."""
    halves = np.array([-6, -2, 2, 6], np.int8).reshape(1, 1, 1, 4)
    results = {}
    for rounding in ROUNDINGS:
        y = np.zeros_like(halves)
        attrs = quantisation((0.25, 1.0, 0, 0), rounding=rounding)
        run(product_ops.build("requantise", [[1, 1, 1, 4]], attrs), [halves], [y])
        results[rounding] = y.reshape(-1).tolist()
    assert results == {"even": [-2, 0, 0, 2], "tflite": [-2, -1, 1, 2], "upward": [-1, 0, 1, 2]}


def test_mean_rounds_halves_to_even() -> None:
    halves = np.array([[1, 2, -1, -2, 127, -128], [2, 3, -2, -3, 126, -127]]).reshape(1, 2, 1, 6).astype(np.int8)
    y = np.zeros((1, 1, 1, 6), np.int8)
    run(product_ops.build("qmean", [[1, 2, 1, 6]], {"layer": "pool"}), [halves], [y])
    assert y.reshape(-1).tolist() == [2, 2, -2, -2, 126, -128]


def test_mean_of_many_values_at_their_ends() -> None:
    extreme = np.full((1, 64, 64, 3), 127, np.int8)
    extreme[..., 1] = -128
    extreme[0, 0, 0, 2] = 126
    y = np.zeros((1, 1, 1, 3), np.int8)
    run(product_ops.build("qmean", [list(extreme.shape)], {"layer": "pool"}), [extreme], [y])
    np.testing.assert_array_equal(y, reference.mean(extreme))


@pytest.mark.parametrize("bounds", BOUNDS)
def test_the_mask_of_a_float_clamp_is_where_pytorch_has_a_gradient(bounds: tuple[float, float]) -> None:
    """As hardtanh, whose gradient is 0 on both bounds."""
    for case in (clip(shape, *bounds) for shape in SHAPES):
        (x,) = case.draw(0)
        theirs = to_torch(x).requires_grad_()
        torch.nn.functional.hardtanh(theirs, case.attrs["lo"], case.attrs["hi"]).sum().backward()
        _, packed = fclip(case.attrs, x)
        np.testing.assert_array_equal(packed, reference.pack_mask(theirs.grad.numpy().transpose(0, 2, 3, 1) != 0))


def test_a_bound_that_is_no_short_decimal_is_exact() -> None:
    bound, x, y = float(np.float32(1 / 3)), np.full((1, 1, 1, 2), 9, np.float32), np.zeros((1, 1, 1, 2), np.float32)
    run(product_ops.build("fclip", [[1, 1, 1, 2]], {"lo": -bound, "hi": bound}), [x], [y])
    assert (y == np.float32(1 / 3)).all()


def test_an_open_side_is_not_compared() -> None:
    for lo, hi, compared in ((-math.inf, math.inf, 0), (0.0, math.inf, 1), (-math.inf, 2.0, 1), (-1.0, 1.0, 2)):
        text = product_ops.build("fclip", [[1, 2, 2, 2]], {"lo": lo, "hi": hi}).func.script()
        assert text.count("T.Select") == compared
