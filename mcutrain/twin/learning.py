"""Training runs on the host twin: a learning-rate schedule, and how good the network is before and after."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.twin.data import Data
from mcutrain.twin.twin import Twin

Progress = Callable[[int, int], None]
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Learnt:
    """metric: "accuracy" (fraction right) or "mean squared error". scores: of the test part, before training and after
    each epoch; losses: epoch means."""

    metric: str
    scores: tuple[float, ...]
    losses: tuple[float, ...]
    steps: int


def score(twin: Twin, x: np.ndarray, y: np.ndarray, progress: Progress | None = None) -> float:
    """Mean over the samples: 1 where the largest logit is the label's class; for a binary loss the fraction of outputs
    on the right side of 1/2; for the others the squared error of the outputs, as real numbers."""
    total = 0.0
    for i in range(len(x)):
        total += _score(twin.meta, twin.infer(x[i]), x[i], y[i])
        if progress is not None:
            progress(i + 1, len(x))
    return total / len(x)


def metric(meta: dict) -> str:
    return "mean squared error" if meta["loss"] in ("mse", "autoencoder") else "accuracy"


def _score(meta: dict, logits: np.ndarray, x: np.ndarray, y: object) -> float:
    if meta["loss"] == "cross_entropy":
        return float(int(np.argmax(logits)) == int(y))
    outputs = _real(logits, meta["logits"])
    if meta["loss"] == "binary_cross_entropy":
        return float(np.mean((outputs > 0) == (np.asarray(y) > 0)))
    wanted = _real(x.reshape(-1), meta["input"]) if meta["loss"] == "autoencoder" else np.asarray(y)
    return float(np.mean((outputs - wanted) ** 2))


def _real(values: np.ndarray, place: dict) -> np.ndarray:
    if values.dtype != np.int8:
        return values.astype(np.float64)
    return (values.astype(np.float64) - place["zero"]) * place["scale"]


def learn(
    twin: Twin,
    data: Data,
    epochs: int = 2,
    learning_rate: tuple[float, float] = (0.001, 0.01),
    schedule: str = "cosine",
    seed: int = 0,
    progress: Progress | None = None,
) -> Learnt:
    """Train at batch 1 in a shuffled order, one learning rate for the network and one for the head, both scheduled over
    the whole run. Raises ModelError for an unknown schedule."""
    if not all(math.isfinite(np.float32(rate)) and rate >= 0 for rate in learning_rate):
        raise ModelError(f"learning rates {learning_rate}: must be finite float32 numbers, 0 or more")
    if schedule not in SCHEDULES:
        raise ModelError(f"unknown schedule '{schedule}'; use {' or '.join(SCHEDULES)}")
    order = np.random.default_rng(seed)
    total, step = epochs * len(data.x_train), 0
    work, done = total + (epochs + 1) * len(data.x_test), 0

    def tick(_now: int, _of: int) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, work)

    scores, losses = [score(twin, data.x_test, data.y_test, tick)], []
    for _ in range(epochs):
        loss_sum = 0.0
        for i in order.permutation(len(data.x_train)):
            factor = 0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0
            twin.learning_rate = np.asarray(learning_rate, np.float32) * np.float32(factor)
            loss_sum += twin.train_step(data.x_train[i], data.y_train[i])
            step += 1
            tick(step, total)
        losses.append(loss_sum / len(data.x_train))
        scores.append(score(twin, data.x_test, data.y_test, tick))
    return Learnt(metric(twin.meta), tuple(scores), tuple(losses), step)
