"""A streamed plan computes the same bits as a whole one, in less memory: on the network that comes with the repo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcutrain
import planner
from mcutrain import pipeline
from planner import stream
from planner.check_streams import check_streams
from planner.stream import _Costs
from tests.tiny_network import CLASSES, SIZE, random_image

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits/digits_int8.pkl"


def test_streamed_and_whole_plans_train_alike(tmp_path: Path) -> None:
    model = mcutrain.load(DIGITS, 16, 10, head="int8-slice", logits="dequantized")
    artifacts = [mcutrain.compile(model, "bias_only", out=tmp_path / str(s), stream=s) for s in (True, False)]
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
    """All runs of up to eight row-wise ops that can stream at all."""
    ops = [op for op in graph.ops if op.rows]
    costs = _Costs(graph, ops)
    pairs = [(i, j) for i in range(len(ops)) for j in range(i + 1, min(i + 8, len(ops)))]
    return [costs.stream(i, j) for i, j in pairs if costs.peak(i, j) < 1 << 60]


@pytest.mark.parametrize("part", range(4))
def test_any_run_that_can_stream_computes_the_same(
    part: int, tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only the runs that the planner would choose: each is forced in turn, several at once where they are apart."""
    model = mcutrain.load(tiny_path, SIZE, CLASSES, head="int8-slice", logits="dequantized")
    whole = mcutrain.compile(model, "full", out=tmp_path / "whole", stream=False)
    graph = stream.eager(whole.planned.lowered.train_step.graph)
    runs = every_stream(graph)
    assert len(runs) > 20
    twin = mcutrain.host(whole.directory)
    chosen: list[planner.Stream] = []
    for run in runs[part::4][::-1]:  # the longest that start at an op come first
        if not {n for c in chosen for n in c.ops} & set(run.ops):
            chosen.append(run)
    found = planner.plan(stream.apply(graph, chosen))
    forced = replace(found, streams=tuple(chosen))
    check_streams(graph, forced)
    monkeypatch.setattr(pipeline.planner, "plan", lambda *_, **__: forced)
    other = mcutrain.host(mcutrain.compile(model, "full", out=tmp_path / "forced").directory)
    for step in range(3):
        image = random_image(step)
        assert twin.infer(image).tolist() == other.infer(image).tolist()
        assert twin.train_step(image, step) == other.train_step(image, step)
    assert twin.state_bytes() == other.state_bytes()
