"""Backward kernels against float64 references; elementwise ones against the exact float32 formula."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_forward_kernels import DENSE, DEPTHWISE, OBLONG
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import ConvCase, adjoint, conv_case
from tests.tvm_ext.support.run_kernel import prepare, run


def cases_of(size: int, is_depthwise: bool) -> list[ConvCase]:
    if size == 0:
        return [case for case in OBLONG if case.attrs["depthwise"] == is_depthwise]
    if is_depthwise:
        rows = [(h, w, c, c, size, s, (0, c - 1)[: i % 3]) for i, (h, w, c, s) in enumerate(DEPTHWISE[size])]
    else:
        rows = DENSE[size]
    return [
        conv_case(40 + i, h, w, n_in, n_out, k, s, depthwise=is_depthwise, trained=tuple(sorted(set(trained))))
        for i, (h, w, n_in, n_out, k, s, trained) in enumerate(rows)
    ]


SIZES = [(0, False), (0, True), (1, False), (3, False), (5, False), (7, False), (3, True), (5, True), (7, True)]


@pytest.mark.parametrize(("size", "is_depthwise"), SIZES)
def test_input_gradient(size: int, is_depthwise: bool) -> None:
    cases = cases_of(size, is_depthwise)
    kernels = []
    for case in cases:
        shapes = [list(case.out_shape), *(list(w.shape) for w in case.weights)]
        kernels.append(build("conv2d_input_grad", shapes, {**case.attrs, "shape": list(case.x.shape)}))
    prepare(kernels)
    for number, (case, kernel) in enumerate(zip(cases, kernels, strict=True)):
        g, out = adjoint(number, case.out_shape), np.full(case.x.shape, np.nan, np.float32)
        run(kernel, [g, *case.weights], [out])
        exact, magnitude = (
            reference.input_grad(f(g), f(case.weight.astype(np.float64)), list(case.x.shape), case.attrs)
            for f in (np.array, np.abs)
        )
        reference.assert_sum(out, exact, magnitude, terms=case.weight.size)


@pytest.mark.parametrize(("size", "is_depthwise"), SIZES)
def test_weight_gradient(size: int, is_depthwise: bool) -> None:
    """Over all channels, and over the trained ones alone (whose values `take_channels` has kept)."""
    cases, kernels, kept = cases_of(size, is_depthwise), [], []
    for case in cases:
        trained, shape = case.attrs["trained_channels"], list(case.weight.shape)
        if trained:
            shape[0 if is_depthwise else 3] = len(trained)
        kept.append(np.ascontiguousarray(case.x[..., trained]) if trained else case.x)
        attrs = {**case.attrs, "shape": shape}
        kernels.append(build("conv2d_weight_grad", [list(kept[-1].shape), list(case.out_shape)], attrs))
    prepare(kernels)
    for number, (case, kernel, x) in enumerate(zip(cases, kernels, kept, strict=True)):
        g = adjoint(number, case.out_shape)
        trained = case.attrs["trained_channels"] or list(range(case.x.shape[3]))
        zero = case.attrs["in_zero"]
        exact = reference.weight_grad(case.x, g, case.attrs)
        distance = np.abs(case.x.astype(np.float64) - zero)
        magnitude = reference.weight_grad(distance, np.abs(g), {**case.attrs, "in_zero": 0})
        rows = np.s_[trained] if is_depthwise else np.s_[..., trained]
        out = np.full(exact[rows].shape, np.nan, np.float32)
        run(kernel, [x, g], [out])
        reference.assert_sum(out, exact[rows], magnitude[rows], terms=g.shape[1] * g.shape[2])


def test_bias_gradient() -> None:
    shapes = [(1, 7, 5, 9), (1, 1, 1, 4), (1, 16, 16, 3)]
    kernels = [build("conv2d_bias_grad", [list(s)], {}) for s in shapes]
    prepare(kernels)
    for number, (shape, kernel) in enumerate(zip(shapes, kernels, strict=True)):
        g, out = adjoint(number, shape), np.full(shape[3], np.nan, np.float32)
        run(kernel, [g], [out])
        wide = g.astype(np.float64)
        reference.assert_sum(out, wide.sum((0, 1, 2)), np.abs(wide).sum((0, 1, 2)), terms=shape[1] * shape[2])


def test_taken_channels() -> None:
    """In the order of the list, also where that is not ascending."""
    x = np.random.default_rng(0).integers(-128, 128, (1, 5, 3, 11)).astype(np.int8)
    lists = [[0, 4, 10], [7], [9, 2, 5], list(range(11))]
    kernels = [build("take_channels", [list(x.shape)], {"channels": c}) for c in lists]
    prepare(kernels)
    for channels, kernel in zip(lists, kernels, strict=True):
        out = np.zeros((1, 5, 3, len(channels)), np.int8)
        run(kernel, [x], [out])
        np.testing.assert_array_equal(out, x[..., channels])
    assert all(kernel.overlaps for kernel in kernels)


MASKED_SHAPES = [(1, 5, 7, 3), (1, 2, 4, 8), (1, 1, 1, 1), (1, 3, 3, 17)]


def masked_operands(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A gradient that is not finite at some of the places that the mask stops, the mask, and its packed form."""
    rng = np.random.default_rng(shape[3])
    passes = rng.random(shape) < 0.5
    g = adjoint(shape[2], shape)
    g[~passes & (rng.random(shape) < 0.3)] = np.inf
    return g, passes, reference.pack_mask(passes)


def test_masked_scale_per_channel() -> None:
    kernels = [build("mask_scale", [list(s)], {}) for s in MASKED_SHAPES]
    prepare(kernels)
    for shape, kernel in zip(MASKED_SHAPES, kernels, strict=True):
        g, passes, packed = masked_operands(shape)
        scale = np.random.default_rng(1).uniform(1e-5, 3, shape[3]).astype(np.float32)
        out = np.full(shape, np.nan, np.float32)
        run(kernel, [g, packed, scale], [out])
        np.testing.assert_array_equal(out, np.where(passes, g * scale, np.float32(0)))


def test_masked_scale_by_a_factor() -> None:
    factor = 0.123456789
    kernels = [build("mask_scale", [list(s)], {"factor": factor}) for s in MASKED_SHAPES]
    prepare(kernels)
    for shape, kernel in zip(MASKED_SHAPES, kernels, strict=True):
        g, passes, packed = masked_operands(shape)
        out = np.full(shape, np.nan, np.float32)
        run(kernel, [g, packed], [out])
        np.testing.assert_array_equal(out, np.where(passes, g * np.float32(factor), np.float32(0)))


def test_spread_and_sum() -> None:
    g, out = adjoint(0, (1, 1, 1, 5)), np.zeros((1, 3, 7, 5), np.float32)
    run(build("spread", [[1, 1, 1, 5]], {"shape": [1, 3, 7, 5]}), [g], [out])
    np.testing.assert_array_equal(out, np.broadcast_to(g / np.float32(21), out.shape))
    a, b = adjoint(1, (1, 3, 7, 5)), adjoint(2, (1, 3, 7, 5))
    run(build("relax.add", [[1, 3, 7, 5]] * 2, {}), [a, b], [out])
    np.testing.assert_array_equal(out, a + b)
