"""A small instance of every kernel, for tests that look through what all of them declare."""

from __future__ import annotations

from mcutrain.tvm_ext.ops.kernel import Kernel
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_forward_kernels import ADD
from tests.tvm_ext.support.cases import conv_case


def small_kernel(kind: str) -> Kernel:
    """The kernel of an op, of a small instance of it."""
    attrs = {**conv_case(0, 4, 4, 2, 2, 1).attrs, **ADD, "lo": -128, "hi": 127, "dtype": "float32", "channels": [0]}
    attrs |= {"shape": [1, 4, 4, 2], "factor": 1.0, "scale": 1.0, "zero": 0, "rate": 0, "momentum": 0.0, "every": 1}
    attrs |= {"label_dtype": "float32", "label_scale": 1.0, "label_zero": 0}
    attrs |= {"counts_padding": False, "value": 0.0, "begin": 0}
    image, vector, dense = [1, 4, 4, 2], [2], [2, 2]
    shapes = {
        "dense": [[1, 1, 1, 2], dense, vector],
        "cross_entropy": [vector, [1]],
        "cross_entropy_grad": [vector, [1]],
        "binary_cross_entropy": [vector, vector],
        "binary_cross_entropy_grad": [vector, vector],
        "mse": [image, image],
        "mse_grad": [image, image],
        "fconv2d": [image, [2, 1, 1, 2], vector],
        "fconv2d_with_mask": [image, [2, 1, 1, 2], vector],
        "conv2d_weight_grad": [image, image],
        "conv2d_input_grad": [image, [2, 1, 1, 2]],
        "dense_weight_grad": [[1, 1, 1, 2], vector],
        "dense_input_grad": [vector, dense],
        "sgd": [vector, vector, [2], [2]],
        "qadd": [image, image],
        "qadd_with_mask": [image, image],
        "relax.add": [image, image],
    }
    if kind == "conv2d_weight_grad":
        attrs["shape"] = [2, 1, 1, 2]
    if kind == "sgd":
        attrs["channels"] = []
    if kind.startswith("qconv2d"):
        shapes[kind] = [image, [2, 1, 1, 2], vector, vector]
    return build(kind, shapes.get(kind, [image]), attrs)
