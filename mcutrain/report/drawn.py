"""Prepares what the page's own script draws: the arena picture and the losses."""

from __future__ import annotations

from typing import Any

from mcutrain.report import streams
from mcutrain.schema.reading import plain
from mcutrain.schema.report import Report, Ring, Tensor


def drawn(report: Report) -> dict[str, Any]:
    """Make the value that report_arena.js and report.js read."""
    rings = {ring.tensor: ring for stream in report.streams for ring in stream.rings}
    guests: dict[str, list[str]] = {}
    for ring in rings.values():
        if ring.in_ring_of is not None:
            guests.setdefault(ring.in_ring_of, []).append(ring.tensor)
    return {
        "height": report.plan.height,
        "live": list(report.live),
        "losses": plain(report.losses),
        "ops": [{"name": op.name, "op": op.op, "phase": op.phase} for op in report.ops],
        "streams": [_run(run) for run in streams.runs(report)],
        "tensors": [_tensor(t, rings.get(t.name), guests.get(t.name, [])) for t in report.tensors],
    }


def _tensor(tensor: Tensor, ring: Ring | None, guests: list[str]) -> dict[str, Any]:
    """guests: the tensors that lie in its ring in place."""
    row: dict[str, Any] = plain(tensor)
    if ring is not None:
        part = {"unit": ring.unit, "held": ring.held, "whole": ring.whole, "whole_nbytes": ring.whole_nbytes}
        row["ring"] = {**part, "guests": guests}
    return row


def _run(run: streams.Run) -> dict[str, Any]:
    first = run.members[0].position
    return {"first": first, "end": first + len(run.members), "unit": run.unit, "way": run.way}
