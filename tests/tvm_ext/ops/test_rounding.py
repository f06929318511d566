"""What the numpy references round with, against Python's integers of any size and against the product's multipliers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mcutrain.tvm_ext.fixed_point import multiplier
from tests.tvm_ext.support import reference


def exact_product(n: int, value: int, shift: int, rounding: str) -> int:
    """n * value / 2^31 * 2^shift, as the integer roundings are defined."""
    if rounding == "upward":
        return (2 * n * value * 2 ** (31 + shift) + 2**62) // 2**63
    high = (2 * n * 2 ** max(shift, 0) * value + 2**31) // 2**32
    places = 2 ** max(-shift, 0)
    return int(math.copysign(1, high)) * ((2 * abs(high) + places) // (2 * places))


def exact_quotient(total: int, n: int, rounding: str) -> int:
    away = int(math.copysign(1, total)) * ((2 * abs(total) + n) // (2 * n))
    if rounding == "tflite":
        return int(math.copysign(1, total)) * ((abs(total) + n // 2) // n)
    if rounding == "truncate":
        return int(math.copysign(1, total)) * (abs(total) // n)
    if rounding == "upward":
        return (2 * total + n) // (2 * n)
    is_half = 2 * abs(total) % (2 * n) == n
    return away - int(math.copysign(away % 2, total)) if is_half else away


RATIOS = [0.0, 1e-12, 2.0**-31, 3e-8, 0.00173, 0.037, 0.25, 0.4999999, 0.5, 1 - 2.0**-40, 1.0, 2.7, 14.3, 4000.0]


@pytest.mark.parametrize("rounding", ["tflite", "upward"])
def test_products(rounding: str) -> None:
    """Of every size that does not leave int32, halves among them."""
    rng = np.random.default_rng(0)
    for ratio in RATIOS:
        limit = int(2**30 / max(ratio, 1)) - 1
        drawn = (rng.uniform(-1, 1, 400) * 2.0 ** rng.uniform(0, math.log2(limit), 400)).astype(np.int64)
        x = np.concatenate([drawn, np.arange(-300, 300).clip(-limit, limit), [limit, -limit]])
        ours = reference.scaled(x, ratio, rounding)
        assert ours.tolist() == [exact_product(int(n), *multiplier(ratio), rounding) for n in x], ratio


def test_multipliers_are_the_products() -> None:
    rng = np.random.default_rng(1)
    drawn = [*RATIOS, *(2.0 ** rng.uniform(-40, 28, 500))]
    assert [reference.fixed_point(ratio) for ratio in drawn] == [multiplier(ratio) for ratio in drawn]


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward", "truncate"])
def test_quotients(rounding: str) -> None:
    for n in (1, 2, 3, 4, 6, 9, 49):
        totals = np.arange(-20 * n, 20 * n + 1)
        expected = [exact_quotient(int(total), n, rounding) for total in totals]
        assert reference.divided(totals, n, rounding).tolist() == expected
