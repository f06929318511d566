"""The classifier's kernels against float64: dense layer, softmax cross-entropy, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from tests.tvm_ext import reference
from tests.tvm_ext.cases import adjoint
from tests.tvm_ext.run_kernel import prepare, run
from tvm_ext.kernels import head

SIZES = [(12, 4), (1, 2), (65, 10)]  # features, classes
ATTRS = {"in_scale": 0.0173, "in_zero": -9}


def features_of(x: np.ndarray) -> np.ndarray:
    """The dequantised features in float32 as the kernel has them, widened."""
    real = (x.astype(np.float32) - np.float32(ATTRS["in_zero"])) * np.float32(ATTRS["in_scale"])
    return real.reshape(-1).astype(np.float64)


@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_dense_and_its_gradients(n_in: int, n_out: int) -> None:
    rng = np.random.default_rng(n_in)
    x = rng.integers(-128, 128, (1, 1, 1, n_in)).astype(np.int8)
    w, b, g = adjoint(1, (n_out, n_in)), adjoint(2, (n_out,)), adjoint(3, (n_out,))
    forward = head.dense([list(x.shape), [n_out, n_in], [n_out]], ATTRS)
    weight_grad = head.dense_weight_grad([list(x.shape), [n_out]], ATTRS)
    input_grad = head.dense_input_grad([[n_out], [n_out, n_in]], {**ATTRS, "shape": list(x.shape)})
    prepare([forward, weight_grad, input_grad])
    f, wide, g64 = features_of(x), w.astype(np.float64), g.astype(np.float64)
    y = np.zeros(n_out, np.float32)
    run(forward, [x, w, b], [y])
    reference.assert_sum(y, wide @ f + b, np.abs(wide) @ np.abs(f) + np.abs(b), terms=n_in)
    g_w = np.zeros((n_out, n_in), np.float32)
    run(weight_grad, [x, g], [g_w])
    np.testing.assert_array_equal(g_w, np.outer(g, f.astype(np.float32)))
    g_x = np.zeros(x.shape, np.float32)
    run(input_grad, [g, w], [g_x])
    scale = float(np.float32(ATTRS["in_scale"]))
    magnitude = (np.abs(g64) @ np.abs(wide)) * scale
    reference.assert_sum(g_x, (g64 @ wide * scale).reshape(x.shape), magnitude.reshape(x.shape), terms=n_out + 1)


LOGITS = {
    "raw": {"dtype": "int8", "scale": 1.0, "zero": 0},
    "dequantised": {"dtype": "int8", "scale": 0.11, "zero": 17},
    "float": {"dtype": "float32", "scale": 1.0, "zero": 0},
}


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
    kernels = {n: (head.cross_entropy([[n]], attrs), head.cross_entropy_grad([[n]], attrs)) for n in sizes}
    prepare([k for pair in kernels.values() for k in pair])
    for classes, (loss_of, grad_of) in kernels.items():
        for logits in logit_cases(kind, classes):
            real = (logits.astype(np.float64) - attrs["zero"]) * float(np.float32(attrs["scale"]))
            for label in (0, classes // 2, classes - 1):
                loss, g = np.zeros(1, np.float32), np.zeros(classes, np.float32)
                run(loss_of, [logits, np.array([label], np.int32)], [loss])
                run(grad_of, [logits, np.array([label], np.int32)], [g])
                np.testing.assert_allclose(loss[0], -log_softmax(real)[label], rtol=1e-6, atol=1e-6)
                expected = reference.softmax(real)
                expected[label] -= 1
                factor = attrs["scale"] if kind != "float" else 1.0
                np.testing.assert_allclose(g, expected * factor, rtol=0, atol=3e-6 * factor)


def test_a_label_changes_one_element_of_the_gradient() -> None:
    attrs = {**LOGITS["raw"], "layer": "loss"}
    kernel, logits = head.cross_entropy_grad([[5]], attrs), np.array([1, 2, 3, 2, 1], np.int8)
    gradients = []
    for label in range(5):
        g = np.zeros(5, np.float32)
        run(kernel, [logits, np.array([label], np.int32)], [g])
        gradients.append(g)
    stacked = np.stack(gradients)
    off_diagonal = stacked[~np.eye(5, dtype=bool)].reshape(5, 4)
    assert (stacked.diagonal() < 0).all() and (off_diagonal > 0).all()
    np.testing.assert_allclose(stacked.sum(axis=1), 0, atol=1e-6)
