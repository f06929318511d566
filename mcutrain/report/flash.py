"""Derives what the reports say of flash: sections, functions and constants, and what is spent on speed."""

from __future__ import annotations

from mcutrain.report.figures import Closing
from mcutrain.schema.report import Flash, FlashParts, WideWeight


def sections_closing(flash: Flash) -> Closing:
    """Give the total alone: no lower bound is known for code."""
    return Closing("none is known for code", None, "total", flash.total)


def wide_rows(wide: tuple[WideWeight, ...] | None, most: int) -> list[tuple[str, int, int]]:
    """List (layer, extra bytes, instructions saved in an inference) of the `most` best; the others in one row."""
    wide = wide or ()
    rows = [(one.layer, one.extra_bytes, one.saved_instructions) for one in wide[:most]]
    return [*rows, (f"{len(wide[most:])} more", *_sums(wide[most:]))] if wide[most:] else rows


def wide_total(wide: tuple[WideWeight, ...] | None) -> tuple[str, int, int] | None:
    """Make the last row of that table; None where no layer is wide."""
    return (f"all {len(wide)}", *_sums(wide)) if wide else None


def _sums(wide: tuple[WideWeight, ...]) -> tuple[int, int]:
    return sum(one.extra_bytes for one in wide), sum(one.saved_instructions for one in wide)


def short_name(function: str, model: str) -> str:
    """Return a function's name without what all emitted ones begin with."""
    return function.removeprefix(f"tvmgen_{model}_")


def part_rows(parts: FlashParts, most: int, model: str) -> list[tuple[str, str, int]]:
    """List (what, kind, bytes): the largest functions and layers' constants, and what is left of each."""
    functions = [(short_name(f.name, model), f"{f.kind} function", f.nbytes) for f in parts.functions]
    constants = [(c.layer, "constants", c.nbytes) for c in parts.constants]
    rows: list[tuple[str, str, int]] = []
    for found, what in ((functions, "functions"), (constants, "layers' constants")):
        rows += found[:most]
        if found[most:]:
            rows.append((f"{len(found) - most} smaller", what, sum(nbytes for *_, nbytes in found[most:])))
    return [*rows, ("without a name", "alignment, texts, data", parts.other)]


def parts_closing(parts: FlashParts) -> Closing:
    """Close the table: constants must lie somewhere, so that they bound the flash from below."""
    constants = sum(c.nbytes for c in parts.constants)
    total = constants + sum(f.nbytes for f in parts.functions) + parts.other
    return Closing("the constants alone", constants, "flash in all", total)
