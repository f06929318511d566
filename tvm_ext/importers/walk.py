"""One walk over an operator graph that collects every problem before it refuses: a user mends a model once, not once an
operator."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from typing import Protocol, TypeVar

from planner.errors import ModelError

SHOWN = 40  # problems; a model with more of them is of another kind

V = TypeVar("V")


class Node(Protocol):
    """An operator in a file's order. name: what the user knows it by. inputs, outputs: keys of its values; keys of
    constants, of absent inputs and of outputs that nobody reads may stand among them."""

    @property
    def op(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Sequence[Hashable]: ...
    @property
    def outputs(self) -> Sequence[Hashable]: ...


N = TypeVar("N", bound=Node)


def walk(
    nodes: Sequence[N],
    values: MutableMapping[Hashable, V],
    handlers: Mapping[str, Callable[[N], Sequence[V]]],
    where: object,
    ways_out: Mapping[str, str] | None = None,
) -> None:
    """Run the handler of each node in turn; what it returns becomes values[key] of the node's outputs, in their order.

    values: holds the network's inputs at the start, everything at the end; handlers read their inputs from it.
    A handler raises ModelError for what it cannot express. A node behind a failed one is passed over in silence.
    ways_out: for operators without a handler, what to do about them. where: the file, for the message.
    Raises one ModelError with a line for each problem."""
    problems: list[str] = []
    unknown: set[Hashable] = set()
    is_any_unsupported = False
    for node in nodes:
        if any(key in unknown for key in node.inputs):
            unknown.update(node.outputs)
            continue
        try:
            if node.op not in handlers:
                is_any_unsupported = True
                way_out = (ways_out or {}).get(node.op, "build the model without it")
                raise ModelError(f"{node.name}: the operator is not supported; {way_out}")
            values.update(zip(node.outputs, handlers[node.op](node), strict=False))
        except ModelError as error:
            problems.append(_line(node, str(error)))
            unknown.update(node.outputs)
    if problems:
        raise ModelError(_message(problems, where, sorted(handlers) if is_any_unsupported else ()))


def _line(node: Node, message: str) -> str:
    """`OPERATOR layer: what and what to do`; a message from deeper down may lack the layer, or know it by a number."""
    return f"{node.op} {message if message.startswith(node.name) else f'{node.name}: {message}'}"


def _message(problems: list[str], where: object, supported: Sequence[str]) -> str:
    many = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    lines = [f"{where}: {many} in the network", *(f"  {problem}" for problem in problems[:SHOWN])]
    if len(problems) > SHOWN:
        lines.append(f"  and {len(problems) - SHOWN} more")
    if supported:
        lines.append(f"supported operators: {', '.join(supported)}")
    return "\n".join(lines)
