"""The classifier's end: dense layer on int8 and on float32 features, its gradients, and the softmax."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tests.tvm_ext.support import networks, reference
from tests.tvm_ext.support.draws import adjoint, counts, int8
from tests.tvm_ext.support.op_cases import FILTERS, Case, Expected, OpCases, Within
from tests.tvm_ext.support.product_ops import Attrs

SIZES = [(12, 4), (1, 2), (65, 10)]  # features, classes
QUANTISED = {"in_scale": 0.0173, "in_zero": -9}
FLOAT = {**QUANTISED, "dtype": "float32"}  # int8 where no attribute says otherwise


def features(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    """The (dequantised) features in float32 as the kernel has them, widened."""
    return reference.real(x, attrs["in_scale"], attrs["in_zero"]).reshape(-1)


def dense(attrs: Attrs, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> list[Expected]:
    f, w, b = features(x, attrs), w.astype(np.float64), b.astype(np.float64)
    return [Within(w @ f + b, reference.sum_error(np.abs(w) @ np.abs(f) + np.abs(b), len(f)))]


def dense_weight_grad(attrs: Attrs, x: np.ndarray, g: np.ndarray) -> list[Expected]:
    return [np.outer(g, features(x, attrs).astype(np.float32))]


def dense_input_grad(attrs: Attrs, g: np.ndarray, w: np.ndarray) -> list[Expected]:
    g, w, scale = g.astype(np.float64), w.astype(np.float64), _scale(attrs)
    error = reference.sum_error(np.abs(g) @ np.abs(w) * scale, w.shape[1] + 1)
    return [Within((g @ w * scale).reshape(attrs["shape"]), error.reshape(attrs["shape"]))]


def _scale(attrs: Attrs) -> float:
    return 1.0 if attrs.get("dtype") == "float32" else float(np.float32(attrs["in_scale"]))


def dense_by_torch(attrs: Attrs, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    flat = x.permute(0, 2, 3, 1).reshape(-1)
    real = flat if attrs.get("dtype") == "float32" else (flat - attrs["in_zero"]) * attrs["in_scale"]
    return w.reshape(len(b), -1) @ real + b


def layer(op: str, n_in: int, n_out: int, attrs: Attrs) -> Case:
    """A call of dense or of one of its gradients."""
    shape = (1, 1, 1, n_in)

    def draw(seed: int) -> list[np.ndarray]:
        x = adjoint(4 + seed, shape) if attrs is FLOAT else int8(n_in + seed, shape)
        w, b, g = adjoint(1 + seed, (n_out, n_in)), adjoint(2 + seed, (n_out,)), adjoint(3 + seed, (n_out,))
        return {"dense": [x, w, b], "dense_weight_grad": [x, g], "dense_input_grad": [g, w]}[op]

    title = f"{n_in}-{n_out} {attrs.get('dtype', 'int8')}"
    return Case(title, {**attrs, "shape": list(shape)}, draw, out_axis=FILTERS)


def sized(op: str) -> list[Case]:
    return [layer(op, *size, attrs) for size in SIZES for attrs in (QUANTISED, FLOAT)]


def weight_grad_blocks() -> Iterator[Case]:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        n_in = int(rng.integers(1, 14))
        yield from (layer("dense_weight_grad", n_in, n_out, QUANTISED) for n_out in counts(rng))
        yield layer("dense_weight_grad", 5 + seed, 24, FLOAT)


# --------------------------------------------------------------------------- softmax
def qsoftmax(attrs: Attrs, x: np.ndarray) -> list[Expected]:
    """Within rounding of the exact quotient."""
    exact = reference.softmax(x * np.float64(attrs["in_scale"])) / attrs["out_scale"] + attrs["out_zero"]
    return [Within(np.clip(exact, -128, 127), 0.5 + 1e-3, "int8")]


def softmax(n: int, in_scale: float) -> Case:
    """Of equal numbers, too."""
    attrs = {"in_scale": float(np.float32(in_scale)), "out_scale": 1 / 256, "out_zero": -128}

    def draw(seed: int) -> list[np.ndarray]:
        return [int8(seed, (1, 1, 1, n)) if seed else np.full((1, 1, 1, n), -128, np.int8)]

    return Case(f"{n} of {in_scale}", attrs, draw, seeds=6)


def near_softmax(n: int) -> Case:
    attrs = {"in_scale": 0.02, "out_scale": 1 / 256, "out_zero": -128}
    return Case(str(n), attrs, lambda seed: [int8(seed, (1, 1, 1, n))])


RECORDS = [
    OpCases("dense", dense, sized("dense"), dense_by_torch, torch_error=1e-6, network=networks.dense),
    OpCases(
        "dense_weight_grad",
        dense_weight_grad,
        sized("dense_weight_grad"),
        lambda attrs, x, g: torch.outer(
            g, dense_by_torch(attrs, x, torch.eye(x.numel(), dtype=torch.float64), 0 * x.reshape(-1))
        ),
        torch_error=1e-6,
        blocks=list(weight_grad_blocks()),
    ),
    OpCases(
        "dense_input_grad",
        dense_input_grad,
        sized("dense_input_grad"),
        lambda attrs, g, w: (g @ w)[None, :, None, None] * (1.0 if "dtype" in attrs else attrs["in_scale"]),
        torch_error=1e-6,
    ),
    OpCases(
        "qsoftmax",
        qsoftmax,
        [softmax(n, scale) for scale in (0.01, 0.1, 0.6) for n in (1, 2, 10, 200)],
        near=list(map(near_softmax, (1, 2, 10))),
    ),
]
