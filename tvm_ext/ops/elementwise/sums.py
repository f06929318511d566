"""Sums, clamps, requantisation, global mean, softmax and their backward companions: kernels that take element by
element."""

from __future__ import annotations

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.fixed_point import LARGEST_STEP, SUM_BITS, multiplier, require_int32
from mcutrain.tvm_ext.ops.elementwise.mask_scale import mask_scale as mask_scale
from mcutrain.tvm_ext.ops.expr import attrs_of, call, same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import MASK, IntegerForm, OpRecord, kept
from mcutrain.tvm_ext.ops.rounding import clear, multiplied, set_mask_bit, store_clamped
from mcutrain.tvm_ext.ops.tir import (
    at,
    call_kernel,
    f32,
    function,
    i32,
    let,
    loop,
    ring_row,
    store,
)


def qadd(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """y = clamp(round_even(((a - z_a) * s_a + (b - z_b) * s_b) / s_y) + z_y), or with integer multipliers."""
    _, height, width, channels = shapes[0]
    row, mask_row = width * channels, (width * channels + 7) // 8
    lo, hi = attrs["lo"], attrs["hi"]
    with function() as f:
        a, b = f.buffer("a", height * row, "int8"), f.buffer("b", height * row, "int8")
        y = f.buffer("y", height * row, "int8")
        mask = f.buffer("mask", height * mask_row, "uint8") if variant.keeps else None
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            a_row, b_row, y_row = (ring_row(oy, n) for n in (variant.ring_of(0), variant.ring_of(1), variant.ring_out))
            if attrs.get("rounding", "even") == "even":
                arguments = [at(a, a_row * row), at(b, b_row * row), at(y, y_row * row), row, attrs["a_zero"]]
                arguments += [attrs["b_zero"], *(f32(attrs[f"{n}_scale"]) for n in ("a", "b", "out"))]
                masked = [at(mask, oy * mask_row)] if variant.keeps else []
                call_kernel(f"mcu_add_even{'_mask' * variant.keeps}", *arguments, attrs["out_zero"], lo, hi, *masked)
            else:
                if variant.keeps:
                    clear(mask, oy * mask_row, mask_row)
                with loop("i", 0, row) as i:
                    a_step, b_step = (
                        i32(operand[index * row + i]) - T.int32(attrs[f"{n}_zero"])
                        for n, operand, index in (("a", a, a_row), ("b", b, b_row))
                    )
                    v = let("v", _sum(a_step, b_step, attrs) + T.int32(attrs["out_zero"]))
                    store_clamped(y, y_row * row + i, v, lo, hi)
                    if variant.keeps:
                        set_mask_bit(mask, oy * mask_row, i, v, lo, hi)
    return Kernel(
        f.func,
        overlaps=((0, 0, 0), (1, 0, 0)),
        rows=height,
        reads=((0, height, 1, 1, 0), (1, height, 1, 1, 0)),
        inputs=2,
        outputs=2 if variant.keeps else 1,
    )


def _sum(a: tirx.Expr, b: tirx.Expr, attrs: Attrs) -> tirx.Expr:
    """a * s_a + b * s_b in steps of the output, by the attribute `rounding` and integers alone.

    "tflite": both in a common scale, 20 bits up, then the sum. "upward": each rounded to the output's steps by itself,
    as TVM's qnn.add has it."""
    scales, rounding = (attrs["a_scale"], attrs["b_scale"]), attrs["rounding"]
    if rounding == "upward":
        return sum(
            q if s == attrs["out_scale"] else multiplied(q, *multiplier(s / attrs["out_scale"]), rounding)
            for q, s in zip((a, b), scales, strict=True)
        )
    common = 2 * max(scales)
    lifted = [
        multiplied(q * T.int32(1 << SUM_BITS), *multiplier(s / common), rounding)
        for q, s in zip((a, b), scales, strict=True)
    ]
    return multiplied(lifted[0] + lifted[1], *multiplier(common / (attrs["out_scale"] * (1 << SUM_BITS))), rounding)


def fadd(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Float residual add."""
    _, height, width, channels = shapes[0]
    row = width * channels
    with function() as f:
        a, b = f.buffer("a", height * row, "float32"), f.buffer("b", height * row, "float32")
        y = f.buffer("y", height * row, "float32")
        y0, y1 = f.rows()
        with loop("oy", y0, y1) as oy:
            a_row, b_row, y_row = (
                ring_row(oy, n) * row for n in (variant.ring_of(0), variant.ring_of(1), variant.ring_out)
            )
            with loop("i", 0, row) as i:
                store(y, y_row + i, a[a_row + i] + b[b_row + i])
    reads = tuple((i, height, 1, 1, 0) for i in range(2))
    return Kernel(f.func, overlaps=((0, 0, 0), (1, 0, 0)), rows=height, reads=reads, inputs=2)


def add(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """Float sum of two adjoints that meet at a fan-out."""
    length = int(np.prod(shapes[0]))
    with function() as f:
        a, b = f.buffer("a", length, "float32"), f.buffer("b", length, "float32")
        out = f.buffer("sum", length, "float32")
        with loop("i", 0, length) as i:
            store(out, i, a[i] + b[i])
    return Kernel(f.func, overlaps=((0, 0, 0), (1, 0, 0)), inputs=2)


def _qadd_gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_a = mask * g_y * s_a / s_y, g_b alike."""
    attrs, mask = attrs_of(op), kept(op, MASK, bb)
    return [
        call("mask_scale_by", [g_y, mask], factor=attrs[scale] / attrs["out_scale"], layer=attrs["layer"])
        for scale in ("a_scale", "b_scale")
    ]


def _qadd_by_integers(_: list, attrs: Attrs) -> IntegerForm:
    """A sum is rounded in a common scale: with operands that are rounded one by one, many results would be a step
    away."""
    common = 2 * max(attrs["a_scale"], attrs["b_scale"])
    require_int32(common / (attrs["out_scale"] * 2**SUM_BITS), LARGEST_STEP << SUM_BITS, attrs["layer"])
    return IntegerForm("tflite")


def _fadd_gradient(_op: relax.Call, g_y: relax.Var, _bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [g_y, g_y]


OPS = (
    OpRecord(  # a, b
        "qadd", same_type, qadd, gradient=_qadd_gradient, companion=MASK, integer=_qadd_by_integers, words="add"
    ),
    OpRecord("fadd", same_type, fadd, gradient=_fadd_gradient, words="add"),  # a, b
    OpRecord("relax.add", None, add, "backward", result=":g_sum"),  # two adjoints; TVM's own op, which Gradient emits
)
