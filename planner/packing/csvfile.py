"""Reads and writes the MiniMalloc CSV format: `id,lower,upper,size[,alignment][,offset]`, half-open sections, sizes in
bytes."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mcutrain.planner.errors import BudgetError, OutputError, PlanError
from mcutrain.planner.model import Graph, Plan
from mcutrain.planner.packing.problem import LARGEST, Buffer, Problem
from mcutrain.schema.plan import Row

NUMBERS = ("lower", "upper", "size")
WANTED = "give a CSV with the columns id,lower,upper,size"


def write(plan: Plan, graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `id,lower,upper,size,offset`, one row for each tensor that lies in the arena, in the graph's order.

    Rows that overlap both in time and in memory are the plan's in-place pairs. Raises OutputError."""
    write_rows(rows(plan, graph), path)


def rows(plan: Plan, graph: Graph) -> list[Row]:
    """Returns (id, lower, upper, size, offset) of every tensor in the arena, in the graph's order."""
    placed = [t for t in graph.tensors if t.name in plan.offsets]
    return [Row(t.name, *plan.lifetimes[t.name], t.nbytes, plan.offsets[t.name]) for t in placed]


def text(plan: Plan, graph: Graph) -> str:
    """Returns the text that `write` writes."""
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
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return buffer.getvalue()


def read(path: str | os.PathLike[str], *, capacity: int | None = None) -> Problem:
    """Reads a problem from a CSV with a header; `alignment` is 1 where absent, `offset` is ignored.

    Raises PlanError, with the line, for anything else than whole numbers up to 2^31 - 1 in the right relations;
    BudgetError for a buffer that is larger than `capacity` bytes."""
    buffers: list[Buffer] = []
    lines: dict[str, int] = {}
    for line, row in _records(path):
        buffer = _buffer(row, f"{path}:{line}")
        if buffer.id in lines:
            raise PlanError(f"{path}:{line}: buffer {buffer.id!r} stands in line {lines[buffer.id]}, too: rename one")
        if capacity is not None and buffer.size > capacity:
            message = f"{path}:{line}: buffer {buffer.id!r} alone has {buffer.size} bytes, more than the capacity of"
            raise BudgetError(f"{message} {capacity}: raise the capacity or split the buffer")
        lines[buffer.id] = line
        buffers.append(buffer)
    if not buffers:
        raise PlanError(f"{path} holds no buffers: {WANTED} and a row for each buffer")
    return Problem(tuple(buffers))


def _records(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line, column -> text) of each row that is not blank."""
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")  # spreadsheets begin with a byte order mark
    except OSError as error:
        raise PlanError(f"cannot read {path}: {error.strerror or error}; {WANTED}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PlanError(f"{path}:{line}: byte {error.object[error.start]:#04x} is no UTF-8; {WANTED}") from error
    if "\0" in content:
        raise PlanError(f"{path}:{content[: content.index(chr(0))].count(chr(10)) + 1}: a NUL byte; {WANTED}")
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] = []
    try:
        for row in reader:
            if not row:
                continue
            if not header:
                header = _header(row, f"{path}:{reader.line_num}")
                continue
            if len(row) != len(header):
                message = f"{path}:{reader.line_num}: buffer {row[0]!r} has {len(row)} fields"
                raise PlanError(f"{message}, the header {len(header)}: give each row as many")
            yield reader.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise PlanError(f"{path}:{reader.line_num}: {error}; {WANTED}") from error
    if not header:
        raise PlanError(f"{path} is empty: {WANTED}")


def _header(row: list[str], place: str) -> list[str]:
    header = [name.strip() for name in row]
    missing = [name for name in ("id", *NUMBERS) if name not in header]
    if missing:
        raise PlanError(f"{place}: the header lacks {', '.join(missing)}; {WANTED}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise PlanError(f"{place}: the header names {', '.join(twice)} more than once: remove one")
    return header


def _buffer(row: dict[str, str], place: str) -> Buffer:
    name = row["id"]
    where = f"{place}: buffer {name!r}"
    if not name:
        raise PlanError(f"{place}: the row has no id: every buffer needs a name of its own")
    if row.get("gaps"):
        raise PlanError(f"{where} has gaps, which are not supported: remove them")
    lower, upper, size = (_number(row[column], column, where) for column in NUMBERS)
    align = _number(row.get("alignment") or "1", "alignment", where)
    if size < 0:
        raise PlanError(f"{where} has the size {size}: give 0 or more bytes")
    if lower >= upper:
        raise PlanError(f"{where} lives in [{lower}, {upper}), which is empty: lower must be below upper")
    if align < 1:
        raise PlanError(f"{where} has the alignment {align}: give 1 or more bytes")
    return Buffer(name, lower, upper, size, align)


def _number(text: str, column: str, where: str) -> int:
    digits = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]+", digits):
        raise PlanError(f"{where}: {column} is {text[:40]!r}, which is no whole number")
    if len(digits) > 20 or abs(int(digits)) > LARGEST:
        raise PlanError(f"{where}: {column} is {digits[:40]}, beyond the largest number {LARGEST}")
    return int(digits)
