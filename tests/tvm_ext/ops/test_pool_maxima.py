"""Maxima and float averages, and the gradients of all pools: numpy over cut windows, PyTorch, TFLite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import adjoint
from tests.tvm_ext.support.pool_cases import (
    GEOMETRIES,
    TFLITE,
    attrs_of,
    counts,
    cut,
    draw,
    out_shape,
    pool_options,
    shape_of,
)
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.tflite_op import Quantised, run_op


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_maximum(dtype: str) -> None:
    kernels = [
        build("max_pool_with_index" if with_index else "max_pool", [list(shape_of(g))], attrs_of(g, dtype=dtype))
        for g in GEOMETRIES
        for with_index in (False, True)
    ]
    prepare(kernels)
    for number, kernel in enumerate(kernels):
        geometry = GEOMETRIES[number // 2]
        attrs, x = attrs_of(geometry), draw(dtype, shape_of(geometry), number)
        windows = cut(x, attrs, -np.inf)
        y = np.zeros((1, *windows.shape[:3]), dtype)
        outputs = [y, np.full(y.shape, 0xEE, np.uint8)][: kernel.outputs]
        run(kernel, [x], outputs)
        np.testing.assert_array_equal(y[0], windows.max(axis=3).astype(dtype))
        if kernel.outputs == 2:
            np.testing.assert_array_equal(outputs[1][0], windows.argmax(axis=3))


def test_the_first_of_equal_maxima_inside_the_image_is_kept() -> None:
    attrs = attrs_of(((2, 2, 1), (3, 3), (1, 1), (1, 1, 1, 1)), dtype="int8")
    y, index = np.zeros((1, 2, 2, 1), np.int8), np.zeros((1, 2, 2, 1), np.uint8)
    run(build("max_pool_with_index", [[1, 2, 2, 1]], attrs), [np.full((1, 2, 2, 1), -128, np.int8)], [y, index])
    assert y.reshape(-1).tolist() == [-128] * 4
    assert index.reshape(-1).tolist() == [4, 3, 1, 0]


def test_the_last_of_256_places_has_its_number() -> None:
    attrs = attrs_of(((16, 16, 1), (16, 16), (1, 1), (0, 0, 0, 0)), dtype="float32")
    y, index = np.zeros((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.uint8)
    x = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    run(build("max_pool_with_index", [list(x.shape)], attrs), [x], [y, index])
    assert (y.item(), index.item()) == (255, 255)


@pytest.mark.parametrize("geometry", TFLITE)
def test_maximum_equals_tflites(geometry: tuple) -> None:
    x, attrs = draw("int8", shape_of(geometry), 4), attrs_of(geometry, dtype="int8")
    y = np.zeros(out_shape(x.shape, attrs), np.int8)
    theirs = run_op("MAX_POOL_2D", pool_options(geometry), [Quantised(x, 0.1, -7)], Quantised(y, 0.1, -7))
    run(build("max_pool", [list(x.shape)], attrs), [x], [y])
    np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize("counts_padding", [False, True])
def test_float_average(counts_padding: bool) -> None:
    cases = [attrs_of(g, counts_padding=counts_padding) for g in GEOMETRIES]
    kernels = [build("favg_pool", [list(shape_of(g))], a) for g, a in zip(GEOMETRIES, cases, strict=True)]
    prepare(kernels)
    for kernel, geometry, attrs in zip(kernels, GEOMETRIES, cases, strict=True):
        x = adjoint(1, shape_of(geometry))
        windows, n = cut(x, attrs, 0), counts(x.shape, attrs)
        y = np.zeros(n.shape, np.float32)
        run(kernel, [x], [y])
        reference.assert_sum(y, windows.sum(axis=3)[None] / n, np.abs(windows).sum(axis=3)[None] / n, windows.shape[3])


# --------------------------------------------------------------------------- gradients, and PyTorch
SYMMETRIC = [
    g for g in GEOMETRIES if g[3][:2] == g[3][2:] and all(2 * p <= k for p, k in zip(g[3], g[1], strict=False))
]


def to_torch(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(x, 3, 1).astype(np.float64), requires_grad=True)


def from_torch(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, 3)


def torch_average(x: torch.Tensor, attrs: dict) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(
        x, attrs["kernel"], attrs["stride"], attrs["padding"][:2], count_include_pad=attrs["counts_padding"]
    )


def torch_maximum(x: torch.Tensor, attrs: dict) -> torch.Tensor:
    return torch.nn.functional.max_pool2d(x, attrs["kernel"], attrs["stride"], attrs["padding"][:2])


def gradient_case(geometry: tuple, **more: object) -> tuple[dict, np.ndarray, np.ndarray]:
    """attrs, x, g."""
    shape = shape_of(geometry)
    attrs = attrs_of(geometry, **more) | {"shape": list(shape)}
    return attrs, draw("float32", shape, 2), adjoint(3, out_shape(shape, attrs))


def gathered(g: np.ndarray, share: np.ndarray, attrs: dict) -> tuple[np.ndarray, np.ndarray]:
    """float64 sums, and of absolute values, of g * share [Ho, Wo, C, taps] scattered to where the windows stand."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    _, height, width, channels = attrs["shape"]
    out = np.zeros((2, height + top + bottom, width + left + right, channels))
    for oy, ox in np.ndindex(*g.shape[1:3]):
        patch = (g[0, oy, ox, :, None] * share[oy, ox]).T.reshape(kh, kw, channels)
        out[:, oy * sy : oy * sy + kh, ox * sx : ox * sx + kw] += np.stack([patch, np.abs(patch)])
    return tuple(out[:, top : top + height, left : left + width][:, None])


