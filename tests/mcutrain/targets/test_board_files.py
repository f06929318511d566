"""Boards as files: what --show prints is read back, what is wrong is said in a line, an artifact carries its board."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

import mcutrain
from mcutrain.targets import board as boards
from mcutrain.targets.board import BOARDS, Board
from mcutrain.verification import verify
from tests.mcutrain import tiny

OWN = 'name = "own"\ndescription = "of \\"mine\\", 2 µC"\ncore = "Cortex-M4F"\nram = "64KB"\nflash = "512 KiB"\n'
SAID = {
    "name": "the key name is missing",
    "name = 3": "name is no text",
    'name = ""': "name '': write up to 64 letters, digits, dots, - and _",
    'name = "a/b"': "name 'a/b': write up to 64 letters",
    'description = "a\\nb"': "description: write one line of at most 200 characters",
    'core = "Z80"': "core 'Z80' is not known: write one of Cortex-M0, Cortex-M0+, Cortex-M3",
    "core = []": "core is no text",
    "ram": "the key ram is missing",
    "ram = -1": "ram: byte count -1 is not understood: write it as 256KB, 1MB or 262144",
    'ram = "-1KB"': "ram: byte count '-1KB' is not understood",
    'ram = "lots"': "ram: byte count 'lots' is not understood",
    "ram = true": "ram is no size, as 256KB is",
    "ram = 1.5": "ram is no size, as 256KB is",
    "ram = 100": "ram is 100 B: a board has 2 KB to 512 MB",
    'ram = "900GB"': "ram is 900 GB: a board has 2 KB to 512 MB",
    "flash = 0": "flash is 0 B: a board has 4 KB to 512 MB",
    'budget = "65KB"': "budget is 65 KB: write more than 1 KB and at most ram, 64 KB",
    "budget = 1024": "budget is 1 KB: write more than 1 KB and at most ram, 64 KB",
    'sram = "64KB"': "there is no key 'sram': known are name, core, ram, flash, budget, description",
    "=": "is no TOML: ",
}  # fmt: skip


def own(line: str) -> str:
    """The file above with this line in the place of the one with its key; only a key: without that line."""
    key = line.partition(" ")[0]
    kept = [other for other in OWN.splitlines() if not other.startswith(f"{key} ")]
    return "\n".join([*kept, line if line != key or line == "=" else ""])


@pytest.mark.parametrize("name", BOARDS)
def test_shown_boards_are_read_back(name: str, tmp_path: Path, command: Callable) -> None:
    (tmp_path / "board.toml").write_text(command("boards", "--show", name).out)
    assert Board.from_file(tmp_path / "board.toml") == BOARDS[name] == boards.get(str(tmp_path / "board.toml"))
    as_json = command("boards", "--show", name, "--json").out
    assert json.loads(as_json)["name"] == name and as_json.endswith("}\n")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    board = boards.get(tmp_path / "own.toml")
    assert (board.name, board.core.name, board.description) == ("own", "Cortex-M4F", 'of "mine", 2 µC')
    assert (board.ram_bytes, board.budget_bytes, board.flash_bytes) == (65536, 65536, 524288)
    assert boards.parse(board.to_toml(), "x") == board == boards.get(board)
    odd = replace(board, ram_bytes=70_001, budget_bytes=9_999, flash_bytes=3 << 20)
    assert boards.parse(odd.to_toml(), "x") == odd
    assert repr(odd) == "Board('own', Cortex-M4F, 9.8 KB of 68.4 KB SRAM, 3 MB flash)"


@pytest.mark.parametrize("line", SAID)
def test_what_is_wrong_is_said_in_a_line(line: str, tmp_path: Path, command: Callable) -> None:
    path = tmp_path / "own.toml"
    path.write_text(own(line), encoding="utf-8")
    ran = command("boards", "--show", path)
    assert (ran.status, ran.out) == (2, "") and ran.err.startswith(f"mcutrain: {path}: {SAID[line]}")
    assert ran.err.count("\n") == 1


def test_files_that_cannot_be_read(tmp_path: Path, command: Callable) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "deep.toml").write_text(f"ram = {'[' * 10_000}")
    said = {
        "none.toml": "there is no such file; `mcutrain boards --show NAME` prints one to start from",
        "bytes.toml": "the board cannot be read: 'utf-8' codec",
        "folder.toml": "the board cannot be read: Is a directory",
        "deep.toml": "is no TOML: ",
    }
    for name, message in said.items():
        ran = command("boards", "--show", tmp_path / name)
        assert (ran.status, ran.err.count("\n")) == (2, 1) and f"{name}: {message}" in ran.err


def test_a_known_boards_name_is_taken(tmp_path: Path) -> None:
    changed = replace(BOARDS["rp2040"], flash_bytes=8 << 20, ram_bytes=300 << 10)
    (tmp_path / "own.toml").write_text(changed.to_toml())
    message = "rp2040 is the name of a known board, whose ram and flash differ: choose another name"
    for board in (changed, tmp_path / "own.toml", str(tmp_path / "own.toml")):
        with pytest.raises(mcutrain.McutrainError, match=message):
            boards.get(board)


def test_the_mapping_and_its_boards_are_read_only() -> None:
    assert mcutrain.boards["nrf52840"] is BOARDS["nrf52840"] and isinstance(mcutrain.boards["rp2040"], mcutrain.Board)
    with pytest.raises(TypeError):
        BOARDS["x"] = BOARDS["rp2040"]  # type: ignore[index]  # what the test is about
    with pytest.raises(FrozenInstanceError):
        BOARDS["rp2040"].name = "x"  # type: ignore[misc]  # what the test is about


def test_compile_and_verify_without_the_file(tmp_path: Path, command: Callable) -> None:
    """The folder carries the board: verify, profile and train need nothing else, wherever it lies."""
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    model = tiny.network.tiny_file(tmp_path)
    ran = command("compile", model, "--scheme", "head_only", *tiny.OPTIONS, "--board", tmp_path / "own.toml",
                  "-o", tmp_path / "made", "--json")  # fmt: skip
    report = json.loads(ran.out)
    assert ran.status == 0 and (report["board"], report["budget_bytes"]) == ("own", 65536)
    (tmp_path / "own.toml").unlink()
    out = (tmp_path / "made").rename(tmp_path / "elsewhere")
    found = verify(out, 1)
    assert found.board == "own" and found.host_equals_device and found.fits
    profiled = json.loads(command("profile", out, "--json").out)
    assert (profiled["board"], profiled["core"]) == ("own", "Cortex-M4F")
    assert mcutrain.host(out).infer(tiny.image(0)).size == 4


def test_the_board_of_a_folder(tmp_path: Path) -> None:
    """An artifact from before boards travelled has a known one's name; another name than the description's is wrong."""
    assert boards.in_folder(tmp_path, "rp2040") is BOARDS["rp2040"]
    with pytest.raises(mcutrain.McutrainError, match="'own' is not known; compile again"):
        boards.in_folder(tmp_path, "own")
    (tmp_path / boards.FILE).write_text(replace(BOARDS["rp2040"], flash_bytes=8 << 20).to_toml())
    assert boards.in_folder(tmp_path, "rp2040").flash_bytes == 8 << 20  # as it was when it was compiled
    with pytest.raises(mcutrain.McutrainError, match="describes rp2040, but own was compiled for; compile again"):
        boards.in_folder(tmp_path, "own")
