"""The report in the terminal: verdict, budget, largest ops, trained layers, flash; for 80 columns and for pipes."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcutrain.report import figures as view
from mcutrain.report import flash as report_flash
from mcutrain.report import profile_view, streams
from mcutrain.report.figures import Closing, Report

ROOMY = 110  # columns from which names have twice the room
_LARGEST = 10  # rows of the ops table and of the trained layers


def render_text(report: Report, console: Console) -> None:
    """Print `report` on `console`: no colour and no control codes when it is not a terminal.

    Raises ReportError if `report` is malformed or contradicts itself."""
    view.check_report(report)
    report = encodable(view.printable(view.finite(report)), console.encoding)
    _print_verdict(report, console)
    title_line(console, "SRAM")
    console.print(_budget_table(report))
    _print_plan(report, console)
    if report["streams"]:
        _print_streams(report, console)
    if report.get("recomputed"):
        _print_recomputed(report, console)
    _print_ops(report, console)
    if report["trained"]:
        with_bias = sum(layer["bias"] for layer in report["trained"])
        title_line(console, f"Trained: {len(report['trained'])} layers, {with_bias} with bias")
        console.print(_trained_table(report, console))
    if report["flash"]:
        title_line(console, "Flash")
        console.print(_flash_table(report))
    if report.get("wide_weights"):
        title_line(console, "Flash for speed: weights that lie there as int16")
        console.print(_wide_table(report))
    if report.get("flash_parts"):
        title_line(console, "Flash by function and layer")
        console.print(_flash_parts_table(report))
    console.print()
    _print_runs(report, console)


def encodable(value: Any, encoding: str) -> Any:
    """`value` with the characters spelt out that the console's encoding lacks."""
    if isinstance(value, dict):
        return {key: encodable(item, encoding) for key, item in value.items()}
    if isinstance(value, list):
        return [encodable(item, encoding) for item in value]
    return value.encode(encoding, "backslashreplace").decode(encoding) if isinstance(value, str) else value


