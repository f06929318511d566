"""Training runs on the host twin: a learning-rate schedule, and how good the network is before and after."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsInt, cast

import numpy as np

from mcutrain.artifact.folder import replace_file
from mcutrain.planner.errors import ModelError
from mcutrain.schema.metadata import Metadata, QuantizedPlace
from mcutrain.twin.data import Data, checked, read_data
from mcutrain.twin.twin import Twin, host

Progress = Callable[[int, int], None]
SCHEDULES = ("cosine", "constant")
RATES = (0.001, 0.01)  # of the network and of the head


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """A training run: how it went, and what was learnt.

    metric: what `scores` are of the test part, before training and after each epoch: "accuracy" (fraction right) or
    "mean squared error". losses: epoch means. steps: training steps in all. state: the trained parameters by name, as
    Twin.state() gives them: int8 weights OIHW, int32 biases, a float32 head."""

    metric: str
    scores: tuple[float, ...]
    losses: tuple[float, ...]
    steps: int
    state: Mapping[str, np.ndarray] = field(compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `state` as an .npz file, whole or not at all. Raises OutputError."""
        path, buffer = Path(path), io.BytesIO()
        write = cast(Callable[..., None], np.savez)  # to numpy's types a name could be one of its own arguments
        write(buffer, **self.state)
        replace_file(path if path.suffix == ".npz" else path.with_name(path.name + ".npz"), buffer.getvalue())

    def __repr__(self) -> str:
        scores = " -> ".join(f"{score:.4g}" for score in self.scores)
        return f"<TrainingResult {self.steps:,} steps, test {self.metric} {scores}>"


def train(
    out: str | os.PathLike[str] | Twin,
    data: str | os.PathLike[str] | Data | Mapping[str, np.ndarray],
    *,
    epochs: int = 2,
    learning_rate: Sequence[float] = RATES,
    schedule: str = "cosine",
    seed: int = 0,
    progress: Progress | None = None,
    evaluating: Progress | None = None,
) -> TrainingResult:
    """Train a compiled model on the host twin (the same C, the same bits as the device), at batch 1.

    out: an Artifact or its folder, which stays as it is, or a Twin, which goes on learning where it is.
    data: the path of an .npz, or a mapping, with the arrays x_train, y_train, x_test, y_test (of an autoencoder without
    the y): inputs (N, H, W, C), int8 or float32 as the network reads them; for an int8 network also uint8 pixels or
    real numbers; N labels as the loss takes them.
    epochs: passes over the training part, 1 or more. learning_rate: of the network and of the head, at the start.
    schedule: "cosine" (down to 0 over the whole run) or "constant". seed: of the order of the samples.
    progress(done, total): called after each training step. evaluating(done, total): after each test sample that is
    scored, before training and after each epoch.
    Raises ModelError (data or arguments that do not fit), OutputError (no artifact) and ToolError (no compiler)."""
    twin = out if isinstance(out, Twin) else host(out)
    if isinstance(data, Mapping):
        data = checked(data, twin, "data")
    elif not isinstance(data, Data):
        data = read_data(data, twin)
    return learn(twin, data, epochs, learning_rate, schedule, seed, progress, evaluating)


def score(twin: Twin, x: np.ndarray, y: np.ndarray, progress: Progress | None = None) -> float:
    """The mean over the samples: 1 where the largest logit is the label's class; for a binary loss the fraction of
    outputs on the right side of 1/2; for the others the squared error of the outputs, as real numbers."""
    total = 0.0
    for i in range(len(x)):
        total += _score(twin.meta, twin.infer(x[i]), x[i], y[i])
        if progress is not None:
            progress(i + 1, len(x))
    return total / len(x)


def metric(meta: Metadata) -> str:
    """The name of what score() measures for the loss of this network."""
    return "mean squared error" if meta.loss in ("mse", "autoencoder") else "accuracy"


def _score(meta: Metadata, logits: np.ndarray, x: np.ndarray, y: object) -> float:
    if meta.loss == "cross_entropy":
        return float(int(np.argmax(logits)) == int(cast(SupportsInt, y)))
    outputs = _real(logits, meta.logits)
    if meta.loss == "binary_cross_entropy":
        return float(np.mean((outputs > 0) == (np.asarray(y) > 0)))
    wanted = _real(x.reshape(-1), meta.input) if meta.loss == "autoencoder" else np.asarray(y)
    return float(np.mean((outputs - wanted) ** 2))


def _real(values: np.ndarray, place: QuantizedPlace) -> np.ndarray:
    if values.dtype != np.int8:
        return values.astype(np.float64)
    return (values.astype(np.float64) - float(place.zero)) * float(place.scale)


def learn(
    twin: Twin,
    data: Data,
    epochs: int = 2,
    learning_rate: Sequence[float] = RATES,
    schedule: str = "cosine",
    seed: int = 0,
    progress: Progress | None = None,
    evaluating: Progress | None = None,
) -> TrainingResult:
    """Train at batch 1 in a shuffled order, one learning rate for the network and one for the head, both scheduled over
    the whole run. Raises ModelError for arguments that mean nothing."""
    if epochs < 1:
        raise ModelError(f"{epochs} epochs: must be 1 or more")
    if len(learning_rate) != 2 or not all(math.isfinite(np.float32(rate)) and rate >= 0 for rate in learning_rate):
        raise ModelError(f"learning rates {learning_rate}: must be two finite float32 numbers, 0 or more")
    if schedule not in SCHEDULES:
        raise ModelError(f"unknown schedule '{schedule}'; use {' or '.join(SCHEDULES)}")
    order = np.random.default_rng(seed)
    total, step = epochs * len(data.x_train), 0
    scores, losses = [_evaluated(twin, data, 0, epochs, evaluating)], []
    for _ in range(epochs):
        loss_sum = 0.0
        for i in order.permutation(len(data.x_train)):
            factor = 0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0
            twin.learning_rate = np.asarray(learning_rate, np.float32) * np.float32(factor)
            loss_sum += twin.train_step(data.x_train[i], data.y_train[i])
            step += 1
            if progress is not None:
                progress(step, total)
        losses.append(loss_sum / len(data.x_train))
        scores.append(_evaluated(twin, data, len(scores), epochs, evaluating))
    return TrainingResult(metric(twin.meta), tuple(scores), tuple(losses), step, twin.state())


def _evaluated(twin: Twin, data: Data, before: int, epochs: int, evaluating: Progress | None) -> float:
    """Score the test part; `before` of the epochs + 1 evaluations of the run are done."""
    tests = len(data.x_test)
    if evaluating is None:
        return score(twin, data.x_test, data.y_test)
    return score(
        twin, data.x_test, data.y_test, lambda done, _: evaluating(before * tests + done, (epochs + 1) * tests)
    )
