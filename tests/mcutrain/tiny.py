"""Artifacts of the tiny network for tests of the API and the command line: seconds, not minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mcutrain
from mcutrain.planner.policy import Policy, Update
from tests import tiny_network as network

# every way a parameter can lie in memory: no weight, part of the input channels, part of a depthwise, whole, by order
MIXED = Policy(
    "mixed",
    (
        Update("blocks.0.pointwise2"),
        Update("blocks.1.pointwise1", True, 0.5),
        Update("blocks.1.depthwise", True, 0.25),
        Update("blocks.2.pointwise1", False, 1.0),
        Update("blocks.2.depthwise", True, 1.0),
        Update("blocks.2.pointwise2", True, 0.5, "first"),
    ),
)
CONVS = 10  # of the tiny network, the head left out
OPTIONS = ("--input-size", str(network.SIZE), "--classes", str(network.CLASSES))


def load(folder: Path, head: str = "float") -> object:
    """The tiny network, written to `folder` and read back."""
    folder.mkdir(parents=True, exist_ok=True)
    return mcutrain.load(network.tiny_file(folder), network.SIZE, network.CLASSES, head)


def compile_tiny(folder: Path, scheme: str | Policy = MIXED, head: str = "float", **options: object) -> Path:
    """The artifact folder of a tiny network, `folder`/out."""
    return mcutrain.compile(load(folder, head), scheme, out=folder / "out", **options).directory


def image(seed: int) -> np.ndarray:
    return network.random_image(seed)


def separable(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels): one pattern a class under noise, so that something can be learnt."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(0, 60, (network.CLASSES, network.SIZE, network.SIZE, network.CHANNELS))
    labels = rng.integers(0, network.CLASSES, count)
    noisy = patterns[labels] + rng.normal(0, 25, (count, *patterns.shape[1:]))
    return np.clip(np.rint(noisy), -128, 127).astype(np.int8), labels


def save_data(path: Path, count: int = 24, **replaced: object) -> Path:
    """DATA.npz of separable samples; `replaced` overrides arrays, None leaves one out."""
    x_train, y_train = separable(count, 1)
    x_test, y_test = separable(count, 2)
    arrays: dict = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, **replaced}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path
