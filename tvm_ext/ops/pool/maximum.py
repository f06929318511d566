"""The largest of a window; its gradient goes to where the maximum stood, the first one of several."""

from __future__ import annotations

from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import attrs_of, call, pooled_type, shape_of
from mcutrain.tvm_ext.ops.kernel import ITEM_BYTES, PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.pool.window import pool_of, pooling_kernel
from mcutrain.tvm_ext.ops.record import INDEX, OpRecord, kept
from mcutrain.tvm_ext.ops.tir import function, i32, let, local, loop, ring_row, store


def max_pool(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x int8 or float32 (attr dtype) -> maxima, and uint8 ky * kw + kx of the first one in its window."""
    pool, is_float = pool_of(shapes[0], attrs), attrs["dtype"] == "float32"
    size = ITEM_BYTES[attrs["dtype"]]
    work, widen = ("float32", lambda v: v) if is_float else ("int32", i32)
    row = pool.columns.windows * pool.channels
    with function() as f:
        x, y = f.buffer("x", pool.image, attrs["dtype"]), f.buffer("y", pool.pooled, attrs["dtype"])
        index = f.buffer("index", pool.pooled, "uint8") if variant.keeps else None
        y0, y1 = f.rows()
        best: tirx.Buffer = local("best", pool.block, work)
        place: tirx.Buffer = local("place", pool.block, "int32") if variant.keeps else None
        with loop("oy", y0, y1) as oy:
            target = ring_row(oy, variant.ring_out) * row
            with pool.windows(oy) as step:
                first, first_tap = pool.first_tap(step, variant.ring_in)
                for j in range(pool.block):
                    store(best, j, widen(x[first + j]))
                    if variant.keeps:
                        store(place, j, first_tap)
                with pool.taps_of(step, variant.ring_in) as (element, tap):
                    for j in range(pool.block):
                        v = let("v", widen(x[element + j]))
                        if variant.keeps:
                            store(place, j, T.Select(v > best[j], tap, place[j]))
                        store(best, j, T.Select(v > best[j], v, best[j]))
                for j in range(pool.block):
                    at = step.x * pool.channels + step.channel + j
                    store(y, target + at, T.Cast(attrs["dtype"], best[j]))
                    if variant.keeps:
                        store(index, oy * row + at, T.Cast("uint8", place[j]))
    distances = [pool.distance(size, size), pool.distance(size, 1)][: 2 if variant.keeps else 1]
    return pooling_kernel(f, pool, (), tuple(distances), 2 if variant.keeps else 1)


def _gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attrs_of(op)
    window = {k: attrs[k] for k in ("layer", "kernel", "stride", "padding")}
    return [call("max_pool_grad", [g_y, kept(op, INDEX, bb)], shape=shape_of(op.args[0]), **window)]


OPS = (OpRecord("max_pool", pooled_type, max_pool, gradient=_gradient, companion=INDEX, words="max pool"),)  # x
