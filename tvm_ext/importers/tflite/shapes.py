"""TFLite operators over windows and shapes: pools, means, padding, and what only names the same bytes anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Value, Window
from mcutrain.tvm_ext.importers.tflite.context import (
    WINDOW,
    Import,
    NamedOperator,
    Padding,
    Record,
    check_ratio,
    flat,
    fused_clamp,
    option,
    quantisation,
    same,
    strides,
    window_padding,
)
from mcutrain.tvm_ext.importers.tflite.ops import ROUNDING

LARGEST_PADDING = 1 << 12
LARGEST_SUM = 1 << 22  # int8 numbers less a zero point
# MEAN and AVERAGE_POOL_2D do not round alike: the mean's divisor goes into the multiplier
MEAN_ROUNDING = "tflite_mean"


def _average_pool(state: Import, step: NamedOperator) -> Value:
    x, out = state.image(step), quantisation(state.output(step), step.name)
    same(x.steps, out, step.name)
    lo, hi = fused_clamp(step, out)
    return state.network.avg_pool(step.name, x, _window(state, step, x), out, ROUNDING, lo=lo, hi=hi)


def _max_pool(state: Import, step: NamedOperator) -> Value:
    """A maximum, with a clamp behind it where the activation is one."""
    x, out = state.image(step), quantisation(state.output(step), step.name)
    same(x.steps, out, step.name)
    y = state.network.max_pool(step.name, x, _window(state, step, x))
    lo, hi = fused_clamp(step, out)
    if (lo, hi) == (-128, 127):
        return y
    return state.network.requantise(f"{step.name}.clamp", y, out, ROUNDING, lo, hi)


def _window(state: Import, step: NamedOperator, x: Value) -> Window:
    kernel, stride = (option(step, "FilterHeight"), option(step, "FilterWidth")), strides(step)
    padding = window_padding(state, step, x, kernel, stride)
    _check_sum(step, kernel)
    if any(p >= kernel[i % 2] for i, p in enumerate(padding)):
        raise LayerError(step.name, f"padding {list(padding)} around a window of {list(kernel)}: some see no pixel")
    return Window(kernel, stride, padding)


def _check_sum(step: NamedOperator, kernel: tuple[int, int]) -> None:
    if kernel[0] * kernel[1] > LARGEST_SUM:
        raise LayerError(step.name, f"a window of {list(kernel)}: the sum of its int8 numbers can leave int32")


def _mean(state: Import, step: NamedOperator) -> Value:
    """A mean over height, width or both; an axis of length 1 may be left out."""
    x, rank = state.image(step), len(state.tensor(step, 0).shape)
    axes = {int(axis) + (rank if axis < 0 else 0) for axis in state.constant(step, 1, ("int32",)).reshape(-1)[:16]}
    if rank not in (3, 4) or not axes or not axes <= set(range(1, rank - 1)):
        raise LayerError(step.name, f"a mean over the axes {sorted(axes)}", "only height and width are supported")
    height, width = (x.shape[i] if rank == 3 or i in axes else 1 for i in (1, 2))
    kernel = height, width
    out = quantisation(state.output(step), step.name)
    check_ratio(x.steps.scale, out.scale, step.name)
    _check_sum(step, kernel)
    return state.network.avg_pool(step.name, x, Window(kernel, kernel), out, MEAN_ROUNDING)


def _pad(state: Import, step: NamedOperator) -> Value:
    """A border, taken over by the operator behind it where that pads with the same value."""
    x, out = state.image(step), quantisation(state.output(step), step.name)
    same(x.steps, out, step.name)
    padding = _paddings(state, step, x)
    value = out.zero
    if step.op == "PADV2":
        values = state.constant(step, 2, ("int8",))
        if values.size != 1:
            raise LayerError(step.name, f"pads with {values.size} values", "one is expected")
        value = int(values.reshape(-1)[0])
    readers = state.readers.get(step.outputs[0], [])
    is_zero_read = value == out.zero and readers in (["CONV_2D"], ["DEPTHWISE_CONV_2D"])
    if is_zero_read or (value == -128 and readers == ["MAX_POOL_2D"]):  # padding never wins in a maximum
        state.padding[step.outputs[0]] = padding
        return x
    if value != out.zero:
        raise LayerError(step.name, f"pads with {value}, which is not the zero point {out.zero}", "pad with 0.0")
    return state.network.pad(step.name, x, padding)


def _paddings(state: Import, step: NamedOperator, x: Value) -> Padding:
    rank = len(state.tensor(step, 0).shape)
    table = state.constant(step, 1).astype(np.int64)
    if rank not in (3, 4) or table.shape != (rank, 2) or table.min() < 0 or table.max() > LARGEST_PADDING:
        raise LayerError(step.name, f"a table of paddings that does not fit its {rank} dimensions", "convert anew")
    if table[0].any() or table[-1].any() or (rank == 3 and x.shape[1] != 1):
        raise LayerError(step.name, "pads the batch or the channels", "only height and width can be padded")
    (top, bottom), (left, right) = table[1:3].tolist() if rank == 4 else [[0, 0], table[1].tolist()]
    return top, left, bottom, right


def _reshape(state: Import, step: NamedOperator) -> Value:
    """A flatten, or the same image under another rank. The shape is the output tensor's own."""
    x, tensor = state.value(step), state.output(step)
    same(x.steps, quantisation(tensor, step.name), step.name)
    shape = list(tensor.shape)
    if tensor.size != x.features or min(shape, default=1) < 1:
        raise LayerError(step.name, f"{x.features} elements as {shape}", "export with a batch size of 1")
    if shape == x.shape or (len(shape) in (2, 3) and shape[-1] == x.shape[3]):
        return replace(x, order=None)
    is_vector = max(shape, default=1) == tensor.size
    is_end = not any(state.readers.get(step.outputs[0], [])) or len(shape) < 2
    if is_vector or is_end:
        return flat(state, x)
    raise LayerError(
        step.name, f"{x.shape} as {shape}", "only a flatten, or a shape that keeps height, width and channels"
    )


POOL = ("Pool2DOptions", (*WINDOW, "FilterHeight", "FilterWidth"))
FIXED = "export with a fixed batch size of 1"
OPERATORS = (
    Record("AVERAGE_POOL_2D", _average_pool, options=POOL, word="average_pooling2d"),
    Record("MAX_POOL_2D", _max_pool, options=POOL, word="max_pooling2d"),
    Record("MEAN", _mean),
    Record("PAD", _pad),
    Record("PADV2", _pad),
    # the new shape is the output's own; how the file computes it does not matter
    *(Record(name, _reshape, operands=1, behind="shape") for name in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")),
    *(Record(name, way_out=FIXED) for name in ("SHAPE", "STRIDED_SLICE", "PACK")),
    Record("REDUCE_MAX", way_out="use MAX_POOL_2D"),
    Record("SUM", way_out="use MEAN"),
    Record("TRANSPOSE", way_out="export in TFLite's own layout, NHWC"),
)
