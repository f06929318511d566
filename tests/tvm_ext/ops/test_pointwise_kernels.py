"""Clamps, requantisation, float sums, softmax and the masked factor, against exact references, TFLite and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from mcutrain.tvm_ext.fixed_point import multiplier
from mcutrain.tvm_ext.ops.kernel import PLAIN
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_overlaps import check as check_overlaps
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import adjoint
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.streaming import check_rows
from tests.tvm_ext.support.tflite_op import Quantised, run_op

EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 8, 8, 4)
SCALES = [(0.1, 0.1, -7, 5), (0.1, 0.037, 3, -20), (0.02, 0.5, -128, -128), (1.0, 0.5, 0, 0), (0.3, 0.6, 127, 1)]
CLAMPS = [(-128, 127), (-20, 35)]
SHAPES = [(1, 4, 5, 3), (1, 3, 4, 8), (1, 5, 1, 1)]
BOUNDS = [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, 0.1), (-math.inf, math.inf)]


def exact_product(x: np.ndarray, ratio: float, rounding: str) -> np.ndarray:
    """x * ratio in integers of any size, as the fixed-point forms are defined."""
    value, shift = multiplier(ratio)
    results = []
    for n in x.reshape(-1).tolist():
        if rounding == "upward":
            results.append((2 * n * value * 2 ** (31 + shift) + 2**62) // 2**63)
            continue
        high = (2 * n * 2 ** max(shift, 0) * value + 2**31) // 2**32
        places = 2 ** max(-shift, 0)
        results.append(math.copysign(1, high) * ((2 * abs(high) + places) // (2 * places)))
    return np.array(results, np.int64).reshape(x.shape)


def requantised(x: np.ndarray, attrs: dict) -> np.ndarray:
    """Values before the clamp."""
    if (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"]):
        return x.astype(np.int64)
    step, ratio = x.astype(np.int64) - attrs["in_zero"], attrs["in_scale"] / attrs["out_scale"]
    if attrs["rounding"] == "even":
        return np.rint(step.astype(np.float32) * np.float32(ratio)).astype(np.int64) + attrs["out_zero"]
    return exact_product(step, ratio, attrs["rounding"]) + attrs["out_zero"]


def quantisation(case: tuple, **more: object) -> dict:
    return dict(zip(("in_scale", "out_scale", "in_zero", "out_zero"), case, strict=True)) | {"layer": "q", **more}


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward"])
def test_requantise_every_value(rounding: str) -> None:
    cases = [quantisation(s, rounding=rounding, lo=lo, hi=hi) for s in [*SCALES, (0.1, 0.1, 4, 4)] for lo, hi in CLAMPS]
    kernels = [
        build("requantise_with_mask" if mask else "requantise", [list(EVERY.shape)], a)
        for a in cases
        for mask in (False, True)
    ]
    prepare(kernels)
    for number, kernel in enumerate(kernels):
        attrs = cases[number // 2]
        v = requantised(EVERY, attrs)
        packed = reference.pack_mask(reference.inside(v, attrs))
        outputs = [np.full(v.shape, 77, np.int8), np.full(packed.shape, 0xFF, np.uint8)][: kernel.outputs]
        run(kernel, [EVERY], outputs)
        np.testing.assert_array_equal(outputs[0], reference.clamp(v, attrs))
        if kernel.outputs == 2:
            np.testing.assert_array_equal(outputs[1], packed)


def test_roundings_differ_where_they_should() -> None:
    """x / 4: halves to even, away from zero, upward."""
    halves = np.array([-6, -2, 2, 6], np.int8).reshape(1, 1, 1, 4)
    results = {}
    for rounding in ("even", "tflite", "upward"):
        y = np.zeros_like(halves)
        attrs = quantisation((0.25, 1.0, 0, 0), rounding=rounding, lo=-128, hi=127)
        run(build("requantise", [[1, 1, 1, 4]], attrs), [halves], [y])
        results[rounding] = y.reshape(-1).tolist()
    assert results == {"even": [-2, 0, 0, 2], "tflite": [-2, -1, 1, 2], "upward": [-1, 0, 1, 2]}


@pytest.mark.parametrize("case", SCALES)
def test_requantise_equals_tflites(case: tuple) -> None:
    in_scale, out_scale, in_zero, out_zero = (float(np.float32(v)) if isinstance(v, float) else v for v in case)
    attrs = quantisation((in_scale, out_scale, in_zero, out_zero), rounding="tflite", lo=-128, hi=127)
    y = np.zeros_like(EVERY)
    source, target = Quantised(EVERY, in_scale, in_zero), Quantised(y, out_scale, out_zero)
    theirs = run_op("QUANTIZE", schema.QuantizeOptionsT(), [source], target)
    run(build("requantise", [list(EVERY.shape)], attrs), [EVERY], [y])
    np.testing.assert_array_equal(y, theirs)


# --------------------------------------------------------------------------- softmax
@pytest.mark.parametrize("in_scale", [0.01, 0.1, 0.6])
def test_softmax(in_scale: float) -> None:
    """Within rounding of the exact quotient, and at most one step from TFLite's."""
    scale, options = float(np.float32(in_scale)), schema.SoftmaxOptionsT()
    options.beta = 1.0
    attrs = {"in_scale": scale, "out_scale": 1 / 256, "out_zero": -128}
    kernels = {n: build("qsoftmax", [[1, 1, 1, n]], attrs) for n in (1, 2, 10, 200)}
    prepare(kernels.values())
    rng = np.random.default_rng(0)
    for n, kernel in kernels.items():
        for draw in range(6):
            x = rng.integers(-128, 128, (1, 1, 1, n)).astype(np.int8) if draw else np.full((1, 1, 1, n), -128, np.int8)
            y = np.zeros_like(x)
            run(kernel, [x], [y])
            exact = np.clip(reference.softmax(x * np.float64(scale)) * 256 - 128, -128, 127)
            assert np.abs(y - exact).max() <= 0.5 + 1e-3
            theirs = run_op("SOFTMAX", options, [Quantised(x, scale, 3)], Quantised(y, 1 / 256, -128))
            assert np.abs(y.astype(int) - theirs).max() <= 1


