"""Averages and maxima over windows, and the global mean."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from tests.tvm_ext.support import networks, reference, torch_parts
from tests.tvm_ext.support.draws import adjoint, int8, size
from tests.tvm_ext.support.op_cases import Case, Expected, OpCases, Within
from tests.tvm_ext.support.pool_windows import (
    GEOMETRIES,
    OTHER,
    SAME,
    Geometry,
    attrs_of,
    counts,
    descending,
    draw,
    shape_of,
    taps,
    title,
)
from tests.tvm_ext.support.product_ops import Attrs


# --------------------------------------------------------------------------- averages of integers
def qavg_pool_values(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """int64 before the clamp: integers averaged where the quantisation stays, else real numbers in one rounding, or
    (integer rounding) by the multiplier over the count."""
    n, rounding = counts(x.shape, attrs), attrs["rounding"]
    own, out = [(attrs[f"{side}_scale"], attrs[f"{side}_zero"]) for side in ("in", "out")]
    if own == out and rounding != "tflite_mean":
        border = attrs["in_zero"] if attrs["counts_padding"] else 0
        return reference.divided(_sums(x.astype(np.int64), attrs, border), n, rounding)
    total = _sums(x.astype(np.int64) - attrs["in_zero"], attrs, 0)
    if rounding == "even":
        factor = (np.float64(own[0]) / (n * np.float64(out[0]))).astype(np.float32)
        return np.rint(total.astype(np.float32) * factor).astype(np.int64) + attrs["out_zero"]
    m, shift = reference.fixed_point(own[0] / out[0])
    more = np.minimum(np.floor(np.log2(n)).astype(np.int64), 31 + shift)
    return reference.multiply(total, (np.int64(m) << more) // n, shift - more, "tflite") + attrs["out_zero"]


def _sums(x: np.ndarray, attrs: Attrs, border: float) -> np.ndarray:
    return reference.windows(x, attrs, border).sum(axis=(3, 4))[None]


def qavg_pool(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    return reference.clamped(qavg_pool_values(x, attrs), attrs)


def average_by_torch(attrs: Attrs, x: torch.Tensor) -> torch.Tensor:
    kernel, stride = tuple(attrs["kernel"]), tuple(attrs["stride"])
    sums = functional.avg_pool2d(torch_parts.padded(x, attrs), kernel, stride, divisor_override=1)
    if attrs["counts_padding"]:
        return sums / (kernel[0] * kernel[1])
    inside = torch_parts.padded(torch.ones_like(x), attrs)
    return sums / functional.avg_pool2d(inside, kernel, stride, divisor_override=1)


def qavg_pool_by_torch(attrs: Attrs, x: torch.Tensor) -> torch.Tensor:
    keeps = (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"])
    if keeps and attrs["rounding"] in ("tflite", "truncate"):
        border = attrs["in_zero"] if attrs["counts_padding"] else 0.0
        mean = average_by_torch(attrs, x - border) + border
        exact = np.round(mean.detach().numpy(), 9)
        away = np.sign(exact) * np.floor(np.abs(exact) + 0.5)
        return torch_parts.clamp(torch_parts.instead(mean, away if attrs["rounding"] == "tflite" else np.trunc(exact)),
                                 attrs)  # fmt: skip
    real = average_by_torch(attrs, x - attrs["in_zero"]) * (attrs["in_scale"] / attrs["out_scale"])
    return torch_parts.clamp(torch_parts.rounded(real) + attrs["out_zero"], attrs)


def averages() -> Iterator[Case]:
    """Of all values, and of few: then many are halves."""
    windows = [(g, False) for g in GEOMETRIES] + [(g, True) for g in GEOMETRIES if any(g[3])]
    kinds = [{**SAME, "rounding": r} for r in ("even", "tflite", "upward", "truncate")] + [OTHER]
    for quantisation in kinds:
        for i, (geometry, counted) in enumerate(windows):
            clamp = {"lo": -5, "hi": 9} if i % 2 else {"lo": -128, "hi": 127}
            attrs = attrs_of(geometry, **quantisation, **clamp, counts_padding=counted)
            words = [title(geometry), quantisation.get("rounding", "requantised"), "counts padding" if counted else ""]
            draw = partial(_few, shape_of(geometry))
            yield Case(" ".join(words).strip(), attrs, draw, seeds=2, parts=(int(i % 3 > 0),))


def _few(shape: tuple[int, ...], seed: int) -> list[np.ndarray]:
    return [int8(seed, shape, 6 if seed % 2 else 128)]


def over_all(quantisation: Attrs, words: str) -> list[Case]:
    """Means of whole images, as TFLite's MEAN: integer multipliers, whatever the quantisation."""
    windows: list[Geometry] = [((h, w, 30), (h, w), (1, 1), (0, 0, 0, 0)) for h, w in ((4, 4), (7, 7), (1, 3), (1, 1))]
    rounding = "tflite_mean" if quantisation == SAME else "tflite"
    return [
        Case(
            f"mean {title(g)} {words}",
            attrs_of(g, **quantisation, rounding=rounding),
            partial(_few, shape_of(g)),
            parts=(0,),
        )
        for g in windows
    ]


