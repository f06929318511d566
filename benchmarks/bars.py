"""Defines what a benchmark gives back: one bar, what was measured against it, and the command that prints the
figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
REFERENCE = DATA / "reference"
OUT = ROOT / "out" / "bench"
CLASSES, INPUT_SIZE = 10, 128
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Bar:
    """A bar is one row of the table. value: the figure as a number, None where it was not measured; shown: for people.

    met: whether the bar is met, None where nothing was measured. command: prints this figure. reach: what is hoped for
    beyond the bar; reference: the reference engine's own figure."""

    what: str
    limit: str
    value: float | None
    shown: str
    met: bool | None
    command: str
    reach: str = ""
    reference: str = ""

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Table:
    """A table holds figures without a bar. rows: one cell for each of `columns`; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def at_most(
    what: str,
    value: float,
    limit: float,
    shown: str,
    limit_shown: str,
    command: str,
    reach: str = "",
    reference: str = "",
) -> Bar:
    return Bar(what, f"<= {limit_shown}", value, shown, bool(value <= limit), command, reach, reference)


def at_least(what: str, value: float, limit: float, shown: str, limit_shown: str, command: str) -> Bar:
    return Bar(what, f">= {limit_shown}", value, shown, bool(value >= limit), command)


def equal(what: str, is_equal: bool, command: str) -> Bar:
    return Bar(what, "equal", float(is_equal), "equal" if is_equal else "DIFFERENT", is_equal, command)


def not_measured(what: str, limit: str, why: str) -> Bar:
    return Bar(what, limit, None, f"not measured: {why}", None, "")


def network(name: str) -> Path:
    """Returns the file of a published network."""
    return DATA / "mcunet" / f"{name}.pkl"
