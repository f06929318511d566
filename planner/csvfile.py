"""The MiniMalloc CSV format: `id,lower,upper,size[,alignment][,offset]`, half-open sections, sizes in bytes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from planner.errors import OutputError, PlanError
from planner.model import Graph, Plan
from planner.problem import Buffer, Problem

Row = tuple[str, int, int, int, int]


def write(plan: Plan, graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `id,lower,upper,size,offset`, one row for each tensor that lies in the arena, in the graph's order.

    Rows that overlap both in time and in memory are the plan's in-place pairs. Raises OutputError."""
    write_rows(rows(plan, graph), path)


def rows(plan: Plan, graph: Graph) -> list[Row]:
    """(id, lower, upper, size, offset) of every tensor in the arena, in the graph's order."""
    placed = [t for t in graph.tensors if t.name in plan.offsets]
    return [(t.name, *plan.lifetimes[t.name], t.nbytes, plan.offsets[t.name]) for t in placed]


def text(plan: Plan, graph: Graph) -> str:
    """What `write` writes."""
    return _text(rows(plan, graph))


def write_rows(rows: Iterable[Row], path: str | os.PathLike[str]) -> None:
    """Writes rows of (id, lower, upper, size, offset), through a temporary file so that no half file is ever seen."""
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_text(_text(rows), encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {target}: {error.strerror or error}; choose another folder") from error


def _text(rows: Iterable[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("id", "lower", "upper", "size", "offset"))
    writer.writerows(rows)
    return buffer.getvalue()


def read(path: str | os.PathLike[str]) -> Problem:
    """A problem from a CSV with a header; `alignment` is 1 where absent, `offset` is ignored. Raises PlanError."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlanError(f"cannot read {path}: {error}; give a CSV with the columns id,lower,upper,size") from error
    if not rows:
        raise PlanError(f"{path} holds no buffers: give a CSV with the columns id,lower,upper,size and a row for each")
    return Problem(tuple(_buffer(row, path, line) for line, row in enumerate(rows, start=2)))


def _buffer(row: dict[str, str], path: str | os.PathLike[str], line: int) -> Buffer:
    if row.get("gaps"):
        raise PlanError(f"{path}:{line}: buffer {row.get('id')!r} has gaps, which are not supported: remove them")
    try:
        align = int(row.get("alignment") or 1)
        return Buffer(row["id"], int(row["lower"]), int(row["upper"]), int(row["size"]), align)
    except (KeyError, TypeError, ValueError) as error:
        message = f"{path}:{line}: {error}; every row needs id, and whole numbers for lower, upper and size"
        raise PlanError(message) from error
