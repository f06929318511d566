"""Losses and their gradients: of raw and of dequantised int8 outputs and of float ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import expit, log_softmax
from torch.nn import functional

from tests.tvm_ext.support import networks, reference, torch_parts
from tests.tvm_ext.support.op_cases import Case, Expected, OpCases, Within
from tests.tvm_ext.support.product_ops import Attrs

LOGITS: dict[str, Attrs] = {
    "raw": {"dtype": "int8", "scale": 1.0, "zero": 0},
    "dequantised": {"dtype": "int8", "scale": 0.11, "zero": 17},
    "float": {"dtype": "float32", "scale": 1.0, "zero": 0},
}
LABELS: dict[str, Attrs] = {
    "float": {"label_dtype": "float32", "label_scale": 1.0, "label_zero": 0},
    "int8": {"label_dtype": "int8", "label_scale": 0.07, "label_zero": -31},
}


def logits(kind: str, shape: tuple[int, ...], number: int) -> np.ndarray:
    """0: random ones; 1: all equal; 2: one far above the others; 3: one far below them."""
    count = int(np.prod(shape))
    rng = np.random.default_rng(count)
    if kind == "float":
        far = np.zeros(count, np.float32)
        far[-1] = 1e4
        values = [rng.normal(0, 3, count).astype(np.float32), np.zeros(count, np.float32), far, -far]
    else:
        ends = np.full(count, -128, np.int8)
        ends[-1] = 127
        values = [rng.integers(-128, 128, count).astype(np.int8), np.full(count, 5, np.int8), ends, -1 - ends]
    return values[number].reshape(shape)


def stored(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.normal(0, 4, shape).astype(np.float32)
    return rng.integers(-128, 128, shape).astype(np.int8)


def step(attrs: Attrs) -> float:
    """What one unit of the stored output is worth."""
    return 1.0 if attrs["dtype"] == "float32" else attrs["scale"]


def _real(attrs: Attrs, y: np.ndarray) -> np.ndarray:
    return reference.real(y, attrs["scale"], attrs["zero"])


def _target(attrs: Attrs, label: np.ndarray) -> np.ndarray:
    return reference.real(label, attrs["label_scale"], attrs["label_zero"])


# --------------------------------------------------------------------------- references
def _exact(attrs: Attrs, y: np.ndarray) -> np.ndarray:
    return (y.reshape(-1).astype(np.float64) - attrs["zero"]) * float(np.float32(attrs["scale"]))


def cross_entropy(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    loss = np.array([-log_softmax(_exact(attrs, y))[label[0]]])
    return [Within(loss, 1e-6 + 1e-6 * np.abs(loss))]


def cross_entropy_grad(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    g = reference.softmax(_exact(attrs, y))
    g[label[0]] -= 1
    return [Within((g * step(attrs)).reshape(y.shape), 3e-6 * step(attrs))]


def binary_cross_entropy(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    """A sum rounds once an element; log(1 + e) loses at most half a step of 1 + e."""
    z = _real(attrs, y).reshape(-1)
    loss = np.array([np.mean(np.logaddexp(0, np.where(label, -z, z)))])
    return [Within(loss, 1.2e-7 + (len(z) + 4) * 2.0**-23 * loss)]


def binary_cross_entropy_grad(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    z = _real(attrs, y).reshape(-1)
    wrong = np.where(label, -expit(-z), expit(z))
    g = (wrong * step(attrs) / len(z)).reshape(y.shape)
    return [Within(g, 2.0**-52 + 2e-6 * np.abs(g))]


def mse(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    """A difference rounds once, of a sum of two magnitudes; then it is squared, and summed."""
    real, target = _real(attrs, y).reshape(-1), _target(attrs, label).reshape(-1)
    difference, half_step = real - target, reference.HALF_STEP * (np.abs(real) + np.abs(target))
    loss = np.array([np.mean(difference**2)])
    error = (real.size + 2) * reference.HALF_STEP * loss + np.mean(2 * np.abs(difference) * half_step)
    return [Within(loss, 1.01 * error)]


def mse_grad(attrs: Attrs, y: np.ndarray, label: np.ndarray) -> list[Expected]:
    real, target = _real(attrs, y), _target(attrs, label).reshape(y.shape)
    factor = 2 * step(attrs) / y.size
    g, half_step = (real - target) * factor, reference.HALF_STEP * (np.abs(real) + np.abs(target))
    return [Within(g, factor * half_step + 2.0**-22 * np.abs(g) + 1e-30)]


# --------------------------------------------------------------------------- PyTorch
def _of_class(z: torch.Tensor, label: torch.Tensor, _: Attrs) -> torch.Tensor:
    return functional.cross_entropy(z.reshape(1, -1), label.long())


def _of_answers(z: torch.Tensor, label: torch.Tensor, _: Attrs) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(z, label)


def _of_target(z: torch.Tensor, label: torch.Tensor, attrs: Attrs) -> torch.Tensor:
    target = (label - attrs["label_zero"]) * float(np.float32(attrs["label_scale"]))
    return functional.mse_loss(z, target.permute(0, 2, 3, 1).reshape(-1) if target.ndim == 4 else target)


def _by_torch(loss: Callable) -> tuple[Callable, Callable]:
    """(the loss, its gradient by the stored output)."""

    def value(attrs: Attrs, y: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        flat = y.permute(0, 2, 3, 1).reshape(-1) if y.ndim == 4 else y
        return loss((flat - attrs["zero"]) * float(np.float32(attrs["scale"])), label, attrs).reshape(1)

    def gradient(attrs: Attrs, y: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch_parts.backward(lambda y: value(attrs, y, label), y, torch.ones(1, dtype=torch.float64))

    return value, gradient


# --------------------------------------------------------------------------- cases
def of_classes(kind: str, count: int) -> Case:
    """Every draw of logits meets the first label, one in the middle and the last."""

    def draw(seed: int) -> list[np.ndarray]:
        return [logits(kind, (count,), seed // 3), np.array([(0, count // 2, count - 1)[seed % 3]], np.int32)]

    return Case(f"{kind} {count}", {**LOGITS[kind], "layer": "loss"}, draw, seeds=12)


def of_answers(kind: str, shape: tuple[int, ...]) -> Case:
    """Every logit meets both labels."""

    def draw(seed: int) -> list[np.ndarray]:
        label = np.random.default_rng(seed // 2).integers(0, 2, int(np.prod(shape))).astype(np.int32)
        return [logits(kind, shape, seed // 2), 1 - label if seed % 2 else label]

    return Case(f"{kind} {shape}", {**LOGITS[kind], "layer": "loss"}, draw, seeds=8)


def of_targets(kind: str, label_kind: str, shape: tuple[int, ...], label_shape: tuple[int, ...]) -> Case:
    attrs = {**LOGITS[kind], **LABELS[label_kind], "layer": "loss"}

    def draw(seed: int) -> list[np.ndarray]:
        labels = stored(attrs["label_dtype"], label_shape, 2 * seed + 2)
        return [stored(attrs["dtype"], shape, 2 * seed + 1), labels]

    return Case(f"{kind} {label_kind} {shape}", attrs, draw)


CLASSES = [of_classes(kind, n) for kind in LOGITS for n in (2, 10, 1000)]
ANSWERS = [of_answers(kind, shape) for kind in LOGITS for shape in ((1,), (1, 1, 1, 7), (300,))]
TARGETS = [
    of_targets(kind, label, *shapes)
    for kind in LOGITS
    for label in LABELS
    for shapes in [((1, 1, 1, 5), (5,)), ((9,), (9,)), ((1, 6, 5, 3), (1, 6, 5, 3))]
]
# rows of the output and of its gradient in rings; the label is whole
ROWS = [of_targets(kind, "int8", (1, 5, 3, 2), (1, 5, 3, 2)) for kind in ("dequantised", "float")]
CROSS_ENTROPY, CROSS_ENTROPY_GRAD = _by_torch(_of_class)
BINARY, BINARY_GRAD = _by_torch(_of_answers)
MSE, MSE_GRAD = _by_torch(_of_target)
FLOAT32 = 1e-6  # a dequantised number is rounded to float32 first

RECORDS = [
    OpCases("cross_entropy", cross_entropy, CLASSES, CROSS_ENTROPY, FLOAT32, network=networks.cross_entropy),
    OpCases("cross_entropy_grad", cross_entropy_grad, CLASSES, CROSS_ENTROPY_GRAD, FLOAT32),
    OpCases("binary_cross_entropy", binary_cross_entropy, ANSWERS, BINARY, FLOAT32, network=networks.binary),
    OpCases("binary_cross_entropy_grad", binary_cross_entropy_grad, ANSWERS, BINARY_GRAD, FLOAT32),
    OpCases("mse", mse, TARGETS, MSE, FLOAT32, network=networks.mean_squared_error),
    OpCases("mse_grad", mse_grad, TARGETS, MSE_GRAD, FLOAT32, rows=ROWS),
]
