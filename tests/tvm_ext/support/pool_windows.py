"""Windows of pools to test, and their attributes."""

from __future__ import annotations

import numpy as np

from tests.tvm_ext.support import reference
from tests.tvm_ext.support.draws import normal
from tests.tvm_ext.support.product_ops import Attrs

# image (H, W, C), kernel, stride, padding (top, left, bottom, right)
Geometry = tuple[tuple[int, int, int], tuple[int, int], tuple[int, int], tuple[int, int, int, int]]
GEOMETRIES: list[Geometry] = [
    ((6, 8, 4), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((7, 5, 3), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((5, 6, 8), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((7, 9, 2), (3, 2), (2, 3), (0, 0, 1, 1)),
    ((4, 4, 5), (4, 4), (4, 4), (0, 0, 0, 0)),
    ((1, 9, 6), (1, 4), (1, 2), (0, 2, 0, 1)),
    ((9, 7, 1), (2, 3), (3, 2), (0, 0, 0, 0)),
    ((8, 8, 4), (1, 1), (2, 2), (0, 0, 0, 0)),
    ((3, 3, 1), (3, 3), (1, 1), (0, 0, 0, 0)),
    ((7, 7, 12), (5, 5), (1, 1), (2, 2, 2, 2)),
]
SAME = {"in_scale": 0.1, "in_zero": -7, "out_scale": 0.1, "out_zero": -7}
OTHER = {"in_scale": 0.1, "in_zero": -7, "out_scale": 0.061, "out_zero": 12}


def attrs_of(geometry: Geometry, **more: object) -> Attrs:
    _, kernel, stride, padding = geometry
    window = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding), "counts_padding": False}
    clamp = {"lo": -128, "hi": 127, "rounding": "even"}
    return {"layer": "under test", **window, **clamp, "shape": list(shape_of(geometry)), **more}


def shape_of(geometry: Geometry) -> tuple[int, ...]:
    return (1, *geometry[0])


def title(geometry: Geometry) -> str:
    (h, w, c), (kh, kw), (sy, sx), padding = geometry
    return f"{h}x{w}x{c} by {kh}x{kw} s{sy}x{sx} p{''.join(map(str, padding))}"


def counts(shape: tuple[int, ...], attrs: Attrs) -> np.ndarray:
    """int64 (1, Ho, Wo, C): by what the sum of each window is divided."""
    cut = reference.windows(np.ones(shape, np.int64), attrs, 1 if attrs["counts_padding"] else 0)
    return cut.sum(axis=(3, 4))[None]


def taps(attrs: Attrs) -> int:
    return attrs["kernel"][0] * attrs["kernel"][1]


def out_shape(geometry: Geometry) -> tuple[int, ...]:
    return counts(shape_of(geometry), attrs_of(geometry)).shape


def draw(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """int8 from a narrow range, so that many maxima are not alone in their window; some windows of -128 only."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return normal(seed, shape)
    x = rng.integers(-3, 3, shape).astype(np.int8) if seed % 2 else rng.integers(-128, 128, shape).astype(np.int8)
    return np.where(rng.random(shape[:3])[..., None] < 0.3, -128, x).astype(np.int8)


def descending(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """What overlaps: in the first draw the first element of each window is its largest, and so counts."""
    if seed:
        rng = np.random.default_rng(seed)
        return normal(seed, shape) if dtype == "float32" else rng.integers(-128, 128, shape).astype(np.int8)
    real = -np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return real if dtype == "float32" else np.clip(127 + real * 256 / real.size, -128, 127).astype(np.int8)
