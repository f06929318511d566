"""`mcutrain pack`: the options and results of `python -m planner`, with the exit statuses of mcutrain's commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    """Six buffers of 4 bytes, two of which live together at any time."""
    path = tmp_path / "p.csv"
    path.write_text("id,lower,upper,size\n" + "".join(f"b{k},{k},{k + 2},4\n" for k in range(6)))
    return path


def test_it_writes_what_the_module_writes(problem: Path, command: Callable) -> None:
    options = ("--capacity", 8, "--seconds", 1, "--seed", 3, "--workers", 1, "--output")
    ran = command("pack", problem, *options, problem.with_name("ours.csv"))
    assert (ran.status, ran.out, ran.errors) == (0, "OPTIMAL: 8 bytes, at least 8\n", [])
    arguments = [*map(str, options), problem.with_name("theirs.csv")]
    module = [sys.executable, "-m", "planner", problem, *arguments]
    done = subprocess.run(module, cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout == ran.out
    ours, theirs = (problem.with_name(name).read_text() for name in ("ours.csv", "theirs.csv"))
    assert ours == theirs and ours.startswith("id,lower,upper,size,offset\n")


def test_a_capacity_has_units(problem: Path, command: Callable) -> None:
    for capacity, status in (("1KB", 0), ("8 B", 0), ("7B", 1), ("many", 2), ("-1", 2), ("1.5B", 2)):
        ran = command("pack", problem, f"--capacity={capacity}", "-o", problem.with_name("s.csv"))
        assert ran.status == status and len(ran.errors) == (status > 0)
    assert "byte count '1.5B' is 1.5 B, not a whole number" in ran.errors[0]


def test_json(problem: Path, command: Callable) -> None:
    ran = command("pack", problem, "-o", problem.with_name("s.csv"), "--json")
    assert ran.err == "" and json.loads(ran.out) == {"status": "OPTIMAL", "height": 8, "bound": 8}


def test_a_capacity_that_cannot_hold(problem: Path, command: Callable) -> None:
    ran = command("pack", problem, "--capacity", 7, "--output", problem.with_name("s.csv"))
    assert (ran.status, ran.out) == (1, "INFEASIBLE: 8 bytes, at least 8\n") and len(ran.errors) == 1
    assert ran.errors[0].startswith(f"mcutrain: {problem}: no allocation can fit 7 bytes: the lowest height found is 8")
    assert [p.name for p in problem.parent.iterdir()] == ["p.csv"]


def test_bad_input(problem: Path, command: Callable) -> None:
    before = problem.read_bytes()
    for arguments, words in (
        ((problem, "-o", problem), "is the problem itself"),
        ((problem, "-o", problem.parent / "no/s.csv"), "folder does not exist"),
        ((problem, "-o", problem.with_name("s.csv"), "--workers", 0), "workers"),
        ((problem.with_name("none.csv"), "-o", problem.with_name("s.csv")), "none.csv"),
    ):
        ran = command("pack", *arguments)
        assert ran.status == 2 and ran.out == "" and len(ran.errors) == 1 and words in ran.errors[0]
    assert problem.read_bytes() == before and [p.name for p in problem.parent.iterdir()] == ["p.csv"]
