"""Prints the report of a compiled folder."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from mcutrain.report.files import read_report
from mcutrain.report.text import render_text


def print_report(out: str | os.PathLike[str], console: Console | None = None) -> None:
    """Print the report of an Artifact or its folder, which verify() completes; `mcutrain report` shows the same.

    console: where to, by default standard output. Raises OutputError where the folder holds none, and
    ReportError where it is malformed."""
    render_text(read_report(Path(out)), console or Console())
