"""Gradients behind a clamp, which its mask lets pass or not, and of the global mean."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.tvm_ext.ops.cases.elementwise import NEAR, SHAPES, alone
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.draws import adjoint, counts, extents, packed_mask, size
from tests.tvm_ext.support.op_cases import IMAGE, Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs

MASKED = [(1, 5, 7, 3), (1, 2, 4, 8), (1, 1, 1, 1), (1, 3, 3, 17)]
OVERLAPPING = list(dict.fromkeys([*NEAR, *MASKED]))


def mask_scale(_: Attrs, g: np.ndarray, mask: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    """Where the mask stops it, g need not be a number."""
    with np.errstate(invalid="ignore"):
        return [np.where(reference.unpack_mask(mask, g.shape), g * scale, np.float32(0))]


def mask_scale_by(attrs: Attrs, g: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    return mask_scale(attrs, g, mask, np.float32(attrs["factor"]))


def spread(attrs: Attrs, g: np.ndarray) -> list[np.ndarray]:
    _, height, width, channels = attrs["shape"]
    return [np.broadcast_to(g / np.float32(height * width), (1, height, width, channels))]


def masked(shape: tuple[int, ...], factor: float | None, seed: int = 0) -> Case:
    """factor: None for a scale of each channel. An infinity stands at some of the places that the mask stops."""

    def draw(more: int) -> list[np.ndarray]:
        rng, g = np.random.default_rng(seed + more), adjoint(seed + more, shape)
        mask = packed_mask(seed + more, shape)
        g[~reference.unpack_mask(mask, shape) & (rng.random(shape) < 0.3)] = np.inf
        return [g, mask, *([rng.uniform(1e-5, 3, shape[3]).astype(np.float32)] if factor is None else [])]

    attrs = {} if factor is None else {"factor": factor}
    return Case(f"{size(shape)} by {factor or 'scales'} #{seed}", attrs, draw, slack=alone(shape), axes={0: IMAGE})


def finite(shape: tuple[int, ...], factor: float | None, seed: int = 0) -> Case:
    """What overlaps: every element counts."""

    def draw(more: int) -> list[np.ndarray]:
        scale = np.random.default_rng(seed + more).uniform(0.1, 2, shape[3]).astype(np.float32)
        return [adjoint(seed + more, shape), packed_mask(seed + more, shape), *([scale] if factor is None else [])]

    attrs = {} if factor is None else {"factor": factor}
    return Case(f"{size(shape)} by {factor or 'scales'} #{seed}", attrs, draw, slack=alone(shape), axes={0: IMAGE})


def in_blocks(factor: float | None) -> Iterator[Case]:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        height, width = extents(rng)
        yield from (finite((1, height, width, n), factor, seed) for n in counts(rng))


RECORDS = [
    OpCases(
        "mask_scale",
        mask_scale,
        [masked(shape, None) for shape in MASKED],
        near=[finite(shape, None) for shape in OVERLAPPING],
        rows=[finite(shape, None) for shape in SHAPES],
        blocks=list(in_blocks(None)),
    ),
    OpCases(
        "mask_scale_by",
        mask_scale_by,
        [masked(shape, factor) for shape in [*MASKED, (1, 3, 5, 3)] for factor in (0.123456789, 0.1)],
        near=[finite(shape, 0.7) for shape in OVERLAPPING],
        rows=[finite(shape, 0.7) for shape in SHAPES],
        blocks=list(in_blocks(0.3)),
    ),
    OpCases(
        "spread",
        spread,
        [Case("5 over 3x7", {"shape": [1, 3, 7, 5]}, lambda seed: [adjoint(seed, (1, 1, 1, 5))])],
        lambda attrs, g: g.expand(1, *(attrs["shape"][i] for i in (3, 1, 2))) / (attrs["shape"][1] * attrs["shape"][2]),
        torch_error=2.0**-23,
    ),
]
