"""Training runs on the host twin: data from a file, a learning-rate schedule, accuracy before and after."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain.twin import Twin
from planner.errors import ModelError

Progress = Callable[[int, int], None]
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Data:
    """int8 images (N, H, W, C) and labels (N,); the test part is never trained on."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class Learnt:
    """accuracy: fraction right on the test part, before training and after each epoch; losses: epoch means, in nats."""

    accuracy: tuple[float, ...]
    losses: tuple[float, ...]
    steps: int


def read_data(path: str | Path, twin: Twin) -> Data:
    """An .npz with x_train, y_train, x_test, y_test. Images int8 as the network reads them, or uint8 pixels 0..255, of
    which 127.5 is subtracted (halves to even). Raises ModelError naming the array."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                if name not in file:
                    raise ModelError(f"{path}: has no array '{name}'; it needs x_train, y_train, x_test, y_test")
                arrays[name] = file[name]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}; give an .npz file") from None
    except (ValueError, TypeError, zipfile.BadZipFile, zlib.error, EOFError) as error:  # TypeError: a lone .npy
        raise ModelError(f"{path}: not an .npz of plain arrays ({' '.join(str(error).split())[:120]})") from None
    shape = tuple(twin.meta["input"]["shape"][1:])
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dtype not in (np.int8, np.uint8) or x.shape[1:] != shape:
            wanted = f"(N, {', '.join(map(str, shape))})"
            raise ModelError(f"{path}: x_{part} is {x.dtype} {x.shape}, the network takes int8 or uint8 {wanted}")
        if x.dtype == np.uint8:
            arrays[f"x_{part}"] = to_int8(x)
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
            raise ModelError(f"{path}: y_{part} is {y.dtype} {y.shape}, expected {len(x)} integer labels")
        if len(x) == 0:
            raise ModelError(f"{path}: x_{part} is empty")
        if y.min() < 0 or y.max() >= twin.meta["classes"]:
            raise ModelError(
                f"{path}: y_{part} goes from {y.min()} to {y.max()}, the network has {twin.meta['classes']} classes"
            )
    return Data(**arrays)


def to_int8(pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels as int8: x - 127.5, halves to even."""
    return np.clip(np.rint(pixels.astype(np.float32) - 127.5), -128, 127).astype(np.int8)


def accuracy(twin: Twin, x: np.ndarray, y: np.ndarray, progress: Progress | None = None) -> float:
    """Fraction of images whose largest logit is the label's."""
    right = 0
    for i in range(len(x)):
        right += int(np.argmax(twin.infer(x[i]))) == int(y[i])
        if progress is not None:
            progress(i + 1, len(x))
    return right / len(x)


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

    scores, losses = [accuracy(twin, data.x_test, data.y_test, tick)], []
    for _ in range(epochs):
        loss_sum = 0.0
        for i in order.permutation(len(data.x_train)):
            factor = 0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0
            twin.learning_rate = np.asarray(learning_rate, np.float32) * np.float32(factor)
            loss_sum += twin.train_step(data.x_train[i], int(data.y_train[i]))
            step += 1
            tick(step, total)
        losses.append(loss_sum / len(data.x_train))
        scores.append(accuracy(twin, data.x_test, data.y_test, tick))
    return Learnt(tuple(scores), tuple(losses), step)
