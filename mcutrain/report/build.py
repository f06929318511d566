"""Makes the report: from a plan alone, then with what a compile chose and what a verify run measured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from mcutrain import planner
from mcutrain.planner.graph import live_bytes
from mcutrain.planner.model import Graph, Plan
from mcutrain.planner.model import Stream as PlannedStream
from mcutrain.planner.rematerialise import Rematerialisation
from mcutrain.planner.stream.rewrite import members
from mcutrain.schema.measurement import Measurement
from mcutrain.schema.report import (
    FlashParts,
    InferenceOp,
    Op,
    PlanFigures,
    Recomputed,
    Report,
    Ring,
    Sram,
    Stream,
    Tensor,
    TrainedLayer,
    WideWeight,
)
from mcutrain.schema.words import Phase, Unit

if TYPE_CHECKING:
    from mcutrain.tvm_ext.emit.placement import Placement
    from mcutrain.tvm_ext.lower.graph import Call, Lowered, Step


def plan_report(
    lowered: Lowered,
    plan: Plan,
    infer: Placement,
    budget: int,
    seconds: float | None,
    rematerialised: Sequence[Rematerialisation] = (),
    board: str | None = None,
) -> Report:
    """Make the report of a planned step, with None where only a built and run firmware knows. infer: where an
    inference's tensors lie, and its calls in order. budget: bytes of SRAM. rematerialised: ops that run twice."""
    step = lowered.train_step or lowered.infer
    calls = {c.op.name: c for c in step.calls}
    runs = _runs(plan)
    start = list(itertools.accumulate(map(len, runs), initial=0))  # place of each op of the plan among the single ops
    streams = _streams(plan, step, dict(zip(plan.order, start, strict=False)))
    held = {ring.tensor: ring.nbytes for stream in streams for ring in stream.rings}
    graph = planner.planned_graph(step.graph, plan)
    return Report(
        schema=1,
        name=lowered.training.model.name,
        model=lowered.training.model.name,
        scheme=lowered.training.policy.name,
        board=board,
        budget_bytes=budget,
        fits=plan.height <= budget,
        sram=Sram(arena=plan.height, data=None, bss=None, stack_peak=None, stack_bound=None, total=None),
        flash=None,
        plan=_plan(plan, seconds),
        tensors=_tensors(graph, plan, start, step),
        live=tuple(n for n, run in zip(live_bytes(graph, plan.order), runs, strict=True) for _ in run),
        ops=tuple(_op(calls[name], step, held) for run in runs for name in run),
        infer_ops=tuple(InferenceOp(name=call.layer, op=call.kind, macs=call.macs) for call in infer.calls),
        streams=streams,
        recomputed=tuple(_rematerialised(one, calls, step) for one in rematerialised),
        instructions=None,
        trained=_trained(lowered),
        losses=None,
        host_equals_device=None,
    )


def _runs(plan: Plan) -> list[tuple[str, ...]]:
    """List the names of the single ops in each op of the plan: one, or those of a stream."""
    inside = {stream.name: stream.ops for stream in plan.streams}
    return [inside.get(name, (name,)) for name in plan.order]


def _plan(plan: Plan, seconds: float | None) -> PlanFigures:
    return PlanFigures(
        status=plan.status,
        order_status=plan.order_status,
        height=plan.height,
        bound=plan.bound,
        order_bound=plan.order_bound,
        seconds=seconds,
    )


def _tensors(graph: Graph, plan: Plan, start: list[int], step: Step) -> tuple[Tensor, ...]:
    """List what lies in the arena, by time. start: the place of each op of the plan among the single ops."""
    rows = []
    for name in sorted(plan.offsets, key=lambda name: (plan.lifetimes[name], name)):
        tensor = graph.by_name[name]
        # to the planner a ring is scratch of its run; to a reader it is what it holds
        kind = step.graph.by_name.get(name, tensor).kind
        first, last = (start[position] for position in plan.lifetimes[name])
        offset = plan.offsets[name]
        rows.append(Tensor(name=name, kind=kind, nbytes=tensor.nbytes, offset=offset, first=first, last=last))
    return tuple(rows)


def _streams(plan: Plan, step: Step, first: Mapping[str, int]) -> tuple[Stream, ...]:
    """List the runs by time. first: op of the plan -> place of its first single op."""
    by_time = sorted(plan.streams, key=lambda stream: first[stream.name])
    return tuple(_stream(stream, step, first[stream.name]) for stream in by_time)


