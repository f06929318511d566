"""The three published networks: their 49kb schemes fit 256 KB with room for the stack, and less says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mcutrain
from mcutrain import BudgetError
from planner.check import check

REST = 2048  # bytes for stack, data and bss, of which MCUNet's firmware needs about 600
ARENAS = {  # floor and ceiling in bytes: a plan that is suddenly smaller forgets a tensor
    "mcunet-5fps": (164_000, 171_000),
    "mbv2-w0.35": (230_000, 242_000),
    "proxyless-w0.3": (133_000, 141_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", ARENAS)
def test_49kb_fits_256_kb(network: str, data: Path) -> None:
    model = mcutrain.load(data / f"mcunet/{network}.pkl")
    planned = mcutrain.plan(model, "49kb", 256 * 1024 - REST)
    check(planned.lowered.train_step.graph, planned.plan)
    floor, ceiling = ARENAS[network]
    assert floor <= planned.plan.bound <= planned.plan.height <= ceiling
    assert planned.plan.height <= 1.01 * planned.plan.bound
    short = planned.plan.bound - 1000
    with pytest.raises(BudgetError) as error:
        mcutrain.plan(model, "49kb", short)
    message = str(error.value)
    assert f"no plan can fit {short} bytes: every order needs at least" in message
    named = re.findall(r"\S+ (\d+) \(\w+\)", message)
    assert len(named) >= 3 and "bytes have to give" in message and "\n" not in message
