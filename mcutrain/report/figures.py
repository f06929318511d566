"""What both reports (terminal and page) say: the checked report dict and the figures derived from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mcutrain.planner.errors import McutrainError
from mcutrain.planner.model import KINDS
from mcutrain.report.flash import WIDE_WEIGHT
from mcutrain.report.profile_shape import CALLS, CYCLES, FLASH_PARTS, METHODS, MIX, PROFILE
from mcutrain.units import format_bytes

Report = dict[str, Any]
SCHEMA = 1
PHASES = ("forward", "recompute", "backward", "update")
AXES = ("rows", "channels")
UNITS = ("rows", "channels", "filters")
NOT_CYCLES = "instructions executed on the emulator, not cycles"
AFTER_VERIFY = "data, bss and stack come with `mcutrain verify`"

_OPTIONAL_INT = (int, type(None))
_TENSOR = {"name": str, "kind": str, "nbytes": int, "offset": int, "first": int, "last": int}
_OP = {"name": str, "op": str, "phase": str, "out_shape": str, "bytes_in": int, "bytes_out": int, "scratch": int}
_RING = {"tensor": str, "op": int, "unit": str, "held": int, "whole": int, "nbytes": int, "whole_nbytes": int,
         "in_ring_of": (str, type(None))}  # fmt: skip
_SHAPE: dict[str, Any] = {
    "schema": int, "name": str, "model": str, "scheme": str, "board": (str, type(None)), "budget_bytes": int,
    "fits": bool,
    "sram": {"arena": int, **dict.fromkeys(("data", "bss", "stack_peak", "stack_bound", "total"), _OPTIONAL_INT)},
    "flash": (dict, type(None)),
    "plan": {"status": str, "order_status": str, "height": int, "bound": int, "order_bound": int,
             "seconds": (int, float, type(None))},
    "tensors": [_TENSOR], "live": [int], "ops": [{**_OP, "macs": int, "instructions": _OPTIONAL_INT}],
    "streams": [{"axis": str, "first": int, "ops": [str], "rings": [_RING]}],
    "instructions": (dict, type(None)), "trained": [{"layer": str, "bias": bool, "weight": str, "nbytes": int}],
    "losses": (list, type(None)), "host_equals_device": (bool, type(None)),
}  # fmt: skip
_FLASH = dict.fromkeys(("text", "rodata", "data", "total"), int)
_RECOMPUTED = [{"op": str, "again": str, "macs": int, "saved_bytes": int}]
_INSTRUCTIONS = {"infer": int, "train_step": int}


class ReportError(McutrainError):
    """A report dict that cannot be shown: a key is missing, has another type, or contradicts another one."""


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
        """(label, text) of the three lines; the unit is bytes, the overhead is also in percent of the bound."""
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


def check_report(report: Report) -> None:
    """Raise ReportError, naming the key, unless `report` has every key the renderers read, each of its type."""
    _check(report, _SHAPE, "report")
    if report["schema"] != SCHEMA:
        raise ReportError(f"report.schema is {report['schema']}, this version reads {SCHEMA}: make the report again")
    for key, shape in (("flash", _FLASH), ("instructions", _INSTRUCTIONS)):
        if report[key] is not None:
            _check(report[key], shape, f"report.{key}")
    for key, field, known in (("tensors", "kind", KINDS), ("ops", "phase", PHASES), ("streams", "axis", AXES)):
        _check_words(report[key], field, known, f"report.{key}")
    _check(report["losses"] or [], [(int, float, type(None))], "report.losses")
    _check(report.get("recomputed", []), _RECOMPUTED, "report.recomputed")
    _check(report.get("wide_weights", []), [WIDE_WEIGHT], "report.wide_weights")
    if report.get("flash_parts") is not None:
        _check(report["flash_parts"], FLASH_PARTS, "report.flash_parts")
    if report.get("profile") is not None:
        check_profile(report["profile"])
    for i, stream in enumerate(report["streams"]):
        _check_stream(stream, len(report["ops"]), f"report.streams[{i}]")


def check_profile(profile: dict[str, Any]) -> None:
    """The same of the key `profile`."""
    _check(profile, PROFILE, "report.profile")
    if profile["cycles"] is not None:
        _check(profile["cycles"], CYCLES, "report.profile.cycles")
    _check_words([profile], "method", METHODS, "report.profile")
    _check_words(profile["calls"], "what", tuple(CALLS), "report.profile.calls")
    for i, call in enumerate(profile["calls"]):
        _check_words(call["ops"], "phase", PHASES, f"report.profile.calls[{i}].ops")
        if call["mix"] is not None:
            _check(call["mix"], MIX, f"report.profile.calls[{i}].mix")


def _check_words(items: list[dict[str, Any]], field: str, known: tuple[str, ...], where: str) -> None:
    for i, item in enumerate(items):
        if item[field] not in known:
            said = f"{where}[{i}].{field} is {item[field]!r}, not one of {', '.join(known)}"
            raise ReportError(f"{said}: make the report again")


def _check_stream(stream: dict[str, Any], ops: int, where: str) -> None:
    """Its ops are some of the report's, and its rings are written by them."""
    end = stream["first"] + len(stream["ops"])
    if not 0 <= stream["first"] < end <= ops:
        raise ReportError(f"{where} is of ops {stream['first']} to {end - 1} of {ops}: make the report again")
    _check_words(stream["rings"], "unit", UNITS, f"{where}.rings")
    for i, ring in enumerate(stream["rings"]):
        if not (stream["first"] <= ring["op"] < end and 0 < ring["held"] <= ring["whole"]):
            said = f"{ring['held']} of {ring['whole']} {ring['unit']} of op {ring['op']}"
            raise ReportError(f"{where}.rings[{i}]: {said} cannot be: make the report again")


