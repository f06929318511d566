"""`report.json`: the report of one training step, from a plan alone up to all that was measured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from mcutrain.schema.profile import Profile
from mcutrain.schema.words import Axis, Kind, Phase, Status, Unit, Version, doc


class Sram(Struct, frozen=True, kw_only=True):
    """Bytes of SRAM by their use; None where only a built or run firmware tells."""

    arena: Annotated[int, doc("bytes of the arena")]
    data: Annotated[int | None, doc("initialised data")]
    bss: Annotated[int | None, doc("zeroed data, without the arena")]
    stack_peak: Annotated[int | None, doc("painted and measured")]
    stack_bound: Annotated[int | None, doc("static, from the call graph")]
    total: Annotated[int | None, doc("arena + data + bss + stack bound")]


class Flash(Struct, frozen=True, kw_only=True):
    """Bytes of flash by section of the linked firmware."""

    text: Annotated[int, doc("code")]
    rodata: Annotated[int, doc("frozen weights and tables")]
    data: Annotated[int, doc("initial values of data")]
    total: Annotated[int, doc("all three together")]


class PlanFigures(Struct, frozen=True, kw_only=True):
    """How low the arena is and could be, in bytes. Both bounds are for the runs and the recomputed ops of the plan."""

    status: Annotated[Status, doc("of the allocation for this order")]
    order_status: Annotated[Status, doc("of the order")]
    height: Annotated[int, doc("bytes of the arena")]
    bound: Annotated[int, doc("lower bound for this order")]
    order_bound: Annotated[int, doc("lower bound over every order")]
    seconds: Annotated[float | None, doc("that planning took; null in files")]


class Tensor(Struct, frozen=True, kw_only=True):
    """One block of the arena, alive in [first, last) of op positions."""

    name: Annotated[str, doc("a ring stands under its tensor's name")]
    kind: Annotated[Kind, doc("of a ring that of its tensor; `constant` lies in flash, and not here")]
    nbytes: Annotated[int, doc("of a ring those of the ring")]
    offset: Annotated[int, doc("bytes from the start of the arena")]
    first: Annotated[int, doc("op from which it lives")]
    last: Annotated[int, doc("op before which it ends")]


class Op(Struct, frozen=True, kw_only=True):
    """One call of the step. An update's output is the state that it changes."""

    name: Annotated[str, doc("layer, or parameter of an update")]
    op: Annotated[str, doc("name in the dialect")]
    phase: Annotated[Phase, doc("part of the step")]
    out_shape: Annotated[str, doc("sizes with an x between, or `scalar`")]
    bytes_in: Annotated[int, doc("of what it reads")]
    bytes_out: Annotated[int, doc("of what it writes")]
    scratch: Annotated[int, doc("bytes of its own scratch")]
    macs: Annotated[int, doc("multiply-accumulates")]
    instructions: Annotated[int | None, doc("executed in the last step of the profile build")]

    @property
    def nbytes(self) -> int:
        """Bytes that the op touches: inputs, outputs and scratch."""
        return self.bytes_in + self.bytes_out + self.scratch


class InferenceOp(Struct, frozen=True, kw_only=True):
    """One call of an inference."""

    name: Annotated[str, doc("layer")]
    op: Annotated[str, doc("name in the dialect")]
    macs: Annotated[int, doc("multiply-accumulates")]


class Ring(Struct, frozen=True, kw_only=True):
    """A part of a tensor that a run of ops holds at a time."""

    tensor: Annotated[str, doc("name of the tensor")]
    op: Annotated[int, doc("place in `ops` of the one that writes it")]
    unit: Annotated[Unit, doc("what is counted; `filters` of a weight gradient")]
    held: Annotated[int, doc("units that the ring holds")]
    whole: Annotated[int, doc("units of the tensor")]
    nbytes: Annotated[int, doc("of the ring")]
    whole_nbytes: Annotated[int, doc("of the tensor")]
    in_ring_of: Annotated[
        str | None, doc("the tensor in whose ring it lies in place: then it has no memory of its own")
    ]


class Stream(Struct, frozen=True, kw_only=True):
    """A run of ops that execute together in small steps."""

    axis: Annotated[Axis, doc("what the run steps over")]
    first: Annotated[int, doc("place of its first op in `ops`; the others follow it")]
    ops: Annotated[tuple[str, ...], doc("their unique names")]
    rings: Annotated[tuple[Ring, ...], doc("tensors inside the run")]


class Recomputed(Struct, frozen=True, kw_only=True):
    """An op that is computed again instead of kept."""

    op: Annotated[str, doc("unique name of the first run")]
    again: Annotated[str, doc("unique name of the second one")]
    macs: Annotated[int, doc("multiply-accumulates of the second one")]
    saved_bytes: Annotated[int, doc("that need not be kept")]