# --------------------------------------------------------------------------- floats
@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
def test_float_clamp(lo: float, hi: float) -> None:
    """As hardtanh and its gradient, which is 0 on both bounds."""
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        x = rng.normal(0, 3, shape).astype(np.float32)
        x.reshape(-1)[:5] = [v if math.isfinite(v) else 0 for v in (lo, hi, -0.0, lo, hi)]
        theirs = torch.tensor(x, requires_grad=True)
        clamped = torch.nn.functional.hardtanh(theirs, lo, hi)
        clamped.sum().backward()
        packed = reference.pack_mask(theirs.grad.numpy() != 0)
        for with_mask in (False, True):
            outputs = [np.zeros_like(x), np.full(packed.shape, 0xFF, np.uint8)][: 1 + with_mask]
            attrs = {"lo": float(np.float32(lo)), "hi": float(np.float32(hi))}
            run(build("fclip_with_mask" if with_mask else "fclip", [list(shape)], attrs), [x], outputs)
            np.testing.assert_array_equal(outputs[0], clamped.detach().numpy())
            if with_mask:
                np.testing.assert_array_equal(outputs[1], packed)


def test_a_bound_that_is_no_short_decimal_is_exact() -> None:
    bound, x, y = float(np.float32(1 / 3)), np.full((1, 1, 1, 2), 9, np.float32), np.zeros((1, 1, 1, 2), np.float32)
    run(build("fclip", [[1, 1, 1, 2]], {"lo": -bound, "hi": bound}), [x], [y])
    assert (y == np.float32(1 / 3)).all()


def test_an_open_side_is_not_compared() -> None:
    for lo, hi, compared in ((-math.inf, math.inf, 0), (0.0, math.inf, 1), (-math.inf, 2.0, 1), (-1.0, 1.0, 2)):
        text = build("fclip", [[1, 2, 2, 2]], {"lo": lo, "hi": hi}).func.script()
        assert text.count("T.Select") == compared


