"""The classifier's end: float dense layer on the features, which int8 ones are dequantised for, and its gradients.
The attribute `dtype` is that of the features, "int8" where it is missing."""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    f32,
    fma,
    function,
    i32,
    local,
    loop,
    ring_row,
    store,
)


def _dtype(attrs: dict) -> str:
    return attrs.get("dtype", "int8")


def _feature(x, index, attrs):
    """f = (x - z) * s, the dequantised feature; x itself when float."""
    if _dtype(attrs) == "float32":
        return x[index]
    return as_float(i32(x[index]) - T.int32(attrs["in_zero"])) * f32(attrs["in_scale"])


def dense(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, 1, 1, I) int8 or float32, w [O, I], b [O] -> float logits [O]."""
    n_in, n_out = int(np.prod(shapes[0])), shapes[1][0]
    with function() as f:
        x, w = f.buffer("x", n_in, _dtype(attrs)), f.buffer("w", n_out * n_in, "float32")
        b, y = f.buffer("b", n_out, "float32"), f.buffer("y", n_out, "float32")
        acc = local("acc", 1, "float32")
        with loop("o", 0, n_out) as o:
            store(acc, 0, b[o])
            with loop("i", 0, n_in) as i:
                store(acc, 0, fma(_feature(x, i, attrs), w[o * n_in + i], acc[0]))
            store(y, o, acc[0])
    return Kernel(f.func, macs=n_in * n_out, inputs=3)


def dense_weight_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, 1, 1, I), g [O] -> g[o] * f[i], in blocks [y0, y1) of filters."""
    n_in, n_out = int(np.prod(shapes[0])), shapes[1][0]
    block = channel_block(n_out)
    with function() as f:
        x, g = f.buffer("x", n_in, _dtype(attrs)), f.buffer("g", n_out, "float32")
        out = f.buffer("g_w", n_out * n_in, "float32")
        y0, y1 = f.rows()
        with loop("s", y0, y1) as s, loop("n", 0, block) as n, loop("i", 0, n_in) as i:
            target = (ring_row(s, attrs.get("ring_out", 0)) * block + n) * n_in + i
            store(out, target, g[s * block + n] * _feature(x, i, attrs))
    blocks = n_out // block
    return Kernel(f.func, macs=n_in * n_out, rows=blocks, by_channel=((blocks, (), False),), inputs=2)


def dense_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g [O], w [O, I] -> s * sum over o of g[o] * w[o, i], with respect to the int8-valued features; without s to float
    ones."""
    n_out, n_in = shapes[1]
    with function() as f:
        g, w = f.buffer("g", n_out, "float32"), f.buffer("w", n_out * n_in, "float32")
        out = f.buffer("g_x", n_in, "float32")
        acc = local("acc", 1, "float32")
        with loop("i", 0, n_in) as i:
            store(acc, 0, T.float32(0))
            with loop("o", 0, n_out) as o:
                store(acc, 0, fma(g[o], w[o * n_in + i], acc[0]))
            store(out, i, acc[0] if _dtype(attrs) == "float32" else acc[0] * f32(attrs["in_scale"]))
    return Kernel(f.func, macs=n_in * n_out, inputs=2)
