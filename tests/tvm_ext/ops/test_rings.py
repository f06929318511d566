"""Kernels row by row over rings of rows: the same bits as one call over whole tensors."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support.run_kernel import run
from tests.tvm_ext.support.streaming import check_rows

C = 8


def call_rows(kernel: Kernel, inputs: list, outputs: list, row: int) -> None:
    run(kernel, inputs, outputs, rows=(row, row + 1))


def conv_attrs(kernel: int, stride: int, depthwise: bool, **more: object) -> dict:
    window = {"kernel": [kernel, kernel], "stride": [stride] * 2, "padding": [(kernel - 1) // 2] * 4}
    window["depthwise"] = depthwise
    return {**window, "trained_channels": [], "in_zero": -3, "out_zero": 2, "lo": -128, "hi": 127, **more}


@pytest.mark.parametrize(("kernel", "stride", "depthwise"), [(1, 1, False), (3, 2, False), (3, 1, True), (7, 2, True)])
def test_forward_convolutions(kernel: int, stride: int, depthwise: bool) -> None:
    rng = np.random.default_rng(kernel)
    x = rng.integers(-128, 128, (1, 12, 6, C), dtype=np.int8)
    w = rng.integers(-127, 128, (C, kernel, kernel) if depthwise else (C, kernel, kernel, C), dtype=np.int8)
    bias, scale = rng.integers(-99, 99, C, dtype=np.int32), rng.uniform(0.001, 0.01, C).astype(np.float32)
    attrs, shapes = conv_attrs(kernel, stride, depthwise), [list(a.shape) for a in (x, w, bias, scale)]
    whole = build("qconv2d", shapes, attrs)
    y = np.zeros((1, whole.rows, (6 - 1) // stride + 1, C), np.int8)
    run(whole, [x, w, bias, scale], [y])
    ringed = build("qconv2d", shapes, attrs, Variant((kernel,), 2))
    ring_in, ring_out = np.zeros((kernel, 6, C), np.int8), np.zeros((2, *y.shape[2:]), np.int8)
    (_, rows, *window), made = whole.reads[0], 0
    for row in range(whole.rows):
        stop = min(rows, row * window[0] - window[2] + window[1])
        for fresh in range(made, stop):
            ring_in[fresh % kernel] = x[0, fresh]
        made = max(made, stop)
        call_rows(ringed, [ring_in, w, bias, scale], [ring_out], row)
        np.testing.assert_array_equal(ring_out[row % 2], y[0, row])


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "height"), [(3, 1, 4), (5, 2, 9), (7, 2, 8), (1, 2, 5)])
def test_input_gradients_of_windows(kernel: int, stride: int, height: int, depthwise: bool) -> None:
    """Transposed: a row of g_x takes the rows of g whose windows cover it; with a stride, some take none."""
    rng = np.random.default_rng(kernel)
    out = (height - 1) // stride + 1
    g = rng.normal(size=(1, out, out, C)).astype(np.float32)
    w = rng.integers(-127, 128, (C, kernel, kernel) if depthwise else (C, kernel, kernel, C), dtype=np.int8)
    attrs, shapes = conv_attrs(kernel, stride, depthwise, shape=[1, height, height, C]), [list(g.shape), list(w.shape)]
    g_x = np.zeros((1, height, height, C), np.float32)
    check_rows(lambda variant: build("conv2d_input_grad", shapes, attrs, variant), [g, w], [g_x])


@pytest.mark.parametrize("trained", [[], [1, 4]])
def test_input_gradient_of_a_window_over_everything(trained: list[int]) -> None:
    """A fully connected layer behind an image: the one row of g serves every row of g_x."""
    rng = np.random.default_rng(0)
    g, widths = rng.normal(size=(1, 1, 1, 10)).astype(np.float32), [C - len(trained), len(trained)]
    weights = [rng.integers(-127, 128, (10, 5, 4, n), dtype=np.int8) for n in widths if n]
    attrs = conv_attrs(1, 1, False, shape=[1, 5, 4, C]) | {"kernel": [5, 4], "trained_channels": trained}
    shapes, g_x = [list(a.shape) for a in (g, *weights)], np.zeros((1, 5, 4, C), np.float32)
    check_rows(lambda variant: build("conv2d_input_grad", shapes, attrs, variant), [g, *weights], [g_x])


def test_pointwise_input_gradient_and_mask_in_one_ring() -> None:
    rng = np.random.default_rng(1)
    g = rng.normal(size=(1, 6, 4, C)).astype(np.float32)
    w = rng.integers(-127, 128, (C, 1, 1, C), dtype=np.int8)
    mask, scale = rng.integers(0, 256, (1, 6, 4), dtype=np.uint8), rng.normal(size=C).astype(np.float32)
    attrs = conv_attrs(1, 1, False, shape=[1, 6, 4, C])
    grad = [build("conv2d_input_grad", [[1, 6, 4, C], [C, 1, 1, C]], attrs, v) for v in (PLAIN, Variant(ring_out=2))]
    masks = [build("mask_scale", [[1, 6, 4, C], [1, 6, 4], [C]], {}, v) for v in (PLAIN, Variant((2,), 2))]
    hidden, expected = np.zeros_like(g), np.zeros_like(g)
    run(grad[0], [g, w], [hidden])
    run(masks[0], [hidden, mask, scale], [expected])
    ring = np.zeros((2, 4, C), np.float32)
    for row in range(6):
        call_rows(grad[1], [g, w], [ring], row)
        call_rows(masks[1], [ring, mask, scale], [ring], row)
        np.testing.assert_array_equal(ring[row % 2], expected[0, row])


@pytest.mark.parametrize("kind", ["bias", "weight", "depthwise weight"])
def test_sums_over_rows_that_come_one_by_one(kind: str) -> None:
    rng = np.random.default_rng(2)
    g, x = rng.normal(size=(1, 6, 4, C)).astype(np.float32), rng.integers(-128, 128, (1, 6, 4, C), dtype=np.int8)
    depthwise = kind.startswith("depthwise")
    shape = [C, 3, 3] if depthwise else [C, 3, 3, C]
    attrs = conv_attrs(3, 1, depthwise, shape=shape)
    if kind == "bias":
        make, operands, total = "conv2d_bias_grad", [g], np.zeros(C, np.float32)
    else:
        make, operands, total = "conv2d_weight_grad", [x, g], np.zeros(shape, np.float32)
    shapes = [list(a.shape) for a in operands]
    run(build(make, shapes, attrs), operands, [total])
    ringed = build(make, shapes, attrs, Variant((1,)))
    assert ringed.accumulates
    by_rows = np.full_like(total, np.nan)  # the first row must not read what was there before
    for row in range(6):
        ring = np.ascontiguousarray(g[0, row])
        call_rows(ringed, [*operands[:-1], ring], [by_rows], row)
    np.testing.assert_array_equal(by_rows, total)
