"""`mcutrain pack`: the planner alone, for any buffers with lifetimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcutrain.cli.console import line, working
from mcutrain.cli.options import Json
from mcutrain.units import parse_bytes

if TYPE_CHECKING:
    from mcutrain.planner.packing.problem import Allocation


def pack(
    problem: Annotated[
        Path,
        typer.Argument(help="CSV with the columns id,lower,upper,size and perhaps alignment.", show_default=False),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="CSV to write, with an offset for each buffer.", show_default=False)
    ],
    capacity: Annotated[
        str | None,
        typer.Option(help="What must suffice, 1MB or bytes; without it: as low as can be.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Work beyond the heuristics (one core's seconds).")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the searches; the same one gives the same offsets.")] = 0,
    workers: Annotated[int, typer.Option(help="Threads; they change the speed alone.")] = 2,
    as_json: Json = False,
) -> None:
    """Pack any buffers with lifetimes into one arena, from and to MiniMalloc's files.

    Example: `mcutrain pack problem.csv --capacity 1MB --output solution.csv`
    """
    from mcutrain.planner.packing.file import pack_file

    limit = None if capacity is None else parse_bytes(capacity)

    def show(found: Allocation) -> None:
        if as_json:
            print(json.dumps({"status": found.status, "height": found.height, "bound": found.bound}))
        else:
            line(f"{found.status}: {found.height} bytes, at least {found.bound}")

    with working(as_json) as say:
        pack_file(
            problem, output, capacity=limit, seconds=seconds, seed=seed, workers=workers, progress=say, found=show
        )
