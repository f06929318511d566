"""Relax's layers, normalisations and pools in the operator graph."""

from __future__ import annotations

from tvm import relax

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.dialect import shape_of
from mcutrain.tvm_ext.importers.relax.nodes import Given, Nodes, RelaxOperator, Rule, ints

TO_OIHW = {"OIHW": (0, 1, 2, 3), "HWIO": (3, 2, 0, 1), "OHWI": (0, 3, 1, 2), "HWOI": (2, 3, 0, 1)}


def _layer(name: str, weight: Given) -> str:
    """A layer is called as its weight is, where that has a name."""
    stem = weight.name or ""
    for end in (".weight", "_weight", ".kernel", "_kernel"):
        stem = stem.removesuffix(end)
    return stem if stem and stem != weight.name else name


def _conv(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    x, weight = args
    attrs, (one_d, order) = call.attrs, (len(call.attrs.strides) == 1, str(call.attrs.kernel_layout))
    if weight.value is None:
        raise LayerError(name, "the weight is no constant", "bind the parameters")
    if one_d:
        if order != "OIW" or nodes.is_nhwc:
            raise LayerError(name, f"a one-dimensional convolution in {order}", "use NCW and OIW")
    elif order not in TO_OIHW:
        raise LayerError(name, f"kernel layout {order}", "use OIHW, HWIO, OHWI or HWOI")
    else:
        weight = weight.transposed(TO_OIHW[order])
    pads = ints(attrs.padding)
    if one_d:
        pads = pads * 2 if len(pads) == 1 else pads
    else:
        pads = {1: pads * 4, 2: pads * 2, 4: pads}[len(pads)]
    groups = int(attrs.groups)
    if groups > 1 and weight.array.shape[1] != 1 and weight.array.shape[0] == 1:  # its axes the other way round
        weight = weight.transposed((1, 0, *range(2, weight.array.ndim)))
    more = {"strides": ints(attrs.strides), "pads": pads, "dilations": ints(attrs.dilation), "group": groups}
    more["kernel_shape"] = list(weight.array.shape[2:])
    inputs = [nodes.operand(x, name), nodes.operand(weight, f"{name}.weight")]
    return nodes.add("Conv", name, inputs, more, _layer(name, weight))


def _matmul(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    x, weight = args
    inputs = [nodes.operand(x, f"{name}.x"), nodes.operand(weight, f"{name}.weight")]
    return nodes.add("MatMul", name, inputs, layer=_layer(name, weight))


def _batch_norm(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank, attrs = len(shape_of(call.args[0])), call.attrs
    channels = 3 if nodes.is_nhwc and rank == 4 else 1
    if int(attrs.axis) % rank != channels or not (attrs.center and attrs.scale):
        raise LayerError(name, f"normalises axis {int(attrs.axis)}", "only the channels, with scale and centre")
    inputs = [nodes.operand(a, f"{name}.{i}") for i, a in enumerate(args)]
    return nodes.add("BatchNormalization", name, inputs, {"epsilon": float(call.attrs.epsilon)})


def _pool(op: str) -> Rule:
    def rule(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
        attrs = call.attrs
        pads = ints(attrs.padding)
        kernel = ints(attrs.pool_size)
        pads = {1: pads * 4, 2: pads * 2, 4: pads}[len(pads)] if len(kernel) == 2 else pads
        more: dict[str, object] = {"kernel_shape": kernel, "strides": ints(attrs.strides), "pads": pads}
        more |= {"dilations": ints(attrs.dilation), "ceil_mode": int(attrs.ceil_mode)}
        if op == "AveragePool":
            more["count_include_pad"] = int(attrs.count_include_pad)
        return nodes.add(op, name, [nodes.operand(args[0], name)], more)

    return rule


def _adaptive_average(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    if call.attrs.output_size is not None and set(ints(call.attrs.output_size)) != {1}:
        raise LayerError(name, f"adaptive pooling to {ints(call.attrs.output_size)}", "use a fixed window, or 1 x 1")
    return nodes.add("GlobalAveragePool", name, [nodes.operand(args[0], name)])


def _mean(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call.args[0]))
    axes = [a % rank for a in ints(call.attrs.axis)] if call.attrs.axis is not None else list(range(rank))
    if nodes.is_nhwc and rank == 4:
        axes = [(0, 2, 3, 1)[a] for a in axes]
    more = {"axes": sorted(axes), "keepdims": int(call.attrs.keepdims)}
    return nodes.add("ReduceMean", name, [nodes.operand(args[0], name)], more)


OPERATORS = (
    RelaxOperator("relax.nn.conv2d", _conv),
    RelaxOperator("relax.nn.conv1d", _conv),
    RelaxOperator("relax.matmul", _matmul),
    RelaxOperator("relax.nn.batch_norm", _batch_norm),
    RelaxOperator("relax.nn.max_pool2d", _pool("MaxPool")),
    RelaxOperator("relax.nn.avg_pool2d", _pool("AveragePool")),
    RelaxOperator("relax.nn.adaptive_avg_pool2d", _adaptive_average),
    RelaxOperator("relax.mean", _mean),
)