@pytest.mark.parametrize("counts_padding", [False, True])
def test_gradient_of_the_average(counts_padding: bool) -> None:
    cases = [gradient_case(g, counts_padding=counts_padding) for g in GEOMETRIES]
    kernels = [build("avg_pool_grad", [list(g.shape)], attrs) for attrs, _, g in cases]
    prepare(kernels)
    for (attrs, x, g), geometry, kernel in zip(cases, GEOMETRIES, kernels, strict=True):
        g_x, taps = np.full(x.shape, np.nan, np.float32), attrs["kernel"][0] * attrs["kernel"][1]
        run(kernel, [g], [g_x])
        share = np.ones((*g.shape[1:], taps)) / counts(x.shape, attrs)[0][..., None]
        exact, magnitude = gathered(g, share, attrs)
        reference.assert_sum(g_x, exact, magnitude, taps)
        if geometry in SYMMETRIC:
            theirs = to_torch(x)
            torch_average(theirs, attrs).backward(to_torch(g).detach())
            np.testing.assert_allclose(exact, from_torch(theirs.grad), rtol=1e-12, atol=1e-12)


def test_gradient_of_the_maximum() -> None:
    cases = [gradient_case(g, dtype="float32") for g in GEOMETRIES]
    forward = [build("max_pool_with_index", [list(x.shape)], attrs) for attrs, x, _ in cases]
    backward = [build("max_pool_grad", [list(g.shape)] * 2, attrs) for attrs, _, g in cases]
    prepare([*forward, *backward])
    for (attrs, x, g), geometry, first, second in zip(cases, GEOMETRIES, forward, backward, strict=True):
        y, index = np.zeros(g.shape, np.float32), np.zeros(g.shape, np.uint8)
        g_x, taps = np.full(x.shape, np.nan, np.float32), attrs["kernel"][0] * attrs["kernel"][1]
        run(first, [x], [y, index])
        run(second, [g, index], [g_x])
        exact, magnitude = gathered(g, index[0][..., None] == np.arange(taps), attrs)
        reference.assert_sum(g_x, exact, magnitude, taps)
        if geometry in SYMMETRIC:
            theirs = to_torch(x)
            pooled = torch_maximum(theirs, attrs)
            pooled.backward(to_torch(g).detach())
            np.testing.assert_array_equal(y, from_torch(pooled))
            np.testing.assert_allclose(exact, from_torch(theirs.grad), rtol=1e-12, atol=1e-12)


def test_most_geometries_are_compared_with_pytorch() -> None:
    assert len(SYMMETRIC) >= 7
