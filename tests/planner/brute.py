"""Exhaustive answers for tiny graphs, from the definitions alone: valid orders, and the lowest height of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from mcutrain.planner import Graph


def valid_orders(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Every order in which tensors are written before they are read, and state is read before it is overwritten."""
    ops = {op.name: op for op in graph.ops}
    given = [op.name for op in graph.ops]
    writer = {t: op.name for op in graph.ops for t in op.outputs}
    for order in permutations(given):
        at = order.index
        written = all(at(writer[t]) < at(n) for n in order for t in ops[n].inputs if t in writer)
        read = all(
            at(other) < at(n)
            if s not in ops[other].mutates or given.index(other) < given.index(n)
            else at(n) < at(other)
            for n in order
            for s in ops[n].mutates
            for other in order
            if other != n and s in ops[other].inputs
        )
        if written and read:
            yield order


def life(graph: Graph, order: Sequence[str], name: str) -> set[int]:
    """The positions at which the tensor is live."""
    ops = {op.name: op for op in graph.ops}
    kind = graph.by_name[name].kind
    used = [p for p, n in enumerate(order) if name in (*ops[n].inputs, *ops[n].outputs, *ops[n].scratch)]
    born = 0 if kind in ("input", "state") else min(used)
    dies = len(order) - 1 if kind in ("output", "state") else max(used, default=0)
    return set(range(born, dies + 1))


def lowest_height(graph: Graph, order: Sequence[str]) -> int:
    """The least height of any allocation for `order`, by trying every offset of every tensor."""
    names = sorted(
        (t.name for t in graph.tensors if t.kind != "constant" and t.nbytes), key=lambda n: -graph.by_name[n].nbytes
    )
    rules = _rules(graph, order, names)
    height = max((graph.by_name[n].nbytes for n in names), default=0)
    while not _fits(graph, names, rules, height, {}):
        height += 1
    return height


def _rules(graph: Graph, order: Sequence[str], names: list[str]) -> dict[tuple[str, str], int | None]:
    """(a, b) that are live together -> the distance at which a may lie over b, None where it may not."""
    lives = {n: life(graph, order, n) for n in names}
    rules: dict[tuple[str, str], int | None] = {(a, b): None for a in names for b in names if lives[a] & lives[b]}
    for op in graph.ops:
        for o in op.overlaps:
            dies = o.input in lives and max(lives[o.input]) == order.index(op.name)
            if dies and o.output in lives and graph.by_name[o.input].kind in ("activation", "gradient", "input"):
                known = rules[o.output, o.input]
                rules[o.output, o.input] = o.distance if known is None else max(known, o.distance)
    return rules


def _fits(
    graph: Graph, names: list[str], rules: dict[tuple[str, str], int | None], height: int, at: dict[str, int]
) -> bool:
    if len(at) == len(names):
        return True
    a = names[len(at)]
    tensor = graph.by_name[a]
    for x in range(0, height - tensor.nbytes + 1, tensor.align):
        free = all(_apart(graph, rules, a, x, b, y) for b, y in at.items())
        if free and _fits(graph, names, rules, height, {**at, a: x}):
            return True
    return False


def _apart(graph: Graph, rules: dict[tuple[str, str], int | None], a: str, x: int, b: str, y: int) -> bool:
    if (a, b) not in rules or x + graph.by_name[a].nbytes <= y or y + graph.by_name[b].nbytes <= x:
        return True
    over, under = rules[a, b], rules[b, a]
    return (over is not None and y - x >= over) or (under is not None and x - y >= under)
