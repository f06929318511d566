"""Makes the terminal report's tables: budget, largest ops, trained layers, flash."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcutrain.report import figures, flash
from mcutrain.report.terminal import close, room, short, table_of
from mcutrain.schema.report import Flash, FlashParts, Op, Report, WideWeight

_LARGEST = 10  # rows of the tables of ops, trained layers, flash


def budget(report: Report) -> Table:
    """Show the parts of the SRAM budget."""
    whole = report.budget_bytes
    table = table_of("part", ">bytes", ">of budget")
    parts, free = figures.budget_parts(report), figures.free_part(report)
    parts = [*parts, *([free] if free else [])]
    for label, nbytes in [*((part.label, part.nbytes) for part in parts), ("budget", whole)]:
        table.add_row(label, f"{nbytes:,}", f"{nbytes / whole:.1%}" if whole > 0 else "-")
    close(table, figures.sram_closing(report))
    return table


def measured_ops(report: Report, console: Console) -> Table:
    """Show the ops with the most instructions."""
    ops, total = report.ops, figures.measured(report)
    table = table_of("layer", ">instructions", ">share", ">at", "op", "phase")
    for i in _largest([op.instructions or 0 for op in ops]):
        count = ops[i].instructions or 0
        name = short(ops[i].name, room(console, 22))
        table.add_row(name, f"{count:,}", f"{count / total:.1%}", *_which(ops[i], i, console))
    table.add_section()
    table.add_row(f"all {len(ops)} ops", f"{total:,}", "100.0%")
    return table


def planned_ops(report: Report, console: Console) -> Table:
    """Show the ops that touch the most bytes."""
    ops = report.ops
    table = table_of("layer", ">bytes", ">at", "op", "phase")
    for i in _largest([op.nbytes for op in ops]):
        name = short(ops[i].name, room(console, 32))
        table.add_row(name, f"{ops[i].nbytes:,}", *_which(ops[i], i, console))
    close(table, figures.arena_closing(report))
    return table


def _largest(sizes: list[int]) -> list[int]:
    """List the positions of the largest, the largest first."""
    return sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))[:_LARGEST]


def _which(op: Op, position: int, console: Console) -> tuple[str, Text, Text]:
    return str(position), short(op.op, room(console, 14)), short(op.phase, 8)


def trained(report: Report, console: Console) -> Table:
    """Show the trained layers with the largest state."""
    by_size = sorted(report.trained, key=lambda layer: -layer.nbytes)
    table = table_of("layer", ">bytes", "bias", "weight")
    for layer in by_size[:_LARGEST]:
        weight = short(layer.weight, room(console, 24))
        table.add_row(short(layer.layer, 30), f"{layer.nbytes:,}", "yes" if layer.bias else "no", weight)
    if rest := by_size[_LARGEST:]:
        table.add_row(f"{len(rest)} smaller", f"{sum(layer.nbytes for layer in rest):,}")
    close(table, figures.trained_closing(report))
    return table


def flash_sections(sections: Flash) -> Table:
    """Show flash by section."""
    table = table_of("section", ">bytes")
    for name, nbytes in (("text", sections.text), ("rodata", sections.rodata), ("data", sections.data)):
        table.add_row(name, f"{nbytes:,}")
    close(table, flash.sections_closing(sections))
    return table


def wide_weights(wide: tuple[WideWeight, ...]) -> Table:
    """Show the layers whose weights lie in flash as int16; `wide` holds at least one."""
    table = table_of("layer", ">extra bytes", ">instructions saved, inference")
    for layer, nbytes, saved in flash.wide_rows(wide, _LARGEST):
        table.add_row(short(layer, 32), f"{nbytes:,}", f"{saved:,}")
    if total := flash.wide_total(wide):
        table.add_section()
        table.add_row(total[0], f"{total[1]:,}", f"{total[2]:,}")
    return table


def flash_parts(parts: FlashParts, model: str) -> Table:
    """Show the largest functions and constants of the linked firmware. model: its C name."""
    table = table_of("what", ">bytes", ">of all", "kind")
    closing = flash.parts_closing(parts)
    for what, kind, nbytes in flash.part_rows(parts, _LARGEST, model):
        table.add_row(short(what, 36), f"{nbytes:,}", f"{nbytes / max(closing.actual, 1):.1%}", kind)
    close(table, closing)
    return table
