"""Gradients of the pools."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tests.tvm_ext.ops.cases.pool import average_by_torch
from tests.tvm_ext.support import reference, torch_parts
from tests.tvm_ext.support.draws import adjoint, normal
from tests.tvm_ext.support.op_cases import Case, Expected, OpCases, Within
from tests.tvm_ext.support.pool_windows import GEOMETRIES, Geometry, attrs_of, counts, out_shape, taps, title
from tests.tvm_ext.support.product_ops import Attrs


def gathered(g: np.ndarray, share: np.ndarray, attrs: Attrs) -> list[Expected]:
    """g * share [Ho, Wo, C, taps], scattered to where the windows stand."""

    def sums(of: np.ufunc | type) -> np.ndarray:
        patches = of(g[0].astype(np.float64))[..., None] * share
        patches = patches.transpose(0, 1, 3, 2).reshape(*patches.shape[:2], *attrs["kernel"], -1)
        return reference.scattered(patches, attrs["shape"], attrs)

    return [Within(sums(np.asarray), lambda: reference.sum_error(sums(np.abs), taps(attrs)))]


def avg_pool_grad(attrs: Attrs, g: np.ndarray) -> list[Expected]:
    return gathered(g, np.ones((*g.shape[1:], taps(attrs))) / counts(tuple(attrs["shape"]), attrs)[0][..., None], attrs)


def max_pool_grad(attrs: Attrs, g: np.ndarray, index: np.ndarray) -> list[Expected]:
    return gathered(g, index[0][..., None] == np.arange(taps(attrs)), attrs)


def _image(attrs: Attrs) -> torch.Tensor:
    _, height, width, channels = attrs["shape"]
    return torch.zeros(1, channels, height, width, dtype=torch.float64)


def avg_pool_grad_by_torch(attrs: Attrs, g: torch.Tensor) -> torch.Tensor:
    return torch_parts.backward(lambda x: average_by_torch(attrs, x), _image(attrs), g)


def max_pool_grad_by_torch(attrs: Attrs, g: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Of the window's element that the index picks."""

    def picked(x: torch.Tensor) -> torch.Tensor:
        columns = functional.unfold(torch_parts.padded(x, attrs), tuple(attrs["kernel"]), stride=tuple(attrs["stride"]))
        windows = columns.reshape(1, x.shape[1], taps(attrs), *index.shape[2:])
        return windows.gather(2, index.long()[:, :, None])[:, :, 0]

    return torch_parts.backward(picked, _image(attrs), g)


def average_grad(geometry: Geometry, counted: bool = False) -> Case:
    words = title(geometry) + " counts padding" * counted
    attrs = attrs_of(geometry, counts_padding=counted)
    return Case(words, attrs, lambda seed: [adjoint(3 + seed, out_shape(geometry))])


def maximum_grad(geometry: Geometry) -> Case:
    """Places that lie inside the image, as those of maxima do."""
    attrs = attrs_of(geometry)

    def draw(seed: int) -> list[np.ndarray]:
        x = normal(2 + seed, attrs["shape"]).astype(np.float64)
        windows = reference.windows(x, attrs, -np.inf)
        index = windows.reshape(*windows.shape[:3], -1).argmax(axis=3)[None].astype(np.uint8)
        return [adjoint(3 + seed, index.shape), index]

    return Case(title(geometry), attrs, draw)


# the zeros of a position that no window covers are a right index of a window of one
def near(geometry: Geometry, indexed: bool) -> Case:
    shape, attrs = out_shape(geometry), attrs_of(geometry)

    def draw(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        index = rng.integers(0, taps(attrs), shape) if seed else np.full(shape, taps(attrs) - 1)
        return [normal(seed, shape), *([index.astype(np.uint8)] if indexed else [])]

    slack = 4 if indexed and taps(attrs) == 1 else 0
    return Case(title(geometry), attrs, draw, slack=(slack, slack))


RECORDS = [
    OpCases(
        "avg_pool_grad",
        avg_pool_grad,
        [average_grad(g, counted) for g in GEOMETRIES for counted in (False, True)],
        avg_pool_grad_by_torch,
        near=[near(g, False) for g in GEOMETRIES],
        rows=[near(g, False) for g in GEOMETRIES[1::2]],
    ),
    OpCases(
        "max_pool_grad",
        max_pool_grad,
        list(map(maximum_grad, GEOMETRIES)),
        max_pool_grad_by_torch,
        near=[near(g, True) for g in GEOMETRIES],
        rows=[near(g, True) for g in GEOMETRIES[1::2]],
    ),
]
