"""Relay's pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, Unpack

from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.values import Value, Window
from mcutrain.tvm_ext.importers.relay.ast import Call
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import (
    LAYOUT,
    LISTED,
    NO,
    NO_LAYOUT,
    listed,
    reference,
    string,
)
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, Wide
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, dtype_of, is_integer, shape_of
from mcutrain.tvm_ext.importers.relay.operators.conv import check_layouts
from mcutrain.tvm_ext.importers.relay.operators.reduce import mean_over

LARGEST_ADAPTIVE = 64
POOL = {
    "pool_size": LISTED,
    "strides": listed(1, 1),
    "dilation": listed(1, 1),
    "padding": listed(0, 0),
    "layout": LAYOUT,
    "out_layout": NO_LAYOUT,
    "ceil_mode": NO,
}
GLOBAL = {"layout": LAYOUT, "out_layout": NO_LAYOUT}
ADAPTIVE = {"output_size": reference("list", []), "layout": string("NCHW"), "out_layout": NO_LAYOUT}


class PoolAttributes(TypedDict):
    """The attributes POOL have these types."""

    pool_size: list[int]
    strides: list[int]
    dilation: list[int]
    padding: list[int]
    layout: str
    out_layout: str
    ceil_mode: bool


# ---------------------------------------------------------------------- ordinary Relax
def spatial_axes(c: Context, x: Tensor, layout: str, out_layout: str = "") -> list[int]:
    """Find where H and W are."""
    check_layouts(c, layout, out_layout)
    if len(shape_of(x)) != 4:
        raise c.fail(f"data of shape {list(shape_of(x))}: expected four dimensions ({layout})")
    return [layout.index("H"), layout.index("W")]


def _window(c: Context, x: Tensor, a: PoolAttributes) -> list[object]:
    """Return what Relax's pools take behind x: size, strides, padding, dilation, ceil mode."""
    axes, size = spatial_axes(c, x, a["layout"], a["out_layout"]), c.pair(a["pool_size"], "pool_size")
    dilation, padding = c.pair(a["dilation"], "dilation"), c.padding(a["padding"])
    for i, axis in enumerate(axes):
        room = shape_of(x)[axis] + padding[i] + padding[i + 2]
        if (size[i] - 1) * dilation[i] + 1 > room:
            raise c.fail(f"a window of {list(size)} does not fit {list(shape_of(x))} with padding {list(padding)}")
    return [size, c.pair(a["strides"], "strides"), padding, dilation, a["ceil_mode"]]


def max_pool2d(c: Context, x: Tensor, **a: Unpack[PoolAttributes]) -> relax.Expr:
    return op.nn.max_pool2d(x, *_window(c, x, a), layout=a["layout"])


def avg_pool2d(c: Context, x: Tensor, *, count_include_pad: bool, **a: Unpack[PoolAttributes]) -> relax.Expr:
    """Average over a window. Integers are divided with truncation."""
    window = _window(c, x, a)
    return _in_int64(c, x, lambda wide: op.nn.avg_pool2d(wide, *window, count_include_pad, layout=a["layout"]))


def _in_int64(c: Context, x: Tensor, average: Callable[[Tensor], relax.Expr]) -> relax.Expr:
    """Average integers: Relax's pools count in int64, and give int64 whatever their type says."""
    if not is_integer(x):
        return average(x)
    return op.astype(c(average(c.cast(x, "int64"))), dtype_of(x))


def global_avg_pool2d(c: Context, x: Tensor, *, layout: str, out_layout: str) -> relax.Expr:
    return mean_over(c, x, spatial_axes(c, x, layout, out_layout), keepdims=True)


def global_max_pool2d(c: Context, x: Tensor, *, layout: str, out_layout: str) -> relax.Expr:
    return op.max(x, spatial_axes(c, x, layout, out_layout), keepdims=True)


