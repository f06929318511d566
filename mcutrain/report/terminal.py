"""Shapes tables and names for the terminal: for 80 columns and for pipes."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcutrain.report.figures import Closing

ROOMY = 110  # columns from which names have twice the room


def short(text: str, cells: int) -> Text:
    """Cut `text` to at most `cells` columns: its middle goes, as layers mostly differ at the end of their names.

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
    """Tell the columns for a name that gets `cells` of 80."""
    return cells if console.width < ROOMY else 2 * cells


def title_line(console: Console, text: str) -> None:
    """Print a table's title under an empty line."""
    console.print(Text(f"\n{text}", style="bold"))


def labelled_line(console: Console, label: str, text: str, style: str = "") -> None:
    """Print one fact behind its label."""
    console.print(Text.assemble((f"{label:<10}", "bold"), (text, style)), soft_wrap=False)


def table_of(*columns: str) -> Table:
    """Make a table whose columns marked with `>` are numbers: where room is short the texts fold and the numbers
    stay."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        is_number = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table


def close(table: Table, closing: Closing) -> None:
    """Add bound, actual and overhead under a rule; the figure stands in the second column."""
    table.add_section()
    for label, text in closing.lines():
        table.add_row(label, text, style="dim" if label.startswith("bound") else "")
