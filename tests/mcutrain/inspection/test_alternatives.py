"""The nearest things that fit: one offer a way, the largest that fits, the least where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcutrain
from mcutrain.inspection import alternatives
from mcutrain.inspection.alternatives import Alternative, _first_fit, _largest_fit
from mcutrain.options import PlanOptions
from mcutrain.planner.errors import ModelError
from mcutrain.planner.policy import smaller
from mcutrain.results import FIRMWARE_BYTES

DIGITS = Path(__file__).resolve().parents[3] / "examples/digits/digits_int8.pkl"


def offers(nbytes: dict[int, int], budget: int) -> tuple:
    asked: list[int] = []

    def offer(value: int) -> Alternative:
        asked.append(value)
        if value not in nbytes:
            raise ModelError("no such form")
        return Alternative(f"--size {value}", nbytes[value], nbytes[value] <= budget)

    return offer, asked


@pytest.mark.parametrize(("budget", "expected"), [(1000, 15), (8, 8), (7, 7), (1, 1), (0, 1)])
def test_the_largest_that_fits_is_found_by_bisection(budget: int, expected: int) -> None:
    offer, asked = offers({value: value for value in range(1, 16)}, budget)
    (found,) = _largest_fit(offer, list(range(1, 16)))
    assert (found.nbytes, found.fits) == (expected, expected <= budget) and len(asked) <= 4


def test_values_that_the_model_refuses_are_left_out() -> None:
    offer, _ = offers({12: 12, 14: 14}, 13)
    assert [a.nbytes for a in _largest_fit(offer, list(range(1, 16)))] == [12]
    assert list(_largest_fit(offers({}, 5)[0], [1, 2, 3])) == []


def test_of_smaller_schemes_the_first_that_fits() -> None:
    rows = [Alternative("a", 9, False), Alternative("b", 5, True), Alternative("c", 1, True)]
    assert [a.option for a in _first_fit(iter(rows))] == ["b"]
    assert [a.option for a in _first_fit(iter(rows[:1]))] == ["a"]
    assert list(_first_fit(iter([]))) == []


def test_without_streams_streaming_is_offered_first() -> None:
    def load(size: int) -> object:
        return mcutrain.load(DIGITS, size, 10)

    options = PlanOptions(stream=False, recompute=True)
    found = list(alternatives.alternatives(load, "last_k=2", 30_000, 16, options))
    assert [a.option for a in found][:2] == ["--stream", "--scheme head_only"]  # last_k=1 needs more than that budget
    streamed = mcutrain.plan(load(16), "last_k=2", "1MB").plan.height + FIRMWARE_BYTES
    assert found[0].nbytes == streamed


def test_smaller_schemes_are_the_published_ones_below(data: Path) -> None:
    layers = mcutrain.load(data / "mcunet/mcunet-5fps.pkl").layers
    assert smaller("124kb", layers) == ["99kb", "74kb", "49kb"]
    assert smaller("full", layers) == ["148kb", "124kb", "99kb", "74kb", "49kb"]
    assert smaller("bias_only", layers) == smaller("49kb", layers) == []
