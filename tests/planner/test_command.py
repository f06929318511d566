"""solve() and `python -m planner`: within a capacity, proven too small, arguments, MiniMalloc's own instances."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mcutrain.planner import Allocation, BudgetError, Buffer, Overlap, PlanError, Problem, check_allocation, solve
from mcutrain.planner.__main__ import main
from mcutrain.planner.packing import csvfile
from mcutrain.planner.packing import fit as arena_fit
from mcutrain.planner.packing.solve import over_capacity

ROOT = Path(__file__).parents[2]
# A chain of overlaps that slides down 2 bytes a step: 10 bytes are live at most, yet nothing fits below 14.
SLIDE = Problem(
    (Buffer("a", 0, 1, 8), Buffer("b", 0, 2, 8), Buffer("c", 1, 3, 8), Buffer("d", 2, 3, 8)),
    (Overlap("a", "b", 2), Overlap("b", "c", 2), Overlap("c", "d", 2)),
)
LARGE = 2**31 - 1


Done = subprocess.CompletedProcess[str]


def process(*arguments: object) -> Done:
    call = [sys.executable, "-m", "planner", *map(str, arguments)]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """What process() does, in this process; an error that is not the planner's own fails the test."""

    def run(*arguments: object) -> Done:
        status = main([str(argument) for argument in arguments])
        return Done([], status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def instances() -> Path:
    folder = Path(os.environ.get("MCUTRAIN_DATA") or ROOT.parent / "shared" / "data") / "minimalloc"
    if not folder.is_dir():
        message = f"{folder} is not there: set MCUTRAIN_DATA to the folder with minimalloc/"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["C", "G", "K"])
def test_minimalloc_instances_fit_their_capacity(
    name: str, instances: Path, tmp_path: Path, command: Callable[..., Done]
) -> None:
    source = instances / f"{name}.1048576.csv"
    done = command(source, "--capacity", 1048576, "--output", tmp_path / "s.csv")
    assert done.returncode == 0, done.stderr
    given, placed = rows(source), rows(tmp_path / "s.csv")
    assert list(placed[0]) == ["id", "lower", "upper", "size", "offset"]
    assert [{k: v for k, v in row.items() if k != "offset"} for row in placed] == given
    boxes = [tuple(int(row[k]) for k in ("lower", "upper", "offset", "size")) for row in placed]
    assert all(offset >= 0 and offset + size <= 1048576 for _, _, offset, size in boxes)
    for k, (lower, upper, offset, size) in enumerate(boxes):
        for a, b, other, most in boxes[:k]:
            assert upper <= a or b <= lower or offset + size <= other or other + most <= offset
    assert "arena: " in done.stderr and done.stdout.count("\n") == 1


