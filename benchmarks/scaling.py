"""Measures the cost of planning as work grows: repeated blocks of 100 to 2,000 ops, and a batch of schemes of one
network.

python benchmarks/scaling.py [--quick]"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import mcutrain
from benchmarks.bars import CLASSES, INPUT_SIZE, Progress, Table, network
from benchmarks.repeated_blocks import training_step
from mcutrain import frontends, planner
from mcutrain.planner import Plan
from mcutrain.planner.errors import McutrainError

T = TypeVar("T")
BLOCKS = (9, 18, 43, 86, 172)  # about 100, 200, 500, 1,000 and 2,000 ops
SCHEMES = ("49kb", "74kb", "99kb", "124kb", "148kb", "full", "last_k=5", "bias_only")
NETWORK, BUDGET = "mcunet-5fps", "2MB"
COLUMNS = ("what", "ops", "tensors", "cpu_seconds", "wall_seconds", "height", "bound", "order_bound", "status")


def run(progress: Progress, *, quick: bool = False) -> list[dict]:
    """Returns a row of COLUMNS for each graph and scheme, and one for the batch of schemes (bytes; CPU of all cores).

    quick: no more than 500 ops. Without the network's file the schemes are left out."""
    rows = []
    for blocks in BLOCKS[:3] if quick else BLOCKS:
        graph = training_step(blocks)
        progress(f"{blocks} blocks, {len(graph.ops)} ops")
        row, plan = _timed(partial(planner.plan, graph, stream=True))
        rows.append(_row(f"{blocks} blocks", row, len(graph.ops), len(graph.tensors), plan))
    return rows + (_batch(progress) if network(NETWORK).is_file() else [])


def table(progress: Progress) -> Table:
    """Returns the rows as cells."""
    titles = ("planning time", *(column.replace("_", " ") for column in COLUMNS[1:]))
    cells = tuple(tuple(_cell(row[column]) for column in COLUMNS) for row in run(progress))
    return Table("Planning as work grows: repeated blocks, and a batch of schemes", titles, cells)


def _batch(progress: Progress) -> list[dict]:
    """Plans the schemes one after the other, lowering included, and adds them up."""
    model = frontends.load(network(NETWORK), INPUT_SIZE, CLASSES)
    rows = []
    for scheme in SCHEMES:
        progress(f"{NETWORK} {scheme}")
        row, planned = _timed(partial(mcutrain.plan, model, scheme=scheme, budget=BUDGET))
        graph = (planned.lowered.train_step or planned.lowered.infer).graph
        rows.append(_row(f"{NETWORK} {scheme}", row, len(graph.ops), len(graph.tensors), planned.plan))
    sums = {key: sum(row[key] for row in rows) for key in ("ops", "tensors", "cpu_seconds", "wall_seconds")}
    return [*rows, dict.fromkeys(COLUMNS) | {"what": f"all {len(rows)} schemes"} | sums]


def _timed(work: Callable[[], T]) -> tuple[dict, T]:
    cpu, wall = _cpu_seconds(), time.monotonic()
    result = work()
    return {"cpu_seconds": _cpu_seconds() - cpu, "wall_seconds": time.monotonic() - wall}, result


def _cpu_seconds() -> float:
    """Returns the CPU seconds of this process, all threads, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _row(what: str, seconds: dict, ops: int, tensors: int, plan: Plan) -> dict:
    figures = {"height": plan.height, "bound": plan.bound, "order_bound": plan.order_bound}
    status = f"{plan.status}, order {plan.order_status}"
    return {"what": what, "ops": ops, "tensors": tensors, **seconds, **figures, "status": status}


def show(rows: list[dict]) -> None:
    """Prints the rows as a Markdown table."""
    print(f"| {' | '.join(column.replace('_', ' ') for column in COLUMNS)} |")
    print("|---|" + "---:|" * (len(COLUMNS) - 2) + "---|")
    for row in rows:
        print(f"| {' | '.join(_cell(row[column]) for column in COLUMNS)} |", flush=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    try:
        show(run(lambda text: print(text, file=sys.stderr), quick="--quick" in sys.argv[1:]))
    except McutrainError as error:
        sys.exit(f"scaling: {error}")