def near_average(geometry: Geometry) -> Case:
    shape = shape_of(geometry)
    return Case(title(geometry), attrs_of(geometry, **OTHER), lambda seed: [descending("int8", shape, seed)])


def qmean_case(shape: tuple[int, ...]) -> Case:
    return Case(size(shape), {"layer": "pool"}, lambda seed: [int8(seed, shape)], slack=(int(np.prod(shape) == 1),) * 2)


# --------------------------------------------------------------------------- averages of floats, maxima
def favg_pool(attrs: Attrs, x: np.ndarray) -> list[Expected]:
    n, wide = counts(x.shape, attrs), x.astype(np.float64)
    error = reference.sum_error(_sums(np.abs(wide), attrs, 0) / n, taps(attrs))
    return [Within(_sums(wide, attrs, 0) / n, error)]


def float_average(geometry: Geometry, counted: bool) -> Case:
    attrs = attrs_of(geometry, counts_padding=counted)
    words = title(geometry) + " counts padding" * counted
    return Case(words, attrs, lambda seed: [adjoint(1 + seed, shape_of(geometry))])


def near_float_average(geometry: Geometry) -> Case:
    shape = shape_of(geometry)
    return Case(title(geometry), attrs_of(geometry), lambda seed: [descending("float32", shape, seed)])


def max_pool(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    """The largest, and the place of the first one in its window."""
    windows = reference.windows(x.astype(np.float64), attrs, -np.inf)
    windows = windows.reshape(*windows.shape[:3], -1)
    return [windows.max(axis=3)[None].astype(x.dtype), windows.argmax(axis=3)[None].astype(np.uint8)]


def max_pool_by_torch(attrs: Attrs, x: torch.Tensor) -> torch.Tensor:
    padded = torch_parts.padded(x, attrs, -1e30)
    return functional.max_pool2d(padded, tuple(attrs["kernel"]), tuple(attrs["stride"]))


def maximum(geometry: Geometry, dtype: str) -> Case:
    shape = shape_of(geometry)
    attrs = attrs_of(geometry, dtype=dtype)
    return Case(f"{dtype} {title(geometry)}", attrs, lambda seed: [draw(dtype, shape, seed)], seeds=2)


def near_maximum(geometry: Geometry, dtype: str) -> Case:
    """An index over the lower bytes of a float changes it too little: three bytes of slack."""
    shape, slack = shape_of(geometry), (0, 3 if dtype == "float32" else 0)
    attrs = attrs_of(geometry, dtype=dtype)
    return Case(f"{dtype} {title(geometry)}", attrs, lambda seed: [descending(dtype, shape, seed)], slack=slack)


MAXIMA = [(g, dtype) for g in GEOMETRIES for dtype in ("int8", "float32")]
MEANS = [(1, 2, 1, 6), (1, 4, 4, 12), (1, 3, 5, 7), (1, 64, 64, 3)]
NEAR_MEANS = [(1, 4, 5, 3), (1, 1, 1, 1), (1, 1, 1, 7), (1, 9, 2, 13), (1, 6, 9, 1), (1, 2, 7, 6), (1, 3, 3, 1)]

RECORDS = [
    OpCases(
        "qavg_pool",
        qavg_pool,
        [*averages(), *over_all(SAME, "same"), *over_all(OTHER, "other"), *over_all({**OTHER, "out_scale": 0.31}, "")],
        qavg_pool_by_torch,
        torch_error=1.0,
        near=list(map(near_average, GEOMETRIES)),
        rows=list(map(near_average, GEOMETRIES[1::2])),
        network=networks.quantised_average,
    ),
    OpCases(
        "qmean",
        lambda _, x: [reference.mean(x)],
        list(map(qmean_case, MEANS)),
        lambda _, x: torch_parts.rounded(x.mean((2, 3), keepdim=True)),
        near=list(map(qmean_case, NEAR_MEANS)),
        network=networks.quantised_mean,
    ),
    OpCases(
        "favg_pool",
        favg_pool,
        [float_average(g, counted) for g in GEOMETRIES for counted in (False, True)],
        average_by_torch,
        near=list(map(near_float_average, GEOMETRIES)),
        rows=list(map(near_float_average, GEOMETRIES[1::2])),
        network=networks.float_average,
    ),
    OpCases(
        "max_pool",
        max_pool,
        [maximum(*kind) for kind in MAXIMA],
        max_pool_by_torch,
        near=[near_maximum(*kind) for kind in MAXIMA],
        rows=[near_maximum(g, dtype) for g in GEOMETRIES[1::2] for dtype in ("int8", "float32")],
        network=networks.maximum,
    ),
]
