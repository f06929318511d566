"""Losses and their gradients: against scipy and PyTorch in float64, and where exponentials leave float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from torch.nn import functional

from mcutrain.tvm_ext.ops.kernel import Kernel
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.streaming import check_rows

LOGITS = {
    "raw": {"dtype": "int8", "scale": 1.0, "zero": 0},
    "dequantised": {"dtype": "int8", "scale": 0.11, "zero": 17},
    "float": {"dtype": "float32", "scale": 1.0, "zero": 0},
}


def real(values: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """float64 of the float32 number that is stored."""
    if values.dtype == np.float32:
        return values.astype(np.float64)
    return ((values.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float64)


def gradient_of(kernel: Kernel, operands: list[np.ndarray]) -> np.ndarray:
    g = np.full(operands[0].shape, np.nan, np.float32)
    run(kernel, operands, [g])
    return g


def loss_of(kernel: Kernel, operands: list[np.ndarray]) -> float:
    loss = np.full(1, np.nan, np.float32)
    run(kernel, operands, [loss])
    return float(loss[0])


def by_torch(loss, output: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """(mean loss, its gradient with respect to `output`), both in float64."""
    y = torch.tensor(output, requires_grad=True)
    value = loss(y, torch.tensor(target))
    value.backward()
    return float(value.detach()), y.grad.numpy()


# --------------------------------------------------------------------------- softmax cross-entropy
def logit_cases(kind: str, classes: int) -> list[np.ndarray]:
    """Random ones, all equal, one far above the others, one far below them."""
    rng = np.random.default_rng(classes)
    if kind == "float":
        far = np.zeros(classes, np.float32)
        far[-1] = 1e4
        return [rng.normal(0, 3, classes).astype(np.float32), np.zeros(classes, np.float32), far, -far]
    ends = np.full(classes, -128, np.int8)
    ends[-1] = 127
    return [rng.integers(-128, 128, classes).astype(np.int8), np.full(classes, 5, np.int8), ends, -1 - ends]


@pytest.mark.parametrize("kind", LOGITS)
def test_cross_entropy_and_its_gradient(kind: str) -> None:
    attrs = {**LOGITS[kind], "layer": "loss"}
    sizes = (2, 10, 1000)
    kernels = {n: (build("cross_entropy", [[n]], attrs), build("cross_entropy_grad", [[n]], attrs)) for n in sizes}
    prepare([k for pair in kernels.values() for k in pair])
    for classes, (loss, gradient) in kernels.items():
        for logits in logit_cases(kind, classes):
            exact = (logits.astype(np.float64) - attrs["zero"]) * float(np.float32(attrs["scale"]))
            for label in (0, classes // 2, classes - 1):
                operands = [logits, np.array([label], np.int32)]
                np.testing.assert_allclose(loss_of(loss, operands), -log_softmax(exact)[label], rtol=1e-6, atol=1e-6)
                expected = reference.softmax(exact)
                expected[label] -= 1
                factor = attrs["scale"] if kind != "float" else 1.0
                ours = gradient_of(gradient, operands)
                np.testing.assert_allclose(ours, expected * factor, rtol=0, atol=3e-6 * factor)


def test_a_label_changes_one_element_of_the_gradient() -> None:
    kernel = build("cross_entropy_grad", [[5]], {**LOGITS["raw"], "layer": "loss"})
    logits = np.array([1, 2, 3, 2, 1], np.int8)
    stacked = np.stack([gradient_of(kernel, [logits, np.array([label], np.int32)]) for label in range(5)])
    off_diagonal = stacked[~np.eye(5, dtype=bool)].reshape(5, 4)
    assert (stacked.diagonal() < 0).all() and (off_diagonal > 0).all()
    np.testing.assert_allclose(stacked.sum(axis=1), 0, atol=1e-6)


# --------------------------------------------------------------------------- binary cross-entropy
@pytest.mark.parametrize("kind", LOGITS)
def test_binary_cross_entropy_and_its_gradient(kind: str) -> None:
    """Every logit meets both labels."""
    attrs, rng = {**LOGITS[kind], "layer": "loss"}, np.random.default_rng(0)
    kernels = {}
    for shape in ([1], [1, 1, 1, 7], [300]):
        make = ("binary_cross_entropy", "binary_cross_entropy_grad")
        kernels[tuple(shape)] = [build(k, [shape, [int(np.prod(shape))]], attrs) for k in make]
    prepare([k for pair in kernels.values() for k in pair])
    for shape, (loss, gradient) in kernels.items():
        count = int(np.prod(shape))
        for logits in logit_cases(kind, count):
            labels = rng.integers(0, 2, count).astype(np.int32)
            for label in (labels, 1 - labels):
                operands = [logits.reshape(shape), label]
                z, answers = real(logits, attrs["scale"], attrs["zero"]), label.astype(np.float64)
                expected, g = by_torch(functional.binary_cross_entropy_with_logits, z, answers)
                # a sum rounds once an element; log(1 + e) loses at most half a step of 1 + e
                np.testing.assert_allclose(loss_of(loss, operands), expected, rtol=(count + 4) * 2.0**-23, atol=1.2e-7)
                scale = attrs["scale"] if kind != "float" else 1.0
                ours = gradient_of(gradient, operands)
                np.testing.assert_allclose(ours.reshape(-1), g * scale, rtol=2e-6, atol=2.0**-52)


def test_binary_cross_entropy_at_both_ends() -> None:
    """No infinity; and the gradient of an answer that is nearly certain keeps its digits (as scipy's expit does)."""
    largest = np.finfo(np.float32).max
    logits = np.array([largest, -largest, 200, -200, 0, 0, 30, -30], np.float32)
    label = np.array([1, 0, 0, 1, 0, 1, 1, 0], np.int32)
    kernels = [build(k, [[8], [8]], LOGITS["float"]) for k in ("binary_cross_entropy", "binary_cross_entropy_grad")]
    alone = build("binary_cross_entropy", [[1], [1]], LOGITS["float"])
    prepare([*kernels, alone])
    np.testing.assert_allclose(loss_of(kernels[0], [logits, label]), (400 + 2 * np.log(2)) / 8, rtol=1e-6)
    expected = np.array([0, 0, 1, -1, 0.5, -0.5, -expit(-30), expit(-30)]) / 8
    np.testing.assert_allclose(gradient_of(kernels[1], [logits, label]), expected, rtol=1e-6)
    assert loss_of(alone, [logits[:1], label[1:2]]) == largest


# --------------------------------------------------------------------------- mean squared error
LABELS = {
    "float": {"label_dtype": "float32", "label_scale": 1.0, "label_zero": 0},
    "int8": {"label_dtype": "int8", "label_scale": 0.07, "label_zero": -31},
}


def stored(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 4, shape).astype(np.float32)
    return rng.integers(-128, 128, shape).astype(np.int8)


def mse_attrs(kind: str, label: str) -> dict:
    return {**LOGITS[kind], **LABELS[label], "layer": "loss"}


@pytest.mark.parametrize("label_kind", LABELS)
@pytest.mark.parametrize("kind", LOGITS)
def test_mean_squared_error_and_its_gradient(kind: str, label_kind: str) -> None:
    attrs = mse_attrs(kind, label_kind)
    shapes = [((1, 1, 1, 5), (5,)), ((9,), (9,)), ((1, 6, 5, 3), (1, 6, 5, 3))]
    kernels = [[build(k, [list(s) for s in pair], attrs) for k in ("mse", "mse_grad")] for pair in shapes]
    prepare([k for pair in kernels for k in pair])
    for (shape, label_shape), (loss, gradient) in zip(shapes, kernels, strict=True):
        operands = [stored(attrs["dtype"], shape, 1), stored(attrs["label_dtype"], label_shape, 2)]
        y = real(operands[0], attrs["scale"], attrs["zero"])
        target = real(operands[1], attrs["label_scale"], attrs["label_zero"]).reshape(shape)
        expected, g = by_torch(functional.mse_loss, y, target)
        # a difference rounds once, of a sum of two magnitudes; then it is squared, and summed
        half_step = 2.0**-24 * (np.abs(y) + np.abs(target))
        sum_error = (y.size + 2) * 2.0**-24 * expected + np.mean(2 * np.abs(y - target) * half_step)
        assert abs(loss_of(loss, operands) - expected) <= 1.01 * sum_error
        factor = 2 * (attrs["scale"] if kind != "float" else 1.0) / y.size
        ours = gradient_of(gradient, operands)
        error = np.abs(ours - g * factor * y.size / 2)
        assert (error <= factor * half_step + 2.0**-22 * np.abs(ours) + 1e-30).all()


def test_the_mean_squared_error_of_equal_images_is_zero() -> None:
    """An autoencoder that gives back its input: one array is both operands."""
    attrs = {**LOGITS["dequantised"], "label_dtype": "int8", "label_scale": 0.11, "label_zero": 17}
    image = stored("int8", (1, 4, 4, 3), 0)
    kernels = [build(k, [list(image.shape)] * 2, attrs) for k in ("mse", "mse_grad")]
    prepare(kernels)
    assert loss_of(kernels[0], [image, image]) == 0
    assert not gradient_of(kernels[1], [image, image]).any()


@pytest.mark.parametrize("kind", ["dequantised", "float"])
def test_mean_squared_error_gradient_row_by_row(kind: str) -> None:
    """Rows of the output and of its gradient in rings; the label is whole."""
    attrs, shape = mse_attrs(kind, "int8"), (1, 5, 3, 2)
    operands = [stored(attrs["dtype"], shape, 3), stored("int8", shape, 4)]
    g = np.zeros(shape, np.float32)
    check_rows(lambda variant: build("mse_grad", [list(shape)] * 2, attrs, variant), operands, [g])