def _check(value: Any, shape: Any, where: str) -> None:
    """Walk `value` along `shape`: a dict of keys, a list of one element shape, or the types allowed."""
    if isinstance(shape, dict):
        _check(value, (dict,), where)
        for key, inner in shape.items():
            if key not in value:
                raise ReportError(f"{where}.{key} is missing: make the report again with this version of mcutrain")
            _check(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        _check(value, (list, tuple), where)
        for i, item in enumerate(value):
            _check(item, shape[0], f"{where}[{i}]")
    else:
        types = shape if isinstance(shape, tuple) else (shape,)
        # bool is an int to isinstance; `"nbytes": true` is still wrong.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            names = " or ".join(t.__name__ for t in types).replace("NoneType", "None")
            raise ReportError(f"{where} is {type(value).__name__}, not {names}: make the report again")


def finite(value: Any) -> Any:
    """`value` with NaN and infinities replaced by None: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(value: Any) -> Any:
    """`value` with every unprintable character of its strings spelt out: names come from model files, and a terminal
    obeys escape codes, a page obeys direction marks, and no encoder takes a lone surrogate."""
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item) for item in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value)


def stack_part(sram: dict[str, int | None]) -> Part | None:
    """The stack as `total` counts it: the static bound or the measured peak, or what is left of the total."""
    if sram["total"] is None:
        known = sram["stack_bound"] if sram["stack_bound"] is not None else sram["stack_peak"]
        return None if known is None else Part("stack", "stack", known)
    rest = sram["total"] - sum(sram[key] or 0 for key in ("arena", "data", "bss"))
    if rest < 0:
        raise ReportError(f"report.sram.total {sram['total']} is less than arena + data + bss: make the report again")
    sources = {sram["stack_peak"]: "stack (measured peak)", sram["stack_bound"]: "stack (static bound)"}
    return Part("stack", sources.get(rest, "stack"), rest)


def budget_parts(report: Report) -> list[Part]:
    """The used part of the budget as the bar shows it: state, the rest of the arena, data, bss, stack (if known)."""
    sram = report["sram"]
    state = min(sum(t["nbytes"] for t in report["tensors"] if t["kind"] == "state"), sram["arena"])
    parts = [
        Part("state", "state (trained weights, optimiser)", state),
        Part("working", "activations, gradients, scratch", sram["arena"] - state),
    ]
    parts += [Part(key, key, sram[key]) for key in ("data", "bss") if sram[key] is not None]
    stack = stack_part(sram)
    return parts + ([stack] if stack else [])


def free_part(report: Report) -> Part | None:
    """What the known parts leave of the budget; None if that is nothing."""
    free = report["budget_bytes"] - sum(part.nbytes for part in budget_parts(report))
    label = "free" if report["sram"]["total"] is not None else "left for data, bss and stack"
    return Part("free", label, free) if free > 0 else None


def verdict(report: Report) -> Verdict:
    """Whether the step fits, as the report's `fits` says. Raises ReportError where `fits` contradicts the bytes."""
    budget, is_complete = report["budget_bytes"], report["sram"]["total"] is not None
    used = sum(part.nbytes for part in budget_parts(report))
    if report["fits"] and used > budget:
        raise ReportError(f"report.fits is true, but {used} B are used of {budget} B: make the report again")
    what = "" if is_complete else "Arena: "
    if report["fits"]:
        headline = f"{what}fits, {format_bytes(used)} of {format_bytes(budget)}"
    elif used > budget:
        headline = f"{what}does not fit, {format_bytes(used - budget)} over the budget of {format_bytes(budget)}"
    else:
        headline = f"{what}does not fit (plan {report['plan']['status']})"
    scope = "SRAM: arena + data + bss + stack" if is_complete else f"SRAM without the rest: {AFTER_VERIFY}"
    room = f"{budget - used:,} B free" if used <= budget else f"{used - budget:,} B too many"
    detail = f"{used:,} of {budget:,} B, {room} ({scope})."
    return Verdict(report["fits"], is_complete, used, budget, headline[0].upper() + headline[1:], detail)


def sram_closing(report: Report) -> Closing:
    """Budget table: the arena at its proven lower bound for this order, plus the same rest."""
    used = sum(part.nbytes for part in budget_parts(report))
    bound = used - report["sram"]["arena"] + report["plan"]["bound"]
    rest = "" if used == report["sram"]["arena"] else " + the rest"
    return Closing(f"least arena for this order{rest}", bound, "planned" if not rest else "total", used)


def arena_closing(report: Report) -> Closing:
    """Tables of tensors and ops: the height of the arena against its proven lower bound for this order."""
    plan = report["plan"]
    return Closing("least arena for this order", plan["bound"], "height of the arena", plan["height"])


def trained_closing(report: Report) -> Closing:
    """Trained layers: what they need, against all state that lies in the arena (optimiser included)."""
    state = sum(t["nbytes"] for t in report["tensors"] if t["kind"] == "state")
    return Closing("trained parameters", sum(t["nbytes"] for t in report["trained"]), "state in the arena", state)


def flash_closing(report: Report) -> Closing:
    """Flash: no lower bound is known for code, so only the total is given."""
    return Closing("none is known for code", None, "total", report["flash"]["total"])


def op_bytes(op: dict[str, Any]) -> int:
    """Bytes that one op touches: inputs, outputs and scratch."""
    return op["bytes_in"] + op["bytes_out"] + op["scratch"]


def measured(report: Report) -> int:
    """Instructions of all measured ops together; 0 when none was measured."""
    return sum(op["instructions"] or 0 for op in report["ops"])
