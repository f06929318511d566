"""Solves a MiniMalloc problem file: `python -m planner problem.csv --capacity N --output solution.csv`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mcutrain.planner.errors import BudgetError, McutrainError, OutputError
from mcutrain.planner.packing import csvfile
from mcutrain.planner.packing.solve import over_capacity, solve


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 with a solution, 1 where none within the capacity was found or the input is unusable."""
    options = _options(arguments)
    try:
        _check_output(options.problem, options.output)
        problem = csvfile.read(options.problem, capacity=options.capacity)
        result = solve(
            problem,
            capacity=options.capacity,
            seconds=options.seconds,
            seed=options.seed,
            workers=options.workers,
            progress=lambda line: print(line, file=sys.stderr),
        )
        print(f"{result.status}: {result.height} bytes, at least {result.bound}")
        if options.capacity is not None and result.height > options.capacity:
            raise BudgetError(f"{options.problem}: {over_capacity(problem, result, options.capacity)}")
        rows = [(b.id, b.lower, b.upper, b.size, result.offsets[b.id]) for b in problem.buffers]
        csvfile.write_rows(rows, options.output)
    except McutrainError as error:
        print(f"planner: {error}", file=sys.stderr)
        return 1
    return 0


def _check_output(problem: str, output: str) -> None:
    """Before the long work: the output is another file than the problem, in a folder that is there."""
    if not Path(output).absolute().parent.is_dir():
        raise OutputError(f"cannot write {output}: its folder does not exist; make it, or choose another")
    if not Path(output).name or Path(output).is_dir():
        raise OutputError(f"cannot write {output!r}: give the name of a file")
    if Path(output).exists() and Path(output).samefile(problem):
        raise OutputError(f"{output} is the problem itself: choose another file for the solution")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m planner", description="Packs buffers with lifetimes into one arena.")
    parser.add_argument("problem", help="CSV with the columns id,lower,upper,size and perhaps alignment")
    parser.add_argument("--capacity", type=int, help="bytes that must suffice; without it: as low as can be")
    parser.add_argument("--output", required=True, help="CSV to write, with an offset for each buffer")
    parser.add_argument("--seconds", type=float, default=60.0, help="work beyond the heuristics (one core's seconds)")
    parser.add_argument("--seed", type=int, default=0, help="of the searches; the same one gives the same offsets")
    parser.add_argument("--workers", type=int, default=2, help="threads; they change the speed alone")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
