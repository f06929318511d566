"""Checks an allocation by every rule of a packing problem, from the definitions alone, and independently."""

from __future__ import annotations

from mcutrain.planner.errors import PlanError
from mcutrain.planner.packing.problem import Allocation, Problem


def check_allocation(problem: Problem, allocation: Allocation) -> None:
    """Raises PlanError, naming every violation in one line, where `allocation` is not sound for `problem`."""
    faults = _offset_faults(problem, allocation) + _figure_faults(problem, allocation)
    faults += _memory_faults(problem, allocation.offsets)
    if faults:
        noun = "rule" if len(faults) == 1 else "rules"
        raise PlanError(f"the allocation breaks {len(faults)} {noun}: {'; '.join(faults)}")


def _offset_faults(problem: Problem, allocation: Allocation) -> list[str]:
    faults = []
    for b in problem.buffers:
        offset = allocation.offsets.get(b.id)
        if offset is None:
            faults.append(f"offset: {b.id!r} has none")
        elif not _is_whole(offset):
            faults.append(f"offset: {b.id!r} lies at {offset!r}, which is no whole number")
        elif offset < 0:
            faults.append(f"offset: {b.id!r} lies at {offset}, below the arena")
        elif offset % b.align:
            faults.append(f"offset: {b.id!r} lies at {offset}, which is no multiple of {b.align}")
    known = {b.id for b in problem.buffers}
    return faults + [f"offset: {name!r} is no buffer" for name in sorted(allocation.offsets.keys() - known)]


def _is_whole(value: object) -> bool:
    return isinstance(value, int)


def _figure_faults(problem: Problem, allocation: Allocation) -> list[str]:
    faults = []
    top = max((allocation.offsets.get(b.id, 0) + b.size for b in problem.buffers), default=0)
    if allocation.height != top:
        faults.append(f"height: {allocation.height} bytes, but the highest buffer ends at {top}")
    if not 0 <= allocation.bound <= allocation.height:
        faults.append(f"bound: {allocation.bound} is not within 0 and the height {allocation.height}")
    met = allocation.height == allocation.bound
    if allocation.status not in ("OPTIMAL", "FEASIBLE", "INFEASIBLE"):
        faults.append(f"status: {allocation.status} is no status of an allocation")
    elif allocation.status != "INFEASIBLE" and (allocation.status == "OPTIMAL") != met:
        figures = f"height {allocation.height} and bound {allocation.bound}"
        faults.append(f"status: {allocation.status} does not fit {figures}")
    return faults


def _memory_faults(problem: Problem, offsets: dict[str, int]) -> list[str]:
    """Finds buffers that are live together and share bytes, yet are no pair at its distance."""
    least: dict[tuple[str, str], int] = {}
    for pair in problem.overlaps:
        key = pair.input, pair.output
        least[key] = max(pair.distance, least.get(key, pair.distance))
    placed = sorted((offsets[b.id], b.id, b) for b in problem.buffers if b.id in offsets and b.size > 0)
    faults = []
    for k, (low, _, a) in enumerate(placed):
        for high, _, b in placed[k + 1 :]:
            if high >= low + a.size:
                break  # sorted by offset: all that follow lie above a
            if max(a.lower, b.lower) >= min(a.upper, b.upper):
                continue
            difference = {(a.id, b.id): low - high, (b.id, a.id): high - low}
            if not any(key in least and gap >= least[key] for key, gap in difference.items()):
                faults.append(
                    f"memory: {a.id!r} at [{low}, {low + a.size}) and {b.id!r} at [{high}, {high + b.size}) "
                    f"share bytes at {max(a.lower, b.lower)}"
                )
    return faults
