"""Losses, scalar float32, and their gradients with respect to the network's output as it is stored: softmax
cross-entropy, binary cross-entropy, mean squared error. Every sum runs over the elements in memory order."""

from __future__ import annotations

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import attrs_of, call, float_like_first, scalar_type, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import KernelRule, OpRecord, no_gradient
from mcutrain.tvm_ext.ops.tir import Index, as_float, f32, fma, function, i32, let, local, loop, ring_row, store


def _real(values: tirx.Buffer, index: Index, dtype: str, scale: float, zero: int) -> tirx.Expr:
    """The real number that is stored: itself when float, (q - zero) * scale when int8."""
    if dtype == "float32":
        return values[index]
    return as_float(i32(values[index]) - T.int32(zero)) * f32(scale)


def _logit(logits: tirx.Buffer, index: Index, attrs: Attrs) -> tirx.Expr:
    return _real(logits, index, attrs["dtype"], attrs["scale"], attrs["zero"])


def _step(attrs: Attrs) -> float:
    """The worth of one unit of the stored output."""
    return 1.0 if attrs["dtype"] == "float32" else attrs["scale"]


def _exp(value: tirx.Expr) -> tirx.Expr:
    return T.call_pure_extern("float32", "mcu_expf", value)


def _log(value: tirx.Expr) -> tirx.Expr:
    return T.call_pure_extern("float32", "mcu_logf", value)


# ---------------------------------------------------------------------- softmax cross-entropy
def _softmax_sum(logits: tirx.Buffer, classes: int, attrs: Attrs, largest: tirx.Buffer, total: tirx.Buffer) -> None:
    """largest = max logit; total = sum of exp(logit - largest)."""
    store(largest, 0, _logit(logits, 0, attrs))
    with loop("c", 1, classes) as c:
        store(largest, 0, T.max(largest[0], _logit(logits, c, attrs)))
    store(total, 0, T.float32(0))
    with loop("c", 0, classes) as c:
        store(total, 0, total[0] + _exp(_logit(logits, c, attrs) - largest[0]))


