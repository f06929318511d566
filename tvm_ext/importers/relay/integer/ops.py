"""What each operator of an integer Relay network (`qnn.*`) is in the dialect, with TVM's own fixed-point arithmetic: a
31-bit multiplier, one rounding, halves up.

The int32 sums of a convolution wait until their requantisation, and its result until the clip behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams
from mcutrain.tvm_ext.importers.base.fields import LARGEST_SCALE, SMALLEST_SCALE
from mcutrain.tvm_ext.importers.base.network import Quantisation, Value, Window, expect
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant

if TYPE_CHECKING:
    from mcutrain.tvm_ext.importers.relay.integer.network import Reader

ROUNDING = "upward"
TO_OIHW = {"OIHW": (0, 1, 2, 3), "HWIO": (3, 2, 0, 1), "HWOI": (2, 3, 0, 1), "OHWI": (0, 3, 1, 2)}


@dataclass(frozen=True)
class Sums:
    """int32 accumulators of a layer that waits for its requantisation; then its result, which waits for a clip."""

    x: Value
    layer: ConvParams
    is_requantised: bool = False


@dataclass(frozen=True)
class Wide:
    """An int8 activation as int32, or (is_real) dequantised at the end of the network."""

    value: Value
    is_real: bool = False


Known = Value | Sums | Wide | np.ndarray | tuple


def _array(call: Call, index: int, what: str) -> np.ndarray:
    if index >= len(call.args) or not isinstance(call.args[index], Constant):
        raise ModelError(f"its {what} is no constant")
    return call.args[index].value


def scalar(call: Call, index: int) -> float:
    value = _array(call, index, f"operand {index}")
    if value.size != 1:
        raise ModelError(f"operand {index} of {call.op} has {value.size} values; must be one for the whole tensor")
    return float(value.reshape(-1)[0])


def quantisation(call: Call, scale: int, zero: int) -> Quantisation:
    its_scale, its_zero = scalar(call, scale), scalar(call, zero)
    if not SMALLEST_SCALE <= its_scale <= LARGEST_SCALE:
        raise ModelError(f"a scale of {its_scale:.6g}; must be positive and finite")
    if not -128 <= its_zero <= 127:
        raise ModelError(f"a zero point of {its_zero:.6g}; must be an int8")
    return Quantisation(its_scale, int(its_zero))


def quantize(reader: Reader, name: str, call: Call) -> Known:
    q, value = quantisation(call, 1, 2), reader.result(call.args[0])
    expect(q.scale, q.zero, value.quantisation.scale, value.quantisation.zero, name)
    return value


def conv2d(reader: Reader, name: str, call: Call) -> Known:
    attrs, weight = call.attrs, _array(call, 1, "weight")
    order = str(attrs["kernel_layout"])
    if order not in TO_OIHW or weight.ndim != 4:
        raise ModelError(f"kernel layout {order}; use {', '.join(TO_OIHW)}")
    if any(d != 1 for d in attrs["dilation"]):
        raise ModelError(f"dilation {attrs['dilation']}; only 1")
    weight, groups = np.ascontiguousarray(weight.transpose(TO_OIHW[order])), int(attrs["groups"])
    if groups > 1 and weight.shape[0] == 1:  # one filter a channel, its axes the other way round
        weight = np.ascontiguousarray(weight.transpose(1, 0, 2, 3))
    if groups > 1 and weight.shape[:2] != (groups, 1):
        raise ModelError(f"{groups} groups of a weight {weight.shape}; only 1 or one for each channel")
    padding, strides = [int(n) for n in attrs["padding"]], [int(n) for n in attrs["strides"]]
    padding = {1: padding * 4, 2: padding * 2}.get(len(padding), padding)
    more = {"stride": tuple(strides * (2 // len(strides))), "padding": tuple(padding), "depthwise": groups > 1}
    return _sums(reader, name, call, weight, more)


def dense(reader: Reader, name: str, call: Call) -> Known:
    return _sums(reader, name, call, _array(call, 1, "weight"), {})


def _sums(reader: Reader, name: str, call: Call, weight: np.ndarray, more: dict) -> Sums:
    if weight.dtype != np.int8:
        raise ModelError(f"the weight is {weight.dtype}; only int8")
    if np.any(_array(call, 3, "kernel zero point")):
        raise ModelError("its weight has a zero point; quantise weights symmetrically")
    q, x = quantisation(call, 4, 2), reader.result(call.args[0])
    outputs = len(weight)
    scales = np.broadcast_to(_array(call, 5, "kernel scale").astype(np.float64).reshape(-1), (outputs,))
    layer = ConvParams(weight, np.zeros(outputs, np.int32), scales, q.scale, q.zero, 1.0, 0, **more)
    reader.names[id(weight)] = name
    return Sums(x, layer)


def bias(reader: Reader, name: str, call: Call) -> Known:
    sums = next((k for k in map(reader.known, call.args) if isinstance(k, Sums)), None)
    value = next((a.value for a in call.args if isinstance(a, Constant)), None)
    if sums is None or sums.is_requantised or value is None or not reader.is_only_user(call.args[0]):
        raise ModelError("adds something else than a constant to the int32 sums of one layer; use qnn.add")
    if value.size not in (1, len(sums.layer.bias)):
        raise ModelError(f"a bias of {value.shape} for {len(sums.layer.bias)} filters")
    return replace(sums, layer=replace(sums.layer, bias=sums.layer.bias + value.astype(np.int32).reshape(-1)))


def requantize(reader: Reader, name: str, call: Call) -> Known:
    if call.attrs.get("rounding") not in (None, "None", "UPWARD"):
        raise ModelError(f"rounding {call.attrs['rounding']}; only UPWARD, TVM's default")
    if call.attrs.get("out_dtype") not in (None, "int8"):
        raise ModelError(f"requantises to {call.attrs['out_dtype']}; only int8")
    known, out = reader.known(call.args[0]), quantisation(call, 3, 4)
    if not isinstance(known, Sums) or known.is_requantised:
        value, own = reader.result(call.args[0]), quantisation(call, 1, 2)
        expect(own.scale, own.zero, value.quantisation.scale, value.quantisation.zero, name)
        return reader.network.requantise(name, value, out, ROUNDING)
    if np.any(_array(call, 2, "input zero point")):
        raise ModelError("the int32 sums have a zero point; only 0")
    # the factor is what the operator says, in whose rounded scales the product of the layer's may differ a little
    scales = np.broadcast_to(_array(call, 1, "input scale").astype(np.float64).reshape(-1), known.layer.bias.shape)
    layer = replace(known.layer, w_scales=scales / known.layer.x_scale, y_scale=out.scale, y_zero=out.zero,
                    rounding=ROUNDING)  # fmt: skip
    return replace(known, layer=layer, is_requantised=True)


def clip(reader: Reader, name: str, call: Call) -> Known:
    low, high = (int(np.clip(float(call.attrs[n]), -128, 127)) for n in ("a_min", "a_max"))
    known = reader.known(call.args[0])
    if isinstance(known, Sums) and known.is_requantised and reader.is_only_user(call.args[0]):
        layer = known.layer
        return replace(known, layer=replace(layer, lo=max(layer.lo, low), hi=min(layer.hi, high)))
    value = reader.result(call.args[0])
    return value if (low, high) == (-128, 127) else reader.network.requantise(
        name, value, value.quantisation, lo=low, hi=high)  # fmt: skip


def relu(reader: Reader, name: str, call: Call) -> Known:
    return clip(reader, name, replace(call, attrs={"a_min": 0, "a_max": 127}))


def add(reader: Reader, name: str, call: Call) -> Known:
    values = [reader.result(a) for a in call.args[:2]]
    for value, places in zip(values, ((2, 3), (4, 5)), strict=True):
        q = quantisation(call, *places)
        expect(q.scale, q.zero, value.quantisation.scale, value.quantisation.zero, name)
    return reader.network.add(name, *values, quantisation(call, 6, 7), ROUNDING)


def concatenate(reader: Reader, name: str, call: Call) -> Known:
    out, axis = quantisation(call, 3, 4), int(call.attrs["axis"])
    values = [reader.result(f) for f in call.args[0].fields]
    for value, scale, zero in zip(values, *(call.args[i].fields for i in (1, 2)), strict=True):
        own = quantisation(replace(call, args=(scale, zero)), 0, 1)
        expect(own.scale, own.zero, value.quantisation.scale, value.quantisation.zero, name)
    if axis not in ((3, -1) if reader.is_nhwc else (1,)) and not all(v.order for v in values):
        raise ModelError(f"joins along axis {axis}; only along the channels")
    return reader.network.concat(name, [
        v if v.quantisation == out else reader.network.requantise(f"{name}.{i}", v, out, ROUNDING)
        for i, v in enumerate(values)
    ])  # fmt: skip


def cast(reader: Reader, name: str, call: Call) -> Known:
    dtype = str(call.attrs["dtype"])
    if dtype not in ("int8", "int32"):
        raise ModelError(f"casts to {dtype}; only int32 around an average pool, and back")
    value = reader.result(call.args[0])
    return value if dtype == "int8" else Wide(value)


def average(reader: Reader, name: str, call: Call) -> Known:
    if not isinstance(reader.known(call.args[0]), Wide):
        raise ModelError("averages int8 in int8; cast to int32 before it and back behind it")
    value, attrs = reader.result(call.args[0]), call.attrs
    window = Window(tuple(value.shape[1:3])) if call.op == "nn.global_avg_pool2d" else _window(attrs)
    pooled = reader.network.avg_pool(name, value, window, rounding="truncate",
                                     counts_padding=bool(attrs.get("count_include_pad")))  # fmt: skip
    return Wide(pooled)


def maximum(reader: Reader, name: str, call: Call) -> Known:
    return reader.network.max_pool(name, reader.result(call.args[0]), _window(call.attrs))


def _window(attrs: dict) -> Window:
    if attrs.get("ceil_mode") or any(d != 1 for d in attrs.get("dilation", [])):
        raise ModelError("ceil mode or dilation; only plain windows")
    pair = [[int(n) for n in attrs[k]] for k in ("pool_size", "strides", "padding")]
    size, stride, padding = (p * 2 if len(p) == 1 else p for p in pair)
    return Window(tuple(size), tuple(stride), tuple(padding * (4 // len(padding))))


def flatten(reader: Reader, name: str, call: Call) -> Known:
    known = reader.known(call.args[0])
    value = known.value if isinstance(known, Wide) else reader.result(call.args[0])
    shape = getattr(call.type, "shape", None)
    if call.op == "reshape" and shape is None:
        shape = [n for n in call.attrs["newshape"] if n != 1]
    if call.op == "reshape" and len([n for n in shape if n != 1]) > 1:
        raise ModelError(f"reshapes to {list(shape)}; only to a vector")
    flat = reader.network.flatten(value, "HWC" if reader.is_nhwc else "CHW")
    return Wide(flat, known.is_real) if isinstance(known, Wide) else flat


def pad(reader: Reader, name: str, call: Call) -> Known:
    value, width = reader.result(call.args[0]), call.attrs["pad_width"]
    if scalar(call, 1) != value.quantisation.zero or str(call.attrs.get("pad_mode", "constant")) != "constant":
        raise ModelError(f"pads with something else than its zero point {value.quantisation.zero}")
    if any(any(width[i]) for i in ((0, 3) if reader.is_nhwc else (0, 1))):
        raise ModelError("pads the batch or the channels; only the image")
    rows, columns = (width[1], width[2]) if reader.is_nhwc else (width[2], width[3])
    return reader.network.pad(name, value, (rows[0], columns[0], rows[1], columns[1]))


def dequantize(reader: Reader, name: str, call: Call) -> Known:
    return Wide(reader.result(call.args[0]), True)


def ending(reader: Reader, name: str, call: Call) -> Known:
    """A softmax or sigmoid: the loss works on what stands before it."""
    known = reader.known(call.args[0])
    if not isinstance(known, Wide) or not known.is_real:
        raise ModelError("works on integers; dequantize before it")
    return known


def same(reader: Reader, name: str, call: Call) -> Known:
    return reader.known(call.args[0])


RULES: dict[str, Callable[[Reader, str, Call], Known]] = {
    "qnn.quantize": quantize,
    "qnn.conv2d": conv2d,
    "qnn.dense": dense,
    "nn.bias_add": bias,
    "add": bias,
    "qnn.requantize": requantize,
    "clip": clip,
    "nn.relu": relu,
    "qnn.add": add,
    "qnn.concatenate": concatenate,
    "cast": cast,
    "nn.avg_pool2d": average,
    "nn.global_avg_pool2d": average,
    "nn.max_pool2d": maximum,
    "nn.pad": pad,
    "reshape": flatten,
    "squeeze": flatten,
    "nn.batch_flatten": flatten,
    "qnn.dequantize": dequantize,
    "nn.softmax": ending,
    "sigmoid": ending,
    "nn.dropout": same,
    "annotation.stop_fusion": same,
}
