"""Relay's convolutions and matrix products, for floats and for integers with a wider accumulator."""

from __future__ import annotations

from typing import TypedDict, Unpack

from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import (
    DTYPE,
    INT_OR_NONE,
    LAYOUT,
    LIST_OR_NONE,
    NO,
    NO_LAYOUT,
    integer,
    listed,
    reference,
    string,
)
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, dtype_of, shape_of

DATA_LAYOUTS = ("NCHW", "NHWC")
CONV = {
    "strides": listed(1, 1),
    "padding": listed(0, 0),
    "dilation": listed(1, 1),
    "groups": integer(1),
    "channels": INT_OR_NONE,
    "kernel_size": LIST_OR_NONE,
    "data_layout": LAYOUT,
    "kernel_layout": reference("string", "OIHW"),
    "out_layout": NO_LAYOUT,
    "out_dtype": DTYPE,
}
CONV_TRANSPOSE = CONV | {
    "output_padding": listed(0, 0),
    "data_layout": string("NCHW"),
    "kernel_layout": string("IOHW"),
    "out_layout": string(""),
}
DENSE = {"units": INT_OR_NONE, "out_dtype": DTYPE}
BATCH_MATMUL = {"out_dtype": DTYPE, "transpose_a": NO, "transpose_b": NO}


class ConvAttributes(TypedDict):
    """The attributes CONV have these types."""

    strides: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int
    channels: int | None
    kernel_size: list[int] | None
    data_layout: str
    kernel_layout: str
    out_layout: str
    out_dtype: str | None


class ConvTransposeAttributes(ConvAttributes):
    """The attributes CONV_TRANSPOSE have these types."""

    output_padding: list[int]


def widen(c: Context, x: Tensor, w: Tensor, out_dtype: str | None) -> tuple[Tensor, Tensor]:
    """Cast both operands to the dtype of the result, so that products are summed in it."""
    out_dtype = out_dtype or dtype_of(x)
    return c.cast(x, out_dtype), c.cast(w, out_dtype)


def check_layouts(c: Context, data_layout: str, out_layout: str, kernel_layout: str = "OIHW") -> None:
    if data_layout not in DATA_LAYOUTS or out_layout not in ("", data_layout):
        raise c.fail(f"layout {data_layout} -> {out_layout or data_layout}: expected one of {', '.join(DATA_LAYOUTS)}")
    if sorted(kernel_layout) != sorted("OIHW"):
        raise c.fail(
            f"kernel layout {kernel_layout}: expected OIHW, HWIO or HWOI; save the model before layouts change"
        )


def check_ranks(c: Context, x: Tensor, weight: Tensor) -> None:
    if len(shape_of(weight)) != 4 or len(shape_of(x)) != 4:
        raise c.fail(f"data {list(shape_of(x))} and weight {list(shape_of(weight))}: both need four dimensions")


def as_oihw(c: Context, x: Tensor, weight: Tensor, kernel_layout: str, channel_axis: int, groups: int) -> Tensor:
    """Transpose the weight to OIHW with I the channels of one group.

    A depthwise weight of Relay has O = the input's channels and I = the multiplier: its output channel
    c * multiplier + j is weight[c, j]."""
    check_ranks(c, x, weight)
    if kernel_layout != "OIHW":
        weight = c(op.permute_dims(weight, [kernel_layout.index(d) for d in "OIHW"]))
    o, i, h, w = shape_of(weight)
    if groups > 1 and groups == o == shape_of(x)[channel_axis] and i > 1:
        weight = c(op.reshape(weight, (o * i, 1, h, w)))
    return weight


