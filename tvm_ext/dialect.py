"""The dialect: Relax ops `relax.mcu.*`, their type rules, and how to call them.

Activations are int8 tensors (1, H, W, C), in float networks float32 ones; adjoints are float32 of the same shape.
Weights are int8 (float32) [O, kh, kw, I], of a depthwise convolution [C, kh, kw]; bias int32 (float32) [O]; `scale`
float32 [O] is s_x * s_w / s_y. A clamp mask keeps one bit an element, each row starting on a byte. Every op has the
attribute `layer`, the name that the user knows it by. Attributes that several ops share:

    kernel [kh, kw], stride [vertical, horizontal], padding [top, left, bottom, right]
    lo, hi: the clamp, of int8 values or (float ops) of real ones
    rounding: how integers are requantised (docs/DESIGN.md): "even", "tflite", "upward"; of averages also "truncate"

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


def conv_operands(args: list, attrs: dict) -> tuple[list, relax.Expr, list, list]:
    """(weights, bias, tables, slots) of a convolution's args behind x: one weight, or its frozen and its trained part;
    tables: scale, then (integer rounding) multipliers; none of a float convolution."""
    n = 2 if attrs["trained_channels"] and not attrs["depthwise"] else 1
    end = len(args) - len(attrs["slots"])
    return list(args[1 : 1 + n]), args[1 + n], list(args[2 + n : end]), list(args[end:])


def _conv_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    x = c.args[0]
    return TensorType(window_output_shape(shape_of(x), shape_of(c.args[1])[0], attrs_of(c)), dtype_of(x))


def _pool_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    x = c.args[0]
    return TensorType(window_output_shape(shape_of(x), shape_of(x)[3], attrs_of(c)), dtype_of(x))


def _pool_with_index_type(c: relax.Call, bb: relax.BlockBuilder) -> relax.Type:
    pooled = _pool_type(c, bb)
    return TupleType([pooled, TensorType([int(v) for v in pooled.shape.values], "uint8")])


def _concat_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    _, height, width, _ = shape_of(c.args[0])
    return TensorType([1, height, width, sum(shape_of(a)[3] for a in c.args)], dtype_of(c.args[0]))


def _pad_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    (_, height, width, channels), (top, left, bottom, right) = shape_of(c.args[0]), attrs_of(c)["padding"]
    return TensorType([1, height + top + bottom, width + left + right, channels], dtype_of(c.args[0]))


def _mask_type(activation: Callable) -> Callable:
    return lambda c, bb: TensorType(mask_shape([int(v) for v in activation(c, bb).shape.values]), "uint8")


def _same_type(index: int) -> Callable:
    return lambda c, _: c.args[index].ty


def _shape_attr_type(dtype: str) -> Callable:
    return lambda c, _: TensorType(attrs_of(c)["shape"], dtype)


def _mean_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([1, 1, 1, shape_of(c.args[0])[3]], "int8")


def _take_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    x = c.args[0]
    return TensorType([*shape_of(x)[:3], len(attrs_of(c)["channels"])], dtype_of(x))


def _dense_type(c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([shape_of(c.args[1])[0]], "float32")


def _float_like(index: int) -> Callable:
    return lambda c, _: TensorType(shape_of(c.args[index]), "float32")


def _scalar_type(_c: relax.Call, _: relax.BlockBuilder) -> relax.Type:
    return TensorType([], "float32")


def _clamping(name: str, activation: Callable) -> dict[str, Callable]:
    """An op that clamps: alone, its mask alone (what a gradient asks for), and both (what runs)."""
    mask = _mask_type(activation)
    both = lambda c, bb: TupleType([activation(c, bb), mask(c, bb)])  # noqa: E731
    return {name: activation, f"{name}_mask": mask, f"{name}_with_mask": both}


TYPES: dict[str, Callable] = {
    # forward
    **_clamping("qconv2d", _conv_type),  # x, w[, w_trained], bias, scale[, multipliers int32 [2, O]][, slots]
    **_clamping("qadd", _same_type(0)),  # a, b
    **_clamping("qavg_pool", _pool_type),  # x
    **_clamping("requantise", _same_type(0)),  # x
    "qmean": _mean_type,  # x
    "qsoftmax": _same_type(0),  # x; inference only
    "max_pool": _pool_type,  # x
    "max_pool_index": lambda c, bb: _pool_with_index_type(c, bb).fields[1],  # x -> where in its window each one stood
    "max_pool_with_index": _pool_with_index_type,
    "concat": _concat_type,  # inputs of one quantisation, along the channels
    "pad": _pad_type,  # x; attrs padding, value
    "dense": _dense_type,  # x int8, w float32 [O, I], b float32 [O]
    **_clamping("fconv2d", _conv_type),  # x, w[, w_trained], bias[, slots]
    **_clamping("fclip", _same_type(0)),  # x
    "fadd": _same_type(0),  # a, b
    "favg_pool": _pool_type,  # x
    "cross_entropy": _scalar_type,  # logits, label int32 [1]
    "binary_cross_entropy": _scalar_type,  # logits, label int32 [K] of 0 and 1
    "mse": _scalar_type,  # output, target
    # backward
    "cross_entropy_grad": _float_like(0),  # logits, label
    "binary_cross_entropy_grad": _float_like(0),  # logits, label
    "mse_grad": _float_like(0),  # output, target
    "mask_scale": _same_type(0),  # g, mask, scale [C]
    "mask_scale_by": _same_type(0),  # g, mask; attr factor
    "take_channels": _take_type,  # x; attr channels
    "conv2d_bias_grad": lambda c, _: TensorType([shape_of(c.args[0])[3]], "float32"),  # g
    "conv2d_weight_grad": _shape_attr_type("float32"),  # x (or its taken channels), g
    "conv2d_input_grad": _shape_attr_type("float32"),  # g, w[, w_trained]
    "spread": _shape_attr_type("float32"),  # g (1, 1, 1, C)
    "avg_pool_grad": _shape_attr_type("float32"),  # g; attr factor
    "max_pool_grad": _shape_attr_type("float32"),  # g, index
    "slice_channels": _shape_attr_type("float32"),  # g; attr begin
    "crop": _shape_attr_type("float32"),  # g; attr padding
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