def _adaptive(over: Callable[[Context, Tensor, int], relax.Expr]) -> Conversion:
    def convert(c: Context, x: Tensor, *, output_size: list[int], layout: str, out_layout: str) -> relax.Expr:
        """Output i covers the inputs from floor(i * n / m) to ceil((i + 1) * n / m); rows come before columns."""
        axes = spatial_axes(c, x, layout, out_layout)
        sizes = c.pair(output_size, "output_size") if output_size else [shape_of(x)[a] for a in axes]
        for axis, m in zip(axes, sizes, strict=True):
            n = shape_of(x)[axis]
            if m > LARGEST_ADAPTIVE:
                raise c.fail(f"output_size {m} is more than {LARGEST_ADAPTIVE}; use a pooling of fixed size")
            bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            parts = [over(c, c(op.strided_slice(x, [axis], [low], [high])), axis) for low, high in bounds]
            joined = op.concat([c(p) for p in parts], axis)
            x = c(joined) if axis == axes[0] else x
        return joined

    return convert


def adaptive_avg_pool2d(c: Context, x: Tensor, *, output_size: list[int], layout: str, out_layout: str) -> relax.Expr:
    spatial_axes(c, x, layout, out_layout)
    size = c.pair(output_size, "output_size") if output_size else None
    return _in_int64(c, x, lambda wide: op.nn.adaptive_avg_pool2d(wide, size, layout))


def _largest(c: Context, part: Tensor, axis: int) -> relax.Expr:
    return op.max(part, [axis], keepdims=True)


# ---------------------------------------------------------------------- integer networks
def average(reader: Reader, name: str, call: Call, *, count_include_pad: bool, **a: Unpack[PoolAttributes]) -> Known:
    value = _widened(reader, call)
    return Wide(reader.network.avg_pool(name, value, _window_of(a), None, "truncate", count_include_pad))


def global_average(reader: Reader, name: str, call: Call, *, layout: str, out_layout: str) -> Known:
    value = _widened(reader, call)
    return Wide(reader.network.avg_pool(name, value, Window((value.shape[1], value.shape[2])), None, "truncate"))


def _widened(reader: Reader, call: Call) -> Value:
    if not isinstance(reader.known(call.args[0]), Wide):
        raise ModelError("averages int8 in int8", "cast to int32 before it and back behind it")
    return reader.result(call.args[0])


def maximum(reader: Reader, name: str, call: Call, **a: Unpack[PoolAttributes]) -> Known:
    return reader.network.max_pool(name, reader.result(call.args[0]), _window_of(a))


def _window_of(a: PoolAttributes) -> Window:
    if a["ceil_mode"] or any(d != 1 for d in a["dilation"]):
        raise ModelError("ceil mode or dilation", "only plain windows")
    size, stride = ([int(n) for n in pair] * (2 // len(pair)) for pair in (a["pool_size"], a["strides"]))
    padding = [int(n) for n in a["padding"]]
    (height, width), (vertical, horizontal) = size, stride
    top, left, bottom, right = padding * (4 // len(padding))
    return Window((height, width), (vertical, horizontal), (top, left, bottom, right))


OPERATORS = (
    RelayOperator("nn.max_pool2d", maximum, to_relax=max_pool2d, attributes=POOL),
    RelayOperator("nn.avg_pool2d", average, to_relax=avg_pool2d, attributes=POOL | {"count_include_pad": NO}),
    RelayOperator("nn.global_avg_pool2d", global_average, to_relax=global_avg_pool2d, attributes=GLOBAL),
    RelayOperator("nn.global_max_pool2d", to_relax=global_max_pool2d, attributes=GLOBAL),
    RelayOperator("nn.adaptive_avg_pool2d", to_relax=adaptive_avg_pool2d, attributes=ADAPTIVE),
    RelayOperator("nn.adaptive_max_pool2d", to_relax=_adaptive(_largest), attributes=ADAPTIVE),
)
