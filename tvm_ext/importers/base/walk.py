"""One walk over an operator graph that collects every problem before it refuses: a user mends a model once, not once an
operator."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, TypeVar

from mcutrain.planner.errors import ModelError, Unsupported, UnsupportedError

SHOWN = 40  # problems; a model with more of them is of another kind

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class WalkedNode(Protocol):
    """An operator in a file's order. name: what the user knows it by. inputs, outputs: keys of its values, of the type
    that the caller's mapping has; keys of constants, of absent inputs and of outputs that nobody reads may stand among
    them."""

    @property
    def op(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> Sequence[Any]: ...
    @property
    def outputs(self) -> Sequence[Any]: ...


N = TypeVar("N", bound=WalkedNode)


def walk(
    nodes: Sequence[N],
    values: MutableMapping[K, V],
    handlers: Mapping[str, Callable[[N], Sequence[V]]],
    where: object,
    ways_out: Mapping[str, str] | None = None,
    stand_in: Callable[[N], Sequence[V]] | None = None,
) -> None:
    """Run the handler of each node in turn; what it returns becomes values[key] of the node's outputs, in their order.

    values: holds the network's inputs at the start, everything at the end; handlers read their inputs from it.
    A handler raises ModelError for what it cannot express. stand_in: values in the place of a refused
    node's outputs, as far as the file tells their shapes, so that the nodes behind are judged, too; a node that reads
    what nothing stands in for is judged by its kind alone: whether there is a handler for it.
    ways_out: for operators without a handler, what to do about them. where: the file, for the message.
    Raises UnsupportedError with a line for each problem."""
    problems: list[Unsupported] = []
    unknown: set[Hashable] = set()
    is_any_unsupported = False
    for node in nodes:
        if node.op in handlers and any(key in unknown for key in node.inputs):
            unknown.update(node.outputs)
            continue
        try:
            if node.op not in handlers:
                is_any_unsupported = True
                way_out = (ways_out or {}).get(node.op, "build the model without it")
                raise ModelError("the operator is not supported", way_out)
            values.update(zip(node.outputs, handlers[node.op](node), strict=False))
        except ModelError as error:
            problems.append(_problem(node, error))
            values.update(zip(node.outputs, _standing_in(node, stand_in), strict=False))
            unknown.update(key for key in node.outputs if key not in values)
    if problems:
        supported = sorted(op for op in handlers if op[0].isalpha()) if is_any_unsupported else ()
        message = _message(problems, where, supported)
        raise UnsupportedError(message, tuple(problems))


def _standing_in(node: N, stand_in: Callable[[N], Sequence[V]] | None) -> Sequence[V]:
    try:
        return stand_in(node) if stand_in else ()
    except ModelError:  # what was refused may be the very thing that it is made of
        return ()


def _problem(node: WalkedNode, error: ModelError) -> Unsupported:
    """The problem of a node; an error that names another layer, or none, is still about this one."""
    why = error.why if error.layer in ("", node.name) else f"{error.layer}: {error.why}"
    return Unsupported(node.op, node.name, why, error.way_out)


def _message(problems: list[Unsupported], where: object, supported: Sequence[str]) -> str:
    many = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    lines = [f"{where}: {many} in the network", *(f"  {_line(p)}" for p in problems[:SHOWN])]
    if len(problems) > SHOWN:
        lines.append(f"  and {len(problems) - SHOWN} more")
    if supported:
        lines.append(f"supported operators: {', '.join(supported)}")
    return "\n".join(lines)


def _line(problem: Unsupported) -> str:
    """`OPERATOR layer: what; what to do`."""
    text = f"{problem.op} {problem.layer}: {problem.why}"
    return f"{text}; {problem.way_out}" if problem.way_out else text
