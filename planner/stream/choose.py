"""Chooses which runs of ops stream, each over rows or over channels, whichever needs less.

Runs are chosen by dynamic programming over the chain of ops that can stream, so that the most memory that any of its
steps needs is least, with as few streamed ops as that allows. A run over channels that makes a weight's gradient ends
with the update of that weight, so that the gradient is never whole."""

from __future__ import annotations

from mcutrain.planner.graph import live_bytes
from mcutrain.planner.model import Graph, Stream, Tensor
from mcutrain.planner.stream.costs import NEVER, RunCosts
from mcutrain.planner.stream.rewrite import with_streams

LONGEST = 16  # ops in a run: beyond, rings grow as fast as tensors shrink
WORTH_WAITING = 8  # a weight gradient that lies whole counts from this part of the peak on

Streams = tuple[Stream, ...]


def choose(graph: Graph) -> list[Streams]:
    """Returns the ways to stream the graph that are worth a plan. The graph stands in eager order.

    As few ops as the least peak allows, as tight as can be, and every step low. Empty where nothing helps."""
    ways = _ways(graph, RunCosts(graph))
    rings = {name for way in ways for stream in way for name, _ in stream.rings}
    peak = max(live_bytes(graph, [op.name for op in graph.ops]), default=0)
    whole = [t.nbytes for t in _weight_gradients(graph) if t.name not in rings]
    if any(nbytes * WORTH_WAITING > peak for nbytes in whole):
        ways += _ways(graph, RunCosts(graph, may_wait=True))
    return list(dict.fromkeys(ways))


def _weight_gradients(graph: Graph) -> list[Tensor]:
    """Returns the gradients that an update could take block by block."""
    updates = [op for op in graph.ops if op.by_channel and not op.outputs]
    return [graph.by_name[a] for op in updates for a in op.by_channel[0].reads]


def _ways(graph: Graph, costs: RunCosts) -> list[Streams]:
    least = _least_peak(costs)
    tightest = costs.streams(_fewest(costs, least))
    if not tightest:
        return []
    # what the other ops need once the runs are as tight as can be: below it nothing is to be gained
    fused_graph = with_streams(graph, tightest)
    known = {op.name for op in costs.ops} | {stream.name for stream in tightest}
    order = [op.name for op in fused_graph.ops]
    live = zip(order, live_bytes(fused_graph, order), strict=True)
    floor = max((nbytes for name, nbytes in live if name not in known), default=0)
    fewest = costs.streams(_fewest(costs, max(least, floor)))
    return [way for way in (fewest, tightest, costs.streams(_lightest(costs))) if way]


def _least_peak(costs: RunCosts) -> int:
    """Returns the least possible largest step over all ways to cut the ops into runs."""
    n = len(costs.ops)
    best = [0] + [0] * n
    for j in range(n):
        best[j + 1] = min(max(best[i], costs.peak(i, j)) for i in range(max(0, j + 1 - LONGEST), j + 1))
    return best[n]


def _fewest(costs: RunCosts, target: int) -> list[tuple[int, int]]:
    """Returns runs (first, last) of which none needs more than `target` bytes, with the fewest ops in runs of two or
    more."""
    n = len(costs.ops)
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]  # NEVER where no runs end there
    for j in range(n):
        ways = []
        for i in range(max(0, j + 1 - LONGEST), j + 1):
            before, runs = best[i]
            if before < NEVER and costs.peak(i, j) <= target:
                streamed = j - i + 1 if j > i else 0
                ways.append((before + streamed, -i, [*runs, (i, j)]))
        count, _, runs = min(ways, default=(NEVER, 0, []), key=lambda w: w[:2])
        best.append((count, runs))
    return best[n][1]


def _lightest(costs: RunCosts) -> list[tuple[int, int]]:
    """Returns runs with the least sum of squared peaks: every step as low as it can be, not the highest alone."""
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for j in range(len(costs.ops)):
        starts = range(max(0, j + 1 - LONGEST), j + 1)
        weights = [(best[i][0] + costs.peak(i, j) ** 2 * (j + 1 - i), -i, i) for i in starts]
        weight, _, i = min(weights)
        best.append((weight, [*best[i][1], (i, j)]))
    return best[-1][1]
