"""Derives what both reports say of streamed runs, of how low the arena could be, and of rematerialised ops."""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.schema.report import Report, Ring

WAYS = {"rows": "row by row", "channels": "by channels", "filters": "by filters"}
NOT_THE_ARENA = "The arena is not lower by as much: tensors share addresses over time."


@dataclass(frozen=True)
class Member:
    """One op of a run: its place among all ops, its unique name, and the ring that it writes (None: whole tensors)."""

    position: int
    name: str
    ring: Ring | None


@dataclass(frozen=True)
class Run:
    """Ops that execute together. unit: what it steps over (rows, channels, filters); `nbytes` of rings stand for
    `whole_nbytes` of tensors. A tensor in another one's ring counts in neither: whole, it would lie in place too."""

    unit: str
    members: tuple[Member, ...]
    nbytes: int
    whole_nbytes: int

    @property
    def way(self) -> str:
        """Tell in words how it steps."""
        return WAYS[self.unit]

    @property
    def title(self) -> str:
        """Tell the places of its ops, and how it steps."""
        first, last = self.members[0].position, self.members[-1].position
        return f"ops {first} to {last}, {self.way}"


@dataclass(frozen=True)
class Bound:
    """One line of how low the arena could be: `gap` is the height less this bound, in bytes; None for the height."""

    label: str
    nbytes: int
    gap: int | None
    meaning: str


def runs(report: Report) -> list[Run]:
    """List the streamed runs in the order of execution."""
    result = []
    for stream in report.streams:
        ring_of = {ring.op: ring for ring in stream.rings}
        members = tuple(Member(i, name, ring_of.get(i)) for i, name in enumerate(stream.ops, stream.first))
        own = [ring for ring in stream.rings if ring.in_ring_of is None]
        only_filters = bool(own) and all(ring.unit == "filters" for ring in own)
        nbytes, whole_nbytes = sum(ring.nbytes for ring in own), sum(ring.whole_nbytes for ring in own)
        result.append(Run("filters" if only_filters else stream.axis, members, nbytes, whole_nbytes))
    return result


def held_text(ring: Ring) -> str:
    """Tell how much of a tensor its ring holds: `3 of 64 rows`."""
    return f"{ring.held:,} of {ring.whole:,} {ring.unit}"


def bounds(report: Report) -> list[Bound]:
    """List height, bound for this order, bound over every order."""
    plan = report.plan
    here, anywhere = plan.height - plan.bound, plan.height - plan.order_bound
    in_order = f"in this order {here:,} B less at most" if here else "proven: this order needs as much"
    orders = f"in any order {anywhere:,} B less at most" if anywhere else "proven: every order needs as much"
    return [
        Bound("height of the arena", plan.height, None, "what the plan needs"),
        Bound("bound for this order", plan.bound, here, in_order),
        Bound("bound over every order", plan.order_bound, anywhere, orders),
    ]


def given(report: Report) -> str:
    """Say what the bounds take as given: they are not over every choice of streams or of ops to rematerialise."""
    streams, rematerialised = len(report.streams), len(report.recomputed or ())
    chosen = [counted(streams, "streamed run")] if streams else []
    chosen += [counted(rematerialised, "op") + " computed again"] if rematerialised else []
    if not chosen:
        return "Bounds for whole tensors, each computed once."
    return f"Bounds for these {' and '.join(chosen)}; over other such choices none is known."


def rematerialised_macs(report: Report) -> tuple[int, float | None]:
    """Return (MACs of all rematerialised ops, their percent of the MACs of the step; None where it has
    none)."""
    macs = sum(entry.macs for entry in report.recomputed or ())
    step = sum(op.macs for op in report.ops if op.phase != "recompute")
    return macs, 100 * macs / step if step else None


def counted(number: int, what: str) -> str:
    """Count as in `1 run`, `2 runs`."""
    return f"{number} {what}{'' if number == 1 else 's'}"
