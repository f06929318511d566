"""Shows the report as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mcutrain.report import figures, flash, streams
from mcutrain.report.drawn import drawn
from mcutrain.report.figures import Part
from mcutrain.report.profile.page import ProfilePage, profile_page
from mcutrain.report.spelling import printable, spelled
from mcutrain.report.streams import Bound
from mcutrain.schema.report import FlashParts, Op, Report
from mcutrain.units import format_bytes

_FLASH_ROWS = 20  # of functions, and of layers


def render_html(report: Report) -> str:
    """Make one HTML page of `report` that needs nothing else: no network, no other file.

    Every name is escaped, whatever the model file called its tensors. Raises ReportError if `report` contradicts
    itself."""
    report = spelled(report, printable)
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            r=report,
            verdict=figures.verdict(report),
            bar=_bar(report),
            kinds=_kinds(report),
            rows=_op_rows(report),
            measured=figures.measured(report),
            phases=[phase for phase in figures.PHASES if any(op.phase == phase for op in report.ops)],
            sram_lines=figures.sram_closing(report).lines(),
            arena_lines=figures.arena_closing(report).lines(),
            trained_lines=figures.trained_closing(report).lines(),
            flash_lines=flash.sections_closing(report.flash).lines() if report.flash else [],
            flash_parts=_flash_parts(report.flash_parts, report.name) if report.flash_parts else None,
            wide_rows=flash.wide_rows(report.wide_weights, _FLASH_ROWS),
            wide_total=flash.wide_total(report.wide_weights),
            profile=_profile(report),
            bounds=_bound_rows(report),
            given=streams.given(report),
            runs=streams.runs(report),
            not_the_arena=streams.NOT_THE_ARENA,
            rematerialised_macs=streams.rematerialised_macs(report),
            drawn=drawn(report),
            not_cycles=figures.NOT_CYCLES,
        )
    )


def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "commas": _commas,
        "size": format_bytes,
        "held": streams.held_text,
        "counted": streams.counted,
    }
    return env


def _commas(number: float | None, decimals: int = 0) -> str:
    """Write a number with thousands separators; a dash for what was not measured."""
    return "\u2013" if number is None else f"{number:,.{decimals}f}"


@dataclass(frozen=True)
class Piece:
    """One piece of the stacked bar, with its percent of the bar's width and of the budget."""

    part: Part
    percent: float
    of_budget: float


@dataclass(frozen=True)
class Bar:
    """The stacked bar. limit: where the budget ends, in percent of the width, which is the budget or what is used if
    that is more."""

    pieces: list[Piece]
    limit: float
    is_over: bool


def _bar(report: Report) -> Bar:
    parts, budget = figures.budget_parts(report), report.budget_bytes
    used = sum(part.nbytes for part in parts)
    if free := figures.free_part(report):
        parts = [*parts, free]
    width = max(budget, used, 1)
    pieces = [Piece(part, 100 * part.nbytes / width, 100 * part.nbytes / max(budget, 1)) for part in parts]
    return Bar(pieces, 100 * budget / width, used > budget)


@dataclass(frozen=True)
class KindRow:
    """A kind of tensors in the legend of the arena picture: how many, and bytes of all (they share addresses)."""

    kind: str
    count: int
    nbytes: int


def _kinds(report: Report) -> list[KindRow]:
    sizes: dict[str, list[int]] = {}
    for tensor in report.tensors:
        sizes.setdefault(tensor.kind, []).append(tensor.nbytes)
    return sorted((KindRow(kind, len(found), sum(found)) for kind, found in sizes.items()), key=lambda row: -row.nbytes)


@dataclass(frozen=True)
class OpRow:
    """One op of the table. per_mac and share (in percent) are None where the op was not measured or has no MACs; bars:
    figure -> percent of the largest one."""

    position: int
    op: Op
    per_mac: float | None
    share: float | None
    bars: dict[str, float]


def _op_rows(report: Report) -> list[OpRow]:
    total = figures.measured(report)
    sizes = {
        "nbytes": [op.nbytes for op in report.ops],
        "macs": [op.macs for op in report.ops],
        "instructions": [op.instructions or 0 for op in report.ops],
    }
    most = {key: max(found, default=0) for key, found in sizes.items()}
    rows = []
    for position, op in enumerate(report.ops):
        count = op.instructions
        per_mac = count / op.macs if count is not None and op.macs > 0 else None
        share = 100 * count / total if count is not None and total > 0 else None
        bars = {key: round(100 * sizes[key][position] / most[key], 1) if most[key] else 0 for key in sizes}
        rows.append(OpRow(position, op, per_mac, share, bars))
    return rows


@dataclass(frozen=True)
class BoundRow:
    """A line of how low the arena could be, and its bar in percent of the widest."""

    said: Bound
    bar: float


def _bound_rows(report: Report) -> list[BoundRow]:
    rows = streams.bounds(report)
    most = max(row.nbytes for row in rows)
    return [BoundRow(row, round(100 * row.nbytes / most, 1) if most else 0) for row in rows]


@dataclass(frozen=True)
class FlashTable:
    """Rows (what, kind, bytes) and last lines of the table of flash by function and layer."""

    rows: list[tuple[str, str, int]]
    total: int
    lines: list[tuple[str, str]]


def _flash_parts(parts: FlashParts, model: str) -> FlashTable:
    closing = flash.parts_closing(parts)
    return FlashTable(flash.part_rows(parts, _FLASH_ROWS, model), max(closing.actual, 1), closing.lines())


def _profile(report: Report) -> ProfilePage | None:
    return profile_page(report.profile, report.name) if report.profile else None
