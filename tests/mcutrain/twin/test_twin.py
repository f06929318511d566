"""The host twin: state in the file's own layout, gradients that leave the state alone, independent copies, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import ModelError
from tests import tiny_network as network
from tests.mcutrain import tiny

SLICED = {"blocks.1.pointwise1.weight": 1, "blocks.1.depthwise.weight": 0, "blocks.2.pointwise2.weight": 1}  # axis


def stored(name: str) -> np.ndarray:
    """A parameter as the model file holds it."""
    *path, kind = name.split(".")
    node = network.tiny_network()
    for key in path:
        node = node[int(key) if key.isdigit() else key]
    return node["params"][kind]


def train(twin: mcutrain.Twin, steps: int = 4, rate: float = 0.5) -> None:
    twin.learning_rate = rate
    for i in range(steps):
        twin.train_step(tiny.image(i), i % network.CLASSES)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


def test_state_starts_as_the_model_file_has_it(twin: mcutrain.Twin) -> None:
    state = twin.state()
    expected = ["blocks.0.pointwise2.bias", "blocks.2.pointwise1.weight", "classifier.weight", "classifier.bias"]
    for layer in ("blocks.1.pointwise1", "blocks.1.depthwise", "blocks.2.depthwise", "blocks.2.pointwise2"):
        expected += [f"{layer}.weight", f"{layer}.bias"]
    assert sorted(state) == sorted(expected)
    for name, value in state.items():
        if name.startswith("classifier"):
            assert value.dtype == np.float32 and not value.any()
        else:
            assert value.dtype == (np.int8 if name.endswith("weight") else np.int32)
            np.testing.assert_array_equal(value, stored(name), err_msg=name)  # OIHW, frozen channels in their places


def test_training_changes_the_trained_channels_alone(twin: mcutrain.Twin) -> None:
    before = twin.state()
    train(twin, 8)
    after = twin.state()
    meta = {p.name: p for p in twin.meta.parameters}
    for name, axis in SLICED.items():
        changed = np.moveaxis(after[name] != before[name], axis, 0).reshape(after[name].shape[axis], -1).any(axis=1)
        chosen = meta[name].channels
        assert changed.any() and set(np.flatnonzero(changed)) <= set(chosen) and len(chosen) < len(changed)
    assert all((after[name] != before[name]).any() for name in ("classifier.weight", "classifier.bias"))
    assert meta["blocks.2.pointwise2.weight"].channels == tuple(range(12))  # "first"


def test_state_goes_out_and_in(compiled: mcutrain.Artifact, twin: mcutrain.Twin) -> None:
    train(twin)
    trained, logits = twin.state(), twin.infer(tiny.image(9))
    other = mcutrain.host(compiled.directory)
    assert not np.array_equal(other.infer(tiny.image(9)), logits)
    other.set_state(trained)
    assert equal(other.state(), trained)
    np.testing.assert_array_equal(other.infer(tiny.image(9)), logits)
    twin.reset()
    assert equal(twin.state(), mcutrain.host(compiled.directory).state())


def test_state_is_a_copy_and_frozen_channels_are_ignored(twin: mcutrain.Twin) -> None:
    before = twin.state()
    handed = twin.state()
    for value in handed.values():
        value[...] = 7
    assert equal(twin.state(), before)
    twin.set_state(handed)
    now = twin.state()
    channels = {p.name: p.channels for p in twin.meta.parameters}["blocks.1.pointwise1.weight"]
    rest = [c for c in range(8) if c not in channels]
    assert (now["blocks.1.pointwise1.weight"][:, channels] == 7).all()
    np.testing.assert_array_equal(
        now["blocks.1.pointwise1.weight"][:, rest], before["blocks.1.pointwise1.weight"][:, rest]
    )


def test_two_twins_share_nothing(compiled: mcutrain.Artifact) -> None:
    one, two = mcutrain.host(compiled.directory), mcutrain.host(compiled.directory)
    before = two.state_bytes()
    train(one)
    assert two.state_bytes() == before != one.state_bytes()
    train(two)
    assert two.state_bytes() == one.state_bytes()  # and the same steps give the same bits


def test_gradients_leave_the_state_alone(twin: mcutrain.Twin) -> None:
    train(twin, 2)
    before, logits = twin.state_bytes(), twin.infer(tiny.image(1))
    gradients = twin.gradients(tiny.image(0), 1)
    assert twin.state_bytes() == before
    np.testing.assert_array_equal(twin.infer(tiny.image(1)), logits)
    state = twin.state()
    assert gradients.keys() == state.keys()
    for name, gradient in gradients.items():
        assert gradient.dtype == np.float32 and gradient.shape == state[name].shape, name
        assert np.isfinite(gradient).all() and gradient.any(), name


def test_gradients_are_zero_where_nothing_trains(twin: mcutrain.Twin) -> None:
    train(twin, 2)  # from zero, the float head passes no gradient down
    gradients = twin.gradients(tiny.image(0), 1)
    channels = {p.name: p.channels for p in twin.meta.parameters}
    for name, axis in SLICED.items():
        by_channel = np.abs(np.moveaxis(gradients[name], axis, 0)).reshape(gradients[name].shape[axis], -1).max(axis=1)
        assert set(np.flatnonzero(by_channel)) <= set(channels[name]) and by_channel.max() > 0


def test_head_moves_against_its_gradient(twin: mcutrain.Twin) -> None:
    """A float head has no rounding: the step is exactly the rate times the gradient, at the head's own rate."""
    train(twin, 2)
    twin.learning_rate = (0.0, 0.25)
    before, gradients = twin.state(), twin.gradients(tiny.image(5), 2)
    twin.train_step(tiny.image(5), 2)
    after = twin.state()
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_allclose(after[name], before[name] - np.float32(0.25) * gradients[name], rtol=1e-6, atol=1e-8)
    body = [name for name in before if not name.startswith("classifier")]
    assert all(np.array_equal(before[name], after[name]) for name in body)  # a rate of zero moves nothing