@pytest.mark.slow
def test_workers_change_nothing_and_seeds_do(instances: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = csvfile.read(instances / "A.1048576.csv")
    monkeypatch.setattr(arena_fit, "PLAIN", ())  # the first of them, which knows no seed, solves it
    one, three, other = (
        solve(problem, capacity=1048576, seed=seed, workers=workers) for seed, workers in ((0, 1), (0, 3), (1, 2))
    )
    assert one == three and one.height <= 1048576
    assert other.height <= 1048576 and other.offsets != one.offsets


def test_without_capacity_the_bound_is_met(instances: Path) -> None:
    found = solve(csvfile.read(instances / "C.1048576.csv"))
    assert (found.status, found.height, found.bound) == ("OPTIMAL", 1039360, 1039360)


def test_small_file_is_solved_and_a_small_capacity_is_explained(tmp_path: Path, command: Callable[..., Done]) -> None:
    (tmp_path / "p.csv").write_text("id,lower,upper,size\n" + "".join(f"b{k},{k},{k + 2},4\n" for k in range(6)))
    files = tmp_path / "p.csv", "--output", tmp_path / "s.csv"
    done = process(*files, "--capacity", 8, "--workers", 1, "--seed", 3)
    assert (done.returncode, done.stdout) == (0, "OPTIMAL: 8 bytes, at least 8\n")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 7
    (tmp_path / "s.csv").unlink()
    small = process(*files, "--capacity", 7)
    assert small.returncode == 1 and [p.name for p in tmp_path.iterdir()] == ["p.csv"]
    assert small.stdout == "INFEASIBLE: 8 bytes, at least 8\n"
    assert small.stderr.endswith("at 1 these 2 are live together and have 8 bytes: b0 (4), b1 (4)\n")
    assert "no allocation can fit 7 bytes: the lowest height found is 8, the proven bound 8" in small.stderr
    tiny = command(*files, "--capacity", 3)
    assert tiny.returncode == 1 and tiny.stderr.count("\n") == 1 and "p.csv:2: buffer 'b0' alone" in tiny.stderr
    for option, value in (("--capacity", -1), ("--workers", 0), ("--seconds", "nan"), ("--seconds", -1)):
        wrong = command(*files, option, value)
        assert wrong.returncode == 1 and wrong.stderr.count("\n") == 1


def test_the_output_is_checked_before_the_work(tmp_path: Path, command: Callable[..., Done]) -> None:
    problem = tmp_path / "p.csv"
    problem.write_text("id,lower,upper,size\nb,0,1,4\n")
    before = problem.read_bytes()
    for output, words in ((problem, "is the problem itself"), (tmp_path / "no" / "s.csv", "folder does not exist"),
                          ("", "the name of a file"), (tmp_path, "the name of a file")):  # fmt: skip
        ran = command(problem, "--output", output)
        assert ran.returncode == 1 and ran.stdout == "" and ran.stderr.count("\n") == 1 and words in ran.stderr
    assert problem.read_bytes() == before and list(tmp_path.iterdir()) == [problem]


def test_not_found_in_time_is_not_called_impossible(
    instances: Path, tmp_path: Path, command: Callable[..., Done]
) -> None:
    source = instances / "E.1048576.csv"
    done = command(source, "--capacity", 1048576, "--seconds", 0, "--output", tmp_path / "s.csv")
    assert done.returncode == 1 and done.stdout.startswith("FEASIBLE: ") and not (tmp_path / "s.csv").exists()
    assert "no allocation within 1048576 bytes was found in time" in done.stderr


def test_capacity_between_live_bytes_and_the_optimum_is_refuted_by_search() -> None:
    free = solve(SLIDE)
    assert (free.status, free.height, free.bound) == ("OPTIMAL", 14, 14)
    found = solve(SLIDE, capacity=13)
    assert (found.status, found.height, found.bound) == ("INFEASIBLE", 14, 14)
    assert "by exhaustive search" in over_capacity(SLIDE, found, 13)
    assert solve(SLIDE, capacity=14).height == 14
    assert "no allocation within 13 bytes was found in time" in over_capacity(SLIDE, solve(SLIDE, seconds=0), 13)


def test_arguments_and_large_buffers_are_refused() -> None:
    with pytest.raises(BudgetError, match="buffer 'a' alone has 8 bytes, more than the capacity of 7"):
        solve(SLIDE, capacity=7)
    for wrong in ({"capacity": -1}, {"seconds": float("inf")}, {"seconds": -1.0}, {"workers": 0}):
        with pytest.raises(PlanError, match=r"capacity|seconds|workers"):
            solve(SLIDE, **wrong)


def test_nothing_to_place_is_optimal() -> None:
    assert solve(Problem(())) == Allocation({}, 0, 0, "OPTIMAL")
    assert solve(Problem((Buffer("a", 0, 1, 0),)), capacity=0).offsets == {"a": 0}


@pytest.mark.parametrize("aligns", [(1, 1), (4, 4), (4, 8)])
def test_sizes_up_to_the_largest_number_do_not_overflow(aligns: tuple[int, int]) -> None:
    buffers = tuple(Buffer(f"b{k}", k, k + 3, LARGE - k, aligns[k % 2]) for k in range(12))
    problem = Problem(buffers, (Overlap("b0", "b2", 5),))
    start = solve(problem, seconds=0)
    poor, base = {}, 0
    for b in buffers:  # one above the other
        poor[b.id] = -(-base // 8) * 8
        base = poor[b.id] + b.size
    found = arena_fit.fit(problem, Allocation(poor, base, 0, "FEASIBLE"), start.height, seconds=5)
    assert found.height <= start.height
    best = solve(problem, seconds=5)
    check_allocation(problem, best)
    assert best.bound <= best.height <= start.height
