"""Pools to test: windows of all kinds, their attributes, and numpy to cut them out."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

# image (H, W, C), kernel, stride, padding (top, left, bottom, right)
GEOMETRIES = [
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
# TFLite pools with padding VALID or SAME: image, kernel, stride, padding
TFLITE = [
    ((8, 6, 40), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((7, 7, 40), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((8, 9, 24), (3, 2), (2, 1), (0, 0, 1, 1)),
    ((25, 5, 64), (25, 5), (25, 5), (0, 0, 0, 0)),
]


def attrs_of(geometry: tuple, **more: object) -> dict:
    _, kernel, stride, padding = geometry
    window = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding), "counts_padding": False}
    return {"layer": "under test", **window, "lo": -128, "hi": 127, "rounding": "even", **more}


def shape_of(geometry: tuple) -> tuple[int, ...]:
    return (1, *geometry[0])


def cut(x: np.ndarray, attrs: dict, border: float) -> np.ndarray:
    """(1, H, W, C) -> [Ho, Wo, C, kh * kw] in float64, with `border` for padding."""
    (top, left, bottom, right), (sy, sx) = attrs["padding"], attrs["stride"]
    padded = np.pad(x[0].astype(np.float64), ((top, bottom), (left, right), (0, 0)), constant_values=border)
    view = np.lib.stride_tricks.sliding_window_view(padded, attrs["kernel"], axis=(0, 1))[::sy, ::sx]
    return view.reshape(*view.shape[:3], -1)


def counts(shape: tuple, attrs: dict) -> np.ndarray:
    """int64 (1, Ho, Wo, C): by what the sum of each window is divided."""
    ones = cut(np.ones(shape), attrs, 1 if attrs["counts_padding"] else 0)
    return ones.sum(axis=3).astype(np.int64)[None]


def out_shape(shape: tuple, attrs: dict) -> tuple[int, ...]:
    return (1, *cut(np.zeros(shape), attrs, 0).shape[:3])


def draw(dtype: str, shape: tuple, seed: int) -> np.ndarray:
    """int8 from a narrow range, so that many maxima are not alone in their window; some windows of -128 only."""
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(size=shape).astype(np.float32)
    x = rng.integers(-3, 3, shape).astype(np.int8) if seed % 2 else rng.integers(-128, 128, shape).astype(np.int8)
    return np.where(rng.random(shape[:3])[..., None] < 0.3, -128, x).astype(np.int8)


def pool_options(geometry: tuple) -> schema.Pool2DOptionsT:
    options, (_, kernel, stride, padding) = schema.Pool2DOptionsT(), geometry
    options.padding = schema.Padding.SAME if any(padding) else schema.Padding.VALID
    (options.filterHeight, options.filterWidth), (options.strideH, options.strideW) = kernel, stride
    return options
