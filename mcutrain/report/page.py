"""The report of one training step: a dict goes in; terminal text, JSON or one self-contained HTML page comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mcutrain.report import figures as view
from mcutrain.report import flash as report_flash
from mcutrain.report import profile_view, streams
from mcutrain.report.figures import Report, ReportError
from mcutrain.report.profile_svg import render_svg
from mcutrain.report.text import render_text
from mcutrain.units import format_bytes

__all__ = ["ReportError", "render_html", "render_json", "render_text"]

_FLASH_ROWS = 20  # of functions, and of layers
_DRAWN_TENSOR = ("name", "kind", "nbytes", "offset", "first", "last")


def render_json(report: Report) -> str:
    """`report` as indented JSON in ASCII; NaN and infinite losses become null. Raises ReportError if malformed."""
    view.check_report(report)
    return json.dumps(view.finite(report), indent=1, allow_nan=False) + "\n"


def render_html(report: Report) -> str:
    """`report` as one HTML page that needs nothing else: no network, no other file.

    Every name is escaped, whatever the model file called its tensors. Raises ReportError if `report` is malformed
    or contradicts itself."""
    view.check_report(report)
    report = view.printable(view.finite(report))
    env = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "commas": _commas,
        "size": format_bytes,
        "said": _said,
        "held": streams.held_text,
        "counted": streams.counted,
    }
    return env.get_template("report.html.j2").render(
        r=report,
        verdict=view.verdict(report),
        bar=_bar(report),
        kinds=_kinds(report),
        rows=_op_rows(report),
        measured=view.measured(report),
        phases=[phase for phase in view.PHASES if any(op["phase"] == phase for op in report["ops"])],
        sram_lines=view.sram_closing(report).lines(),
        arena_lines=view.arena_closing(report).lines(),
        trained_lines=view.trained_closing(report).lines(),
        flash_lines=view.flash_closing(report).lines() if report["flash"] else [],
        flash_parts=_flash_parts(report),
        wide_rows=report_flash.wide_rows(report, _FLASH_ROWS),
        wide_total=report_flash.wide_total(report),
        profile=_profile(report),
        bounds=_bound_rows(report),
        given=streams.given(report),
        runs=streams.runs(report),
        not_the_arena=streams.NOT_THE_ARENA,
        again=streams.recomputed_macs(report),
        drawn=_drawn(report),
        not_cycles=view.NOT_CYCLES,
    )


def _commas(number: float | None, decimals: int = 0) -> str:
    """A number with thousands separators; a dash for what was not measured."""
    return "\u2013" if number is None else f"{number:,.{decimals}f}"


def _said(value: Any) -> str:
    """A value of the optional `stack` section, which is free in form: numbers, texts, call chains."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "\u2013"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return " \u2192 ".join(_said(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_said(item)}" for key, item in value.items())
    return str(value)


def _bar(report: Report) -> dict[str, Any]:
    """The stacked bar: pieces with their percent of its width, which is the budget, or what is used if that is more."""
    parts, budget = view.budget_parts(report), report["budget_bytes"]
    used = sum(part.nbytes for part in parts)
    if free := view.free_part(report):
        parts = [*parts, free]
    width = max(budget, used, 1)
    pieces = [
        {"part": part, "percent": 100 * part.nbytes / width, "of_budget": 100 * part.nbytes / max(budget, 1)}
        for part in parts
    ]
    return {"pieces": pieces, "limit": 100 * budget / width, "is_over": used > budget}


def _kinds(report: Report) -> list[dict[str, Any]]:
    """The legend of the arena picture: kind, number of tensors, bytes of all of them (they share addresses)."""
    kinds: dict[str, dict[str, Any]] = {}
    for tensor in report["tensors"]:
        kind = kinds.setdefault(tensor["kind"], {"kind": tensor["kind"], "count": 0, "nbytes": 0})
        kind["count"] += 1
        kind["nbytes"] += tensor["nbytes"]
    return sorted(kinds.values(), key=lambda kind: -kind["nbytes"])


