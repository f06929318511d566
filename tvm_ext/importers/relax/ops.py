"""What each Relax operator is in the operator graph: one function an operator, in one table.

Each takes the reader (relax_module.py), the variable's name, the call and its operands, and gives what the variable is.
An operator of constants alone gives a constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import shape_of

if TYPE_CHECKING:
    from mcutrain.tvm_ext.importers.relax.load import _Reader

LAYOUTS = ("data_layout", "layout")
TO_OIHW = {"OIHW": (0, 1, 2, 3), "HWIO": (3, 2, 0, 1), "OHWI": (0, 3, 1, 2), "HWOI": (2, 3, 0, 1), "IOHW": None}


@dataclass(frozen=True)
class Given:
    """A tensor of the graph by name; a constant (its name, if it has one, and value); or the fields of a tuple.
    scale, zero, axis: of a constant that stands quantised, value holding its integers."""

    name: str | None
    value: np.ndarray | None = None
    fields: tuple[Given, ...] = ()
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    axis: int = 0

    def transposed(self, axes: Sequence[int]) -> Given:
        """Of a constant."""
        value = np.ascontiguousarray(self.value.transpose(axes))
        return replace(self, value=value, axis=list(axes).index(self.axis % len(axes)))


Rule = Callable[["_Reader", str, relax.Call, list[Given]], Given]


def _ints(values: object) -> list[int]:
    return [int(v) for v in values]


def _layer(name: str, weight: Given) -> str:
    """A layer is called as its weight is, where that has a name."""
    stem = weight.name or ""
    for end in (".weight", "_weight", ".kernel", "_kernel"):
        stem = stem.removesuffix(end)
    return stem if stem and stem != weight.name else name


def _same(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    return args[0]


def _plain(op: str) -> Rule:
    """An operator that differs in its name alone."""

    def rule(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
        return reader.add(op, name, [reader.operand(a, f"{name}.{i}") for i, a in enumerate(args)])

    return rule


def conv(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    x, weight = args
    attrs, (one_d, order) = call.attrs, (len(call.attrs.strides) == 1, str(call.attrs.kernel_layout))
    if weight.value is None:
        raise ModelError(f"{name}: the weight is no constant; bind the parameters")
    if one_d:
        if order != "OIW" or reader.is_nhwc:
            raise ModelError(f"{name}: a one-dimensional convolution in {order}; use NCW and OIW")
    elif TO_OIHW.get(order) is None:
        raise ModelError(f"{name}: kernel layout {order}; use OIHW, HWIO, OHWI or HWOI")
    else:
        weight = weight.transposed(TO_OIHW[order])
    pads = _ints(attrs.padding)
    if one_d:
        pads = pads * 2 if len(pads) == 1 else pads
    else:
        pads = {1: pads * 4, 2: pads * 2, 4: pads}[len(pads)]
    groups = int(attrs.groups)
    if groups > 1 and weight.value.shape[1] != 1 and weight.value.shape[0] == 1:  # its axes the other way round
        weight = weight.transposed((1, 0, *range(2, weight.value.ndim)))
    more = {"strides": _ints(attrs.strides), "pads": pads, "dilations": _ints(attrs.dilation), "group": groups}
    more["kernel_shape"] = list(weight.value.shape[2:])
    inputs = [reader.operand(x, name), reader.operand(weight, f"{name}.weight")]
    return reader.add("Conv", name, inputs, more, _layer(name, weight))


def matmul(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    x, weight = args
    inputs = [reader.operand(x, f"{name}.x"), reader.operand(weight, f"{name}.weight")]
    return reader.add("MatMul", name, inputs, layer=_layer(name, weight))


def sums(op: str) -> Rule:
    """Elementwise with broadcasting; a constant's axes of one are as in numpy."""

    def rule(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
        if reader.is_nhwc:
            args = [_bias_outside(reader, name, a, call) for a in args]
        return reader.add(op, name, [reader.operand(a, f"{name}.{i}") for i, a in enumerate(args)])

    return rule


def _bias_outside(reader: _Reader, name: str, given: Given, call: relax.Call) -> Given:
    """A constant over channels that stand last, as one over channels that stand second."""
    if given.value is None or len(shape_of(call)) != 4 or given.value.ndim == 0:
        return given
    wide = given.value.reshape((1,) * (4 - given.value.ndim) + given.value.shape)
    return Given(given.name, np.ascontiguousarray(wide.transpose(0, 3, 1, 2)))


def clip(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    low, high = (float(getattr(a.value, "value", a.value)) for a in call.args[1:3])
    return _clamped(reader, name, args[0], low, high)


def _clamped(reader: _Reader, name: str, x: Given, low: float, high: float) -> Given:
    bounds = [reader.operand(Given(None, np.asarray(v, np.float32)), f"{name}.bound") for v in (low, high)]
    return reader.add("Clip", name, [reader.operand(x, name), *bounds])


def pool(op: str) -> Rule:
    def rule(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
        attrs = call.attrs
        pads = _ints(attrs.padding)
        kernel = _ints(attrs.pool_size)
        pads = {1: pads * 4, 2: pads * 2, 4: pads}[len(pads)] if len(kernel) == 2 else pads
        more = {"kernel_shape": kernel, "strides": _ints(attrs.strides), "pads": pads}
        more |= {"dilations": _ints(attrs.dilation), "ceil_mode": int(attrs.ceil_mode)}
        if op == "AveragePool":
            more["count_include_pad"] = int(attrs.count_include_pad)
        return reader.add(op, name, [reader.operand(args[0], name)], more)

    return rule


def adaptive_average(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    if call.attrs.output_size is not None and set(_ints(call.attrs.output_size)) != {1}:
        raise ModelError(f"{name}: adaptive pooling to {_ints(call.attrs.output_size)}; use a fixed window, or 1 x 1")
    return reader.add("GlobalAveragePool", name, [reader.operand(args[0], name)])


def mean(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call.args[0]))
    axes = [a % rank for a in _ints(call.attrs.axis)] if call.attrs.axis is not None else list(range(rank))
    if reader.is_nhwc and rank == 4:
        axes = [(0, 2, 3, 1)[a] for a in axes]
    more = {"axes": sorted(axes), "keepdims": int(call.attrs.keepdims)}
    return reader.add("ReduceMean", name, [reader.operand(args[0], name)], more)


def reshape(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    shape = shape_of(call)
    if args[0].value is not None:
        if args[0].scale is not None and args[0].scale.size > 1:
            raise ModelError(f"{name}: reshapes a weight that is quantised channel by channel; reshape it before")
        return replace(args[0], value=args[0].value.reshape(shape), axis=0)
    source = reader.operand(args[0], name)
    before = shape_of(call.args[0])
    if reader.is_nhwc and len(before) == 4 and len(shape) != 4 and before[1] * before[2] > 1 and before[3] > 1:
        source = reader.add("Transpose", f"{name}.nhwc", [source], {"perm": [0, 2, 3, 1]}).name
    outside = [shape[i] for i in (0, 3, 1, 2)] if reader.is_nhwc and len(shape) == 4 else shape
    target = reader.operand(Given(None, np.asarray(outside, np.int64)), f"{name}.shape")
    return reader.add("Reshape", name, [source, target])


def permute(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call.args[0]))
    axes = _ints(call.attrs.axes) if call.attrs.axes is not None else list(range(rank))[::-1]
    if args[0].value is not None:
        return args[0].transposed(axes)
    if reader.is_nhwc and rank == 4:
        raise ModelError(f"{name}: transposes inside a network of NHWC layout; keep one layout throughout")
    return reader.add("Transpose", name, [reader.operand(args[0], name)], {"perm": axes})


def concat(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call))
    axis = int(call.attrs.axis) % rank
    axis = (0, 2, 3, 1)[axis] if reader.is_nhwc and rank == 4 else axis
    inputs = [reader.operand(f, f"{name}.{i}") for i, f in enumerate(args[0].fields)]
    return reader.add("Concat", name, inputs, {"axis": axis})


def pad(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    width = _ints(call.attrs.pad_width)
    before, behind = width[::2], width[1::2]
    if reader.is_nhwc and len(before) == 4:
        before, behind = ([side[i] for i in (0, 3, 1, 2)] for side in (before, behind))
    value = reader.operand(Given(None, np.asarray(call.attrs.pad_value, np.float32)), f"{name}.value")
    pads = reader.operand(Given(None, np.asarray(before + behind, np.int64)), f"{name}.pads")
    return reader.add("Pad", name, [reader.operand(args[0], name), pads, value], {"mode": str(call.attrs.pad_mode)})


def batch_norm(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank, attrs = len(shape_of(call.args[0])), call.attrs
    channels = 3 if reader.is_nhwc and rank == 4 else 1
    if int(attrs.axis) % rank != channels or not (attrs.center and attrs.scale):
        raise ModelError(f"{name}: normalises axis {int(attrs.axis)}; only the channels, with scale and centre")
    inputs = [reader.operand(a, f"{name}.{i}") for i, a in enumerate(args)]
    return reader.add("BatchNormalization", name, inputs, {"epsilon": float(call.attrs.epsilon)})


def quantise(op: str) -> Rule:
    def rule(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
        axis, rank = int(call.attrs.axis), len(shape_of(call.args[0]))
        axis = axis % rank if rank else 0
        if reader.is_nhwc and rank == 4 and args[0].value is None:
            axis = (0, 2, 3, 1)[axis]
        x, scale, zero = args
        if op == "DequantizeLinear" and x.value is not None:
            return Given(x.name, x.value, scale=scale.value, zero=zero.value, axis=axis)
        inputs = [reader.operand(a, f"{name}.{i}") for i, a in enumerate(args)]
        return reader.add(op, name, inputs, {"axis": axis})

    return rule


def astype(reader: _Reader, name: str, call: relax.Call, args: list[Given]) -> Given:
    if args[0].value is None:
        raise ModelError(f"{name}: casts an activation; quantise it with R.quantize instead")
    return Given(args[0].name, args[0].value.astype(str(call.attrs.dtype)))


OPS: dict[str, Rule] = {
    "relax.nn.conv2d": conv,
    "relax.nn.conv1d": conv,
    "relax.matmul": matmul,
    "relax.add": sums("Add"),
    "relax.nn.relu": _plain("Relu"),
    "relax.nn.relu6": lambda reader, name, call, args: _clamped(reader, name, args[0], 0, 6),
    "relax.clip": clip,
    "relax.nn.max_pool2d": pool("MaxPool"),
    "relax.nn.avg_pool2d": pool("AveragePool"),
    "relax.nn.adaptive_avg_pool2d": adaptive_average,
    "relax.mean": mean,
    "relax.reshape": reshape,
    "relax.flatten": reshape,
    "relax.squeeze": reshape,
    "relax.expand_dims": reshape,
    "relax.permute_dims": permute,
    "relax.concat": concat,
    "relax.nn.pad": pad,
    "relax.nn.batch_norm": batch_norm,
    "relax.nn.dropout": _same,
    "relax.nn.softmax": _plain("Softmax"),
    "relax.nn.log_softmax": _plain("LogSoftmax"),
    "relax.sigmoid": _plain("Sigmoid"),
    "relax.quantize": quantise("QuantizeLinear"),
    "relax.dequantize": quantise("DequantizeLinear"),
    "relax.astype": astype,
}
