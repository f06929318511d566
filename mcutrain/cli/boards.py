"""`mcutrain boards`: the boards that are known."""

from __future__ import annotations

import json

from rich.table import Table

from mcutrain.cli.console import output
from mcutrain.cli.options import Json
from mcutrain.targets.board import BOARDS
from mcutrain.units import format_bytes


def boards(as_json: Json = False) -> None:
    """The boards that are known.

    Example: `mcutrain boards`
    """
    if as_json:
        keys = ("name", "core", "sram_bytes", "ram_bytes", "flash_bytes", "machine")
        print(json.dumps({"boards": [{key: getattr(board, key) for key in keys} for board in BOARDS.values()]}))
        return
    table = Table("board", "core", "SRAM budget", "flash", "emulated by", "what it is")
    for board in BOARDS.values():
        sizes = (format_bytes(board.sram_bytes), format_bytes(board.flash_bytes))
        table.add_row(board.name, board.core, *sizes, board.machine, board.description)
    output.print(table)
