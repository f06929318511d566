"""Seeded operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjoint(seed: int, shape: Sequence[int]) -> np.ndarray:
    """A float32 gradient with magnitudes over several decades, and zeros where a mask stopped it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 1, shape)
    return np.where(rng.random(shape) < 0.2, 0, values).astype(np.float32)


def int8(seed: int, shape: Sequence[int], reach: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(-reach, reach, shape).astype(np.int8)


def normal(seed: int, shape: Sequence[int]) -> np.ndarray:
    """float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def numbers(dtype: str, seed: int, shape: Sequence[int]) -> np.ndarray:
    return normal(seed, shape) if dtype == "float32" else int8(seed, shape)


def packed_mask(seed: int, shape: Sequence[int]) -> np.ndarray:
    """Bits for an image of this shape."""
    _, height, width, channels = shape
    return np.random.default_rng(seed).integers(0, 256, (1, height, (width * channels + 7) // 8)).astype(np.uint8)


def size(shape: Sequence[int]) -> str:
    """A shape in titles of cases."""
    return "x".join(map(str, shape[1:] if len(shape) == 4 else shape))


def counts(rng: np.random.Generator) -> list[int]:
    """Of channels, in blocks of 8, 4, 2 and 1: several blocks of each, or any."""
    odd = [int(n) for n in rng.choice([3, 5, 1], 3)]
    return [int(rng.choice([16, 24, 8])), 4 * odd[0], 2 * odd[1], odd[2]]


def extents(rng: np.random.Generator) -> tuple[int, int]:
    height, width = rng.integers(2, 7, 2)
    return int(height), int(width)