def test_loss_is_the_cross_entropy_of_the_logits(twin: mcutrain.Twin) -> None:
    train(twin, 2)
    logits = twin.infer(tiny.image(3)).astype(np.float64)
    loss = twin.train_step(tiny.image(3), 3)
    assert loss == pytest.approx(np.log(np.exp(logits).sum()) - logits[3], rel=1e-5)
    np.testing.assert_array_equal(twin.last_logits(), logits.astype(np.float32))


def test_learning_rate(twin: mcutrain.Twin) -> None:
    np.testing.assert_allclose(twin.learning_rate, [0.001, 0.01])
    twin.learning_rate = (0.25, 0.5)
    np.testing.assert_array_equal(twin.learning_rate, [0.25, 0.5])
    twin.learning_rate = 2
    np.testing.assert_array_equal(twin.learning_rate, [2, 2])


def test_accumulation_updates_every_second_step(tmp_path: Path) -> None:
    twin = mcutrain.host(tiny.compile_tiny(tmp_path, "head_only", accumulate=2))
    plain = mcutrain.host(tiny.compile_tiny(tmp_path / "plain", "head_only"))
    start = twin.state()
    both = [plain.gradients(tiny.image(i), i) for i in range(2)]
    twin.learning_rate = 0.5
    twin.train_step(tiny.image(0), 0)
    assert equal(twin.state(), start)
    twin.train_step(tiny.image(1), 1)
    for name, value in twin.state().items():
        mean = (both[0][name] + both[1][name]) / 2
        np.testing.assert_allclose(value, start[name] - np.float32(0.5) * mean, rtol=1e-5, atol=1e-7)


def test_momentum_carries_on(tmp_path: Path) -> None:
    twin = mcutrain.host(tiny.compile_tiny(tmp_path, "head_only", momentum=0.5))
    twin.learning_rate = 0.5
    velocity = dict.fromkeys(twin.state(), np.float32(0))
    for i in range(3):
        gradients, before = twin.gradients(tiny.image(i), i), twin.state()
        twin.train_step(tiny.image(i), i)
        for name, value in twin.state().items():
            velocity[name] = np.float32(0.5) * velocity[name] + gradients[name]
            np.testing.assert_allclose(value, before[name] - 0.5 * velocity[name], rtol=1e-5, atol=1e-7)


def test_inference_only(tmp_path: Path, twin: mcutrain.Twin) -> None:
    only = mcutrain.host(tiny.compile_tiny(tmp_path, "inference", "int8-slice"))
    both = mcutrain.host(tiny.compile_tiny(tmp_path / "train", "head_only", "int8-slice"))
    for seed in range(5):
        logits = only.infer(tiny.image(seed))
        assert logits.dtype == np.int8 and logits.shape == (network.CLASSES,)
        np.testing.assert_array_equal(logits, both.infer(tiny.image(seed)))
    assert len({only.infer(tiny.image(seed)).tobytes() for seed in range(5)}) > 1
    assert only.state() == {}
    for call in (only.train_step, only.gradients):
        with pytest.raises(ModelError, match="compiled for inference only; compile with a training scheme"):
            call(tiny.image(0), 0)
    header = (tmp_path / "out/codegen/host/include/tvmgen_tiny.h").read_text()
    assert "tvmgen_tiny_run" in header and "tvmgen_tiny_train" not in header


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (tiny.image(0).astype(np.uint8), 0, r"input is uint8 \(8, 8, 3\), the network takes int8 \(8, 8, 3\) \(HWC\)"),
        (tiny.image(0).astype(np.float32), 0, "input is float32"),
        (tiny.image(0).transpose(2, 0, 1), 0, r"input is int8 \(3, 8, 8\), the network takes"),
        (np.zeros((2, 8, 8, 3), np.int8), 0, r"input is int8 \(2, 8, 8, 3\)"),
        (tiny.image(0), 4, r"label 4 is outside 0 \.\. 3; labels count from 0 to 3; for N classes compile with --head"),
        (tiny.image(0), -1, r"label -1 is outside 0 \.\. 3"),
    ],
)
def test_wrong_samples(x: np.ndarray, y: int, message: str, twin: mcutrain.Twin) -> None:
    before = twin.state_bytes()
    with pytest.raises(ModelError, match=message):
        twin.train_step(x, y)
    assert twin.state_bytes() == before


def test_one_leading_axis_is_welcome(twin: mcutrain.Twin) -> None:
    x = tiny.image(0)
    np.testing.assert_array_equal(twin.infer(x[None]), twin.infer(x))
    strided = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)  # the same values, another memory order
    np.testing.assert_array_equal(twin.infer(strided), twin.infer(x))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"blocks.9.weight": np.zeros(1)}, r"'blocks\.9\.weight' is not a trained parameter; state\(\) lists them"),
        ({"classifier.bias": np.zeros(3, np.float32)}, r"'classifier\.bias' is float32 \(3,\), expected .* \(4,\)"),
        ({"classifier.bias": np.zeros(4)}, r"is float64 \(4,\), expected float32"),
    ],
)
def test_wrong_state(state: dict, message: str, twin: mcutrain.Twin) -> None:
    with pytest.raises(ModelError, match=message):
        twin.set_state(state)