def cross_entropy(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Softmax cross-entropy of logits and label int32 [1] -> scalar loss, in nats."""
    classes = int(np.prod(shapes[0]))
    with function() as f:
        logits, label = f.buffer("logits", classes, attrs["dtype"]), f.buffer("label", 1, "int32")
        loss = f.buffer("loss", 1, "float32")
        largest, total = local("largest", 1, "float32"), local("total", 1, "float32")
        _softmax_sum(logits, classes, attrs, largest, total)
        log_sum = let("log_sum", _log(total[0]))
        store(loss, 0, log_sum - (_logit(logits, label[0], attrs) - largest[0]))
    return Kernel(f.func, inputs=2)


def cross_entropy_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """(softmax - onehot(label)) * scale, with respect to the logits as they stand (int8-valued, or float)."""
    classes = int(np.prod(shapes[0]))
    with function() as f:
        logits, label = f.buffer("logits", classes, attrs["dtype"]), f.buffer("label", 1, "int32")
        out = f.buffer("g", classes, "float32")
        largest, total = local("largest", 1, "float32"), local("total", 1, "float32")
        _softmax_sum(logits, classes, attrs, largest, total)
        with loop("c", 0, classes) as c:
            p = let("p", _exp(_logit(logits, c, attrs) - largest[0]) / total[0])
            hit = T.Select(label[0] == c, T.float32(1), T.float32(0))
            store(out, c, (p - hit) * f32(_step(attrs)))
    return Kernel(f.func, inputs=2)


# ---------------------------------------------------------------------- binary cross-entropy
def _doubt(
    logits: tirx.Buffer, label: tirx.Buffer, k: Index, attrs: Attrs, doubt: tirx.Buffer
) -> tuple[tirx.Expr, tirx.Expr]:
    """(s, exp(-|s|)), kept in `doubt`, where s is the logit of the wrong answer: z for a label of 0, -z for one of 1.
    Written with it, neither loss nor gradient overflows, and a gradient near 0 keeps its digits."""
    z = let("z", _logit(logits, k, attrs))
    store(doubt, 0, T.Select(label[k] != 0, T.float32(0) - z, z))
    store(doubt, 1, _exp(T.min(doubt[0], T.float32(0) - doubt[0])))
    return doubt[0], doubt[1]


def binary_cross_entropy(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """logits of K elements, label int32 [K] of 0 and 1 -> scalar mean over K of
    max(z, 0) - z * label + log(1 + exp(-|z|)), in nats: the loss of K independent sigmoids."""
    count = int(np.prod(shapes[0]))
    with function() as f:
        logits, label = f.buffer("logits", count, attrs["dtype"]), f.buffer("label", count, "int32")
        loss = f.buffer("loss", 1, "float32")
        acc, doubt = local("acc", 1, "float32"), local("doubt", 2, "float32")
        store(acc, 0, T.float32(0))
        with loop("k", 0, count) as k:
            s, e = _doubt(logits, label, k, attrs, doubt)
            store(acc, 0, acc[0] + (T.max(s, T.float32(0)) + _log(T.float32(1) + e)))
        store(loss, 0, acc[0] / f32(count))
    return Kernel(f.func, inputs=2)


def binary_cross_entropy_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """(sigmoid(z) - label) * scale / K, with respect to the logits as they stand."""
    count = int(np.prod(shapes[0]))
    with function() as f:
        logits, label = f.buffer("logits", count, attrs["dtype"]), f.buffer("label", count, "int32")
        out = f.buffer("g", count, "float32")
        doubt = local("doubt", 2, "float32")
        with loop("k", 0, count) as k:
            s, e = _doubt(logits, label, k, attrs, doubt)
            wrong = let("wrong", T.Select(s < T.float32(0), e, T.float32(1)) / (T.float32(1) + e))  # sigmoid(s)
            signed = T.Select(label[k] != 0, T.float32(0) - wrong, wrong)
            store(out, k, signed * f32(_step(attrs) / count))
    return Kernel(f.func, inputs=2)


# ---------------------------------------------------------------------- mean squared error
def _difference(output: tirx.Buffer, label: tirx.Buffer, index: Index, label_index: Index, attrs: Attrs) -> tirx.Expr:
    target = _real(label, label_index, attrs["label_dtype"], attrs["label_scale"], attrs["label_zero"])
    return _logit(output, index, attrs) - target


def mse(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """output and label, int8 or float32 of as many elements -> scalar mean of (real(output) - real(label))^2."""
    count = int(np.prod(shapes[0]))
    with function() as f:
        output, label = f.buffer("output", count, attrs["dtype"]), f.buffer("label", count, attrs["label_dtype"])
        loss = f.buffer("loss", 1, "float32")
        acc = local("acc", 1, "float32")
        store(acc, 0, T.float32(0))
        with loop("i", 0, count) as i:
            d = let("d", _difference(output, label, i, i, attrs))
            store(acc, 0, fma(d, d, acc[0]))
        store(loss, 0, acc[0] / f32(count))
    return Kernel(f.func, inputs=2)


def mse_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """2 (real(output) - real(label)) * scale / n, with respect to the output as it stands; of an image row by row."""
    height = shapes[0][1] if len(shapes[0]) == 4 else 1
    count = int(np.prod(shapes[0]))
    row = count // height
    with function() as f:
        output, label = f.buffer("output", count, attrs["dtype"]), f.buffer("label", count, attrs["label_dtype"])
        out = f.buffer("g", count, "float32")
        y0, y1 = f.rows()
        with loop("y", y0, y1) as y:
            source, target = (ring_row(y, n) * row for n in (variant.ring_in, variant.ring_out))
            with loop("i", 0, row) as i:
                d = _difference(output, label, source + i, y * row + i, attrs)
                store(out, target + i, d * f32(2 * _step(attrs) / count))
    return Kernel(f.func, rows=height, reads=((0, height, 1, 1, 0),), inputs=2)


# ---------------------------------------------------------------------- as ops: the loss is the graph's root, and its
# own adjoint, which is one, is not multiplied in
def _cross_entropy_gradient(op: relax.Call, _g: relax.Var, _bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [call("cross_entropy_grad", list(op.args), **attrs_of(op)), no_gradient(op.args[1])]


def _binary_cross_entropy_gradient(op: relax.Call, _g: relax.Var, _bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [call("binary_cross_entropy_grad", list(op.args), **attrs_of(op)), no_gradient(op.args[1])]


def _mse_gradient(op: relax.Call, _g: relax.Var, _bb: relax.BlockBuilder) -> list[relax.Expr]:
    label = op.args[1]
    # an autoencoder's label is its input, to which a gradient of another kind may flow as well: nobody reads the sum
    return [call("mse_grad", list(op.args), **attrs_of(op)), relax.op.zeros(shape_of(label), "float32")]


def _grad(name: str, kernel: KernelRule) -> OpRecord:
    return OpRecord(name, float_like_first, kernel, "backward", result=":g_logits")


OPS = (
    # logits, label int32 [1]
    OpRecord("cross_entropy", scalar_type, cross_entropy, gradient=_cross_entropy_gradient),
    # logits, label int32 [K] of 0 and 1
    OpRecord("binary_cross_entropy", scalar_type, binary_cross_entropy, gradient=_binary_cross_entropy_gradient),
    OpRecord("mse", scalar_type, mse, gradient=_mse_gradient),  # output, target
    _grad("cross_entropy_grad", cross_entropy_grad),
    _grad("binary_cross_entropy_grad", binary_cross_entropy_grad),
    _grad("mse_grad", mse_grad),
)
