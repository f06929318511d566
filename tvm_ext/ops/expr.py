"""Calls of the dialect's ops as Relax expressions: making them, reading them, the types that their results have."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax import TensorType

from mcutrain.tvm_ext.ops.kernel import Attrs

PREFIX = "relax.mcu."


def call(name: str, args: list[relax.Expr], **attrs: object) -> relax.Call:
    """A call of the dialect op `name`; attrs are ints, floats, strings and lists of them."""
    return relax.Call(tvm.ir.Op.get(PREFIX + name), args, tvm.ir.make_node("ir.DictAttrs", **attrs))


def op_name(expr: relax.Expr) -> str | None:
    """`qconv2d` for a call of relax.mcu.qconv2d, `relax.add` for a call of another Relax op, None for no call."""
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
        return None
    return str(expr.op.name).removeprefix(PREFIX)


def attrs_of(expr: relax.Call) -> Attrs:
    """The attributes of a dialect call as plain Python values."""
    if expr.attrs is None or not isinstance(expr.attrs, tvm.ir.attrs.DictAttrs):
        return {}
    return {str(k): _plain(expr.attrs[k]) for k in expr.attrs.keys()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tvm.tirx.IntImm | tvm.tirx.FloatImm):
        return value.value
    return [_plain(v) for v in value]


def shape_of(expr: relax.Expr) -> list[int]:
    """The static shape of a tensor expression."""
    return shape_of_type(expr.ty)


def dtype_of(expr: relax.Expr) -> str:
    return dtype_of_type(expr.ty)


def shape_of_type(ty: relax.Type) -> list[int]:
    return [int(v) for v in ty.shape.values]


def dtype_of_type(ty: relax.Type) -> str:
    return str(getattr(ty.dtype, "dtype", ty.dtype))


def mask_shape(activation: list[int]) -> list[int]:
    """Shape of the clamp mask of an activation (1, H, W, C): one bit an element, rows padded to a byte."""
    _, height, width, channels = activation
    return [1, height, (width * channels + 7) // 8]


def window_output_shape(x: list[int], out_channels: int, attrs: Attrs) -> list[int]:
    """(1, Ho, Wo, O) of a window that slides over x (1, H, W, C): attrs kernel [kh, kw], stride [vertical,
    horizontal], padding [top, left, bottom, right]."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = attrs["kernel"], attrs["stride"], attrs["padding"]
    return [1, (x[1] + top + bottom - kh) // sy + 1, (x[2] + left + right - kw) // sx + 1, out_channels]


# ---------------------------------------------------------------------- type rules that several families share
def same_type(c: relax.Call) -> relax.Type:
    """The type of the first operand."""
    return c.args[0].ty


def scalar_type(_: relax.Call) -> relax.Type:
    return TensorType([], "float32")


def float_like_first(c: relax.Call) -> relax.Type:
    """float32 of the first operand's shape."""
    return TensorType(shape_of(c.args[0]), "float32")


def adjoint_type(c: relax.Call) -> relax.Type:
    """float32 of the shape that the attribute `shape` says."""
    return TensorType(attrs_of(c)["shape"], "float32")


def pooled_type(c: relax.Call) -> relax.Type:
    """The first operand under a window that slides over it."""
    x = c.args[0]
    return TensorType(window_output_shape(shape_of(x), shape_of(x)[3], attrs_of(c)), dtype_of(x))