def conv2d(c: Context, x: Tensor, weight: Tensor, **a: Unpack[ConvAttributes]) -> relax.Expr:
    check_layouts(c, a["data_layout"], a["out_layout"], a["kernel_layout"])
    channel_axis, groups = a["data_layout"].index("C"), a["groups"]
    if not 1 <= groups <= 1 << 20:
        raise c.fail(f"groups is {groups}, expected 1 or more")
    weight = as_oihw(c, x, weight, a["kernel_layout"], channel_axis, groups)
    o, i, *kernel = shape_of(weight)
    if i * groups != shape_of(x)[channel_axis] or o % groups:
        raise c.fail(f"weight {[o, i, *kernel]} (OIHW) in {groups} groups does not fit data {list(shape_of(x))}")
    if a["channels"] not in (None, o) or a["kernel_size"] not in (None, kernel):
        raise c.fail(f"channels={a['channels']}, kernel_size={a['kernel_size']}, but the weight is {[o, i, *kernel]}")
    x, weight = widen(c, x, weight, a["out_dtype"])
    strides, dilation = c.pair(a["strides"], "strides"), c.pair(a["dilation"], "dilation")
    padding = c.padding(a["padding"])
    return op.nn.conv2d(x, weight, strides, padding, dilation, groups, a["data_layout"], "OIHW", a["data_layout"])


def conv2d_transpose(c: Context, x: Tensor, weight: Tensor, **a: Unpack[ConvTransposeAttributes]) -> relax.Expr:
    """Relax computes it in NCHW; the weight has the input's channels first."""
    check_layouts(c, a["data_layout"], a["out_layout"], a["kernel_layout"])
    if a["kernel_layout"] == "OIHW":
        raise c.fail("kernel layout OIHW means different things in different TVM versions; say IOHW")
    check_ranks(c, x, weight)
    is_nhwc = a["data_layout"] == "NHWC"
    x, weight = widen(c, x, weight, a["out_dtype"])
    x = c(op.permute_dims(x, [0, 3, 1, 2])) if is_nhwc else x
    if a["kernel_layout"] != "IOHW":
        weight = c(op.permute_dims(weight, [a["kernel_layout"].index(d) for d in "IOHW"]))
    if a["kernel_size"] not in (None, list(shape_of(weight)[2:])):
        raise c.fail(f"kernel_size={a['kernel_size']}, but the weight is {list(shape_of(weight))} (IOHW)")
    strides, dilation = c.pair(a["strides"], "strides"), c.pair(a["dilation"], "dilation")
    padding, extra = c.padding(a["padding"]), c.pair(a["output_padding"], "output_padding", least=0)
    y = op.nn.conv2d_transpose(x, weight, strides, padding, extra, dilation, a["groups"])
    return op.permute_dims(c(y), [0, 2, 3, 1]) if is_nhwc else y


def dense(c: Context, x: Tensor, weight: Tensor, *, units: int | None, out_dtype: str | None) -> relax.Expr:
    """Multiply x by the transposed weight [units, inputs]."""
    return matmul(c, x, weight, units=units, out_dtype=out_dtype, transpose_a=False, transpose_b=True)


def matmul(
    c: Context,
    x: Tensor,
    y: Tensor,
    *,
    out_dtype: str | None,
    transpose_a: bool,
    transpose_b: bool,
    units: int | None = None,
) -> relax.Expr:
    """Multiply over the last axes, batched over the ones before."""
    x, y = widen(c, x, y, out_dtype)
    if min(len(shape_of(x)), len(shape_of(y))) < 2:
        raise c.fail(f"operands {list(shape_of(x))} and {list(shape_of(y))}: both need two dimensions or more")
    x = _swapped(c, x) if transpose_a else x
    y = _swapped(c, y) if transpose_b else y
    if units not in (None, shape_of(y)[-1]):
        raise c.fail(f"units={units}, but the second operand has {shape_of(y)[-1]}")
    return op.matmul(x, y)


def _swapped(c: Context, x: Tensor) -> Tensor:
    rank = len(shape_of(x))
    return c(op.permute_dims(x, [*range(rank - 2), rank - 1, rank - 2]))


OPERATORS = (
    RelayOperator("nn.conv2d", to_relax=conv2d, attributes=CONV),
    RelayOperator("nn.conv2d_transpose", to_relax=conv2d_transpose, attributes=CONV_TRANSPOSE),
    RelayOperator("nn.dense", to_relax=dense, attributes=DENSE),
    RelayOperator("nn.matmul", to_relax=matmul, attributes=DENSE | BATCH_MATMUL),
    RelayOperator("nn.batch_matmul", to_relax=matmul, attributes=BATCH_MATMUL),
)
