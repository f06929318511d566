"""Ops that run a second time instead of keeping what they made: less memory, the same bits, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.results import FIRMWARE_BYTES
from tests.tiny_network import CLASSES, SIZE, random_image

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/digits_int8.pkl"
OPTIONS = {"scheme": "bias_only", "seconds": 2.0}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[mcutrain.Artifact, mcutrain.Artifact]:
    """(kept, recomputed): the second within a budget that the first does not fit."""
    folder = tmp_path_factory.mktemp("recompute")
    model = mcutrain.load(DIGITS, 16, 10, head="int8-slice", logits="dequantized")
    kept = mcutrain.compile(model, out=folder / "kept", **OPTIONS)
    budget = int(kept.planned.plan.height * 0.97) + FIRMWARE_BYTES
    with pytest.raises(mcutrain.BudgetError):
        mcutrain.plan(model, budget=budget, **OPTIONS)
    return kept, mcutrain.compile(model, out=folder / "again", budget=budget, recompute=True, **OPTIONS)


def test_it_fits_where_the_plain_plan_does_not(artifacts) -> None:
    kept, again = artifacts
    assert again.planned.plan.height <= 0.97 * kept.planned.plan.height
    assert again.planned.plan.height + FIRMWARE_BYTES <= again.planned.budget


def test_it_trains_alike(artifacts) -> None:
    twins = [mcutrain.host(artifact.directory) for artifact in artifacts]
    source = np.random.default_rng(0)
    for step in range(5):
        image = source.integers(-128, 128, (16, 16, 1), dtype=np.int8)
        kept, again = (twin.gradients(image, step) for twin in twins)
        for name, gradient in kept.items():
            np.testing.assert_array_equal(gradient, again[name], err_msg=name)
        assert twins[0].infer(image).tolist() == twins[1].infer(image).tolist()
        assert twins[0].train_step(image, step) == twins[1].train_step(image, step)


def test_the_report_says_what_it_costs(artifacts) -> None:
    kept, again = (artifact.report for artifact in artifacts)
    assert kept.recomputed == ()
    names = {(op.name, op.op): op.macs for op in kept.ops}
    for entry in again.recomputed:
        layer, kind = entry.op.rsplit(":", 1)
        assert entry.macs == names[layer, kind]
    extra = sum(op.macs for op in again.ops) - sum(op.macs for op in kept.ops)
    assert extra == sum(entry.macs for entry in again.recomputed) > 0
    assert sum(entry.saved_bytes for entry in again.recomputed) > 0


def test_nothing_is_run_again_where_the_budget_holds() -> None:
    model = mcutrain.load(DIGITS, 16, 10)
    assert mcutrain.plan(model, "last_k=2", recompute=True).report.recomputed == ()


def test_inference_does_not_read_what_only_a_training_step_makes_again(tiny_path: Path, tmp_path: Path) -> None:
    """Without streams the worst moment is in the forward pass; what it keeps for a later forward op must stay."""
    model = mcutrain.load(tiny_path, SIZE, CLASSES, head="int8-slice")
    options = {"scheme": "head_only", "stream": False, "seconds": 1.0}
    kept = mcutrain.compile(model, out=tmp_path / "kept", **options)
    for share in (0.95, 0.85, 0.75):
        budget = int(kept.planned.plan.height * share) + FIRMWARE_BYTES
        try:
            again = mcutrain.compile(model, out=tmp_path / f"{share}", budget=budget, recompute=True, **options)
        except mcutrain.BudgetError:
            continue
        twins = [mcutrain.host(artifact.directory) for artifact in (kept, again)]
        for step in range(3):
            assert twins[0].infer(random_image(step)).tolist() == twins[1].infer(random_image(step)).tolist()
    alone = mcutrain.compile(model, "inference", out=tmp_path / "inference", stream=False)
    budget = alone.planned.plan.height - 1 + FIRMWARE_BYTES
    fewer = mcutrain.compile(model, "inference", out=tmp_path / "fewer", stream=False, budget=budget, recompute=True)
    assert fewer.report.recomputed
    for step in range(3):
        expected = mcutrain.host(alone.directory).infer(random_image(step)).tolist()
        assert mcutrain.host(fewer.directory).infer(random_image(step)).tolist() == expected