class Instructions(Struct, frozen=True, kw_only=True):
    """Executed instructions of the last call of each entry point, in steps of 40."""

    infer: Annotated[int, doc("of an inference")]
    train_step: Annotated[int, doc("of a training step; 0 where none was run")]


class TrainedLayer(Struct, frozen=True, kw_only=True):
    """One layer that trains, and how much of it."""

    layer: Annotated[str, doc("its name")]
    bias: Annotated[bool, doc("whether the bias trains")]
    weight: Annotated[str, doc("how much of the weight trains, in words")]
    nbytes: Annotated[int, doc("of its trained state")]


class FlashFunction(Struct, frozen=True, kw_only=True):
    """A function of the linked firmware."""

    name: Annotated[str, doc("symbol")]
    kind: Annotated[str, doc("model, runtime or library")]
    nbytes: Annotated[int, doc("of its code")]


class FlashConstants(Struct, frozen=True, kw_only=True):
    """The constants of a layer in the linked firmware."""

    layer: Annotated[str, doc("its name")]
    nbytes: Annotated[int, doc("of its constants")]


class FlashParts(Struct, frozen=True, kw_only=True):
    """Who lies in flash, the largest first; all together are `flash.total`."""

    functions: Annotated[tuple[FlashFunction, ...], doc("by size")]
    constants: Annotated[tuple[FlashConstants, ...], doc("by size")]
    other: Annotated[int, doc("bytes of alignment, texts, initial values")]


class WideWeight(Struct, frozen=True):
    """A layer whose weights lie in flash as int16."""

    layer: Annotated[str, doc("its name")]
    extra_bytes: Annotated[int, doc("of flash")]
    saved_instructions: Annotated[int, doc("of an inference, as measured by `tune`")]


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole report. Raises ValueError where what it says of streams cannot be."""

    schema: Version
    name: Annotated[str, doc("C name of the model; before `compile` that of the file")]
    model: Annotated[str, doc("name of the model's file")]
    scheme: Annotated[str, doc("name of the sparse-update policy")]
    board: Annotated[str | None, doc("null where a plan was made for none")]
    budget_bytes: Annotated[int, doc("SRAM for everything")]
    fits: Annotated[bool, doc("whether the arena, or all that was measured, fits")]
    sram: Annotated[Sram, doc("SRAM by use")]
    flash: Annotated[Flash | None, doc("flash by section")]
    plan: Annotated[
        PlanFigures,
        doc("bounds are for the `streams` and `recomputed` ops below, not over every choice of them"),
    ]
    tensors: Annotated[tuple[Tensor, ...], doc("what lies in the arena, by time: [first, last) in places of `ops`")]
    live: Annotated[tuple[int, ...], doc("for each op a lower bound on the arena while it runs")]
    ops: Annotated[tuple[Op, ...], doc("in the order of execution")]
    infer_ops: Annotated[
        tuple[InferenceOp, ...] | None, doc("the calls of an inference, in order; missing in files of older versions")
    ] = None
    streams: Annotated[tuple[Stream, ...], doc("runs of ops that execute together in small steps")]
    recomputed: Annotated[tuple[Recomputed, ...] | None, doc("ops that are computed again instead of kept")] = None
    instructions: Annotated[Instructions | None, doc("executed ones")]
    trained: Annotated[tuple[TrainedLayer, ...], doc("what trains, in network order")]
    losses: Annotated[
        tuple[float | None, ...] | None, doc("of the steps of the verify run; null where one is not finite")
    ]
    host_equals_device: Annotated[bool | None, doc("whether twin and device gave the same bits")]
    flash_parts: Annotated[
        FlashParts | None, doc("flash by function and layer, all of `flash.total`; missing before `verify`")
    ] = None
    wide_weights: Annotated[
        tuple[WideWeight, ...] | None,
        doc("layers whose weights lie in flash as int16, the best saving a byte first; missing before `compile`"),
    ] = None
    profile: Annotated[Profile | None, doc("what `profile` measured, see below; missing before it")] = None

    def __repr__(self) -> str:
        arena = f"arena {self.plan.height:,} of {self.budget_bytes:,} B, {self.plan.status}"
        return f"<Report {self.name}, scheme {self.scheme}: {arena}, {'fits' if self.fits else 'does not fit'}>"

    def __post_init__(self) -> None:
        for i, stream in enumerate(self.streams):
            end = stream.first + len(stream.ops)
            if not 0 <= stream.first < end <= len(self.ops):
                raise ValueError(f"streams[{i}] is of ops {stream.first} to {end - 1} of {len(self.ops)}")
            for j, ring in enumerate(stream.rings):
                if not (stream.first <= ring.op < end and 0 < ring.held <= ring.whole):
                    said = f"{ring.held} of {ring.whole} {ring.unit} of op {ring.op}"
                    raise ValueError(f"streams[{i}].rings[{j}]: {said} cannot be")
