"""The calls of one entry point as a C function, each with its arguments' addresses and a comment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mcutrain.planner.model import Stream
from mcutrain.tvm_ext.emit.codegen import C_TYPES, comment
from mcutrain.tvm_ext.emit.names import Constant, Names, Tables
from mcutrain.tvm_ext.emit.placement import Placement
from mcutrain.tvm_ext.emit.row_loops import loop_nest
from mcutrain.tvm_ext.lower.graph import Call
from mcutrain.tvm_ext.ops.kernel import Kernel

UNITS = {"rows": "rows", "channels": "blocks"}  # of a ring, by the axis of its stream


@dataclass(frozen=True)
class Context:
    """All entry points of a model share it. kernel_names: of `kernels`, in C."""

    prefix: str
    kernels: Sequence[Kernel]
    kernel_names: Sequence[str]
    names: Names
    tables: Tables


def entry(context: Context, which: str, placement: Placement) -> str:
    """static void <prefix>_<which>_ops(void): the calls, each with its comment."""
    prefix = context.prefix
    lines = [f"static void {prefix}_{which}_ops(void) {{"]
    gradients = [c.gradient_of for c in placement.step.calls if c.gradient_of]
    number = {call.op.name: i for i, call in enumerate(placement.calls)}

    def gradient_text(call: Call, stream: Stream | None, row: str) -> list[str]:
        """Hands the gradient, or the blocks of it that are complete, to whoever watches."""
        if call.gradient_of is None:
            return []
        address = f"{prefix}_arena + {placement.offsets[call.gradient_of]}"
        nbytes = placement.step.values[call.gradient_of].tensor.nbytes
        if stream is not None:
            ring, nbytes = dict(stream.rings)[call.gradient_of], nbytes // call.op.rows
            address += f" + {row} % {ring} * {nbytes}" if ring > 1 else ""
        return [f"MCU_GRADIENT({gradients.index(call.gradient_of)}, {address}, {nbytes});"]

    def call_text(call: Call, rows: tuple[str, str] | None = None, stream: Stream | None = None) -> list[str]:
        kernel = context.kernels[call.kernel]
        limits = rows or (("0", str(kernel.rows)) if kernel.rows is not None else ())
        arguments = [*_arguments(call, placement, context), *limits]
        return [
            *gradient_text(call, stream, rows[0] if rows else ""),
            f"MCU_OP({number[call.op.name]});",
            f"{context.kernel_names[call.kernel]}({', '.join(arguments)});",
        ]

    for group in placement.groups:
        text = [f"/* {comment(_describe(call, placement, group.stream))} */" for call in group.calls]
        if group.stream is not None and len(group.calls) > 1:
            text += loop_nest(group.calls, group.stream.axis, partial(call_text, stream=group.stream))
        else:
            text += call_text(group.calls[0])
        lines += [f"    {line}" for line in text]
    return "\n".join([*lines, "}"]) + "\n"


def _describe(call: Call, placement: Placement, stream: Stream | None) -> str:
    """`blocks.1.depthwise:qconv2d: y int8 1x32x32x32 @131072 <- x int8 ... @0 (3 of 32 rows)`"""
    values = placement.step.values
    rings, unit = ({}, "") if stream is None else (dict(stream.rings), UNITS[stream.axis])
    whole = {a.tensor: a.rows for a in call.op.reads} | dict.fromkeys(call.op.outputs[:1], call.op.rows)

    def show(name: str) -> str:
        value = values[name]
        where = f" @{placement.offsets[name]}" if name in placement.offsets else " in flash"
        if name in rings:
            where += f" ({rings[name]} of {whole[name]} {unit})"
        return f"{name} {value.dtype} {'x'.join(map(str, value.shape)) or 'scalar'}{where}"

    results = call.op.outputs or call.op.mutates
    return f"{call.op.name}: {', '.join(map(show, results))} <- {', '.join(map(show, call.op.inputs))}"


def _arguments(call: Call, placement: Placement, context: Context) -> list[str]:
    kernel, names = context.kernels[call.kernel], context.names

    def address(name: str) -> str:
        if name not in placement.offsets:
            return names[Constant(name)]
        ctype = C_TYPES[placement.step.values[name].dtype] if name not in call.op.scratch else "int16_t"
        return f"AT({ctype}, {placement.offsets[name]})"

    arguments = [
        names[Constant(n, is_wide=True)] if i in kernel.wide else address(n) for i, n in enumerate(call.op.inputs)
    ]
    arguments += [context.tables.name(t) for t in kernel.tables]
    return arguments + [address(n) for n in (*call.op.outputs, *call.op.scratch)]
