"""What the reports say of flash that is spent on speed: layers whose weights lie there as int16."""

from __future__ import annotations

from typing import Any

WIDE_WEIGHT = {"layer": str, "extra_bytes": int, "saved_instructions": int}


def wide_rows(report: dict[str, Any], most: int) -> list[tuple[str, int, int]]:
    """(layer, extra bytes, instructions saved in an inference) of the `most` best; the others in one row."""
    rows = [tuple(one[key] for key in WIDE_WEIGHT) for one in report.get("wide_weights") or []]
    shown, rest = rows[:most], rows[most:]
    if rest:
        shown.append((f"{len(rest)} more", *_sums(rest)))
    return shown


def wide_total(report: dict[str, Any]) -> tuple[str, int, int] | None:
    """The last row of that table; None where no layer is wide."""
    rows = wide_rows(report, len(report.get("wide_weights") or []))
    return (f"all {len(rows)}", *_sums(rows)) if rows else None


def _sums(rows: list[tuple[str, int, int]]) -> tuple[int, int]:
    return sum(row[1] for row in rows), sum(row[2] for row in rows)
