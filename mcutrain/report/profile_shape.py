"""The shapes of the report's optional keys `profile` and `flash_parts` (docs/FORMATS.md); report_view checks them."""

from __future__ import annotations

from typing import Any

from mcutrain.firmware import instructions

METHODS = ("plugin", "timer")
CALLS = {"infer": "inference", "train_step": "training step"}

_NONE = type(None)
_FIGURES = {"instructions": int, "cycles": (int, _NONE), "mix": (dict, _NONE)}
_OP = {"name": str, "op": str, "phase": str, "macs": int, "visits": (int, _NONE), "kernel": (str, _NONE), **_FIGURES}
_FUNCTION = {"name": str, "kind": str, "calls": int, "nbytes": int, **_FIGURES}
PROFILE: dict[str, Any] = {
    "schema": int, "board": str, "core": str, "method": str, "step": int, "why": (str, _NONE), "cycles": (dict, _NONE),
    "calls": [{"what": str, **_FIGURES, "ops": [_OP], "functions": [_FUNCTION]}],
}  # fmt: skip
MIX = dict.fromkeys(instructions.MIX, int)
CYCLES = {"source": str, "assumes": str}
FLASH_PARTS: dict[str, Any] = {
    "functions": [{"name": str, "kind": str, "nbytes": int}],
    "constants": [{"layer": str, "nbytes": int}],
    "other": int,
}
