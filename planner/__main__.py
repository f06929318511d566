"""`python -m planner problem.csv --capacity N --output solution.csv`: from a checkout, what `mcutrain pack` is."""

from __future__ import annotations

import argparse
import sys

from mcutrain.planner.errors import McutrainError
from mcutrain.planner.packing.file import pack_file


def main(arguments: list[str] | None = None) -> int:
    """Return 0 with a solution, 1 where none within the capacity was found or the input is unusable."""
    options = _options(arguments)
    try:
        pack_file(
            options.problem,
            options.output,
            capacity=options.capacity,
            seconds=options.seconds,
            seed=options.seed,
            workers=options.workers,
            progress=lambda line: print(line, file=sys.stderr),
            found=lambda result: print(f"{result.status}: {result.height} bytes, at least {result.bound}"),
        )
    except McutrainError as error:
        print(f"planner: {error}", file=sys.stderr)
        return 1
    return 0


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
