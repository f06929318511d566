"""The integer dialect: Relax ops `relax.mcu.*`, their type rules, and how to call them.

Activations are int8 tensors (1, H, W, C); adjoints are float32 of the same shape. Weights are int8 [O, kh, kw, I], of a
depthwise convolution [C, kh, kw]; bias int32 [O]; `scale` float32 [O] is s_x * s_w / s_y. A clamp mask keeps one bit an
element, each row starting on a byte. Every op has the attribute `layer`, the name that the user knows it by.

To add an op: a type rule here, a gradient in gradients.py, a kernel in kernels/, a row in lower.KERNELS, and tests.
"""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relax
from tvm.relax import TensorType, TupleType

PREFIX = "relax.mcu."


def call(name: str, args: list[relax.Expr], **attrs: object) -> relax.Call:
    """A call of the dialect op `name`; attrs are ints, floats, strings and lists of them."""
    return relax.Call(tvm.ir.Op.get(PREFIX + name), args, tvm.ir.make_node("ir.DictAttrs", **attrs))


def op_name(expr: relax.Expr) -> str | None:
    """`qconv2d` for a call of relax.mcu.qconv2d, `relax.add` for a call of another Relax op, None for no call."""
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
        return None
    return expr.op.name.removeprefix(PREFIX)


def attrs_of(expr: relax.Call) -> dict[str, object]:
    """The attributes of a dialect call as plain Python values."""
    if expr.attrs is None or not isinstance(expr.attrs, tvm.ir.attrs.DictAttrs):
        return {}
    return {str(k): _plain(expr.attrs[k]) for k in expr.attrs.keys()}


def _plain(value: object) -> object:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tvm.tirx.IntImm | tvm.tirx.FloatImm):
        return value.value
    return [_plain(v) for v in value]


def shape_of(expr: relax.Expr) -> list[int]:
    """The static shape of a tensor expression."""
    return [int(v) for v in expr.ty.shape.values]


def dtype_of(expr: relax.Expr) -> str:
    return str(getattr(expr.ty.dtype, "dtype", expr.ty.dtype))


def mask_shape(activation: list[int]) -> list[int]:
    """Shape of the clamp mask of an activation (1, H, W, C): one bit an element, rows padded to a byte."""
    _, height, width, channels = activation
    return [1, height, (width * channels + 7) // 8]


def window_output_shape(x: list[int], out_channels: int, attrs: dict) -> list[int]:
    """(1, Ho, Wo, O) of a window that slides over x (1, H, W, C): attrs kernel [kh, kw], stride [vertical,
    horizontal], padding [top, left, bottom, right]."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    return [1, (x[1] + top + bottom - kh) // sy + 1, (x[2] + left + right - kw) // sx + 1, out_channels]


def conv_operands(args: list, attrs: dict) -> tuple[list, relax.Expr, relax.Expr, list]:
    """(weights, bias, scale, slots) of a qconv2d's args behind x: one weight, or its frozen and its trained part."""
    n = 2 if attrs["trained_channels"] and not attrs["depthwise"] else 1
    return list(args[1 : 1 + n]), args[1 + n], args[2 + n], list(args[3 + n :])


def _conv_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    attrs = attrs_of(c)
    return TensorType(window_output_shape(shape_of(c.args[0]), shape_of(c.args[1])[0], attrs), "int8")


def _mask_type(activation: Callable) -> Callable:
    return lambda c, bb: TensorType(mask_shape([int(v) for v in activation(c, bb).shape.values]), "uint8")


def _with_mask_type(activation: Callable) -> Callable:
    return lambda c, bb: TupleType([activation(c, bb), _mask_type(activation)(c, bb)])


def _same_type(index: int) -> Callable:
    return lambda c, _: c.args[index].ty


def _shape_attr_type(dtype: str) -> Callable:
    return lambda c, _: TensorType(attrs_of(c)["shape"], dtype)


def _mean_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([1, 1, 1, shape_of(c.args[0])[3]], "int8")


def _take_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([*shape_of(c.args[0])[:3], len(attrs_of(c)["channels"])], "int8")


def _dense_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([shape_of(c.args[1])[0]], "float32")


def _float_like(index: int) -> Callable:
    return lambda c, _: TensorType(shape_of(c.args[index]), "float32")


def _scalar_type(_c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([], "float32")


TYPES: dict[str, Callable] = {
    # forward
    "qconv2d": _conv_type,  # x, w[, w_trained], bias, scale[, slots]
    "qconv2d_mask": _mask_type(_conv_type),
    "qconv2d_with_mask": _with_mask_type(_conv_type),
    "qadd": _same_type(0),  # a, b
    "qadd_mask": _mask_type(_same_type(0)),
    "qadd_with_mask": _with_mask_type(_same_type(0)),
    "qmean": _mean_type,  # x
    "dense": _dense_type,  # x int8, w float32 [O, I], b float32 [O]
    "cross_entropy": _scalar_type,  # logits, label
    # backward
    "cross_entropy_grad": _float_like(0),  # logits, label
    "mask_scale": _same_type(0),  # g, mask, scale [C]
    "mask_scale_by": _same_type(0),  # g, mask; attr factor
    "take_channels": _take_type,  # x; attr channels
    "conv2d_bias_grad": lambda c, _: TensorType([shape_of(c.args[0])[3]], "float32"),  # g
    "conv2d_weight_grad": _shape_attr_type("float32"),  # x (or its taken channels), g
    "conv2d_input_grad": _shape_attr_type("float32"),  # g, w[, w_trained]
    "spread": _shape_attr_type("float32"),  # g (1, 1, 1, C)
    "dense_weight_grad": _shape_attr_type("float32"),  # x, g
    "dense_input_grad": _shape_attr_type("float32"),  # g, w
    # updates: the result is the new state, in the place of the old
    "sgd": _same_type(0),  # w, g, [scale,] rates, counter[, velocity][, accumulator]
    "next_step": _same_type(0),  # counter
}


def _register() -> None:
    for name, infer in TYPES.items():
        tvm.ir._ffi_api.RegisterOp(PREFIX + name, "")
        tvm.ir.register_op_attr(PREFIX + name, "FInferType", infer)
        tvm.ir.register_op_attr(PREFIX + name, "FPurity", True)


_register()
