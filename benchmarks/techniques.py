"""Measures what each of the planner's techniques buys: the arena with one of them switched off, and the time of a
plan."""

from __future__ import annotations

import time
from dataclasses import replace

import mcutrain
from benchmarks.bars import CLASSES, INPUT_SIZE, Bar, Progress, Table, at_most, network
from mcutrain import planner
from mcutrain.planner import Graph
from mcutrain.planner.graph import problem
from mcutrain.planner.stream.choose import choose
from mcutrain.planner.stream.rewrite import eager, with_streams
from mcutrain.tvm_ext.model import Model

SCHEMES = (("mcunet-5fps", "49kb"), ("mcunet-5fps", "148kb"), ("mcunet-5fps", "inference"))
SWITCHES = {  # title of a row: techniques that are off
    "all": (),
    "without overlap of output and input": ("overlap",),
    "without a search for the order": ("order",),
    "without streaming over rows": ("rows",),
    "without streaming over channels": ("channels",),
    "without any streaming": ("rows", "channels"),
    "none of them": ("overlap", "order", "rows", "channels"),
}
PLAN_SECONDS = 30.0
WORK_SECONDS = 4.0  # for each plan of the table
COMMAND = "benchmarks/run.py --only planning"


def run(progress: Progress) -> list[Bar]:
    """Measures the time of planning MCUNet-5fps 49kb, which must also end in a proof."""
    model = mcutrain.load(network("mcunet-5fps"), INPUT_SIZE, CLASSES)
    progress("planning: mcunet-5fps 49kb, timed")
    graph = _graph(model, "49kb")
    started = time.monotonic()
    found = planner.plan(graph, stream=True)
    seconds = time.monotonic() - started
    proven = found.status == "OPTIMAL"
    shown = f"{seconds:.1f} s, {found.status} at {found.height:,} B"
    what = "planning the training step, allocation OPTIMAL"
    return [at_most(what, seconds if proven else float("inf"), PLAN_SECONDS, shown, f"{PLAN_SECONDS:g} s", COMMAND)]


def table(progress: Progress) -> Table:
    """Returns the bytes of arena of each scheme, with techniques switched off."""
    titles, rows = ["techniques"], [[title] for title in SWITCHES]
    for name, scheme in SCHEMES:
        graph = _graph(mcutrain.load(network(name), INPUT_SIZE, CLASSES), scheme)
        titles.append(f"{name} {scheme}")
        for row, (title, off) in zip(rows, SWITCHES.items(), strict=True):
            progress(f"planning: {name} {scheme}, {title}")
            row.append(f"{height(graph, off):,}")
    return Table("What each technique of the planner buys: arena in bytes", tuple(titles), tuple(map(tuple, rows)))


def height(graph: Graph, off: tuple[str, ...]) -> int:
    """Returns the bytes of arena of the best plan without the techniques in `off`."""
    ops = list(graph.ops)
    if "rows" in off:
        ops = [replace(op, rows=0, reads=(), accumulates=False) for op in ops]
    if "channels" in off:
        ops = [replace(op, by_channel=()) for op in ops]
    ready = eager(Graph(graph.tensors, tuple(ops)))
    ways = [with_streams(ready, way) for way in choose(ready)]
    return min(_height(way, off) for way in [graph, *ways])


def _height(graph: Graph, off: tuple[str, ...]) -> int:
    if "overlap" in off:
        graph = Graph(graph.tensors, tuple(replace(op, overlaps=()) for op in graph.ops))
    if "order" in off:
        return planner.solve(problem(graph, [op.name for op in graph.ops]), seconds=WORK_SECONDS).height
    return planner.plan(graph, seconds=WORK_SECONDS).height


def _graph(model: Model, scheme: str) -> Graph:
    lowered = mcutrain.plan(model, scheme, "2MB", stream=False, seconds=0).lowered
    return (lowered.train_step or lowered.infer).graph
