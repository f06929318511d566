"""The convolutions as ops: int8 and float32, dense over channels or depthwise.

Weights are int8 (float32) [O, kh, kw, I], of a depthwise convolution [C, kh, kw]; bias int32 (float32) [O]; `scale`
float32 [O] is s_x * s_w / s_y."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.relax import TensorType

from mcutrain.tvm_ext.fixed_point import LARGEST_WEIGHT, multiplier, require_int32
from mcutrain.tvm_ext.ops.conv import dense
from mcutrain.tvm_ext.ops.conv.depthwise import depthwise
from mcutrain.tvm_ext.ops.conv.float_conv import fconv2d
from mcutrain.tvm_ext.ops.conv.operands import conv_operands
from mcutrain.tvm_ext.ops.expr import attrs_of, call, dtype_of, op_name, shape_of, window_output_shape
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant
from mcutrain.tvm_ext.ops.record import MASK, IntegerForm, OpRecord, kept, masked, no_gradient

# attributes that describe the window of a convolution, shared by the forward op and its three gradients
WINDOW = ("layer", "kernel", "stride", "padding", "depthwise", "trained_channels")
NARROW, WIDENED = "narrow weights", "wide weights"  # variants


def _type(c: relax.Call) -> relax.Type:
    x = c.args[0]
    return TensorType(window_output_shape(shape_of(x), shape_of(c.args[1])[0], attrs_of(c)), dtype_of(x))


def qconv2d(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    return (depthwise if attrs["depthwise"] else dense.qconv2d)(shapes, attrs, variant)


def _runs(conv: relax.Call, args: list[relax.Expr]) -> relax.Call:
    """A convolution without its slots, and without the float scales where it has integer multipliers."""
    attrs = attrs_of(conv)
    weights, bias, tables, _ = conv_operands(args, attrs)
    return call(str(op_name(conv)), [args[0], *weights, bias, *tables[-1:]], **{**attrs, "slots": ""})


def _qconv2d_variants(shapes: Shapes, attrs: Attrs) -> dict[str, Variant]:
    """Constant weights may lie in flash as int16 pairs, at twice their bytes."""
    can_be_wide = dense.can_be_wide(shapes, attrs)
    return {NARROW: PLAIN, WIDENED: Variant(wide_weights=True)} if can_be_wide else {NARROW: PLAIN}


def _qconv2d_gradient(conv: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_acc = mask * g_y * scale; g_bias its sum over positions; g_x its transposed convolution; g_w the correlation of
    x - z_x with it. The gradients of bias and weight stand in the float32 slots (integers have none of their own)."""
    attrs = attrs_of(conv)
    tables, mask = conv_operands(conv.args, attrs).tables, kept(conv, MASK, bb)
    g_acc = bb.emit(call("mask_scale", [g_y, mask, tables[0]], layer=attrs["layer"]))
    return _gradients(conv, attrs, g_acc, bb)


def _fconv2d_gradient(conv: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """The same as for qconv2d, with scales of one; without a clamp g_acc is g_y itself."""
    return _gradients(conv, {**attrs_of(conv), "in_zero": 0}, masked(conv, g_y, 1.0, bb), bb)


def _gradients(conv: relax.Call, attrs: Attrs, g_acc: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    layer = {"layer": attrs["layer"]}
    window = {k: attrs[k] for k in WINDOW}
    x, dtype = conv.args[0], dtype_of(conv.args[0])
    weights, bias, tables, slots = conv_operands(conv.args, attrs)
    g_x = call("conv2d_input_grad", [g_acc, *weights], shape=shape_of(x), dtype=dtype, **window)
    g_slots = []
    for slot, what in zip(slots, attrs["slots"], strict=True):
        if what == "b":
            g_slots.append(call("conv2d_bias_grad", [g_acc], **layer))
            continue
        channels = attrs["trained_channels"]
        source = bb.emit(call("take_channels", [x], channels=channels, dtype=dtype, **layer)) if channels else x
        more = {"shape": shape_of(slot), "in_zero": attrs["in_zero"], "dtype": dtype}
        g_slots.append(call("conv2d_weight_grad", [source, g_acc], **more, **window))
    return [g_x, *[no_gradient(e) for e in (*weights, bias, *tables)], *g_slots]


def _qconv2d_by_integers(operands: list[np.ndarray | None], attrs: Attrs) -> IntegerForm:
    """Multipliers behind the scale, of the very float32 that the scale is."""
    _, weight, bias, scale, *_ = operands
    assert weight is not None and bias is not None and scale is not None, "the parameters of a layer have values"
    products = weight[0].size * LARGEST_WEIGHT * max(127 - attrs["in_zero"], attrs["in_zero"] + 128)
    reach = products + np.abs(bias.astype(np.int64))
    for real, largest in zip(scale, reach, strict=True):
        require_int32(float(real), int(largest), attrs["layer"])
    return IntegerForm("upward", np.array([multiplier(float(real)) for real in scale], np.int32).T.copy())


OPS = (
    OpRecord(  # x, w[, w_trained], bias, scale[, multipliers int32 [2, O]][, slots]
        "qconv2d",
        _type,
        qconv2d,
        gradient=_qconv2d_gradient,
        companion=MASK,
        trains="slots",
        runs=_runs,
        integer=_qconv2d_by_integers,
        variants=_qconv2d_variants,
        not_in_kernel=("slots", "in_scale", "out_scale"),  # the scales are in the operand `scale`
        words="conv",
    ),
    OpRecord(  # x, w[, w_trained], bias[, slots]
        "fconv2d",
        _type,
        fconv2d,
        gradient=_fconv2d_gradient,
        companion=MASK,
        trains="slots",
        runs=_runs,
        not_in_kernel=("slots",),
        words="conv",
    ),
)
