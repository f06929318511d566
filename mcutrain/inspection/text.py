"""Prints an inspection: one table where the terminal is wide enough, else one of the layers and one of the costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcutrain.frontends import FORMATS
from mcutrain.report.spelling import printable_in
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.schema.inspection import Inspection, LayerRow

WIDEST = 1000  # cells; no table is as wide
LONGEST_NAME = 22  # cells that a layer's name keeps on one line where room is short
LABEL = 13  # cells of what stands before a line of the header
PROBLEM_FIELDS = ("layer", "op", "why", "way_out")
NAMED = 4  # layers named behind a reason that many share
COSTS = (">SRAM alone", ">MACs a step", "from here on", ">SRAM")  # columns of a LayerCost
ABOUT_COSTS = (
    "Alone: this layer trains, and the head. From here on: all layers behind it, too.\n"
    f"SRAM in all, with {FIRMWARE_BYTES:,} B for the firmware. Quick plans; `plan` may find less."
)


def render_inspection(found: Inspection, console: Console) -> None:
    """Print `found` on `console`; no colour and no control codes where that is no terminal."""
    _print_header(found, console)
    has_costs = any(row.alone for row in found.layers)
    whole = _layers_table(found.layers, console, wide=True, costs=has_costs)
    if console.measure(whole, options=console.options.update(width=WIDEST)).maximum <= console.width:
        _title("Layers", console)
        console.print(whole)
    else:
        _title("Layers", console)
        console.print(_layers_table(found.layers, console, wide=False, costs=False))
        if has_costs:
            _title("What training a layer would cost", console)
            console.print(_costs_table(found.layers, console))
    if has_costs:
        console.print(Text(ABOUT_COSTS, style="dim"))
    _print_obstacles(found.layers, console)


def render_problems(problems: Iterable[object], console: Console) -> None:
    """Print why a model cannot be imported: a row for each problem, an object with the PROBLEM_FIELDS."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for field, ratio in zip(PROBLEM_FIELDS, (3, 3, 5, 5), strict=True):
        table.add_column(field.replace("_", " "), overflow="fold", ratio=ratio)
    for problem in problems:
        table.add_row(*[_text(str(getattr(problem, field, "")), console) for field in PROBLEM_FIELDS])
    console.print(table)


def autoencoder_hint(loss: str, input_shape: Sequence[int], outputs: int) -> str:
    """Say what to do with a network with as many outputs as inputs that is about to be trained as a classifier."""
    if loss != "cross_entropy" or math.prod(input_shape) != outputs:
        return ""
    return f"as many outputs as inputs ({outputs:,}): for an autoencoder use --loss autoencoder"


def _print_header(found: Inspection, console: Console) -> None:
    def line(label: str, text: str) -> None:
        console.print(Text.assemble((label.ljust(LABEL), "bold"), _text(text, console)))

    largest = found.largest_activation
    source = FORMATS.get(found.frontend or "", "").split(" (")[0]  # without what the format includes
    real = "" if found.input_scale is None else f", scale {found.input_scale:.6g}, zero point {found.input_zero}"
    beside = f", and {found.table_bytes:,} B of scales" if found.table_bytes else ""
    line("model", f"{found.name} ({source})" if source else found.name)
    line("input", f"{_shape(found.input_shape)} {found.input_dtype}{real}")
    line("output", f"{_counted(found.classes, 'class', 'classes')}, {found.output_dtype}; head {found.head}")
    hint = autoencoder_hint(found.loss, found.input_shape, found.classes)
    line("loss", f"{found.loss}; {hint}" if hint else found.loss)
    line("parameters", f"{found.parameters:,} in {found.weight_bytes:,} B{beside}")
    line("inference", f"{found.macs:,} MACs")
    line("activations", f"largest {largest.nbytes:,} B ({largest.layer})")


def _layers_table(rows: Sequence[LayerRow], console: Console, *, wide: bool, costs: bool) -> Table:
    """Show what each layer is. wide: with the bytes of each output, which its shape tells, too. costs: with what
    training would cost."""
    wanted = [True, True, True, wide, True, True, True, *[costs] * 4]
    titles = ["layer", "op", ">output", ">output B", ">weight B", ">MACs", "trains", *COSTS]
    table = _table([title for title, is_shown in zip(titles, wanted, strict=True) if is_shown], rows)
    for row in rows:
        weight, macs = (f"{value:,}" if value else "" for value in (row.weight_bytes, row.macs))
        cells: list[Text | str] = [_text(row.name, console), row.op, _shape(row.output_shape)]
        cells += [f"{row.output_bytes:,}", weight, macs, _trains(row), *_cost_cells(row)]
        table.add_row(*(cell for cell, is_shown in zip(cells, wanted, strict=True) if is_shown))
    return table


def _costs_table(rows: Sequence[LayerRow], console: Console) -> Table:
    table = _table(("layer", *COSTS), rows)
    for row in rows:
        if row.alone is not None:
            table.add_row(_text(row.name, console), *_cost_cells(row))
    return table


def _cost_cells(row: LayerRow) -> tuple[str, str, str, str]:
    if row.alone is None:
        return "", "", "", ""
    alone = f"{row.alone.sram_bytes:,}", f"{row.alone.macs:,}"
    if row.last_k is None:
        return *alone, "cannot train", ""
    return *alone, "head_only" if row.is_head else f"last_k={row.last_k.k}", f"{row.last_k.sram_bytes:,}"


def _trains(row: LayerRow) -> str:
    if row.is_trainable:
        return "head" if row.is_head else "yes"
    return "no" if row.why_not else ""


def _print_obstacles(rows: Sequence[LayerRow], console: Console) -> None:
    """Print the layers that have a weight and cannot train, by reason."""
    layers: dict[str, list[str]] = {}
    for row in rows:
        if row.why_not:
            layers.setdefault(row.why_not, []).append(row.name)
    for why_not, names in layers.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        console.print(_text(f"\nCannot train: {', '.join(names[:NAMED])}{more}\n  {why_not}", console))


def _table(titles: Iterable[str], rows: Sequence[LayerRow]) -> Table:
    """Make a table. Columns marked with `>` are numbers: where room is short the texts fold and the numbers stay. The
    first column holds the names of the rows."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        is_number = title.startswith(">")
        table.add_column(
            title.lstrip(">"), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold"
        )
    table.columns[0].min_width = min(LONGEST_NAME, max(len(row.name) for row in rows))
    return table


def _title(text: str, console: Console) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _text(text: str, console: Console) -> Text:
    """Make text that is never markup, and has nothing that a terminal obeys or that its encoding lacks: names come
    from model files."""
    return Text("\n".join(map(printable_in(console.encoding), text.split("\n"))))


def _shape(shape: Sequence[int]) -> str:
    """Write (1, H, W, C) as HxWxC."""
    return "x".join(map(str, shape[1:] if len(shape) == 4 else shape))


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
