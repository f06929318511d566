"""Prints every bar of the project from real runs, and the reference engine's figures beside ours (`make bench`).

    python benchmarks/run.py [--quick] [--only GROUP] [--json FILE] [--markdown]

Exit status 1 where a bar is missed; a bar whose data is not there is said and does not count."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    frontends,
    learning,
    minimalloc,
    on_device,
    reference_gradients,
    scaling,
    speed,
    techniques,
)
from benchmarks.bars import DATA, OUT, Bar, Progress, at_least, not_measured
from benchmarks.bars import Table as Figures
from benchmarks.fuzz import run as fuzz
from mcutrain.artifact.folder import replace_file
from mcutrain.planner.errors import McutrainError
from mcutrain.targets import board as boards

GROUPS = ("gradients", "device", "planning", "frontends", "speed", "robustness", "learning")
GAIN, NEAR = 0.03, 0.03  # points of accuracy: over head-only, and below the published reference at most
TEST_BAR = not_measured("full test run, 2 cores", "<= 20 min", "`make test` prints its time")
messages = Console(stderr=True, highlight=False)


def main() -> int:
    """Runs the chosen groups, prints the tables, writes the JSON."""
    options = _arguments()
    chosen = [options.only] if options.only else [g for g in GROUPS if not (options.quick and g == "learning")]
    tables: list[Figures] = []
    try:
        OUT.mkdir(parents=True, exist_ok=True)
        with _working() as progress:
            bars = [bar for group in chosen for bar in _group(group, tables, progress)]
    except McutrainError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    bars += [] if options.only else [TEST_BAR]
    (_markdown if options.markdown else _show)(bars, tables)
    if options.json is not None:
        content = {
            "machine": _machine(),
            "bars": [b.as_dict() for b in bars],
            "tables": [asdict(table) for table in tables],
        }
        replace_file(options.json, json.dumps(content, indent=1) + "\n")
    return int(any(bar.met is False for bar in bars))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure every bar of the project.")
    parser.add_argument("--quick", action="store_true", help="leave out the learning runs (minutes)")
    parser.add_argument("--only", choices=GROUPS, help="one group alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--markdown", action="store_true", help="print the tables as the README has them")
    return parser.parse_args()


def _group(name: str, tables: list[Figures], progress: Progress) -> list[Bar]:
    folders = {
        "gradients": ("mcunet", "reference"),
        "learning": ("mcunet", "datasets"),
        "frontends": ("mlperf_tiny",),
        "robustness": ("mcunet", "mlperf_tiny", "relay"),
    }
    needed = folders.get(name, ("mcunet",))
    missing = [str(DATA / folder) for folder in needed if not (DATA / folder).is_dir()]
    if missing:
        return [not_measured(f"{name}: all bars", "-", f"{', '.join(missing)} is not there")]
    if name == "gradients":
        return reference_gradients.run(progress)
    if name == "device":
        return _device(tables, progress)
    if name == "planning":
        return _planning(tables, progress)
    if name == "speed":
        return speed.run(progress)
    if name == "frontends":
        return frontends.run(progress, tables)
    if name == "robustness":
        return fuzz.run(progress, tables)
    return _learning(progress)


def _planning(tables: list[Figures], progress: Progress) -> list[Bar]:
    """Measures the planner alone: time and proof, any packing problem, what each technique buys, cost as work grows."""
    bars = [*techniques.run(progress), *minimalloc.run(progress)]
    tables += [techniques.table(progress), scaling.table(progress)]
    return bars


def _device(tables: list[Figures], progress: Progress) -> list[Bar]:
    """Measures the bars of each board, the other builds' SRAM, and the comparison with the reference engine."""
    measured = {
        board: on_device.measure("mcunet-5fps", board, steps, progress) for board, steps in on_device.BOARDS.items()
    }
    tables.append(on_device.comparison({(board, boards.get(board).core.name): m for board, m in measured.items()}))
    return on_device.main_boards(measured) + on_device.other_builds(measured[on_device.MAIN], progress)


def _learning(progress: Progress) -> list[Bar]:
    """Measures accuracy after two epochs: against head-only, and against the published reference."""
    accuracy = learning.run(progress)
    head, sparse = accuracy["head_only"][-1], accuracy["49kb"][-1]
    reference = learning.REFERENCE["int8, stochastic rounding"]
    command = "benchmarks/run.py --only learning"
    return [
        at_least("learning, 49kb over head only", sparse - head, GAIN, f"{sparse:.1%} against {head:.1%}",
                 "3 points more", command),
        at_least("learning, 49kb, against the PyTorch reference", sparse, reference - NEAR, f"{sparse:.1%}",
                 f"{reference - NEAR:.1%}", command),
    ]  # fmt: skip


def _show(bars: list[Bar], tables: list[Figures]) -> None:
    output = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    table = Table("what (MCUNet-5fps 49kb, 128x128, stm32f746 unless said)", "bar", "measured", "met", "hoped for",
                  "TinyEngine", "printed by")  # fmt: skip
    for bar in bars:
        met = {True: "yes", False: "NO", None: "-"}[bar.met]
        table.add_row(bar.what, bar.limit, bar.shown, met, bar.reach, bar.reference, bar.command)
    output.print(table)
    for figures in tables:
        table = Table(figures.columns[0], title=figures.title)
        for title in figures.columns[1:]:
            table.add_column(title, justify="right")
        for row in figures.rows:
            table.add_row(*row)
        output.print(table)


def _markdown(bars: list[Bar], tables: list[Figures]) -> None:
    print("| MCUNet-5fps 49kb, 128x128, stm32f746 unless said | bar | measured | hoped for | TinyEngine |")
    print("|---|---|---|---|---|")
    for bar in bars:
        limit = bar.limit.replace("<=", "≤").replace(">=", "≥")
        print(f"| {bar.what} | {limit} | {bar.shown} | {bar.reach} | {bar.reference} |")
    for figures in tables:
        print(f"\n{figures.title}\n\n| {' | '.join(figures.columns)} |\n|---|{'---:|' * (len(figures.columns) - 1)}")
        for row in figures.rows:
            print(f"| {' | '.join(row)} |")


def _machine() -> dict:
    return {"processor": platform.machine(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


@contextmanager
def _working() -> Iterator[Progress]:
    """Shows a spinner on standard error; plain lines where that is no terminal."""
    if not messages.is_terminal:
        yield lambda text: messages.print(f"... {text}")
        return
    with messages.status("starting") as status:
        yield status.update


if __name__ == "__main__":
    sys.exit(main())
