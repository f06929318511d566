"""Gradients of pools. Each position of the image gathers from the windows that cover it, row by row: it is summed in a
register and stored once."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import adjoint_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.pool.window import Pool, Step, pool_of
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import Frame, f32, fma, function, i32, let, local, loop, ring_row, store

FLOAT = 4  # bytes


def avg_pool_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, Ho, Wo, C) -> float32 attrs["shape"]: the sum of g / n, with n positions in the window. The factor 1 / n is
    float32; where n is the same for all it stands behind the sum, else it comes from a table."""
    pool = pool_of(attrs["shape"], attrs)
    varies = pool.is_cut and not attrs["counts_padding"]
    inverse = (1 / np.arange(1, pool.taps + 1)).astype(np.float32)
    with function() as f:
        g = f.buffer("g", pool.pooled, "float32")
        table: tirx.Buffer = f.buffer("inverse", pool.taps, "float32") if varies else None
        out = f.buffer("g_x", pool.image, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "float32")
        with loop("iy", y0, y1) as iy, pool.positions_of_row(iy) as step:
            for j in range(pool.block):
                store(acc, j, T.float32(0))
            with pool.windows_over(step) as (oy, ox, _):
                element = pool.pooled_element(oy, ox, step, variant.ring_in)
                if varies:
                    factor = let("factor", table[pool.positions(pool.rows.span(oy), pool.columns.span(ox)) - 1])
                for j in range(pool.block):
                    gv = g[element + j]
                    store(acc, j, fma(gv, factor, acc[j]) if varies else acc[j] + gv)
            for j in range(pool.block):
                total = acc[j] if varies else acc[j] * f32(inverse[-1])
                store(out, _target(pool, iy, step, variant) + j, total)
    return _kernel(f, pool, (inverse,) if varies else (), (FLOAT,))


def max_pool_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, Ho, Wo, C), index uint8 of its shape -> float32 attrs["shape"]: g where the maximum stood."""
    pool = pool_of(attrs["shape"], attrs)
    with function() as f:
        g, index = f.buffer("g", pool.pooled, "float32"), f.buffer("index", pool.pooled, "uint8")
        out = f.buffer("g_x", pool.image, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pool.block, "float32")
        with loop("iy", y0, y1) as iy, pool.positions_of_row(iy) as step:
            for j in range(pool.block):
                store(acc, j, T.float32(0))
            with pool.windows_over(step) as (oy, ox, tap):
                element, place = (pool.pooled_element(oy, ox, step, n) for n in (variant.ring_in, 0))
                for j in range(pool.block):
                    gv = T.Select(i32(index[place + j]) == tap, g[element + j], T.float32(0))
                    store(acc, j, acc[j] + gv)
            for j in range(pool.block):
                store(out, _target(pool, iy, step, variant) + j, acc[j])
    return _kernel(f, pool, (), (FLOAT, 1))


def _target(pool: Pool, iy: tirx.Expr, step: Step, variant: Variant) -> tirx.Expr:
    """The index of a step's first channel in g_x."""
    row = ring_row(iy, variant.ring_out)
    return (row * pool.columns.extent + step.x) * pool.channels + step.channel


def _kernel(f: Frame, pool: Pool, tables: tuple[np.ndarray, ...], sizes: tuple[int, ...]) -> Kernel:
    """sizes: bytes of an element of each input."""
    axis = pool.rows
    return Kernel(
        f.func,
        tables,
        overlaps=tuple((i, 0, pool.gradient_distance(size, FLOAT)) for i, size in enumerate(sizes)),
        rows=axis.extent,
        reads=((0, axis.windows, axis.stride, axis.taps, axis.padding, True),),
        inputs=len(sizes),
    )


OPS = (
    OpRecord("avg_pool_grad", adjoint_type, avg_pool_grad, "backward", result=":g_x"),  # g; attr factor
    OpRecord("max_pool_grad", adjoint_type, max_pool_grad, "backward", result=":g_x"),  # g, index
)
