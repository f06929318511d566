"""Losses where exponentials leave float32, labels that meet one element, and outputs that equal their labels."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from tests.tvm_ext.ops.cases.losses import LOGITS, stored
from tests.tvm_ext.support import product_ops
from tests.tvm_ext.support.product_ops import Kernel
from tests.tvm_ext.support.run_kernel import prepare, run


def gradient_of(kernel: Kernel, operands: list[np.ndarray]) -> np.ndarray:
    g = np.full(operands[0].shape, np.nan, np.float32)
    run(kernel, operands, [g])
    return g


def loss_of(kernel: Kernel, operands: list[np.ndarray]) -> float:
    loss = np.full(1, np.nan, np.float32)
    run(kernel, operands, [loss])
    return float(loss[0])


def test_a_label_changes_one_element_of_the_gradient() -> None:
    kernel = product_ops.build("cross_entropy_grad", [[5], [1]], {**LOGITS["raw"], "layer": "loss"})
    logits = np.array([1, 2, 3, 2, 1], np.int8)
    stacked = np.stack([gradient_of(kernel, [logits, np.array([label], np.int32)]) for label in range(5)])
    off_diagonal = stacked[~np.eye(5, dtype=bool)].reshape(5, 4)
    assert (stacked.diagonal() < 0).all() and (off_diagonal > 0).all()
    np.testing.assert_allclose(stacked.sum(axis=1), 0, atol=1e-6)


def test_binary_cross_entropy_at_both_ends() -> None:
    """No infinity; and the gradient of an answer that is nearly certain keeps its digits (as scipy's expit does)."""
    largest = np.finfo(np.float32).max
    logits = np.array([largest, -largest, 200, -200, 0, 0, 30, -30], np.float32)
    label = np.array([1, 0, 0, 1, 0, 1, 1, 0], np.int32)
    names = ("binary_cross_entropy", "binary_cross_entropy_grad")
    kernels = [product_ops.build(name, [[8], [8]], LOGITS["float"]) for name in names]
    alone = product_ops.build(names[0], [[1], [1]], LOGITS["float"])
    prepare([*kernels, alone])
    np.testing.assert_allclose(loss_of(kernels[0], [logits, label]), (400 + 2 * np.log(2)) / 8, rtol=1e-6)
    expected = np.array([0, 0, 1, -1, 0.5, -0.5, -expit(-30), expit(-30)]) / 8
    np.testing.assert_allclose(gradient_of(kernels[1], [logits, label]), expected, rtol=1e-6)
    assert loss_of(alone, [logits[:1], label[1:2]]) == largest


def test_the_mean_squared_error_of_equal_images_is_zero() -> None:
    """An autoencoder that gives back its input: one array is both operands."""
    attrs = {**LOGITS["dequantised"], "label_dtype": "int8", "label_scale": 0.11, "label_zero": 17}
    image = stored("int8", (1, 4, 4, 3), 0)
    kernels = [product_ops.build(name, [list(image.shape)] * 2, attrs) for name in ("mse", "mse_grad")]
    prepare(kernels)
    assert loss_of(kernels[0], [image, image]) == 0
    assert not gradient_of(kernels[1], [image, image]).any()
