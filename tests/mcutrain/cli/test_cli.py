"""The command line where all is well: what each command prints, as text and as JSON, and where progress goes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.targets import board as boards
from tests.mcutrain import tiny

COMMANDS = (
    "inspect", "quantize", "plan", "compile", "verify", "profile", "report", "train", "tune", "boards", "pack",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str, command: Callable) -> None:
    ran = command(name, "--help")
    assert ran.status == 0 and ran.err == ""
    assert f"mcutrain {name}" in ran.out.split("Example:")[1] and "--json" in ran.out


def test_help_lists_the_commands(command: Callable) -> None:
    ran = command("--help")
    assert ran.status == 0 and all(re.search(rf"\b{name}\b", ran.out) for name in COMMANDS)


def test_boards(command: Callable) -> None:
    text = command("boards").out
    rows = json.loads(command("boards", "--json").out)["boards"]
    assert [row["name"] for row in rows] == list(boards.BOARDS)
    assert all(row["name"] in text and row["core"] for row in rows)
    assert [row["sram_bytes"] for row in rows] == [board.budget_bytes for board in boards.BOARDS.values()]
    assert all(row["sram_bytes"] <= row["ram_bytes"] for row in rows)
    assert rows[0].keys() == {"name", "core", "sram_bytes", "ram_bytes", "flash_bytes", "machine"}


def test_plan_needs_no_tools(pickle_file: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    ran = command("plan", pickle_file, "--scheme", "last_k=3", *tiny.OPTIONS, "--json")
    assert ran.status == 0 and ran.err == ""
    report = json.loads(ran.out)
    assert report["fits"] is True and report["scheme"] == "last_k=3" and report["budget_bytes"] == 262144
    assert report["plan"]["height"] == report["sram"]["arena"] >= report["plan"]["bound"] > 0
    assert [row["layer"] for row in report["trained"]][-1] == "classifier" and len(report["trained"]) == 4
    assert report["sram"]["total"] is None and report["flash"] is None  # a plan alone does not know them


def test_compile_needs_no_tools(
    pickle_file: Path, tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured: what was tuned is read, so that a compile takes the seconds of its planning."""
    monkeypatch.setenv("PATH", "/nonexistent")
    ran = command("compile", pickle_file, "--scheme", "last_k=3", *tiny.OPTIONS, "-o", tmp_path / "out")
    assert ran.status == 0 and (tmp_path / "out/metadata.json").exists()
    assert "measuring" not in ran.err


def test_plan_as_text(pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    page = tmp_path / "page.html"
    ran = command("plan", pickle_file, "--scheme", "last_k=3", *tiny.OPTIONS, "--html", page)
    report = json.loads(command("plan", pickle_file, "--scheme", "last_k=3", *tiny.OPTIONS, "--json").out)
    assert ran.status == 0 and f"{report['plan']['height']:,}" in ran.out and "256" in ran.out
    assert ran.errors == [] and len(ran.progress) >= 4 and "\n... " not in ran.out
    assert page.read_text().startswith("<!") and [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_compile_and_report(pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    arguments = ("compile", pickle_file, "--scheme", "head_only", "--board", "nrf52840", "--budget", "64KB")
    ran = command(*arguments, *tiny.OPTIONS, "-o", out)
    assert ran.status == 0 and ran.errors == [] and len(ran.progress) >= 5
    assert f"wrote {out}; next: mcutrain verify {out}" in ran.out
    report = json.loads(command("report", out, "--json").out)
    again = command(*arguments, *tiny.OPTIONS, "-o", out, "--json")
    assert again.err == "" and {**json.loads(again.out), "plan": None} == {**report, "plan": None}
    assert (report["board"], report["budget_bytes"], report["scheme"]) == ("nrf52840", 65536, "head_only")
    text = command("report", out)
    assert text.status == 0 and f"{report['plan']['height']:,}" in text.out
    assert text.out.rstrip().endswith(f"picture: {out / 'report.html'}")


def test_train(compiled: mcutrain.Artifact, tmp_path: Path, command: Callable) -> None:
    data = tiny.save_data(tmp_path / "data.npz", 32)
    options = ("--epochs", 3, "--lr", 0.01, "--head-lr", 0.01, "--save", tmp_path / "trained.npz")
    ran = command("train", compiled.directory, data, *options, "--json")
    assert ran.status == 0 and ran.err == ""
    result = json.loads(ran.out)
    assert result.keys() == {"accuracy", "losses", "steps"} and result["steps"] == 96
    assert len(result["accuracy"]) == 4 and len(result["losses"]) == 3 and result["losses"][2] < result["losses"][0]
    twin = mcutrain.host(compiled.directory)
    with np.load(tmp_path / "trained.npz") as saved:
        state = {name: saved[name] for name in saved.files}
    assert state.keys() == twin.state().keys() and state["classifier.weight"].any()
    twin.set_state(state)
    text = command("train", compiled.directory, data, *options)
    assert "96 steps at batch 1" in text.out and f"{result['accuracy'][-1]:.1%}" in text.out
    assert f"{result['losses'][-1]:.4f}" in text.out and text.progress[0] == "... building the host twin"
    assert "... training 96/96" in text.progress and text.progress[-1] == "... evaluating 128/128"
    assert len(text.progress) == 21 and text.errors == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", "trained.npz"]


def test_verify_as_text(pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    command("compile", pickle_file, "--scheme", "head_only", *tiny.OPTIONS, "-o", out)
    ran = command("verify", out, "--steps", 2)
    assert ran.status == 0 and ran.errors == []
    report = json.loads((out / "report.json").read_text())
    for figure in (report["sram"]["total"], report["flash"]["total"]):
        assert f"{figure:,}" in ran.out
    assert ran.out.endswith("Inputs and labels of this run are random: its losses say nothing about learning.\n")
    assert any("running 2 training steps on the emulated Cortex-M7" in line for line in ran.progress)
    assert any("train 2/2" in line for line in ran.progress)  # the device's own lines pass through
    assert (out / "build/firmware.elf").read_bytes()[:4] == b"\x7fELF"


def test_the_installed_command(pickle_file: Path) -> None:
    """The same as its own process: the script that pip makes, another working folder, a path relative to it."""
    command = [Path(sys.executable).with_name("mcutrain"), "plan", pickle_file.name, "--scheme", "head_only"]
    command += [*tiny.OPTIONS, "--json"]
    ran = subprocess.run(command, cwd=pickle_file.parent, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "") and json.loads(ran.stdout)["fits"] is True
    command += ["--budget", "1KB"]
    ran = subprocess.run(command, cwd=pickle_file.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 1 and json.loads(ran.stdout)["fits"] is False and "Traceback" not in ran.stderr
    assert ran.stderr == (
        "mcutrain: a budget of 1,024 B leaves nothing for a network: 1,024 B are kept for the firmware's stack and "
        "data; give a larger one\n"
    )