def _op_rows(report: Report) -> list[dict[str, Any]]:
    """Per op what the table shows beside the dict's own figures; None where it was not measured or has no MACs."""
    total = view.measured(report)
    rows = []
    for position, op in enumerate(report["ops"]):
        count = op["instructions"]
        rows.append(
            {
                **op,
                "position": position,
                "nbytes": view.op_bytes(op),
                "per_mac": count / op["macs"] if count is not None and op["macs"] > 0 else None,
                "share": 100 * count / total if count is not None and total > 0 else None,
            }
        )
    for key in ("nbytes", "macs", "instructions"):
        most = max((row[key] or 0 for row in rows), default=0)
        for row in rows:
            row[f"{key}_bar"] = round(100 * (row[key] or 0) / most, 1) if most else 0
    return rows


def _bound_rows(report: Report) -> list[dict[str, Any]]:
    """Height and bounds with the percent of the widest that each one's bar takes."""
    rows = streams.bounds(report)
    most = max(row.nbytes for row in rows)
    return [{"said": row, "bar": round(100 * row.nbytes / most, 1) if most else 0} for row in rows]


def _flash_parts(report: Report) -> dict[str, Any] | None:
    """Rows and last lines of the table of flash by function and layer; None before `verify`."""
    if not (parts := report.get("flash_parts")):
        return None
    closing = profile_view.flash_closing(parts)
    return {
        "rows": profile_view.flash_rows(parts, _FLASH_ROWS, report["name"]),
        "total": max(closing.actual, 1),
        "lines": closing.lines(),
    }


def _profile(report: Report) -> dict[str, Any] | None:
    """What the page shows of a profile; None where there is none. The picture's names are escaped where it is drawn."""
    if not (profile := report.get("profile")):
        return None
    calls = [
        {
            **call,
            "title": profile_view.title(call),
            "mix": profile_view.mix_rows(call),
            "ops": [
                {**op, "at": i, "per_mac": profile_view.per_mac(op), "share": 100 * profile_view.share(op, call),
                 "short": profile_view.short_name(op["kernel"] or "", report["name"])}
                for i, op in enumerate(call["ops"])
            ],
            "functions": [
                {**f, "share": 100 * profile_view.share(f, call),
                 "short": profile_view.short_name(f["name"], report["name"])}
                for f in call["functions"]
            ],
        }
        for call in reversed(profile["calls"])
    ]  # fmt: skip
    return {"calls": calls, "how": profile_view.how(profile), "picture": Markup(render_svg(profile))}


def _drawn(report: Report) -> dict[str, Any]:
    """What the page's own script draws: the arena picture and the losses."""
    rings = {ring["tensor"]: ring for stream in report["streams"] for ring in stream["rings"]}
    guests: dict[str, list[str]] = {}
    for ring in rings.values():
        if ring["in_ring_of"] is not None:
            guests.setdefault(ring["in_ring_of"], []).append(ring["tensor"])

    def tensor(t: dict[str, Any]) -> dict[str, Any]:
        row = {key: t[key] for key in _DRAWN_TENSOR}
        if (ring := rings.get(t["name"])) is not None:
            row["ring"] = {key: ring[key] for key in ("unit", "held", "whole", "whole_nbytes")}
            row["ring"]["guests"] = guests.get(t["name"], [])
        return row

    return {
        "height": report["plan"]["height"],
        "live": report["live"],
        "losses": report["losses"],
        "ops": [{key: op[key] for key in ("name", "op", "phase")} for op in report["ops"]],
        "streams": [_drawn_run(run) for run in streams.runs(report)],
        "tensors": [tensor(t) for t in report["tensors"]],
    }


def _drawn_run(run: streams.Run) -> dict[str, Any]:
    first = run.members[0].position
    return {"first": first, "end": first + len(run.members), "unit": run.unit, "way": streams.WAYS[run.unit]}
