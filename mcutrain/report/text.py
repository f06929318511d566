"""Prints the report: verdict, budget, largest ops, trained layers, flash; for 80 columns and for pipes."""

from __future__ import annotations

import math

from rich.console import Console
from rich.text import Text

from mcutrain.report import figures, streams, tables
from mcutrain.report.spelling import printable_in, spelled
from mcutrain.report.terminal import labelled_line, short, table_of, title_line
from mcutrain.schema.report import Recomputed, Report


def render_text(report: Report, console: Console) -> None:
    """Print `report` on `console`: no colour and no control codes when it is not a terminal.

    Raises ReportError if `report` contradicts itself."""
    report = spelled(report, printable_in(console.encoding))
    _print_verdict(report, console)
    title_line(console, "SRAM")
    console.print(tables.budget(report))
    _print_plan(report, console)
    if report.streams:
        _print_streams(report, console)
    if report.recomputed:
        _print_rematerialised(report, report.recomputed, console)
    _print_ops(report, console)
    if report.trained:
        with_bias = sum(layer.bias for layer in report.trained)
        title_line(console, f"Trained: {len(report.trained)} layers, {with_bias} with bias")
        console.print(tables.trained(report, console))
    if report.flash:
        title_line(console, "Flash")
        console.print(tables.flash_sections(report.flash))
    if report.wide_weights:
        title_line(console, "Flash for speed: weights that lie there as int16")
        console.print(tables.wide_weights(report.wide_weights))
    if report.flash_parts:
        title_line(console, "Flash by function and layer")
        console.print(tables.flash_parts(report.flash_parts, report.name))
    console.print()
    _print_runs(report, console)


def _print_verdict(report: Report, console: Console) -> None:
    said = figures.verdict(report)
    console.print(Text(said.headline, style="bold green" if said.fits else "bold red"))
    console.print(Text(said.detail))
    names = (("network", report.name), ("model", report.model), ("scheme", report.scheme), ("board", report.board))
    for label, name in names:
        if name:
            labelled_line(console, label, short(name, 68).plain)


def _print_plan(report: Report, console: Console) -> None:
    plan = report.plan
    took = "" if plan.seconds is None else f", {plan.seconds:.1f} s"
    console.print()
    labelled_line(console, "plan", f"allocation {plan.status}, order {plan.order_status}{took}")
    title_line(console, "Arena: how low could it be?")
    table = table_of("what", ">bytes", ">gap", "which means")
    for bound in streams.bounds(report):
        gap = "" if bound.gap is None else f"{bound.gap:,}"
        table.add_row(bound.label, f"{bound.nbytes:,}", gap, bound.meaning)
    console.print(table)
    console.print(Text(streams.given(report), style="dim"))


def _print_streams(report: Report, console: Console) -> None:
    """Print a line for each streamed run; the page lists its ops and rings."""
    runs = streams.runs(report)
    counted = streams.counted(len(runs), "run")
    title_line(console, f"Streamed: {counted} of ops, with a part of each tensor between them")
    table = table_of("run", "begins at layer", ">ring bytes", ">of whole")
    for run in runs:
        layer = short(report.ops[run.members[0].position].name, 22)
        table.add_row(run.title, layer, f"{run.nbytes:,}", f"{run.whole_nbytes:,}")
    table.add_section()
    total, whole = sum(run.nbytes for run in runs), sum(run.whole_nbytes for run in runs)
    table.add_row("all rings", "", f"{total:,}", f"{whole:,}")
    table.add_row("less than whole by", "", "", f"{whole - total:,}")
    console.print(table)
    console.print(Text(streams.NOT_THE_ARENA, style="dim"))


def _print_rematerialised(report: Report, rematerialised: tuple[Recomputed, ...], console: Console) -> None:
    """Print what is computed again instead of kept."""
    macs, percent = streams.rematerialised_macs(report)
    title_line(console, f"Computed again instead of kept: {streams.counted(len(rematerialised), 'op')}")
    table = table_of("op", "again as", ">MACs", ">bytes saved")
    for entry in rematerialised:
        table.add_row(short(entry.op, 25), short(entry.again, 25), f"{entry.macs:,}", f"{entry.saved_bytes:,}")
    table.add_section()
    share = "" if percent is None else f"{percent:.1f}% of the step's MACs"
    table.add_row("in all", share, f"{macs:,}")
    console.print(table)


def _print_ops(report: Report, console: Console) -> None:
    """Print the largest ops by instructions, or by bytes touched where nothing was measured."""
    if figures.measured(report):
        title_line(console, f"Largest ops by {figures.NOT_CYCLES}")
        console.print(tables.measured_ops(report, console))
    else:
        title_line(console, "Largest ops by bytes touched (instructions not measured)")
        console.print(tables.planned_ops(report, console))


def _print_runs(report: Report, console: Console) -> None:
    """Print what running it showed: instructions, losses, and whether host and device agree."""
    if counts := report.instructions:
        labelled_line(console, "infer", f"{counts.infer:,} {figures.NOT_CYCLES}")
        labelled_line(console, "train", f"{counts.train_step:,} a step; {figures.NOT_CYCLES}")
    if losses := report.losses:
        first, last = _loss(losses[0]), _loss(losses[-1])
        labelled_line(console, "loss", f"{first} -> {last} in {len(losses)} steps")
    if report.host_equals_device is not None:
        agrees = report.host_equals_device
        text = "bit for bit the same" if agrees else "host and device DIFFER: the run proves nothing"
        labelled_line(console, "host", text, "green" if agrees else "bold red")


def _loss(value: float | None) -> str:
    return f"{value:.4f}" if value is not None and math.isfinite(value) else "not finite"
