"""Clamps and requantisation: int8 of one quantisation as int8 of another, and float32 inside bounds."""

from __future__ import annotations

from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.fixed_point import LARGEST_STEP, multiplier, require_int32
from mcutrain.tvm_ext.ops.elementwise.rows import Element, by_element
from mcutrain.tvm_ext.ops.expr import attrs_of, same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import MASK, IntegerForm, OpRecord, masked
from mcutrain.tvm_ext.ops.rounding import clamped_real, multiplied
from mcutrain.tvm_ext.ops.tir import as_float, f32, i32, let, round_even


def requantise(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """int8 of one quantisation as int8 of another; where they are equal, x itself, clamped."""
    zeros, ratio = [attrs[f"{n}_zero"] for n in ("in", "out")], attrs["in_scale"] / attrs["out_scale"]

    def value(x: tirx.Expr) -> tirx.Expr:
        if attrs["in_scale"] == attrs["out_scale"] and zeros[0] == zeros[1]:
            return i32(x)
        step = i32(x) - T.int32(zeros[0])
        if attrs["rounding"] == "even":
            return round_even(as_float(step) * f32(ratio)) + T.int32(zeros[1])
        return multiplied(step, *multiplier(ratio), attrs["rounding"]) + T.int32(zeros[1])

    def clamped(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        v = let("v", value(element.x))
        return T.Cast("int8", T.max(T.min(v, T.int32(attrs["hi"])), T.int32(attrs["lo"]))), v

    return by_element(shapes, "int8", variant, clamped, (attrs["lo"], attrs["hi"]))


def fclip(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """float32 clamp; the mask passes strictly inside, as PyTorch differentiates relu and hardtanh."""

    def clamped(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        return clamped_real(let("v", element.x), attrs["lo"], attrs["hi"])

    return by_element(shapes, "float32", variant, clamped)


def _requantise_gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = mask * g_y * s_x / s_y."""
    attrs = attrs_of(op)
    return [masked(op, g_y, attrs["in_scale"] / attrs["out_scale"], bb)]


def _requantise_by_integers(_: list, attrs: Attrs) -> IntegerForm:
    require_int32(attrs["in_scale"] / attrs["out_scale"], LARGEST_STEP, attrs["layer"])
    return IntegerForm("upward")


def _fclip_gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [masked(op, g_y, 1.0, bb)]


OPS = (
    OpRecord(  # x
        "requantise",
        same_type,
        requantise,
        gradient=_requantise_gradient,
        companion=MASK,
        integer=_requantise_by_integers,
    ),
    OpRecord("fclip", same_type, fclip, gradient=_fclip_gradient, companion=MASK, words="clip"),  # x
)