def test_float_sum() -> None:
    a, b = adjoint(1, (1, 4, 3, 5)), adjoint(2, (1, 4, 3, 5))
    y = np.zeros_like(a)
    run(build("fadd", [list(a.shape)] * 2, {}), [a, b], [y])
    np.testing.assert_array_equal(y, a + b)


# --------------------------------------------------------------------------- overlaps, rows, rings
def kernels(shape: tuple) -> list[tuple]:
    """(builder by variant, operands of a seed, shapes and dtypes of the outputs)."""
    _, height, width, channels = shape
    packed, image = (1, height, (width * channels + 7) // 8), [list(shape)]
    attrs = quantisation(SCALES[1], rounding="even", lo=-100, hi=90)
    bounds, masked = {"lo": -0.5, "hi": 2.0}, [list(shape), list(packed)]

    def int8(seed: int) -> list[np.ndarray]:
        return [np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)]

    def real(seed: int, n: int = 1) -> list[np.ndarray]:
        return [np.random.default_rng(seed + 100 * i).normal(size=shape).astype(np.float32) for i in range(n)]

    def with_mask(seed: int) -> list[np.ndarray]:
        return [*real(seed), np.random.default_rng(seed).integers(0, 256, packed).astype(np.uint8)]

    both = {"int8": ([shape, packed], ["int8", "uint8"]), "float32": ([shape, packed], ["float32", "uint8"])}
    one, float_one = ([shape], ["int8"]), ([shape], ["float32"])
    return [
        (lambda v: build("requantise", image, attrs, v), int8, *one),
        (lambda v: build("requantise_with_mask", image, attrs, v), int8, *both["int8"]),
        (lambda v: build("fclip", image, bounds, v), real, *float_one),
        (lambda v: build("fclip_with_mask", image, bounds, v), real, *both["float32"]),
        (lambda v: build("fadd", image * 2, {}, v), lambda s: real(s, 2), *float_one),
        (lambda v: build("mask_scale", masked, {"factor": 0.7}, v), with_mask, *float_one),
    ]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1, 1), (1, 1, 1, 7)])
def test_overlaps(shape: tuple) -> None:
    cases = [(make(PLAIN), draw, shapes, dtypes) for make, draw, shapes, dtypes in kernels(shape)]
    prepare([kernel for kernel, *_ in cases])
    for kernel, draw, shapes, dtypes in cases:
        slack = int(np.prod(shape) == 1)  # a tensor of one element: no distance is wrong
        check_overlaps(kernel, [draw(seed) for seed in range(8)], shapes, dtypes, slack)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_overlap_of_softmax(n: int) -> None:
    kernel = build("qsoftmax", [[1, 1, 1, n]], {"in_scale": 0.02, "out_scale": 1 / 256, "out_zero": -128})
    draws = [[np.random.default_rng(s).integers(-128, 128, (1, 1, 1, n)).astype(np.int8)] for s in range(8)]
    check_overlaps(kernel, draws, [(1, 1, 1, n)], ["int8"])


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_and_rings(shape: tuple) -> None:
    for make, draw, shapes, dtypes in kernels(shape):
        check_rows(make, draw(3), [np.zeros(s, d) for s, d in zip(shapes, dtypes, strict=True)])


def test_the_masked_factor() -> None:
    """Bits of the mask from the lowest on, each row on a byte of its own."""
    g, passes = adjoint(4, (1, 3, 5, 3)), np.random.default_rng(4).random((1, 3, 5, 3)) < 0.5
    g_x, factor = np.zeros_like(g), 0.1
    mask = reference.pack_mask(passes)
    run(build("mask_scale", [list(g.shape), list(mask.shape)], {"factor": factor}), [g, mask], [g_x])
    np.testing.assert_array_equal(g_x, np.where(passes, g * np.float32(factor), np.float32(0)))
