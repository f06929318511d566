"""The boards that C is made for. `boards` maps the name of each that is known to its description, read-only."""

from __future__ import annotations

from collections.abc import Mapping

from mcutrain.targets.board import BOARDS, Board

boards: Mapping[str, Board] = BOARDS
