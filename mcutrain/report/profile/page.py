"""Prepares what the page shows of a profile: rows of its tables, and its picture."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from mcutrain.report.flash import short_name
from mcutrain.report.profile import figures as view
from mcutrain.report.profile.picture import render_svg
from mcutrain.schema.profile import CallProfile, FunctionProfile, OpProfile, Profile


@dataclass(frozen=True)
class OpRow:
    """One op. share: percent of the call's instructions; short: its kernel's name."""

    at: int
    op: OpProfile
    per_mac: float | None
    share: float
    short: str


@dataclass(frozen=True)
class FunctionRow:
    """One function. share: percent of the call's instructions."""

    function: FunctionProfile
    share: float
    short: str


@dataclass(frozen=True)
class CallPage:
    """One call: its figures, its instruction mix, its tables."""

    call: CallProfile
    title: str
    mix: list[tuple[str, int, float]]
    ops: list[OpRow]
    functions: list[FunctionRow]


@dataclass(frozen=True)
class ProfilePage:
    """The calls, the training step first; the picture is SVG whose names are escaped."""

    calls: list[CallPage]
    how: str
    picture: Markup


def profile_page(profile: Profile, model: str) -> ProfilePage:
    """Make of the profile what the page's template takes. model: C name of the model."""
    calls = [_call(call, model) for call in reversed(profile.calls)]
    return ProfilePage(calls, view.how(profile), Markup(render_svg(profile)))


def _call(call: CallProfile, model: str) -> CallPage:
    ops = [
        OpRow(at, op, view.per_mac(op.instructions, op.macs), 100 * view.share(op, call), _short(op.kernel, model))
        for at, op in enumerate(call.ops)
    ]
    functions = [FunctionRow(f, 100 * view.share(f, call), _short(f.name, model)) for f in call.functions]
    return CallPage(call, view.title(call), view.mix_rows(call), ops, functions)


def _short(function: str | None, model: str) -> str:
    return short_name(function or "", model)
