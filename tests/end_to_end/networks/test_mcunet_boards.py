"""MCUNet-5fps with the 49kb scheme on the other cores: the same bits as the twin, at known cost."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcutrain
from mcutrain.schema.reading import plain
from mcutrain.verification import verify

pytestmark = pytest.mark.slow

# (floor, ceiling) of the instructions of an inference and of a training step
COSTS = {
    "nrf52840": ((26e6, 35e6), (42e6, 56e6)),  # the bar of a step: 85e6
    "mps2-an505": ((26e6, 35e6), (42e6, 56e6)),  # as many as the M4's, within 1 %
    "mps3-an547": ((12e6, 16.6e6), (30e6, 42e6)),
    "mps2-an385": ((70e6, 92e6), (480e6, 620e6)),  # no FPU: the backward pass runs in software floating point
}


@pytest.fixture(scope="module")
def measured(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    model = mcutrain.load(data / "mcunet/mcunet-5fps.pkl", 128)
    folder = tmp_path_factory.mktemp("boards")
    outs = {board: mcutrain.compile(model, "49kb", board, out=folder / board).directory for board in COSTS}
    return {board: plain(verify(out, 1)) for board, out in outs.items()}


@pytest.mark.parametrize("board", COSTS)
def test_bits_budget_and_instructions(board: str, measured: dict[str, dict]) -> None:
    found = measured[board]
    assert found["host_equals_device"] is True and found["fits"] is True
    for key, (floor, ceiling) in zip(("infer", "train_step"), COSTS[board], strict=True):
        assert floor <= found["instructions"][key] <= ceiling, f"{key}: {found['instructions'][key]:,} instructions"
    assert found["arena_bytes"] == found["arena_bound_bytes"] and found["stack_bound_bytes"] <= 2_048


def test_helium_halves_the_forward_pass(measured: dict[str, dict]) -> None:
    m4, m55 = (measured[board]["instructions"]["infer"] for board in ("nrf52840", "mps3-an547"))
    assert m4 >= 2 * m55, f"{m4:,} instructions on the Cortex-M4, {m55:,} on the Cortex-M55"
