"""Describes the table of instruction counts that `mcutrain tune` writes and a compile chooses variants of kernels
by."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Counts = dict[str, dict[str, Count]]  # kernel -> variant -> instructions
Table = dict[str, Counts]  # core -> kernel -> variant -> instructions
LEVELS = {
    "core": "the `counts` of a core (docs/guide-boards.md): its own name, or that of one whose counts it shares",
    "kernel": "op, shape of the input, shape of the weights, and a JSON object: `depthwise`, `kernel`, `stride`, "
    "`padding`, `trained_channels` where they are not false or empty; `rounding` where it is not even, `clamp` "
    "[lowest, highest] where it is not [-128, 127]. An op with a mask has another name",
    "variant": "`narrow weights` (int8) or `wide weights` (int16 pairs)",
    "instructions": "of one call over all rows, in steps of the timer (40 or 50); executed ones, not cycles",
}
