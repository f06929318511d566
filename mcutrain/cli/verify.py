"""`mcutrain verify`: run the firmware on the emulated core, and compare it with the host twin."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mcutrain.cli.console import line, notice, output, working
from mcutrain.cli.options import Json, Out
from mcutrain.cli.refusal import OVER_BUDGET
from mcutrain.report.show import print_report
from mcutrain.schema.reading import plain
from mcutrain.targets import board as boards


def verify(
    out: Out,
    steps: Annotated[int, typer.Option(min=0, help="Training steps to run on the emulated core.")] = 3,
    as_json: Json = False,
) -> None:
    """Build the firmware, run it on the emulated core inside the budget, compare it bit for bit with the host twin.

    Inputs and labels are random: the run measures and compares; its losses say nothing about learning.

    Example: `mcutrain verify out/ --steps 20 --json`
    """
    from mcutrain.verification import verify as run

    with working(as_json) as say:
        measurement = run(out, steps, progress=say)
    if promised := boards.too_large(boards.in_folder(out, measurement.board), measurement.budget_bytes):
        notice(promised)
    if as_json:
        print(json.dumps(plain(measurement)))
    else:
        print_report(out, output)
        if measurement.losses:
            line("\nInputs and labels of this run are random: its losses say nothing about learning.")
    if not measurement.fits or not measurement.host_equals_device:
        raise typer.Exit(OVER_BUDGET)
