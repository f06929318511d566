"""`mcutrain report`: the report of a compiled folder, as text or JSON."""

from __future__ import annotations

import typer

from mcutrain.artifact.folder import REPORT_HTML, to_json
from mcutrain.cli.console import line, output
from mcutrain.cli.options import Json, Out
from mcutrain.cli.refusal import OVER_BUDGET
from mcutrain.report.files import read_report
from mcutrain.report.text import render_text
from mcutrain.schema.report import Report


def report(out: Out, as_json: Json = False) -> None:
    """The report of a compiled (and perhaps verified) folder; `out/report.html` is the page with the pictures.

    Example: `mcutrain report out/`
    """
    content = read_report(out)
    show(content, as_json)
    if not as_json:
        line(f"\npicture: {out / REPORT_HTML}")
    if not content.fits:
        raise typer.Exit(OVER_BUDGET)


def show(content: Report, as_json: bool) -> None:
    """Print a report to standard output."""
    if as_json:
        print(to_json(content), end="")
    else:
        render_text(content, output)
