"""Makes the report dict: from a plan alone, then with what a verify run measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mcutrain import planner
from mcutrain.planner.graph import live_bytes
from mcutrain.planner.model import Graph, Plan, Stream
from mcutrain.planner.rematerialise import Rematerialisation
from mcutrain.planner.stream.rewrite import members

if TYPE_CHECKING:
    from mcutrain.tvm_ext.lower.graph import Call, Lowered, Step


def plan_report(
    lowered: Lowered, plan: Plan, budget: int, seconds: float | None, again: Sequence[Rematerialisation] = ()
) -> dict:
    """The report of a planned step, with None where only a built and run firmware knows."""
    step = lowered.train_step or lowered.infer
    graph = planner.planned_graph(step.graph, plan)
    calls = {c.op.name: c for c in step.calls}
    inside = {s.name: s.ops for s in plan.streams}
    runs = [inside.get(name, (name,)) for name in plan.order]
    start = list(itertools.accumulate(map(len, runs), initial=0))  # place of each op of the plan among the single ops
    first = dict(zip(plan.order, start, strict=False))
    streams = [_stream(s, step, first[s.name]) for s in sorted(plan.streams, key=lambda s: first[s.name])]
    held = {ring["tensor"]: ring["nbytes"] for stream in streams for ring in stream["rings"]}
    live = live_bytes(graph, plan.order)
    return {
        "schema": 1,
        "name": lowered.training.model.name,
        "model": lowered.training.model.name,
        "scheme": lowered.training.policy.name,
        "board": None,
        "budget_bytes": budget,
        "fits": plan.height <= budget,
        "sram": {"arena": plan.height, **dict.fromkeys(("data", "bss", "stack_peak", "stack_bound", "total"))},
        "flash": None,
        "plan": {
            "status": plan.status,
            "order_status": plan.order_status,
            "height": plan.height,
            "bound": plan.bound,
            "order_bound": plan.order_bound,
            "seconds": seconds,
        },
        "tensors": [
            _tensor(graph, plan, start, n, step) for n in sorted(plan.offsets, key=lambda n: (plan.lifetimes[n], n))
        ],
        "live": [n for n, run in zip(live, runs, strict=True) for _ in run],
        "ops": [_op(calls[n], step, held) for run in runs for n in run],
        "infer_ops": _infer_ops(lowered, plan),
        "streams": streams,
        "recomputed": [_recomputed(one, calls, step) for one in again],
        "instructions": None,
        "trained": _trained(lowered),
        "losses": None,
        "host_equals_device": None,
    }


def _tensor(graph: Graph, plan: Plan, start: list[int], name: str, step: Step) -> dict:
    tensor = graph.by_name[name]
    # to the planner a ring is scratch of its run; to a reader it is what it holds
    kind = step.graph.by_name.get(name, tensor).kind
    first, last = (start[position] for position in plan.lifetimes[name])
    place = {"offset": plan.offsets[name], "first": first, "last": last}
    return {"name": name, "kind": kind, "nbytes": tensor.nbytes, **place}


def _stream(stream: Stream, step: Step, first: int) -> dict:
    """A run of ops and its rings; first: the place of its first op among all. Rows and channels count, not blocks."""
    calls = {c.op.name: c for c in step.calls}
    slots, owners = dict(stream.rings), dict(stream.shared)
    rings = []
    for place, op in enumerate(members({name: c.op for name, c in calls.items()}, stream), first):
        tensor = next(iter(op.outputs), None)
        if tensor not in slots:
            continue
        value, unit, whole = step.values[tensor], "rows", op.rows
        if stream.axis == "channels":
            is_weight = calls[op.name].record.is_weight_gradient
            unit, whole = ("filters", value.shape[0]) if is_weight else ("channels", value.shape[-1])
        nbytes = value.tensor.nbytes
        rings.append(
            {
                "tensor": tensor,
                "op": place,
                "unit": unit,
                "held": slots[tensor] * whole // op.rows,
                "whole": whole,
                "nbytes": nbytes // op.rows * slots[tensor],
                "whole_nbytes": nbytes,
                "in_ring_of": owners.get(tensor),
            }
        )
    return {"axis": stream.axis, "first": first, "ops": list(stream.ops), "rings": rings}


def _recomputed(one: Rematerialisation, calls: Mapping[str, Call], step: Step) -> dict:
    """saved_bytes: what need not be kept since it is made again."""
    read = {name for call in calls.values() if call.phase != "recompute" for name in call.op.inputs}
    saved = sum(step.values[first].tensor.nbytes for first, second in one.outputs if second in read)
    return {"op": one.op, "again": one.name, "macs": calls[one.op].macs, "saved_bytes": saved}


def _op(call: Call, step: Step, held: Mapping[str, int]) -> dict:
    """held: bytes of the rings, by tensor: an op inside a run touches those, not the whole tensors."""

    def nbytes(names: tuple[str, ...]) -> int:
        return sum(held.get(n, step.values[n].tensor.nbytes) for n in names)

    return {
        "name": call.layer,
        "op": call.kind,
        "phase": call.phase,
        "out_shape": "x".join(map(str, call.out_shape)) or "scalar",
        "bytes_in": nbytes(call.op.inputs),
        "bytes_out": nbytes(call.op.outputs or call.op.mutates),
        "scratch": nbytes(call.op.scratch),
        "macs": call.macs,
        "instructions": None,
    }


def _infer_ops(lowered: Lowered, plan: Plan) -> list[dict]:
    """The ops of an inference in the order of the emitted calls."""
    from mcutrain.tvm_ext.emit.placement import placements

    infer, _ = placements(lowered, plan)
    return [{"name": call.layer, "op": call.kind, "macs": call.macs} for call in infer.calls]


def _trained(lowered: Lowered) -> list[dict]:
    rows = []
    layers = {layer.name: layer for layer in lowered.training.model.layers}
    for name, trained in lowered.training.trained.items():
        own = [p for p in lowered.training.parameters if p.layer == name]
        count = layers[name].channels
        kind = "channels" if layers[name].depthwise else "input channels"
        chosen = count if trained.channels is None else len(trained.channels)
        weight = f"{chosen} of {count} {kind}" if chosen else "-"
        nbytes = sum(lowered.state[p.variable].nbytes for p in own)
        rows.append({"layer": name, "bias": trained.bias, "weight": weight, "nbytes": nbytes})
    return rows


def with_measurement(report: dict, measurement: dict) -> dict:
    """The report completed by a verify run (the dict that `mcutrain verify --json` prints)."""
    report = {**report, "ops": [dict(op) for op in report["ops"]]}
    total = measurement["sram_total_bytes"]
    report["sram"] = {
        "arena": measurement["arena_bytes"],
        "data": measurement["data_bytes"],
        "bss": measurement["bss_bytes"],
        "stack_peak": measurement["stack_peak_bytes"],
        "stack_bound": measurement["stack_bound_bytes"],
        "total": total,
    }
    report["flash"] = measurement["flash"]
    report["fits"] = measurement["fits"]
    report["instructions"] = measurement["instructions"]
    report["losses"] = [x if math.isfinite(x) else None for x in measurement["losses"]] or None
    report["host_equals_device"] = measurement["host_equals_device"]
    for op, count in zip(report["ops"], measurement["op_instructions"], strict=False):
        op["instructions"] = count
    return report
