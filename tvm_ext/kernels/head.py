"""The classifier's end: float dense layer on dequantised features, softmax cross-entropy, and their gradients."""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    f32,
    fma,
    function,
    i32,
    let,
    local,
    loop,
    ring_row,
    store,
)


def _feature(x, index, attrs):
    """f = (x - z) * s, the dequantised feature."""
    return as_float(i32(x[index]) - T.int32(attrs["in_zero"])) * f32(attrs["in_scale"])


def dense(shapes: list[list[int]], attrs: dict) -> Kernel:
    """x (1, 1, 1, I) int8, w [O, I], b [O] -> float logits [O]."""
    n_in, n_out = int(np.prod(shapes[0])), shapes[1][0]
    with function() as f:
        x, w = f.buffer("x", n_in, "int8"), f.buffer("w", n_out * n_in, "float32")
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
        x, g = f.buffer("x", n_in, "int8"), f.buffer("g", n_out, "float32")
        out = f.buffer("g_w", n_out * n_in, "float32")
        y0, y1 = f.rows()
        with loop("s", y0, y1) as s, loop("n", 0, block) as n, loop("i", 0, n_in) as i:
            target = (ring_row(s, attrs.get("ring_out", 0)) * block + n) * n_in + i
            store(out, target, g[s * block + n] * _feature(x, i, attrs))
    blocks = n_out // block
    return Kernel(f.func, macs=n_in * n_out, rows=blocks, by_channel=((blocks, (), False),), inputs=2)


def dense_input_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g [O], w [O, I] -> s * sum over o of g[o] * w[o, i], with respect to the int8-valued features."""
    n_out, n_in = shapes[1]
    with function() as f:
        g, w = f.buffer("g", n_out, "float32"), f.buffer("w", n_out * n_in, "float32")
        out = f.buffer("g_x", n_in, "float32")
        acc = local("acc", 1, "float32")
        with loop("i", 0, n_in) as i:
            store(acc, 0, T.float32(0))
            with loop("o", 0, n_out) as o:
                store(acc, 0, fma(g[o], w[o * n_in + i], acc[0]))
            store(out, i, acc[0] * f32(attrs["in_scale"]))
    return Kernel(f.func, macs=n_in * n_out, inputs=2)


def _logit(logits, index, attrs):
    """The real logit: itself when float, (q - z) * scale when int8."""
    if attrs["dtype"] == "float32":
        return logits[index]
    return as_float(i32(logits[index]) - T.int32(attrs["zero"])) * f32(attrs["scale"])


def _softmax_sum(logits, classes, attrs, largest, total) -> None:
    """largest = max logit; total = sum of exp(logit - largest)."""
    store(largest, 0, _logit(logits, 0, attrs))
    with loop("c", 1, classes) as c:
        store(largest, 0, T.max(largest[0], _logit(logits, c, attrs)))
    store(total, 0, T.float32(0))
    with loop("c", 0, classes) as c:
        store(total, 0, total[0] + _exp(_logit(logits, c, attrs) - largest[0]))


def _exp(value):
    return T.call_pure_extern("float32", "mcu_expf", value)


def cross_entropy(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Softmax cross-entropy of logits and label int32 [1] -> scalar loss, in nats."""
    classes = int(np.prod(shapes[0]))
    with function() as f:
        logits, label = f.buffer("logits", classes, attrs["dtype"]), f.buffer("label", 1, "int32")
        loss = f.buffer("loss", 1, "float32")
        largest, total = local("largest", 1, "float32"), local("total", 1, "float32")
        _softmax_sum(logits, classes, attrs, largest, total)
        log_sum = let("log_sum", T.call_pure_extern("float32", "mcu_logf", total[0]))
        store(loss, 0, log_sum - (_logit(logits, label[0], attrs) - largest[0]))
    return Kernel(f.func, inputs=2)


def cross_entropy_grad(shapes: list[list[int]], attrs: dict) -> Kernel:
    """(softmax - onehot(label)) * scale, with respect to the logits as they stand (int8-valued, or float)."""
    classes = int(np.prod(shapes[0]))
    factor = 1.0 if attrs["dtype"] == "float32" else attrs["scale"]
    with function() as f:
        logits, label = f.buffer("logits", classes, attrs["dtype"]), f.buffer("label", 1, "int32")
        out = f.buffer("g", classes, "float32")
        largest, total = local("largest", 1, "float32"), local("total", 1, "float32")
        _softmax_sum(logits, classes, attrs, largest, total)
        with loop("c", 0, classes) as c:
            p = let("p", _exp(_logit(logits, c, attrs) - largest[0]) / total[0])
            hit = T.Select(label[0] == c, T.float32(1), T.float32(0))
            store(out, c, (p - hit) * f32(factor))
    return Kernel(f.func, inputs=2)
