"""Relay's quantised layers, qnn.conv2d and qnn.dense.

Products are summed in int32. In an integer network the sums wait for the requantisation behind them, so that both
become one layer of the dialect."""

from __future__ import annotations

from typing import Unpack

import numpy as np
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams
from mcutrain.tvm_ext.importers.relay.ast import Call
from mcutrain.tvm_ext.importers.relay.operators import conv
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, Sums, array, quantisation_at
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, Value
from mcutrain.tvm_ext.importers.relay.operators.fixed_point import centred, zero_of

TO_OIHW = {"OIHW": (0, 1, 2, 3), "HWIO": (3, 2, 0, 1), "HWOI": (2, 3, 0, 1), "OHWI": (0, 3, 1, 2)}


# ---------------------------------------------------------------------- ordinary Relax
def conv2d(
    c: Context, x: Tensor, w: Tensor, z_x: Value, z_w: Value, s_x: Value, s_w: Value, **a: Unpack[conv.ConvAttributes]
) -> relax.Expr:
    """Compute the int32 sums; the scales only say what a unit of the result is."""
    place = a["kernel_layout"].find("O")
    x, w = centred(c, x, zero_of(c, z_x)), centred(c, w, zero_of(c, z_w), max(place, 0))
    a["out_dtype"] = _sums_dtype(c, a["out_dtype"])
    return conv.conv2d(c, x, w, **a)


def dense(
    c: Context,
    x: Tensor,
    w: Tensor,
    z_x: Value,
    z_w: Value,
    s_x: Value,
    s_w: Value,
    *,
    units: int | None,
    out_dtype: str | None,
) -> relax.Expr:
    x, w = centred(c, x, zero_of(c, z_x)), centred(c, w, zero_of(c, z_w), 0)
    return conv.dense(c, x, w, units=units, out_dtype=_sums_dtype(c, out_dtype))


def _sums_dtype(c: Context, out_dtype: str | None) -> str:
    if out_dtype not in (None, "int32"):
        raise c.fail(f"out_dtype {out_dtype}: expected int32")
    return "int32"


# ---------------------------------------------------------------------- integer networks
def conv2d_int8(reader: Reader, name: str, call: Call, **a: Unpack[conv.ConvAttributes]) -> Known:
    weight, order = array(call, 1, "weight"), a["kernel_layout"]
    if order not in TO_OIHW or weight.ndim != 4:
        raise ModelError(f"kernel layout {order}", f"use {', '.join(TO_OIHW)}")
    if any(d != 1 for d in a["dilation"]):
        raise ModelError(f"dilation {a['dilation']}", "only 1")
    weight, groups = np.ascontiguousarray(weight.transpose(TO_OIHW[order])), a["groups"]
    if groups > 1 and weight.shape[0] == 1:  # one filter a channel, its axes the other way round
        weight = np.ascontiguousarray(weight.transpose(1, 0, 2, 3))
    if groups > 1 and weight.shape[:2] != (groups, 1):
        raise ModelError(f"{groups} groups of a weight {weight.shape}", "only 1 or one for each channel")
    padding, strides = [int(n) for n in a["padding"]], [int(n) for n in a["strides"]]
    top, left, bottom, right = padding * (4 // len(padding))
    vertical, horizontal = strides * (2 // len(strides))
    return _sums(reader, name, call, weight, (vertical, horizontal), (top, left, bottom, right), groups > 1)


def dense_int8(reader: Reader, name: str, call: Call, *, units: int | None, out_dtype: str | None) -> Known:
    return _sums(reader, name, call, array(call, 1, "weight"))


def _sums(
    reader: Reader,
    name: str,
    call: Call,
    weight: np.ndarray,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    depthwise: bool = False,
) -> Sums:
    if weight.dtype != np.int8:
        raise ModelError(f"the weight is {weight.dtype}", "only int8")
    if np.any(array(call, 3, "kernel zero point")):
        raise ModelError("its weight has a zero point", "quantise weights symmetrically")
    q, x = quantisation_at(call, 4, 2), reader.result(call.args[0])
    outputs = len(weight)
    scales = np.broadcast_to(array(call, 5, "kernel scale").astype(np.float64).reshape(-1), (outputs,))
    bias = np.zeros(outputs, np.int32)
    layer = ConvParams(weight, bias, scales, q.scale, q.zero, 1.0, 0, stride, padding, depthwise)
    reader.names[id(weight)] = name
    return Sums(x, layer)


OPERATORS = (
    RelayOperator(
        "qnn.conv2d", conv2d_int8, to_relax=conv2d, attributes=conv.CONV, input_quantisation=(4, 2), has_weight=True
    ),
    RelayOperator(
        "qnn.dense", dense_int8, to_relax=dense, attributes=conv.DENSE, input_quantisation=(4, 2), has_weight=True
    ),
)
