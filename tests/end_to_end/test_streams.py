"""A streamed plan computes the same bits as a whole one, in less memory: on the network that comes with the repo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mcutrain

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
