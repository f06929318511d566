"""`mcutrain boards`: the boards that are known, and how one is described."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from mcutrain.cli.console import output
from mcutrain.cli.options import Json
from mcutrain.targets import board as known
from mcutrain.targets.board import BOARDS, Board
from mcutrain.units import format_bytes


def boards(
    show: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Print this one as a file, to start from for --board FILE.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """The boards that are known; with --show, one of them as a file to start from for your own.

    Example: `mcutrain boards --show nrf52840 > my_board.toml`
    """
    if show is not None:
        board = known.get(show)
        print(json.dumps(_row(board)) + "\n" if as_json else board.to_toml(), end="")
        return
    if as_json:
        print(json.dumps({"boards": [_row(board) for board in BOARDS.values()]}))
        return
    table = Table("board", "core", "SRAM budget", "flash", "emulated by", "what it is")
    for board in BOARDS.values():
        sizes = (format_bytes(board.budget_bytes), format_bytes(board.flash_bytes))
        table.add_row(board.name, board.core.name, *sizes, board.core.machine.name, board.description)
    output.print(table)


def _row(board: Board) -> dict[str, str | int]:
    sizes = {"sram_bytes": board.budget_bytes, "ram_bytes": board.ram_bytes, "flash_bytes": board.flash_bytes}
    return {"name": board.name, "core": board.core.name, **sizes, "machine": board.core.machine.name}
