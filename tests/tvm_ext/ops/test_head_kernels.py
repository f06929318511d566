"""The classifier's kernels against float64: dense layer on int8 and on float32 features, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import adjoint
from tests.tvm_ext.support.run_kernel import prepare, run

SIZES = [(12, 4), (1, 2), (65, 10)]  # features, classes
ATTRS = {"in_scale": 0.0173, "in_zero": -9}


def features_of(x: np.ndarray) -> np.ndarray:
    """The (dequantised) features in float32 as the kernel has them, widened."""
    if x.dtype == np.float32:
        return x.reshape(-1).astype(np.float64)
    real = (x.astype(np.float32) - np.float32(ATTRS["in_zero"])) * np.float32(ATTRS["in_scale"])
    return real.reshape(-1).astype(np.float64)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize(("n_in", "n_out"), SIZES)
def test_dense_and_its_gradients(n_in: int, n_out: int, dtype: str) -> None:
    shape = (1, 1, 1, n_in)
    x = np.random.default_rng(n_in).integers(-128, 128, shape).astype(np.int8)
    x = x if dtype == "int8" else adjoint(4, shape)
    attrs = ATTRS if dtype == "int8" else {**ATTRS, "dtype": dtype}  # int8 where no attribute says otherwise
    w, b, g = adjoint(1, (n_out, n_in)), adjoint(2, (n_out,)), adjoint(3, (n_out,))
    forward = build("dense", [list(x.shape), [n_out, n_in], [n_out]], attrs)
    weight_grad = build("dense_weight_grad", [list(x.shape), [n_out]], attrs)
    input_grad = build("dense_input_grad", [[n_out], [n_out, n_in]], {**attrs, "shape": list(x.shape)})
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
    scale = float(np.float32(ATTRS["in_scale"])) if dtype == "int8" else 1.0
    magnitude = (np.abs(g64) @ np.abs(wide)) * scale
    reference.assert_sum(g_x, (g64 @ wide * scale).reshape(x.shape), magnitude.reshape(x.shape), terms=n_out + 1)
