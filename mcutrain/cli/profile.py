"""`mcutrain profile`: where the instructions of an inference and a training step go, on the emulated core."""

from __future__ import annotations

from typing import Annotated

import typer

from mcutrain.artifact.folder import REPORT_HTML, to_json
from mcutrain.artifact.metadata import read_metadata
from mcutrain.cli.console import line, output, working
from mcutrain.cli.options import Json, Out
from mcutrain.report.profile.text import render_profile


def profile(
    out: Out,
    infer: Annotated[bool, typer.Option("--infer", help="The inference only, without a training step.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Rows of each table.")] = 20,
    as_json: Json = False,
) -> None:
    """Count the instructions of each op and each function on the emulated core, and estimate cycles.

    Example: `mcutrain profile out/ --top 10`
    """
    from mcutrain.profiling.run import PROFILE_SVG
    from mcutrain.profiling.run import profile as run

    with working(as_json) as say:
        found = run(out, infer_only=infer, progress=say)
    if as_json:
        print(to_json(found), end="")
        return
    render_profile(found, read_metadata(out).name, output, top)
    where = f"{out / PROFILE_SVG}; all tables: {out / REPORT_HTML}"
    line(f"\npicture: {where}")
