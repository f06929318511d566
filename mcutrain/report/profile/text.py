"""Prints a profile: the ops and the functions that cost most, and what kinds of instructions they are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcutrain.report.flash import short_name
from mcutrain.report.profile import figures as view
from mcutrain.report.spelling import printable_in, spelled
from mcutrain.report.terminal import room, short, table_of, title_line
from mcutrain.schema.profile import CallProfile, OpProfile, Profile

_WIDE = 140  # columns from which a table also names the kernel


def render_profile(profile: Profile, model: str, console: Console, top: int) -> None:
    """Print the tables of each call on `console`, each with its `top` largest rows. model: the artifact's C name.

    No colour and no control codes when it is not a terminal; for 80 columns and for pipes."""
    profile = spelled(profile, printable_in(console.encoding))
    for call in profile.calls:
        said = f"One {view.title(call)}: {call.instructions:,} instructions"
        estimate = "" if call.cycles is None else f", about {call.cycles:,} cycles (estimate)"
        title_line(console, said + estimate)
        console.print(_ops_table(call, model, console, top))
        if call.functions:
            title_line(console, f"By function: {len(call.functions)} ran")
            console.print(_functions_table(call, model, top))
            parts = [f"{name} {part:.1%}" for name, _, part in view.mix_rows(call)]
            console.print(Text("instructions: " + ", ".join(parts), style="dim"))
    console.print(Text("\n" + view.how(profile), style="dim"))


def _ops_table(call: CallProfile, model: str, console: Console, top: int) -> Table:
    """Show the ops with the most instructions. Where the terminal is narrow, without MACs and kernels."""
    ops, has_cycles, is_wide = call.ops, call.cycles is not None, console.width >= _WIDE
    table = table_of(
        ">at", "layer", ">instructions", ">share", *[">MACs"] * is_wide, ">/MAC", *[">est. cycles"] * has_cycles, "op",
        *["kernel"] * is_wide,
    )  # fmt: skip
    order = sorted(range(len(ops)), key=lambda i: (-ops[i].instructions, i))
    for i in order[:top]:
        kernel = [short(short_name(ops[i].kernel or "-", model), 44)] * is_wide
        figures = _figures([ops[i]], call, is_wide)
        name, op = short(ops[i].name, room(console, 20)), short(ops[i].op, room(console, 17))
        table.add_row(str(i), name, *figures, op, *kernel)
    rest = [ops[i] for i in order[top:]]
    if rest:
        table.add_row("", f"{len(rest)} smaller", *_figures(rest, call, is_wide))
    table.add_section()
    table.add_row("", f"all {len(ops)} ops", *_figures(ops, call, is_wide))
    return table


def _figures(ops: Sequence[OpProfile], call: CallProfile, is_wide: bool) -> list[str]:
    """Write the numbers of a row: of one op, or of several together."""
    instructions, macs = sum(op.instructions for op in ops), sum(op.macs for op in ops)
    per_mac = view.per_mac(instructions, macs)
    ratio = "-" if per_mac is None else f"{per_mac:.2f}"
    cells = [f"{instructions:,}", f"{view.share_of(instructions, call):.1%}", *[f"{macs:,}"] * is_wide, ratio]
    return cells + ([f"{sum(op.cycles or 0 for op in ops):,}"] if call.cycles is not None else [])


def _functions_table(call: CallProfile, model: str, top: int) -> Table:
    functions = call.functions
    table = table_of("function", ">calls", ">instructions", ">share", ">flash B")
    for f in functions[:top]:
        counts = (f"{f.calls:,}", f"{f.instructions:,}", f"{view.share(f, call):.1%}", f"{f.nbytes:,}")
        table.add_row(short(short_name(f.name, model), 36), *counts)
    rest = functions[top:]
    for label, rows in ((f"{len(rest)} smaller", rest), (f"all {len(functions)} functions", functions)):
        if label.startswith("all"):
            table.add_section()
        if rows:
            instructions = sum(f.instructions for f in rows)
            share = f"{view.share_of(instructions, call):.1%}"
            calls, nbytes = sum(f.calls for f in rows), sum(f.nbytes for f in rows)
            table.add_row(label, f"{calls:,}", f"{instructions:,}", share, f"{nbytes:,}")
    return table
