"""Relax's operators that move values, in the operator graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tvm import relax

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.dialect import shape_of
from mcutrain.tvm_ext.importers.relax.nodes import Given, Nodes, RelaxOperator, ints, same


def _reshape(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    shape = shape_of(call)
    if args[0].value is not None:
        if args[0].scale is not None and args[0].scale.size > 1:
            raise LayerError(name, "reshapes a weight that is quantised channel by channel", "reshape it before")
        return replace(args[0], value=args[0].value.reshape(shape), axis=0)
    source = nodes.operand(args[0], name)
    before = shape_of(call.args[0])
    if nodes.is_nhwc and len(before) == 4 and len(shape) != 4 and before[1] * before[2] > 1 and before[3] > 1:
        source = nodes.add("Transpose", f"{name}.nhwc", [source], {"perm": [0, 2, 3, 1]}).name or ""
    outside = [shape[i] for i in (0, 3, 1, 2)] if nodes.is_nhwc and len(shape) == 4 else shape
    target = nodes.operand(Given(None, np.asarray(outside, np.int64)), f"{name}.shape")
    return nodes.add("Reshape", name, [source, target])


def _permute(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call.args[0]))
    axes = ints(call.attrs.axes) if call.attrs.axes is not None else list(range(rank))[::-1]
    if args[0].value is not None:
        return args[0].transposed(axes)
    if nodes.is_nhwc and rank == 4:
        raise LayerError(name, "transposes inside a network of NHWC layout", "keep one layout throughout")
    return nodes.add("Transpose", name, [nodes.operand(args[0], name)], {"perm": axes})


def _concat(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank = len(shape_of(call))
    axis = int(call.attrs.axis) % rank
    axis = (0, 2, 3, 1)[axis] if nodes.is_nhwc and rank == 4 else axis
    inputs = [nodes.operand(f, f"{name}.{i}") for i, f in enumerate(args[0].fields)]
    return nodes.add("Concat", name, inputs, {"axis": axis})


def _pad(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    width = ints(call.attrs.pad_width)
    before, behind = width[::2], width[1::2]
    if nodes.is_nhwc and len(before) == 4:
        before, behind = ([side[i] for i in (0, 3, 1, 2)] for side in (before, behind))
    value = nodes.operand(Given(None, np.asarray(call.attrs.pad_value, np.float32)), f"{name}.value")
    pads = nodes.operand(Given(None, np.asarray(before + behind, np.int64)), f"{name}.pads")
    return nodes.add("Pad", name, [nodes.operand(args[0], name), pads, value], {"mode": str(call.attrs.pad_mode)})


OPERATORS = (
    *(RelaxOperator(f"relax.{name}", _reshape) for name in ("reshape", "flatten", "squeeze", "expand_dims")),
    RelaxOperator("relax.permute_dims", _permute),
    RelaxOperator("relax.concat", _concat),
    RelaxOperator("relax.nn.pad", _pad),
    RelaxOperator("relax.nn.dropout", same),
)