def short(text: str, cells: int) -> Text:
    """`text` in at most `cells` columns: its middle goes, as layers mostly differ at the end of their names.

    Always a Text, never markup: a name like `[bold]` is shown as it is."""
    if cell_len(text) <= cells:
        return Text(text)
    head = set_cell_size(text, (cells - 3) // 3).rstrip()
    room = cells - 3 - cell_len(head)
    tail = text[-room:]
    while cell_len(tail) > room:
        tail = tail[1:]
    return Text(f"{head}...{tail}")


def room(console: Console, cells: int) -> int:
    """Columns for a name that gets `cells` of 80."""
    return cells if console.width < ROOMY else 2 * cells


def title_line(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _line(console: Console, label: str, text: str, style: str = "") -> None:
    console.print(Text.assemble((f"{label:<10}", "bold"), (text, style)), soft_wrap=False)


def table_of(*columns: str) -> Table:
    """A table whose columns marked with `>` are numbers: where room is short the texts fold and the numbers stay."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        is_number = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table


def _close(table: Table, closing: Closing) -> None:
    """Bound, actual and overhead under a rule; the figure stands in the second column."""
    table.add_section()
    for label, text in closing.lines():
        table.add_row(label, text, style="dim" if label.startswith("bound") else "")


def _print_verdict(report: Report, console: Console) -> None:
    said = view.verdict(report)
    console.print(Text(said.headline, style="bold green" if said.fits else "bold red"))
    console.print(Text(said.detail))
    names = (("network", "name"), ("model", "model"), ("scheme", "scheme"), ("board", "board"))
    for label, key in names:
        if report[key]:
            _line(console, label, short(report[key], 68).plain)


def _budget_table(report: Report) -> Table:
    budget = report["budget_bytes"]
    table = table_of("part", ">bytes", ">of budget")
    parts, free = view.budget_parts(report), view.free_part(report)
    parts = [*parts, *([free] if free else [])]
    for label, nbytes in [*((part.label, part.nbytes) for part in parts), ("budget", budget)]:
        table.add_row(label, f"{nbytes:,}", f"{nbytes / budget:.1%}" if budget > 0 else "-")
    _close(table, view.sram_closing(report))
    return table


def _print_plan(report: Report, console: Console) -> None:
    plan = report["plan"]
    took = "" if plan["seconds"] is None else f", {plan['seconds']:.1f} s"
    console.print()
    _line(console, "plan", f"allocation {plan['status']}, order {plan['order_status']}{took}")
    title_line(console, "Arena: how low could it be?")
    table = table_of("what", ">bytes", ">gap", "which means")
    for bound in streams.bounds(report):
        gap = "" if bound.gap is None else f"{bound.gap:,}"
        table.add_row(bound.label, f"{bound.nbytes:,}", gap, bound.meaning)
    console.print(table)
    console.print(Text(streams.given(report), style="dim"))


def _print_streams(report: Report, console: Console) -> None:
    """A line for each streamed run; the page lists its ops and rings."""
    runs = streams.runs(report)
    counted = streams.counted(len(runs), "run")
    title_line(console, f"Streamed: {counted} of ops, with a part of each tensor between them")
    table = table_of("run", "begins at layer", ">ring bytes", ">of whole")
    for run in runs:
        layer = short(run.members[0].name.rsplit(":", 1)[0], 22)
        table.add_row(run.title, layer, f"{run.nbytes:,}", f"{run.whole_nbytes:,}")
    table.add_section()
    total, whole = (sum(getattr(run, key) for run in runs) for key in ("nbytes", "whole_nbytes"))
    table.add_row("all rings", "", f"{total:,}", f"{whole:,}")
    table.add_row("less than whole by", "", "", f"{whole - total:,}")
    console.print(table)
    console.print(Text(streams.NOT_THE_ARENA, style="dim"))


def _print_recomputed(report: Report, console: Console) -> None:
    """What is computed again instead of kept."""
    macs, percent = streams.recomputed_macs(report)
    title_line(console, f"Computed again instead of kept: {streams.counted(len(report['recomputed']), 'op')}")
    table = table_of("op", "again as", ">MACs", ">bytes saved")
    for entry in report["recomputed"]:
        names = (short(entry["op"], 25), short(entry["again"], 25))
        table.add_row(*names, f"{entry['macs']:,}", f"{entry['saved_bytes']:,}")
    table.add_section()
    share = "" if percent is None else f"{percent:.1f}% of the step's MACs"
    table.add_row("in all", share, f"{macs:,}")
    console.print(table)


def _print_ops(report: Report, console: Console) -> None:
    """The largest ops by instructions, or by bytes touched where nothing was measured."""
    if view.measured(report):
        title_line(console, f"Largest ops by {view.NOT_CYCLES}")
        console.print(_measured_ops_table(report, console))
    else:
        title_line(console, "Largest ops by bytes touched (instructions not measured)")
        console.print(_planned_ops_table(report, console))


def _measured_ops_table(report: Report, console: Console) -> Table:
    ops, total = report["ops"], view.measured(report)
    table = table_of("layer", ">instructions", ">share", ">at", "op", "phase")
    for i in _largest([op["instructions"] or 0 for op in ops]):
        count = ops[i]["instructions"] or 0
        name = short(ops[i]["name"], room(console, 22))
        table.add_row(name, f"{count:,}", f"{count / total:.1%}", *_which(ops[i], i, console))
    table.add_section()
    table.add_row(f"all {len(ops)} ops", f"{total:,}", "100.0%")
    return table


def _planned_ops_table(report: Report, console: Console) -> Table:
    ops = report["ops"]
    table = table_of("layer", ">bytes", ">at", "op", "phase")
    for i in _largest([view.op_bytes(op) for op in ops]):
        name = short(ops[i]["name"], room(console, 32))
        table.add_row(name, f"{view.op_bytes(ops[i]):,}", *_which(ops[i], i, console))
    _close(table, view.arena_closing(report))
    return table


def _largest(sizes: list[int]) -> list[int]:
    """Positions of the largest, the largest first."""
    return sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))[:_LARGEST]


def _which(op: dict[str, Any], position: int, console: Console) -> tuple[str, Text, Text]:
    return str(position), short(op["op"], room(console, 14)), short(op["phase"], 8)


def _trained_table(report: Report, console: Console) -> Table:
    trained = report["trained"]
    table = table_of("layer", ">bytes", "bias", "weight")
    for layer in sorted(trained, key=lambda layer: -layer["nbytes"])[:_LARGEST]:
        bias = "yes" if layer["bias"] else "no"
        weight = short(layer["weight"], room(console, 24))
        table.add_row(short(layer["layer"], 30), f"{layer['nbytes']:,}", bias, weight)
    if len(trained) > _LARGEST:
        rest = sorted((layer["nbytes"] for layer in trained), reverse=True)[_LARGEST:]
        table.add_row(f"{len(rest)} smaller", f"{sum(rest):,}")
    _close(table, view.trained_closing(report))
    return table


def _flash_table(report: Report) -> Table:
    table = table_of("section", ">bytes")
    for section in ("text", "rodata", "data"):
        table.add_row(section, f"{report['flash'][section]:,}")
    _close(table, view.flash_closing(report))
    return table


def _wide_table(report: Report) -> Table:
    table = table_of("layer", ">extra bytes", ">instructions saved, inference")
    for layer, nbytes, saved in report_flash.wide_rows(report, _LARGEST):
        table.add_row(short(layer, 32), f"{nbytes:,}", f"{saved:,}")
    table.add_section()
    layers, nbytes, saved = report_flash.wide_total(report)
    table.add_row(layers, f"{nbytes:,}", f"{saved:,}")
    return table


def _flash_parts_table(report: Report) -> Table:
    """The largest functions and constants of the linked firmware."""
    table = table_of("what", ">bytes", ">of all", "kind")
    total = profile_view.flash_closing(report["flash_parts"]).actual
    for what, kind, nbytes in profile_view.flash_rows(report["flash_parts"], _LARGEST, report["name"]):
        table.add_row(short(what, 36), f"{nbytes:,}", f"{nbytes / max(total, 1):.1%}", kind)
    _close(table, profile_view.flash_closing(report["flash_parts"]))
    return table


def _print_runs(report: Report, console: Console) -> None:
    """What running it showed: instructions, losses, and whether host and device agree."""
    if report["instructions"]:
        counts = report["instructions"]
        _line(console, "infer", f"{counts['infer']:,} {view.NOT_CYCLES}")
        _line(console, "train", f"{counts['train_step']:,} a step; {view.NOT_CYCLES}")
    losses = report["losses"]
    if losses:
        first, last = ("not finite" if x is None else f"{x:.4f}" for x in (losses[0], losses[-1]))
        _line(console, "loss", f"{first} -> {last} in {len(losses)} steps")
    if report["host_equals_device"] is not None:
        agrees = report["host_equals_device"]
        text = "bit for bit the same" if agrees else "host and device DIFFER: the run proves nothing"
        _line(console, "host", text, "green" if agrees else "bold red")
