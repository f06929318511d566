"""The loop nest of a stream: each op's next row (or block of channels) as soon as what it reads of its inputs is there,
the last op's rows outermost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcutrain.planner.model import Axis, RowAccess
from mcutrain.planner.stream.rows import demanded, driver
from mcutrain.tvm_ext.emit.codegen import comment
from mcutrain.tvm_ext.lower.graph import Call


def loop_nest(group: Sequence[Call], axis: Axis, call_text: Callable[[Call, tuple[str, str]], list[str]]) -> list[str]:
    """C lines that run the ops of a stream row by row, in the order of planner.stream.rows.row_steps.

    call_text(call, (first row, end)) gives the lines of one kernel call."""
    ops = [call.op for call in group]
    calls = {call.op.outputs[0]: call for call in group if call.op.outputs}
    asking = [call for call in group if not call.op.accumulates]
    counter = {call.op.name: f"row{i}" for i, call in enumerate(asking)}
    asked, unit = demanded(ops), "blocks of channels" if axis == "channels" else "rows"
    lines = ["{"]
    lines += [f"    int32_t {counter[c.op.name]} = 0; /* {unit} done of {comment(c.op.name)} */" for c in asking]

    def rows(call: Call, stop: str, indent: str) -> None:
        own = counter[call.op.name]
        lines.append(f"{indent}for (; {own} < {stop}; ++{own}) {{")
        for access in call.op.reads:
            if (call.op.name, access.tensor) in asked:
                rows(calls[access.tensor], _end(access, own), indent + "    ")
        sums = [c for c in group if c.op.accumulates and any(a.tensor in call.op.outputs[:1] for a in c.op.reads)]
        for row_call in (call, *sums):
            lines.extend(f"{indent}    {line}" for line in call_text(row_call, (own, f"{own} + 1")))
        lines.append(f"{indent}}}")

    last = next(call for call in group if call.op is driver(ops))
    rows(last, str(last.op.rows), "    ")
    return [*lines, "}"]


def _end(access: RowAccess, row: str) -> str:
    """C for access.end(row)."""
    if access.transposed:
        return f"mcu_min({access.rows}, ({row} + {access.padding}) / {access.stride} + 1)"
    return f"mcu_min({access.rows}, {row} * {access.stride} + {access.window - access.padding})"
