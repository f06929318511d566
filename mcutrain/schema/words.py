"""Words that several files share, and how a field of a file says what it means."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Kind = Literal["input", "output", "state", "constant", "activation", "gradient", "scratch"]
Phase = Literal["forward", "recompute", "backward", "update"]
Axis = Literal["rows", "channels"]
Unit = Literal["rows", "channels", "filters"]
Status = Literal["OPTIMAL", "FEASIBLE", "INFEASIBLE", "UNKNOWN"]
Loss = Literal["cross_entropy", "binary_cross_entropy", "mse", "autoencoder"]
Dtype = Literal["int8", "int32", "uint8", "uint32", "float32"]
SCHEMA = 1  # of every file: its value of Version
Version = Annotated[Literal[1], Meta(description="version of the format")]


def doc(meaning: str) -> Meta:
    """Say what a field means, for docs/FORMATS.md. meaning: may hold Markdown, on one line."""
    return Meta(description=meaning)
