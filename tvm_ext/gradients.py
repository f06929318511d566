"""The gradient of every forward op of the dialect, one function an op, in one table (NUMERICS: "Backward").

Adjoints are float32, with respect to the int8-valued numbers; rounding is straight-through; the clamp's mask is asked
for as an op of its own (`qconv2d_mask`), which training.py fuses into the forward op that computes it on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tvm import relax
from tvm.relax.op.base import register_gradient

from planner.errors import ModelError
from tvm_ext.dialect import PREFIX, TYPES, attrs_of, call, conv_operands, op_name, shape_of
from tvm_ext.function import bindings_of

# attributes that describe the window of a convolution, shared by the forward op and its three gradients
WINDOW = ("layer", "kernel", "stride", "padding", "depthwise", "trained_channels")


def qconv2d(var: relax.Var, conv: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_acc = mask * g_y * scale; g_bias its sum over positions; g_x its transposed convolution; g_w the correlation of
    x - z_x with it. The gradients of bias and weight stand in the float32 slots (integers have none of their own)."""
    attrs = attrs_of(conv)
    layer = {"layer": attrs["layer"]}
    window = {k: attrs[k] for k in WINDOW}
    x = conv.args[0]
    weights, bias, scale, slots = conv_operands(conv.args, attrs)
    forward = {k: v for k, v in attrs.items() if k != "slots"}
    mask = bb.emit(call("qconv2d_mask", [x, *weights, bias, scale], **forward))
    g_acc = bb.emit(call("mask_scale", [g_y, mask, scale], **layer))
    g_x = call("conv2d_input_grad", [g_acc, *weights], shape=shape_of(x), **window)
    g_slots = []
    for slot, what in zip(slots, attrs["slots"], strict=True):
        if what == "b":
            g_slots.append(call("conv2d_bias_grad", [g_acc], **layer))
            continue
        channels = attrs["trained_channels"]
        source = bb.emit(call("take_channels", [x], channels=channels, **layer)) if channels else x
        g_w = call("conv2d_weight_grad", [source, g_acc], shape=shape_of(slot), in_zero=attrs["in_zero"], **window)
        g_slots.append(g_w)
    return [g_x, *[_none(e) for e in (*weights, bias, scale)], *g_slots]


def qadd(var: relax.Var, add: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_a = mask * g_y * s_a / s_y, g_b alike."""
    attrs = attrs_of(add)
    mask = bb.emit(call("qadd_mask", list(add.args), **attrs))
    return [
        call("mask_scale_by", [g_y, mask], factor=attrs[scale] / attrs["out_scale"], layer=attrs["layer"])
        for scale in ("a_scale", "b_scale")
    ]


def qmean(var: relax.Var, mean: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = g_y / (H * W), spread over the positions."""
    return [call("spread", [g_y], shape=shape_of(mean.args[0]), layer=attrs_of(mean)["layer"])]


def dense(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """Of the float head on dequantised features f = (x - z) * s: g_w = g_y f^T, g_b = g_y, g_x = s * w^T g_y."""
    attrs = attrs_of(op)
    x, w, _ = op.args
    g_x = call("dense_input_grad", [g_y, w], shape=shape_of(x), **attrs)
    g_w = call("dense_weight_grad", [x, g_y], shape=shape_of(w), **attrs)
    return [g_x, g_w, g_y]


def cross_entropy(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """(softmax - onehot) * scale. The loss is the graph's root: its own adjoint is one and is not multiplied in."""
    return [call("cross_entropy_grad", list(op.args), **attrs_of(op)), _none(op.args[1])]


def _none(operand: relax.Expr) -> relax.Expr:
    """Stands for "no gradient": the pass drops it, since nobody may ask for the gradient of an integer or a scale."""
    return operand


GRADIENTS: dict[str, Callable] = {
    "qconv2d": qconv2d,
    "qadd": qadd,
    "qmean": qmean,
    "dense": dense,
    "cross_entropy": cross_entropy,
}


def require_rules(function: relax.Function, wanted: Iterable[relax.Var]) -> None:
    """Every op between the variables to differentiate by and the loss must have a rule. TVM's pass would say so too,
    but as an error of its own. Raises ModelError naming the layer."""
    reached = set(wanted)
    for var, value in bindings_of(function):
        if not isinstance(value, relax.Call) or reached.isdisjoint(value.args):
            continue
        reached.add(var)
        name = op_name(value)
        if name in TYPES and name not in GRADIENTS:
            layer = attrs_of(value).get("layer", "?")
            raise ModelError(f"layer {layer}: op mcu.{name} has no gradient; train only layers behind it (last_k)")


def _register() -> None:
    for name, rule in GRADIENTS.items():
        register_gradient(PREFIX + name, rule)


_register()
