"""The mean over all positions, and its gradient."""

from __future__ import annotations

from tvm import relax, tirx
from tvm.relax import TensorType
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import adjoint_type, attrs_of, call, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import f32, function, i32, let, local, loop, store


def qmean(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Global average pool: the mean of the int8 values, halves to even; scale and zero point pass through."""
    _, height, width, channels = shapes[0]
    positions = height * width
    with function() as f:
        x, y = f.buffer("x", positions * channels, "int8"), f.buffer("y", channels, "int8")
        acc = local("acc", 1, "int32")
        with loop("c", 0, channels) as c:
            store(acc, 0, T.int32(0))
            with loop("p", 0, positions) as p:
                store(acc, 0, acc[0] + i32(x[p * channels + c]))
            store(y, c, T.Cast("int8", _even_quotient(acc[0], positions)))
    # of a single channel, all is read before anything is written
    return Kernel(f.func, overlaps=((0, 0, 0 if channels > 1 else -positions),), inputs=1)


def _even_quotient(total: tirx.Expr, n: int) -> tirx.Expr:
    """total / n of the sum of n int8 values, halves to even, by integers alone."""
    lifted = let("lifted", total + 128 * n)  # not negative, and 128 keeps even what is even
    whole, rest = T.truncdiv(lifted, T.int32(n)), T.truncmod(lifted, T.int32(n))
    return whole - 128 + i32(2 * rest + T.bitwise_and(whole, T.int32(1)) > n)


def spread(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Backward of the global mean: g[c] / (H * W) at every position."""
    _, height, width, channels = attrs["shape"]
    with function() as f:
        g, out = f.buffer("g", channels, "float32"), f.buffer("g_x", height * width * channels, "float32")
        with loop("p", 0, height * width) as p, loop("c", 0, channels) as c:
            store(out, p * channels + c, g[c] / f32(height * width))
    return Kernel(f.func, inputs=1)


def _mean_type(c: relax.Call) -> relax.Type:
    return TensorType([1, 1, 1, shape_of(c.args[0])[3]], "int8")


def _gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = g_y / (H * W), spread over the positions."""
    return [call("spread", [g_y], shape=shape_of(op.args[0]), layer=attrs_of(op)["layer"])]


OPS = (
    OpRecord("qmean", _mean_type, qmean, gradient=_gradient, words="global avg pool"),  # x
    OpRecord("spread", adjoint_type, spread, "backward", result=":g_x"),  # g (1, 1, 1, C)
)