def _stream(stream: PlannedStream, step: Step, first: int) -> Stream:
    """Describe a run of ops and its rings; first: the place of its first op among all. Rows and channels count, not
    blocks."""
    calls = {c.op.name: c for c in step.calls}
    slots, owners = dict(stream.rings), dict(stream.shared)
    rings = []
    for place, op in enumerate(members({name: c.op for name, c in calls.items()}, stream), first):
        tensor = next(iter(op.outputs), None)
        if tensor not in slots:
            continue
        value = step.values[tensor]
        unit: Unit = "rows"
        whole = op.rows
        if stream.axis == "channels":
            is_weight = calls[op.name].record.is_weight_gradient
            unit, whole = ("filters", value.shape[0]) if is_weight else ("channels", value.shape[-1])
        rings.append(
            Ring(
                tensor=tensor,
                op=place,
                unit=unit,
                held=slots[tensor] * whole // op.rows,
                whole=whole,
                nbytes=value.tensor.nbytes // op.rows * slots[tensor],
                whole_nbytes=value.tensor.nbytes,
                in_ring_of=owners.get(tensor),
            )
        )
    return Stream(axis=stream.axis, first=first, ops=tuple(stream.ops), rings=tuple(rings))


def _rematerialised(one: Rematerialisation, calls: Mapping[str, Call], step: Step) -> Recomputed:
    """Describe a rematerialised op. Saved is what need not be kept for it."""
    read = {name for call in calls.values() if call.phase != "recompute" for name in call.op.inputs}
    saved = sum(step.values[first].tensor.nbytes for first, second in one.outputs if second in read)
    return Recomputed(op=one.op, again=one.name, macs=calls[one.op].macs, saved_bytes=saved)


def _op(call: Call, step: Step, held: Mapping[str, int]) -> Op:
    """Describe a call. held: bytes of the rings, by tensor: an op inside a run touches those, not the whole tensors."""

    def nbytes(names: tuple[str, ...]) -> int:
        return sum(held.get(n, step.values[n].tensor.nbytes) for n in names)

    return Op(
        name=call.layer,
        op=call.kind,
        phase=cast(Phase, call.phase),
        out_shape="x".join(map(str, call.out_shape)) or "scalar",
        bytes_in=nbytes(call.op.inputs),
        bytes_out=nbytes(call.op.outputs or call.op.mutates),
        scratch=nbytes(call.op.scratch),
        macs=call.macs,
        instructions=None,
    )


def _trained(lowered: Lowered) -> tuple[TrainedLayer, ...]:
    rows = []
    layers = {layer.name: layer for layer in lowered.training.model.layers}
    for name, trained in lowered.training.trained.items():
        own = [p for p in lowered.training.parameters if p.layer == name]
        count = layers[name].channels
        kind = "channels" if layers[name].depthwise else "input channels"
        chosen = count if trained.channels is None else len(trained.channels)
        weight = f"{chosen} of {count} {kind}" if chosen else "-"
        nbytes = sum(lowered.state[p.variable].nbytes for p in own)
        rows.append(TrainedLayer(layer=name, bias=trained.bias, weight=weight, nbytes=nbytes))
    return tuple(rows)


def with_artifact(report: Report, name: str, wide: tuple[WideWeight, ...]) -> Report:
    """Complete the report of a plan by what a compile chose. name: C name of the model; wide: the layers whose weights
    lie in flash as int16."""
    return replace(report, name=name, wide_weights=wide)


def without_clock(report: Report) -> Report:
    """Leave out the seconds that planning took: two runs write this report alike."""
    return replace(report, plan=replace(report.plan, seconds=None))


def with_measurement(report: Report, measured: Measurement, parts: FlashParts | None) -> Report:
    """Complete the report by a verify run. parts: flash by function and layer; None keeps what the report said."""
    counts = itertools.chain(measured.op_instructions, itertools.repeat(None))
    sram = Sram(
        arena=measured.arena_bytes,
        data=measured.data_bytes,
        bss=measured.bss_bytes,
        stack_peak=measured.stack_peak_bytes,
        stack_bound=measured.stack_bound_bytes,
        total=measured.sram_total_bytes,
    )
    return replace(
        report,
        sram=sram,
        flash=measured.flash,
        fits=measured.fits,
        instructions=measured.instructions,
        ops=tuple(replace(op, instructions=count) for op, count in zip(report.ops, counts, strict=False)),
        losses=tuple(x if math.isfinite(x) else None for x in measured.losses) or None,
        host_equals_device=measured.host_equals_device,
        flash_parts=report.flash_parts if parts is None else parts,
    )
