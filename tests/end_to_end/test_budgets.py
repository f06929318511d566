"""The three published networks: their 49kb schemes fit 256 KB with room for the stack, and less says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcutrain
from mcutrain import BudgetError, planner
from mcutrain.planner.check import check
from mcutrain.planner.stream.check import check_streams
from mcutrain.results import FIRMWARE_BYTES

REST = 2048  # bytes for stack, data and bss, of which MCUNet's firmware needs about 600
ARENAS = {  # floor and ceiling in bytes: a plan that is suddenly smaller forgets a tensor
    "mcunet-5fps": (88_000, 92_000),
    "mbv2-w0.35": (93_000, 97_000),
    "proxyless-w0.3": (90_000, 94_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", ARENAS)
def test_49kb_fits_256_kb(network: str, data: Path) -> None:
    model = mcutrain.load(data / f"mcunet/{network}.pkl")
    planned = mcutrain.plan(model, "49kb", 256 * 1024 - REST)
    graph = planned.lowered.train_step.graph
    check(planner.planned_graph(graph, planned.plan), planned.plan)
    check_streams(graph, planned.plan)
    floor, ceiling = ARENAS[network]
    assert floor <= planned.plan.bound <= planned.plan.height <= ceiling
    assert planned.plan.height <= 1.01 * planned.plan.bound
    short = planned.plan.bound - 1000
    with pytest.raises(BudgetError) as error:
        mcutrain.plan(model, "49kb", short)
    message = str(error.value)
    assert message.startswith(f"a budget of {short:,} B is too small: the best plan that was found needs ")
    assert f"no plan for an arena of {short - FIRMWARE_BYTES:,} B was found: the best, with " in message
    named = re.findall(r"^    \S+ +[\d,]+ B  \w+$", message, re.MULTILINE)
    assert len(named) >= 3 and "B have to give" in message


@pytest.mark.slow
def test_the_largest_published_scheme_fits_192_kb(data: Path) -> None:
    model = mcutrain.load(data / "mcunet/mcunet-5fps.pkl")
    planned = mcutrain.plan(model, "148kb", 192 * 1024 - REST)
    assert 185_000 <= planned.plan.height <= 191_000 and planned.plan.height == planned.plan.bound


@pytest.mark.slow
def test_inference_alone_needs_little_more_than_its_input(data: Path) -> None:
    model = mcutrain.load(data / "mcunet/mcunet-5fps.pkl")
    assert 50_000 <= mcutrain.plan(model, "inference").plan.height <= 55_000  # the input has 49,152
