"""Solves a MiniMalloc problem file: `python -m planner problem.csv --capacity N --output solution.csv`."""

from __future__ import annotations

import argparse
import sys

from planner import arena_cpsat, csvfile
from planner.arena import heuristic
from planner.errors import McutrainError
from planner.problem import Allocation, Problem


def solve(problem: Problem, capacity: int | None, seconds: float) -> Allocation:
    """Heuristics first; CP-SAT where they leave a gap."""
    start = heuristic(problem)
    return arena_cpsat.improve(problem, start, capacity=capacity, seconds=seconds)


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 with a solution, 1 where none within the capacity was found or the input is unusable."""
    parser = argparse.ArgumentParser("python -m planner", description="Packs buffers with lifetimes into one arena.")
    parser.add_argument("problem", help="CSV with the columns id,lower,upper,size")
    parser.add_argument("--capacity", type=int, help="bytes that must suffice")
    parser.add_argument("--output", required=True, help="CSV to write, with an offset for each buffer")
    parser.add_argument("--seconds", type=float, default=20.0, help="work to spend beyond the heuristics")
    options = parser.parse_args(arguments)
    try:
        problem = csvfile.read(options.problem)
        result = solve(problem, options.capacity, options.seconds)
        print(f"{result.status}: {result.height} bytes, at least {result.bound}")
        if options.capacity is not None and result.height > options.capacity:
            return 1
        rows = [(b.id, b.lower, b.upper, b.size, result.offsets[b.id]) for b in problem.buffers]
        csvfile.write_rows(rows, options.output)
    except McutrainError as error:
        print(f"planner: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
