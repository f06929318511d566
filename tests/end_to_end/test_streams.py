"""A streamed plan computes the same bits as a whole one, in less memory: on the network that comes with the repo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import pipeline, planner
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.costs import RunCosts
from mcutrain.planner.stream.rewrite import eager, with_streams
from tests.tiny_network import CLASSES, SIZE, random_image

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/digits_int8.pkl"


def test_streamed_and_whole_plans_train_alike(tmp_path: Path) -> None:
    model = mcutrain.load(DIGITS, 16, 10, head="int8-slice", logits="dequantized")
    options = {"scheme": "bias_only", "seconds": 1.0}
    artifacts = [mcutrain.compile(model, out=tmp_path / str(s), stream=s, **options) for s in (True, False)]
    streamed, whole = artifacts
    assert len(streamed.planned.plan.streams) > 1
    assert streamed.planned.plan.height < 0.6 * whole.planned.plan.height
    twins = [mcutrain.host(a.directory) for a in artifacts]
    source = np.random.default_rng(0)
    for step in range(10):
        image = source.integers(-128, 128, (16, 16, 1), dtype=np.int8)
        gradients = [twin.gradients(image, step) for twin in twins]
        for name, gradient in gradients[0].items():
            np.testing.assert_array_equal(gradient, gradients[1][name], err_msg=name)
        assert twins[0].infer(image).tolist() == twins[1].infer(image).tolist()
        assert twins[0].train_step(image, step) == twins[1].train_step(image, step)
    assert twins[0].state_bytes() == twins[1].state_bytes()


def every_stream(graph: planner.Graph) -> list[planner.Stream]:
    """All runs of up to ten ops that can stream at all, over rows and over channels."""
    costs = RunCosts(graph)
    n = len(costs.ops)
    pairs = [(i, j) for i in range(n) for j in range(i, min(i + 10, n))]
    runs = [way(i, j) for i, j in pairs for way in (costs.over_rows, costs.over_channels)]
    return [run[1] for run in runs if run is not None]


def apart(runs: list[planner.Stream]) -> list[list[planner.Stream]]:
    """The runs in groups that have no op in common, the longest first."""
    groups: list[list[planner.Stream]] = []
    for run in sorted(runs, key=lambda r: -len(r.ops)):
        free = (g for g in groups if not any(set(run.ops) & set(other.ops) for other in g))
        group = next(free, None)
        if group is None:
            groups.append(group := [])
        group.append(run)
    return groups


@pytest.mark.parametrize(("axis", "part"), [("rows", 0), ("rows", 1), ("channels", 0), ("channels", 1)])
def test_any_run_that_can_stream_computes_the_same(
    axis: str, part: int, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only the runs that the planner would choose: each is forced in turn, several at once where they are apart."""
    model = mcutrain.load(tiny_path, SIZE, CLASSES, head="int8-slice", logits="dequantized")
    whole = mcutrain.compile(model, "full", out=tmp_path / "whole", stream=False)
    graph = eager(whole.planned.lowered.train_step.graph)
    runs = [run for run in every_stream(graph) if run.axis == axis]
    assert len(runs) > (15 if axis == "channels" else 20)
    twin = mcutrain.host(whole.directory)
    before = [(twin.infer(random_image(s)).tolist(), twin.train_step(random_image(s), s)) for s in range(3)]
    groups = apart(runs)[part::2]
    plans = [replace(planner.plan(with_streams(graph, group), seconds=0.5), streams=tuple(group)) for group in groups]
    for number, (group, forced) in enumerate(zip(groups, plans, strict=True)):
        check_streams(graph, forced)
        monkeypatch.setattr(pipeline.planner, "plan", lambda *_, plan=forced, **__: plan)
        other = mcutrain.host(mcutrain.compile(model, "full", out=tmp_path / f"forced{number}").directory)
        after = [(other.infer(random_image(s)).tolist(), other.train_step(random_image(s), s)) for s in range(3)]
        assert after == before, [run.name for run in group]
        assert twin.state_bytes() == other.state_bytes(), [run.name for run in group]
