"""Pools of a graph: averages and maxima over windows, over the image, and over some of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value, Window
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, axis_of, integers
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Real, alike, check_ratio, commuting, once
from mcutrain.tvm_ext.importers.graph.shapes import joined
from mcutrain.tvm_ext.importers.graph.windows import has_ceiled, output_shape, window_of


def _global_average_pool(state: Import, node: Node) -> Real:
    x = state.image(node)
    return _averaged(state, node, x, Window(x.shape[1:3]), x.layout)


def _reduce_mean(state: Import, node: Node) -> Real:
    """A mean over axes of the image; over the only position of a vector it changes nothing."""
    x = state.real(node)
    axes = state.ints(node, "axes", 1, "axes")
    if not axes:
        raise LayerError(node.name, "a mean over all axes", "name the axes of the image")
    letters = {x.layout[axis_of(node, a, len(x.dims))] for a in axes}
    if any(x.size(letter) > 1 for letter in letters & {"C"}) or len(x.layout) <= 2:
        raise LayerError(node.name, f"a mean over the channels of {x.dims}", "only over the image")
    kernel = (x.shape[1] if "H" in letters else 1, x.shape[2] if "W" in letters else 1)
    layout = x.layout if node.attrs.get("keepdims", 1) else "".join(a for a in x.layout if a not in letters)
    if kernel == (1, 1):
        return replace(x.bare, layout=layout)
    if len(layout) <= 2 and layout != "NC":
        raise LayerError(node.name, f"leaves the axes {layout} of {x.dims}", "keep the batch and the channels")
    return _averaged(state, node, x, Window(kernel, kernel), layout)


def _average_pool(state: Import, node: Node) -> Real:
    x = state.image(node)
    kernel = _kernel(node)
    counts_padding = bool(node.attrs.get("count_include_pad", 0))
    if counts_padding and has_ceiled(node, x, kernel):
        raise LayerError(node.name, "ceil_mode with count_include_pad", "set one of them to 0")
    return _averaged(state, node, x, window_of(node, x, kernel), x.layout, counts_padding)


def _max_pool(state: Import, node: Node) -> Real:
    x = state.image(node)
    if len(node.outputs) > 1 and node.outputs[1] and state.readers[node.outputs[1]]:
        raise LayerError(node.name, "its indices are read", "only its maxima can be")
    window = window_of(node, x, _kernel(node))

    def pooled(value: Value) -> Value:
        return state.network.max_pool(node.name, value, window)

    if not x.is_quantised:
        return state.stored(pooled(x.make(None, -INF, INF, node.name)), x.layout, node.name)
    return commuting(x, output_shape(x, window, x.shape[3]), x.layout, pooled)


def _kernel(node: Node) -> Sequence[int]:
    if "kernel_shape" not in node.attrs:
        raise LayerError(node.name, "kernel_shape is missing", "export the model anew")
    return integers(node, "kernel_shape")


def _averaged(state: Import, node: Node, x: Real, window: Window, layout: str, counts_padding: bool = False) -> Real:
    network, is_whole = state.network, window.kernel == x.shape[1:3]
    if not x.is_quantised:
        value = x.make(None, -INF, INF, node.name)
        value = network.avg_pool(node.name, value, window, counts_padding=counts_padding)
        return state.stored(value, layout, node.name)
    shape = output_shape(x, window, x.shape[3])
    if x.own is None and x.parts:  # each is averaged as it stands, and all are requantised to what the result has
        parts = [_averaged(state, node, part, window, layout, counts_padding) for part in x.parts]
        return joined(state, node, parts, layout, shape)

    def emit(q: Quantisation, lo: int, hi: int) -> Value:
        value = x.ints(node.name)
        own = value.steps
        is_same, is_even = alike(own, q), q.zero % 2 == 0
        if is_whole and not any(window.padding) and is_same and is_even and (lo, hi) == (-128, 127):
            return network.mean(node.name, value)
        out = _unlike(own, is_even) if is_same else q
        check_ratio(own.scale, out, node.name)
        return network.avg_pool(node.name, value, window, out, counts_padding=counts_padding, lo=lo, hi=hi)

    return Real(layout, shape, once(node.name, emit), True)


def _unlike(q: Quantisation, is_even: bool) -> Quantisation:
    """The quantisation that an average keeps. Integers themselves are averaged where it is equal, halves to the even
    integer; QuantizeLinear rounds halves to an even distance from the zero point, which differs where that is odd. A
    scale that differs by less than float32 tells makes the average round as QuantizeLinear does."""
    return q if is_even else Quantisation(q.scale * (1 + 2**-40), q.zero)


OPERATORS = (
    GraphOperator("GlobalAveragePool", _global_average_pool),
    GraphOperator("AveragePool", _average_pool),
    GraphOperator("MaxPool", _max_pool),
    GraphOperator("ReduceMean", _reduce_mean),
    GraphOperator("GlobalMaxPool", way_out="use MaxPool with the size of the image"),
    GraphOperator("ReduceMax", way_out="use MaxPool"),
    GraphOperator("ReduceSum", way_out="use ReduceMean"),
    GraphOperator("NhwcMaxPool", way_out="give the file as it was before onnxruntime optimised it"),
)
