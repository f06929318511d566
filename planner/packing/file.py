"""From a problem file to a file of offsets: the work behind `mcutrain pack` and `python -m planner`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mcutrain.planner.errors import BudgetError, OutputError
from mcutrain.planner.packing import csvfile
from mcutrain.planner.packing.problem import Allocation
from mcutrain.planner.packing.solve import over_capacity, solve
from mcutrain.schema.plan import Row


def pack_file(
    problem: str | Path,
    output: str | Path,
    *,
    capacity: int | None = None,
    seconds: float = 60.0,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
    found: Callable[[Allocation], None] | None = None,
) -> None:
    """Read a MiniMalloc CSV, pack its buffers, and write `id,lower,upper,size,offset` to `output`.

    capacity, seconds, seed, workers, progress: as solve() takes them. found: called with the result before it is
    written, and also where it is higher than the capacity.
    Raises PlanError and OutputError for arguments and files that cannot be used, BudgetError where nothing within the
    capacity was found; then nothing is written."""
    _check_output(problem, output)
    content = csvfile.read(problem, capacity=capacity)
    result = solve(content, capacity=capacity, seconds=seconds, seed=seed, workers=workers, progress=progress)
    if found is not None:
        found(result)
    if capacity is not None and result.height > capacity:
        raise BudgetError(f"{problem}: {over_capacity(content, result, capacity)}")
    rows = (Row(b.id, b.lower, b.upper, b.size, result.offsets[b.id]) for b in content.buffers)
    csvfile.write_rows(rows, output)


def _check_output(problem: str | Path, output: str | Path) -> None:
    """Refuse, before the long work, an output that is the problem itself or lies in no folder."""
    if not Path(output).absolute().parent.is_dir():
        raise OutputError(f"cannot write {output}: its folder does not exist; make it, or choose another")
    if not Path(output).name or Path(output).is_dir():
        raise OutputError(f"cannot write {str(output)!r}: give the name of a file")
    if Path(output).exists() and Path(output).samefile(problem):
        raise OutputError(f"{output} is the problem itself: choose another file for the solution")
