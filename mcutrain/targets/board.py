"""The boards: those that are known, each a file of the folder `boards`, and those that a user describes in a file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec

from mcutrain.errors import BoardError
from mcutrain.planner.errors import McutrainError
from mcutrain.targets.core import CORES, Core
from mcutrain.units import UnitsError, format_bytes, parse_bytes

SUFFIX = ".toml"
FILE = "board.toml"  # in an artifact's folder
_KIB = 1024
_MOST = 512 << 20  # bytes: of either memory, what Arm's map has room for
_LEAST = {"ram_bytes": 2 * _KIB, "flash_bytes": 4 * _KIB}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,200}")
_COMMENTS = {
    "core": f"one of {', '.join(CORES)}",
    "ram": "the chip's data memory, as much as lies there without a gap; KB is 1,024 B",
    "budget": "of it, for stack, data and arena together, where none is asked for",
    "flash": "for code and constants",
}


@dataclass(frozen=True, repr=False)
class Board:
    """Describes one target. Sizes are bytes.

    budget_bytes: the default memory budget (stack, data, bss and arena together), at most ram_bytes.
    ram_bytes: the chip's data memory without a gap, all of it.
    Raises BoardError for a name that is no word, and for sizes that no chip has."""

    name: str
    description: str
    core: Core
    budget_bytes: int
    ram_bytes: int
    flash_bytes: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BoardError(f"name {self.name[:80]!r}: write up to 64 letters, digits, dots, - and _")
        if not _TEXT.fullmatch(self.description):
            raise BoardError("description: write one line of at most 200 characters")
        for key, least in _LEAST.items():
            nbytes, said = getattr(self, key), key.removesuffix("_bytes")
            if not least <= nbytes <= _MOST:
                allowed = f"{format_bytes(least)} to {format_bytes(_MOST)}"
                raise BoardError(f"{said} is {format_bytes(nbytes)}: a board has {allowed}")
        if not _KIB < self.budget_bytes <= self.ram_bytes:
            allowed = f"more than 1 KB and at most ram, {format_bytes(self.ram_bytes)}"
            raise BoardError(f"budget is {format_bytes(self.budget_bytes)}: write {allowed}")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Board:
        """Read the board that a TOML file describes (docs/guide-boards.md). Raises BoardError for a file that cannot
        be read or is not such a description, and for one with the name of a known board that is another."""
        text = _read(Path(path))
        return _its_own(parse(text, str(path)), f"{path}: ")

    @property
    def defines(self) -> tuple[str, ...]:
        """Name the macros that fix the numerics of this board; the host twin must be built with the same ones."""
        return self.core.defines

    def to_toml(self) -> str:
        """Write the file that describes this board: from_file gives it back."""
        sizes = {"ram": self.ram_bytes, "budget": self.budget_bytes, "flash": self.flash_bytes}
        fields = {"name": self.name, "description": self.description, "core": self.core.name}
        fields |= {key: _size(nbytes) for key, nbytes in sizes.items()}
        written = {key: f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()}
        width = max(len(written[key]) for key in _COMMENTS)
        lines = [f"{t:<{width}}  # {_COMMENTS[key]}" if key in _COMMENTS else t for key, t in written.items()]
        return "\n".join(["# A board of mcutrain: --board FILE, or mcutrain.Board.from_file(FILE).", *lines, ""])

    def __repr__(self) -> str:
        sizes = f"{format_bytes(self.budget_bytes)} of {format_bytes(self.ram_bytes)} SRAM"
        return f"Board({self.name!r}, {self.core.name}, {sizes}, {format_bytes(self.flash_bytes)} flash)"


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """Holds what a file says, before the core is looked up and sizes are read."""

    name: str
    core: str
    ram: int | str
    flash: int | str
    budget: int | str | None = None
    description: str = ""


def parse(text: str, where: str) -> Board:
    """Read the board that a TOML text describes. where: begins the message. Raises BoardError, a line long."""
    try:
        written = msgspec.convert(tomllib.loads(text), _Written)
        if written.core not in CORES:
            known = ", ".join(CORES)
            raise BoardError(f"core {written.core[:80]!r} is not known: write one of {known}")
        sizes = {key: _nbytes(key, getattr(written, key)) for key in ("ram", "flash")}
        budget = sizes["ram"] if written.budget is None else _nbytes("budget", written.budget)
        core = CORES[written.core]
        return Board(written.name, written.description, core, budget, sizes["ram"], sizes["flash"])
    except msgspec.ValidationError as error:
        raise BoardError(f"{where}: {_plain(error)}") from None
    except McutrainError as error:
        raise BoardError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:  # tomllib's
        raise BoardError(f"{where}: is no TOML: {error}") from None


def _nbytes(key: str, written: int | str) -> int:
    try:
        return parse_bytes(written)
    except UnitsError as error:
        raise BoardError(f"{key}: {error}") from None


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's message in the words of the file."""
    message = str(error)
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", message):
        return f"there is no key {unknown[1][:80]!r}: known are {', '.join(_Written.__struct_fields__)}"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", message):
        return f"the key {missing[1]} is missing"
    wrong = re.fullmatch(r"Expected `(.+)`, got .* - at `\$\.(.+)`", message)
    return f"{wrong[2]} is no {'text' if wrong[1] == 'str' else 'size, as 256KB is'}" if wrong else message


