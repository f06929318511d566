"""The classifier's end: float dense layer on the features, which int8 ones are dequantised for, and its gradients.
The attribute `dtype` is that of the features, "int8" where it is missing."""

from __future__ import annotations

import numpy as np
from tvm import relax, tirx
from tvm.relax import TensorType
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import adjoint_type, attrs_of, call, same_type, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.rounding import store_clamped
from mcutrain.tvm_ext.ops.tir import Index, as_float, f32, fma, function, i32, local, loop, ring_row, round_even, store


def _dtype(attrs: Attrs) -> str:
    return str(attrs.get("dtype", "int8"))


def _feature(x: tirx.Buffer, index: Index, attrs: Attrs) -> tirx.Expr:
    """f = (x - z) * s, the dequantised feature; x itself when float."""
    if _dtype(attrs) == "float32":
        return x[index]
    return as_float(i32(x[index]) - T.int32(attrs["in_zero"])) * f32(attrs["in_scale"])


def dense(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
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


def dense_weight_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x (1, 1, 1, I), g [O] -> g[o] * f[i], in blocks [y0, y1) of filters."""
    n_in, n_out = int(np.prod(shapes[0])), shapes[1][0]
    block = channel_block(n_out)
    with function() as f:
        x, g = f.buffer("x", n_in, _dtype(attrs)), f.buffer("g", n_out, "float32")
        out = f.buffer("g_w", n_out * n_in, "float32")
        y0, y1 = f.rows()
        with loop("s", y0, y1) as s, loop("n", 0, block) as n, loop("i", 0, n_in) as i:
            target = (ring_row(s, variant.ring_out) * block + n) * n_in + i
            store(out, target, g[s * block + n] * _feature(x, i, attrs))
    blocks = n_out // block
    return Kernel(f.func, macs=n_in * n_out, rows=blocks, by_channel=((blocks, (), False),), inputs=2)


def dense_input_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
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


def qsoftmax(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """int8 -> int8 over all elements, in float32: round_even(e^((x - max) * s_x) / sum / s_y) + z_y."""
    length = int(np.prod(shapes[0]))
    with function() as f:
        x, y = f.buffer("x", length, "int8"), f.buffer("y", length, "int8")
        largest, total = local("largest", 1, "int32"), local("total", 1, "float32")

        def power(i: tirx.Expr) -> tirx.Expr:
            real = as_float(i32(x[i]) - largest[0]) * f32(attrs["in_scale"])
            return T.call_pure_extern("float32", "mcu_expf", real)

        store(largest, 0, T.int32(-128))
        with loop("i", 0, length) as i:
            store(largest, 0, T.max(largest[0], i32(x[i])))
        store(total, 0, T.float32(0))
        with loop("i", 0, length) as i:
            store(total, 0, total[0] + power(i))
        with loop("i", 0, length) as i:
            v = round_even(power(i) / total[0] / f32(attrs["out_scale"])) + T.int32(attrs["out_zero"])
            store_clamped(y, i, v, -128, 127)
    # a single element is read for the last time before it is written
    return Kernel(f.func, overlaps=((0, 0, 0 if length > 1 else -1),), inputs=1)


def _dense_type(c: relax.Call) -> relax.Type:
    return TensorType([shape_of(c.args[1])[0]], "float32")


def _dense_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    """g_w = g_y f^T, g_b = g_y, g_x = s * w^T g_y, of dequantised features f = (x - z) * s."""
    attrs = attrs_of(op)
    x, w, _ = op.args
    g_x = call("dense_input_grad", [g_y, w], shape=shape_of(x), **attrs)
    g_w = call("dense_weight_grad", [x, g_y], shape=shape_of(w), **attrs)
    return [g_x, g_w, g_y]


OPS = (
    # x int8 or float32, w float32 [O, I], b float32 [O]
    OpRecord("dense", _dense_type, dense, gradient=_dense_gradient, trains="itself"),
    OpRecord("qsoftmax", same_type, qsoftmax, words="softmax"),  # x; inference only
    OpRecord(  # x, g
        "dense_weight_grad", adjoint_type, dense_weight_grad, "backward", result=":g_weight", is_weight_gradient=True
    ),
    OpRecord("dense_input_grad", adjoint_type, dense_input_grad, "backward", result=":g_x"),  # g, w
)
