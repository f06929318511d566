"""PReLU: the identity above zero, a slope a channel below. The slopes stay as they are.

Of an int8 x, with x' = x - z_x, before the clamp and less z_y:

    even:   round_even(float32(x') * f)       f: s_x / s_y for x' > 0, s_x * slope[c] / s_y for others, as float32
    tflite: x' * (s_x / s_y) or x' * slope[c] * (s_x * s_slope / s_y), slopes int8 less their zero point, each factor a
            31-bit multiplier and a shift, as TFLite's reference kernel has it
    upward: the same factors as "even", each a multiplier and a shift; the sign of a slope stands in the multiplier"""

from __future__ import annotations

import numpy as np
from tvm import relax, tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.fixed_point import LARGEST_STEP, multiplier, require_int32
from mcutrain.tvm_ext.ops.elementwise.rows import Element, Operand, adjoint_by_element, by_element
from mcutrain.tvm_ext.ops.expr import attrs_of, call, same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import MASK, IntegerForm, OpRecord, kept, no_gradient
from mcutrain.tvm_ext.ops.rounding import multiplied
from mcutrain.tvm_ext.ops.tir import as_float, f32, i32, let, round_even

# what the kernel reads of each channel, by rounding
OPERANDS = {
    "even": Operand("scale", "float32"),
    "tflite": Operand("slopes", "int16"),
    "upward": Operand("multipliers", "int32"),
}


def qprelu(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x int8 (1, H, W, C), and float32 [C], int16 [C] or int32 [2, C] by the rounding -> int8."""
    channels, lo, hi, rounding = shapes[0][3], attrs["lo"], attrs["hi"], attrs["rounding"]

    def value(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        step, of, c = let("step", i32(element.x) - T.int32(attrs["in_zero"])), element.operands[0], element.channel
        if rounding == "even":
            steps = round_even(as_float(step) * T.Select(step > 0, f32(attrs["positive"]), of[c]))
        else:
            above = multiplied(step, *multiplier(attrs["positive"]), rounding)
            if rounding == "tflite":
                below = multiplied(step * i32(of[c]), *multiplier(attrs["negative"]), rounding)
            else:
                factor = let("factor", of[c])
                below = multiplied(
                    T.Select(factor < 0, T.int32(0) - step, step),
                    T.Select(factor < 0, T.int32(0) - factor, factor),
                    of[channels + c],
                    rounding,
                )
            steps = T.Select(step > 0, above, below)
        v = let("v", steps + T.int32(attrs["out_zero"]))
        return T.Cast("int8", T.max(T.min(v, T.int32(hi)), T.int32(lo))), v

    return by_element(shapes, "int8", variant, value, (lo, hi), (OPERANDS[rounding],), by_channel=True)


def fprelu(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x float32 (1, H, W, C), slopes float32 [C] -> float32."""

    def value(element: Element) -> tuple[tirx.Expr, tirx.Expr]:
        x = let("v", element.x)
        return T.Select(x > T.float32(0), x, x * element.operands[0][element.channel]), T.int32(1)

    return by_element(shapes, "float32", variant, value, operands=(Operand("slopes", "float32"),), by_channel=True)


def prelu_grad(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g, x of attrs dtype, scale float32 [C] -> g times attrs `positive` where x > in_zero, else times scale[c]."""
    is_float = attrs["dtype"] == "float32"
    zero = T.float32(0) if is_float else T.int32(attrs["in_zero"])

    def slope(element: Element) -> tirx.Expr:
        x = element.x if is_float else i32(element.x)
        return T.Select(x > zero, f32(attrs["positive"]), element.operands[0][element.channel])

    return adjoint_by_element(shapes, attrs["dtype"], variant, slope, (Operand("scale", "float32"),))


def _runs(op: relax.Call, args: list[relax.Expr]) -> relax.Call:
    """Without the float scales where integers compute."""
    return call("qprelu", [args[0], args[-1]], **attrs_of(op))


def _qprelu_gradient(op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = mask * g_y * s_x / s_y, times the slope below zero."""
    attrs, (x, scale, *integers) = attrs_of(op), op.args
    more = {"layer": attrs["layer"], "in_zero": attrs["in_zero"], "positive": attrs["positive"], "dtype": "int8"}
    if attrs["can_clamp"]:
        g_y = bb.emit(call("mask_scale_by", [g_y, kept(op, MASK, bb)], factor=1.0, layer=attrs["layer"]))
    return [call("prelu_grad", [g_y, x, scale], **more), *map(no_gradient, (scale, *integers))]


def _fprelu_gradient(op: relax.Call, g_y: relax.Var, _: relax.BlockBuilder) -> list[relax.Expr]:
    x, slopes = op.args
    more = {"layer": attrs_of(op)["layer"], "in_zero": 0, "positive": 1.0, "dtype": "float32"}
    return [call("prelu_grad", [g_y, x, slopes], **more), relax.op.zeros_like(slopes)]


def _by_integers(operands: list[np.ndarray | None], attrs: Attrs) -> IntegerForm:
    scale = operands[1]
    assert scale is not None, "the slopes of a layer have values"
    for real in (attrs["positive"], float(np.abs(scale).max())):
        require_int32(real, LARGEST_STEP, attrs["layer"])
    pairs = [multiplier(abs(float(real))) for real in scale]
    signed = [(-m if real < 0 else m, shift) for (m, shift), real in zip(pairs, scale, strict=True)]
    return IntegerForm("upward", np.array(signed, np.int32).T.copy())


OPS = (
    OpRecord(  # x, scale float32 [C][, slopes int16 [C] or multipliers int32 [2, C]]
        "qprelu",
        same_type,
        qprelu,
        gradient=_qprelu_gradient,
        companion=MASK,
        runs=_runs,
        integer=_by_integers,
        words="prelu",
    ),
    OpRecord("fprelu", same_type, fprelu, gradient=_fprelu_gradient, words="prelu"),  # x, slopes float32 [C]
    OpRecord("prelu_grad", same_type, prelu_grad, "backward", result=":g_x"),  # g, x, scale
)