def _size(nbytes: int) -> str:
    """Write a size as a file has it, in whole units."""
    for unit, factor in (("MB", _KIB * _KIB), ("KB", _KIB)):
        if nbytes % factor == 0:
            return f"{nbytes // factor}{unit}"
    return f"{nbytes}B"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows write a mark of byte order
    except FileNotFoundError:
        hint = "`mcutrain boards --show NAME` prints one to start from"
        raise BoardError(f"{path}: there is no such file; {hint}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BoardError(f"{path}: the board cannot be read: {reason}") from None


def _read_all() -> Mapping[str, Board]:
    files = sorted(Path(__file__).with_name("boards").glob(f"*{SUFFIX}"))
    boards = [parse(_read(file), str(file)) for file in files]
    return MappingProxyType({board.name: board for board in boards})


AnyBoard = str | os.PathLike[str] | Board  # a known one's name, a file, or a board
BOARDS = _read_all()  # by name, in the order of the files


def get(board: AnyBoard) -> Board:
    """Find the board of this name, or of this file (a path, or a text that ends in .toml); a Board is itself.

    Raises BoardError with the known names, for a wrong file, and for another board with the name of a known one."""
    if isinstance(board, Board):
        return _its_own(board, "")
    if not isinstance(board, str):
        return Board.from_file(board)
    if board in BOARDS:
        return BOARDS[board]
    if board.endswith(SUFFIX):
        return Board.from_file(board)
    known = ", ".join(sorted(BOARDS))
    raise BoardError(f"board {board!r} is not known: choose one of {known}, or name a file that ends in {SUFFIX}")


def in_folder(out: Path, name: str) -> Board:
    """Read the board that an artifact was compiled for, whose name is `name`: as its folder describes it, so that no
    other file is needed; for an older artifact, whose folder does not, the known one. Raises BoardError."""
    if not (out / FILE).exists():
        if name not in BOARDS:
            raise BoardError(f"{out}: has no {FILE}, and board {name[:80]!r} is not known; compile again")
        return BOARDS[name]
    board = parse(_read(out / FILE), str(out / FILE))
    if board.name != name:
        raise BoardError(f"{out / FILE}: describes {board.name}, but {name} was compiled for; compile again")
    return board


def _its_own(board: Board, where: str) -> Board:
    """Refuse a board with the name of a known one and other fields: artifacts and reports name a board."""
    known = BOARDS.get(board.name, board)
    if known != board:
        fields = ("description", "core", "ram_bytes", "budget_bytes", "flash_bytes")
        other = [key.removesuffix("_bytes") for key in fields if getattr(known, key) != getattr(board, key)]
        differs = f"{' and '.join(other)} {'differs' if len(other) == 1 else 'differ'}"
        raise BoardError(f"{where}{board.name} is the name of a known board, whose {differs}: choose another name")
    return board


def too_large(board: Board, budget: int) -> str:
    """Say that a budget promises more than the chip has; "" where it does not."""
    if budget <= board.ram_bytes:
        return ""
    has = f"the {board.ram_bytes:,} B of SRAM that {board.name} has"
    return f"the budget of {budget:,} B is more than {has}: what fits the budget need not fit the board"


def shortage(board: Board, nbytes: int) -> str:
    """Say what is wrong with a budget or plan of so many bytes; "" where the chip has them."""
    if nbytes <= board.ram_bytes:
        return ""
    return (
        f"{nbytes:,} B are more than the {board.ram_bytes:,} B of SRAM that {board.name} has: choose another board or "
        "train less; the host twin (mcutrain train, mcutrain.host) runs it all the same"
    )
