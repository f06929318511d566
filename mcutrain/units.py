"""Byte counts as people write and read them: 1 KB is 1,024 bytes, in every command, table and file of the product."""

from __future__ import annotations

import re
from decimal import Decimal

from mcutrain.planner.errors import McutrainError

_FACTORS = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_PATTERN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?:([KMG])(?:i?B)?|B)?", re.IGNORECASE)


class UnitsError(McutrainError):
    """A byte count that cannot be read."""


def parse_bytes(text: str | int) -> int:
    """The number of bytes that `text` names: `256KB`, `64 KiB`, `1.5MB`, `120000` or a plain int.

    KB and KiB both mean 1,024 B, as the data sheets of microcontrollers use them.
    Raises UnitsError for anything else, negative counts and fractions of a byte included."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise UnitsError(f"byte count {text!r} is not understood: write it as 256KB, 1MB or 262144 (KB is 1,024 B)")
    nbytes = Decimal(match[1]) * _FACTORS[(match[2] or "").upper()]
    if nbytes != int(nbytes):
        raise UnitsError(f"byte count {text!r} is {nbytes} B, not a whole number: write the bytes without a fraction")
    return int(nbytes)


def format_bytes(nbytes: int) -> str:
    """`nbytes` for a person: `999 B`, `1.5 KB`, `256 KB`. Whole units have no decimal; `256.0 KB` is rounded."""
    size, sign = abs(nbytes), "-" if nbytes < 0 else ""
    if size < 1 << 10:
        return f"{nbytes} B"
    # 1,048,575 B would round to 1024.0 KB, so the unit is chosen by the rounded value.
    unit = next((u for u in "KM" if round(size / _FACTORS[u], 1) < 1024), "G")
    factor = _FACTORS[unit]
    return f"{sign}{size // factor} {unit}B" if size % factor == 0 else f"{sign}{size / factor:.1f} {unit}B"
