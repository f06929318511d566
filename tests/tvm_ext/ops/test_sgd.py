"""The update over several steps: quantisation-aware scaling, stochastic rounding, saturation, momentum, accumulation,
frozen channels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tvm_ext.ops.cases.update import Tensor, expected_update, weights
from tests.tvm_ext.support import product_ops
from tests.tvm_ext.support.run_kernel import run


@pytest.mark.parametrize(
    ("w", "channels"),
    [(weights((5, 3, 3, 4)), ()), (weights((6, 3, 3)), (1, 4)), (weights((9,), "int32", 10**6), ())],
    ids=["weight", "depthwise-slice", "bias"],
)
def test_quantisation_aware_scaling(w: np.ndarray, channels: tuple[int, ...]) -> None:
    """w - rate * g / s_w^2 with s_w = scale * unit, a channel its own; rows outside the list stay."""
    rng = np.random.default_rng(0)
    t = Tensor(w.copy(), rng.uniform(0.01, 0.4, len(w)).astype(np.float32), channels=channels)
    for _ in range(3):
        g = rng.normal(0, 0.2, t.g_shape).astype(np.float32)
        expected, before = expected_update(t, g), t.w.copy()
        np.testing.assert_array_equal(t.update(g), expected)
        moved = np.any(expected != before, axis=tuple(range(1, w.ndim)))
        assert moved.any() and (not channels or np.flatnonzero(moved).tolist() == list(channels))


def test_the_real_valued_step_does_not_depend_on_the_scale() -> None:
    """The same gradient in real units moves w * s_w by rate * g_real, whatever s_w is: what QAS is for."""
    s_w = np.array([0.001, 0.01, 0.1], np.float32)
    t = Tensor(np.zeros((3, 4000), np.int8), s_w, unit=1.0, rates=(0.05, 0))
    g_real = 0.3
    t.update(np.broadcast_to((g_real * s_w)[:, None], t.g_shape))
    moved = t.w.astype(np.float64) * s_w[:, None]
    error = np.sqrt(np.maximum(0.25, 1e-3) / 4000) * s_w  # of a mean of stochastic roundings
    assert (np.abs(moved.mean(axis=1) + 0.05 * g_real) < 5 * error).all()


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -127, 127), ("int32", -(2**30), 2**30)])
def test_updates_saturate(dtype: str, low: int, high: int) -> None:
    """Huge steps end at the ends of the range and never wrap."""
    w = np.array([[low, low + 1, 0, high - 1, high]] * 2, dtype)
    t = Tensor(w.copy(), np.array([0.1, 0.1], np.float32))
    for _ in range(5):  # a single step of int32 is limited to 2^30
        t.update(np.array([[1e30] * 5, [-1e30] * 5]))
    assert (t.w[0] == low).all() and (t.w[1] == high).all()
    t = Tensor(w.copy(), np.array([0.1, 0.1], np.float32), unit=1.0, rates=(0.01, 0))
    before = w.astype(np.int64)
    t.update(np.array([[1.0] * 5, [-1.0] * 5]))  # one step of about 1: clipped at the ends, moved in between
    ours = t.w.astype(np.int64)
    assert np.abs(ours - before).max() <= 2 and ours[0, 2] < 0 < ours[1, 2]
    assert ours[0, 0] == low and ours[1, 4] == high


@pytest.mark.parametrize("step", [0.3, -0.013, 2.75, -0.5])
def test_stochastic_rounding_is_unbiased(step: float) -> None:
    """The mean of many elements, and of many steps of one element, is the step itself within 5 sigma."""
    n = 60_000
    t = Tensor(np.zeros((1, n), np.int8), np.ones(1, np.float32), unit=1.0, rates=(1.0, 0))
    fraction = step - np.floor(step)
    sigma = np.sqrt(fraction * (1 - fraction))
    moved = -t.update(np.full((1, n), step)).astype(np.float64)
    assert abs(moved.mean() - step) < 5 * sigma / np.sqrt(n) + 1e-6
    assert set(np.unique(moved)) == {np.floor(step), np.floor(step) + 1}
    few = Tensor(np.zeros((1, 4), np.int32), np.ones(1, np.float32), unit=1.0, rates=(1.0, 0))
    steps = 1500
    for _ in range(steps):
        few.update(np.full((1, 4), step))
    drift = np.abs(few.w.astype(np.float64) / steps + step)
    assert (drift < 5 * sigma / np.sqrt(steps)).all()


def test_tensors_have_random_streams_of_their_own() -> None:
    """Salt, step and element all change the rounding; the same three give the same bits."""

    def rounding(salt_of_w: int, step: int) -> np.ndarray:
        t = Tensor(np.zeros((1, 256), np.int8), np.ones(1, np.float32), unit=1.0, rates=(1.0, 0), step=step)
        inputs = t.inputs(np.full((1, 256), 0.5, np.float32))
        inputs[3] = inputs[3] ^ np.array([0, 0, salt_of_w], np.uint32)
        run(t.kernel, inputs, mutates=[0])
        return t.w.copy()

    same, other_salt, other_step = rounding(0, 0), rounding(1, 0), rounding(0, 1)
    np.testing.assert_array_equal(same, rounding(0, 0))
    for other in (other_salt, other_step):
        assert 90 < (same != other).sum() < 166  # half of 256, within 5 sigma


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_momentum(dtype: str) -> None:
    """v = m v + g, and v is the step."""
    rng = np.random.default_rng(1)
    t = Tensor(weights((4, 6), dtype), np.full(4, 0.3, np.float32), momentum=0.9)
    velocity = np.zeros(t.g_shape, np.float32)
    for _ in range(4):
        g = rng.normal(0, 0.4, t.g_shape).astype(np.float32)
        velocity = velocity * np.float32(0.9) + g
        expected = expected_update(t, velocity) if t.is_quantised else t.w - np.float32(0.25) * velocity
        np.testing.assert_array_equal(t.update(g), expected)
        np.testing.assert_array_equal(t.velocity, velocity)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_accumulation(dtype: str, momentum: float) -> None:
    """w moves at every third step alone, by the mean of three gradients; the sum then starts from zero."""
    rng = np.random.default_rng(2)
    t = Tensor(weights((3, 5), dtype), np.full(3, 0.3, np.float32), every=3, momentum=momentum)
    velocity = np.zeros(t.g_shape, np.float32)
    for _ in range(2):
        total = np.zeros(t.g_shape, np.float32)
        for sample in range(3):
            g, before = rng.normal(0, 0.9, t.g_shape).astype(np.float32), t.w.copy()
            total = total + g
            if sample < 2:
                np.testing.assert_array_equal(t.update(g), before)
                np.testing.assert_array_equal(t.total, total)
                continue
            velocity = velocity * np.float32(momentum) + total / np.float32(3)
            expected = expected_update(t, velocity) if t.is_quantised else before - np.float32(0.25) * velocity
            np.testing.assert_array_equal(t.update(g), expected)
            assert not t.total.any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_dead_channels_stay_frozen(momentum: float) -> None:
    """A scale at or below `dead`, zero among them: no infinity, no movement; the others train."""
    scale = np.array([0.2, 1e-9, 0.0, 1e-12, 0.1], np.float32)
    t = Tensor(weights((5, 8)), scale, dead=1e-9, momentum=momentum)
    before = t.w.copy()
    after = t.update(np.full((5, 8), 3.0))
    np.testing.assert_array_equal(np.any(after != before, axis=1), [True, False, False, False, True])
    assert np.isfinite(t.velocity).all()


def test_the_head_has_a_rate_of_its_own_and_plain_sgd() -> None:
    w = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    t = Tensor(w.copy(), np.zeros(0, np.float32), rates=(0.125, 9.0))
    g = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(t.update(g), w - np.float32(0.125) * g)
    attrs = {"dtype": "float32", "rate": 1, "channels": [], "momentum": 0.0, "every": 1}
    kernel, w2 = product_ops.build("sgd", [[2, 3], [2, 3], [2], [2]], attrs), w.copy()
    run(kernel, [w2, g, np.array([0.125, 9.0], np.float32), np.zeros(2, np.uint32)], mutates=[0])
    np.testing.assert_array_equal(w2, w - np.float32(9) * g)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("momentum", "every"), [(0.0, 1), (0.9, 1), (0.0, 2)])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_gradient_that_is_not_finite_does_not_poison(dtype: str, momentum: float, every: int, bad: float) -> None:
    """It may cost its own step; the weight stays a number, its neighbours train, and it trains on afterwards."""
    t = Tensor(weights((2, 6), dtype), np.full(2, 0.05, np.float32), momentum=momentum, every=every)
    g = np.full((2, 6), 0.01, np.float32)
    poisoned = g.copy()
    poisoned[1, 2] = bad
    before = t.w.copy()
    for _ in range(every):
        t.update(poisoned)
    assert np.isfinite(t.w).all() and np.isfinite(t.velocity).all() and np.isfinite(t.total).all()
    healthy = np.ones((2, 6), bool)
    healthy[1, 2] = False
    assert (t.w != before)[healthy].all()
    before = t.w.copy()
    for _ in range(every):
        t.update(g)
    assert (t.w != before).all()
