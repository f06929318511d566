"""The gradient of every forward op of the dialect, one function an op, in one table (NUMERICS: "Backward").

Adjoints are float32, with respect to the int8-valued numbers; rounding is straight-through; the clamp's mask, or the
place of a maximum, is asked for as an op of its own (`qconv2d_mask`), which training.py fuses into the forward op that
computes it on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import accumulate

from tvm import relax
from tvm.relax.op.base import register_gradient

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import PREFIX, TYPES, attrs_of, call, conv_operands, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import bindings_of

# attributes that describe the window of a convolution, shared by the forward op and its three gradients
WINDOW = ("layer", "kernel", "stride", "padding", "depthwise", "trained_channels")


def qconv2d(var: relax.Var, conv: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_acc = mask * g_y * scale; g_bias its sum over positions; g_x its transposed convolution; g_w the correlation of
    x - z_x with it. The gradients of bias and weight stand in the float32 slots (integers have none of their own)."""
    attrs = attrs_of(conv)
    *_, tables, _ = conv_operands(conv.args, attrs)
    mask = _companion(conv, "mask", bb)
    g_acc = bb.emit(call("mask_scale", [g_y, mask, tables[0]], layer=attrs["layer"]))
    return _conv_grads(conv, attrs, g_acc, bb)


def fconv2d(var: relax.Var, conv: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """As qconv2d, with scales of one; without a clamp g_acc is g_y itself."""
    attrs = attrs_of(conv)
    return _conv_grads(conv, {**attrs, "in_zero": 0}, _masked(conv, g_y, 1.0, bb), bb)


def _conv_grads(conv: relax.Call, attrs: dict, g_acc: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
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
    return [g_x, *[_none(e) for e in (*weights, bias, *tables)], *g_slots]


def _companion(op: relax.Call, what: str, bb: relax.BlockBuilder) -> relax.Var:
    """What the forward op has to keep for its gradient, by an op of its own."""
    attrs = attrs_of(op)
    args = list(op.args)[: len(op.args) - len(attrs.get("slots", ""))]
    return bb.emit(call(f"{op_name(op)}_{what}", args, **{k: v for k, v in attrs.items() if k != "slots"}))


def _clamps(attrs: dict) -> bool:
    """Whether the clamp can stop a gradient: the integers of an average stay within int8 by themselves."""
    own = [(attrs.get(f"{n}_scale"), attrs.get(f"{n}_zero")) for n in ("in", "out")]
    widest = (-128, 127) if own[0] == own[1] and own[0][0] is not None else (-math.inf, math.inf)
    return attrs["lo"] > widest[0] or attrs["hi"] < widest[1]


def _masked(op: relax.Call, g_y: relax.Var, factor: float, bb: relax.BlockBuilder) -> relax.Var:
    """mask * g_y * factor, g_y itself where there is nothing to do."""
    attrs = attrs_of(op)
    if not _clamps(attrs) and factor == 1.0:
        return g_y
    mask = _companion(op, "mask", bb)
    return bb.emit(call("mask_scale_by", [g_y, mask], factor=factor, layer=attrs["layer"]))


def qadd(var: relax.Var, add: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_a = mask * g_y * s_a / s_y, g_b alike."""
    attrs = attrs_of(add)
    mask = _companion(add, "mask", bb)
    return [
        call("mask_scale_by", [g_y, mask], factor=attrs[scale] / attrs["out_scale"], layer=attrs["layer"])
        for scale in ("a_scale", "b_scale")
    ]


def qmean(var: relax.Var, mean: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = g_y / (H * W), spread over the positions."""
    return [call("spread", [g_y], shape=shape_of(mean.args[0]), layer=attrs_of(mean)["layer"])]


def qavg_pool(var: relax.Var, pool: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = mask * g_y * s_x / s_y over the number of positions, spread over the window."""
    attrs = attrs_of(pool)
    g = _masked(pool, g_y, attrs["in_scale"] / attrs["out_scale"], bb)
    return [_avg_pool_grad(pool, g)]


def favg_pool(var: relax.Var, pool: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [_avg_pool_grad(pool, g_y)]


def _avg_pool_grad(pool: relax.Call, g: relax.Var) -> relax.Call:
    attrs = attrs_of(pool)
    window = {k: attrs[k] for k in ("layer", "kernel", "stride", "padding", "counts_padding")}
    return call("avg_pool_grad", [g], shape=shape_of(pool.args[0]), **window)


def max_pool(var: relax.Var, pool: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """The gradient goes to where the maximum stood, the first one of several."""
    attrs = attrs_of(pool)
    window = {k: attrs[k] for k in ("layer", "kernel", "stride", "padding")}
    index = _companion(pool, "index", bb)
    return [call("max_pool_grad", [g_y, index], shape=shape_of(pool.args[0]), **window)]


def requantise(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """g_x = mask * g_y * s_x / s_y."""
    attrs = attrs_of(op)
    return [_masked(op, g_y, attrs["in_scale"] / attrs["out_scale"], bb)]


def fclip(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [_masked(op, g_y, 1.0, bb)]


def fadd(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    return [g_y, g_y]


def concat(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """Each input's channels of g_y."""
    begins = accumulate((shape_of(a)[3] for a in op.args), initial=0)
    layer = attrs_of(op)["layer"]
    return [
        call("slice_channels", [g_y], shape=shape_of(a), begin=begin, layer=layer)
        for a, begin in zip(op.args, begins, strict=False)
    ]


def pad(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    attrs = attrs_of(op)
    return [call("crop", [g_y], shape=shape_of(op.args[0]), padding=attrs["padding"], layer=attrs["layer"])]


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


def mse(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """2 (y - target) / n, with respect to the stored values."""
    label = op.args[1]
    # an autoencoder's label is its input, to which a gradient of another kind may flow as well: nobody reads the sum
    return [call("mse_grad", list(op.args), **attrs_of(op)), relax.op.zeros(shape_of(label), "float32")]


def binary_cross_entropy(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """(sigmoid - label) / K, with respect to the stored values."""
    return [call("binary_cross_entropy_grad", list(op.args), **attrs_of(op)), _none(op.args[1])]


def _none(operand: relax.Expr) -> relax.Expr:
    """Stands for "no gradient": the pass drops it, since nobody may ask for the gradient of an integer or a scale."""
    return operand


GRADIENTS: dict[str, Callable] = {
    "qconv2d": qconv2d,
    "qadd": qadd,
    "qmean": qmean,
    "qavg_pool": qavg_pool,
    "requantise": requantise,
    "max_pool": max_pool,
    "concat": concat,
    "pad": pad,
    "fconv2d": fconv2d,
    "fclip": fclip,
    "fadd": fadd,
    "favg_pool": favg_pool,
    "dense": dense,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mse": mse,
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


def _nothing(var: relax.Var, op: relax.Call, g_y: relax.Var, bb: relax.BlockBuilder) -> list[relax.Expr]:
    """Of an op without a rule: TVM's pass asks for it even where nobody needs the answer (require_rules has seen)."""
    return [relax.op.zeros(shape_of(a), "float32") for a in op.args]


def _register() -> None:
    for name, rule in GRADIENTS.items():
        register_gradient(PREFIX + name, rule)
    register_gradient(f"{PREFIX}qsoftmax", _nothing)


_register()
