"""Derives what both reports (terminal and page) say of the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from mcutrain.report.files import ReportError
from mcutrain.schema.report import Report, Sram
from mcutrain.schema.words import Phase
from mcutrain.units import format_bytes

PHASES: tuple[Phase, ...] = get_args(Phase)
NOT_CYCLES = "instructions executed on the emulator, not cycles"
AFTER_VERIFY = "data, bss and stack come with `mcutrain verify`"


@dataclass(frozen=True)
class Part:
    """One piece of the SRAM budget; `key` is its colour's name on the page."""

    key: str
    label: str
    nbytes: int


@dataclass(frozen=True)
class Closing:
    """The last three lines of a table of bytes. `bound` is None where no lower bound is known."""

    bound_label: str
    bound: int | None
    actual_label: str
    actual: int

    def lines(self) -> list[tuple[str, str]]:
        """List (label, text) of the three lines; the unit is bytes, the overhead is also in percent of the bound."""
        bound, overhead, percent = "-", "-", ""
        if self.bound is not None:
            bound, overhead = f"{self.bound:,}", f"{self.actual - self.bound:,}"
            percent = f" ({(self.actual - self.bound) / self.bound:.1%})" if self.bound > 0 else ""
        return [
            (f"bound: {self.bound_label}", bound),
            (f"actual: {self.actual_label}", f"{self.actual:,}"),
            (f"overhead{percent}", overhead),
        ]


@dataclass(frozen=True)
class Verdict:
    """The headline: `used` of `budget` bytes. `is_complete` is False before the firmware was built (arena only)."""

    fits: bool
    is_complete: bool
    used: int
    budget: int
    headline: str
    detail: str


def stack_part(sram: Sram) -> Part | None:
    """Find the stack as `total` counts it: the static bound or the measured peak, or what is left of the total.
    Raises ReportError where the total is less than its parts."""
    if sram.total is None:
        known = sram.stack_bound if sram.stack_bound is not None else sram.stack_peak
        return None if known is None else Part("stack", "stack", known)
    rest = sram.total - sram.arena - (sram.data or 0) - (sram.bss or 0)
    if rest < 0:
        raise ReportError(f"report.sram.total {sram.total} is less than arena + data + bss: make the report again")
    sources = {sram.stack_peak: "stack (measured peak)", sram.stack_bound: "stack (static bound)"}
    return Part("stack", sources.get(rest, "stack"), rest)


def state_bytes(report: Report) -> int:
    """Sum the bytes of all state in the arena, the optimiser's included."""
    return sum(tensor.nbytes for tensor in report.tensors if tensor.kind == "state")


def budget_parts(report: Report) -> list[Part]:
    """List the used parts of the budget as the bar shows them: state, the rest of the arena, data, bss, stack (if
    known)."""
    sram = report.sram
    state = min(state_bytes(report), sram.arena)
    parts = [
        Part("state", "state (trained weights, optimiser)", state),
        Part("working", "activations, gradients, scratch", sram.arena - state),
    ]
    parts += [Part(key, key, nbytes) for key, nbytes in (("data", sram.data), ("bss", sram.bss)) if nbytes is not None]
    stack = stack_part(sram)
    return parts + ([stack] if stack else [])


def free_part(report: Report) -> Part | None:
    """Find what the known parts leave of the budget; None if that is nothing."""
    free = report.budget_bytes - sum(part.nbytes for part in budget_parts(report))
    label = "free" if report.sram.total is not None else "left for data, bss and stack"
    return Part("free", label, free) if free > 0 else None


def verdict(report: Report) -> Verdict:
    """Judge whether the step fits, as the report's `fits` says. Raises ReportError where `fits` contradicts the
    bytes."""
    budget, is_complete = report.budget_bytes, report.sram.total is not None
    used = sum(part.nbytes for part in budget_parts(report))
    if report.fits and used > budget:
        raise ReportError(f"report.fits is true, but {used} B are used of {budget} B: make the report again")
    what = "" if is_complete else "Arena: "
    if report.fits:
        headline = f"{what}fits, {format_bytes(used)} of {format_bytes(budget)}"
    elif used > budget:
        headline = f"{what}does not fit, {format_bytes(used - budget)} over the budget of {format_bytes(budget)}"
    else:
        headline = f"{what}does not fit (plan {report.plan.status})"
    scope = "SRAM: arena + data + bss + stack" if is_complete else f"SRAM without the rest: {AFTER_VERIFY}"
    room = f"{budget - used:,} B free" if used <= budget else f"{used - budget:,} B too many"
    detail = f"{used:,} of {budget:,} B, {room} ({scope})."
    return Verdict(report.fits, is_complete, used, budget, headline[0].upper() + headline[1:], detail)


def sram_closing(report: Report) -> Closing:
    """Close the budget table: the arena at its proven lower bound for this order, plus the same rest."""
    used = sum(part.nbytes for part in budget_parts(report))
    bound = used - report.sram.arena + report.plan.bound
    rest = "" if used == report.sram.arena else " + the rest"
    return Closing(f"least arena for this order{rest}", bound, "planned" if not rest else "total", used)


def arena_closing(report: Report) -> Closing:
    """Close tables of tensors and ops: the height of the arena against its proven lower bound for this order."""
    return Closing("least arena for this order", report.plan.bound, "height of the arena", report.plan.height)


def trained_closing(report: Report) -> Closing:
    """Close the table of trained layers: what they need, against all state that lies in the arena (optimiser
    included)."""
    needed = sum(layer.nbytes for layer in report.trained)
    return Closing("trained parameters", needed, "state in the arena", state_bytes(report))


def measured(report: Report) -> int:
    """Sum the instructions of all measured ops; 0 when none was measured."""
    return sum(op.instructions or 0 for op in report.ops)
