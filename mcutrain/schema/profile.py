"""Describes the key `profile` of report.json: what `mcutrain profile` counted on the emulated core."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Struct

from mcutrain.schema.words import Phase, Version, doc


class Mix(Struct, frozen=True, kw_only=True):
    """Executed instructions by kind."""

    loads: Annotated[int, doc("of one word or many")]
    stores: Annotated[int, doc("of one word or many")]
    multiplies: Annotated[int, doc("with and without accumulation")]
    float: Annotated[int, doc("of the FPU, without its loads and stores")]
    branches: Annotated[int, doc("calls, too")]
    other: Annotated[int, doc("all else")]


class OpProfile(Struct, frozen=True, kw_only=True):
    """One op. Its instructions include the two or three in which the next one is marked."""

    name: Annotated[str, doc("layer, or parameter of an update")]
    op: Annotated[str, doc("name in the dialect")]
    phase: Annotated[Phase, doc("part of the step")]
    macs: Annotated[int, doc("multiply-accumulates")]
    visits: Annotated[int | None, doc("how often it was entered: an op of a streamed run many times")]
    instructions: Annotated[int, doc("executed")]
    cycles: Annotated[int | None, doc("estimated")]
    mix: Annotated[Mix | None, doc("instructions by kind")]
    kernel: Annotated[str | None, doc("the emitted function that it calls")]


class FunctionProfile(Struct, frozen=True, kw_only=True):
    """One function, without what it calls."""

    name: Annotated[str, doc("symbol")]
    kind: Annotated[str, doc("model, runtime or library")]
    calls: Annotated[int, doc("how often it was called")]
    instructions: Annotated[int, doc("executed, without what it calls")]
    cycles: Annotated[int | None, doc("estimated")]
    mix: Annotated[Mix | None, doc("instructions by kind")]
    nbytes: Annotated[int, doc("of flash")]


class CallProfile(Struct, frozen=True, kw_only=True):
    """An inference or a training step; sums over its ops."""

    what: Annotated[Literal["infer", "train_step"], doc("the entry point")]
    instructions: Annotated[int, doc("executed")]
    cycles: Annotated[int | None, doc("estimated")]
    mix: Annotated[Mix | None, doc("instructions by kind")]
    ops: Annotated[
        tuple[OpProfile, ...],
        doc("in the order of execution; an op's instructions include the two or three in which the next one is marked"),
    ]
    functions: Annotated[tuple[FunctionProfile, ...], doc("that ran, the most instructions first")]


class CycleModel(Struct, frozen=True, kw_only=True):
    """The source of the estimate of cycles."""

    source: Annotated[str, doc("of the costs")]
    assumes: Annotated[str, doc("what it leaves out")]


class Profile(Struct, frozen=True, kw_only=True):
    """A profile. Under the method `timer` cycles, mix, kernel and visits are None, and functions are empty."""

    schema: Version
    board: Annotated[str, doc("what was emulated")]
    core: Annotated[str, doc("its core")]
    method: Annotated[
        Literal["plugin", "timer"],
        doc(
            "`plugin`: every instruction is counted. `timer`: counts come in steps, include some of the profile's own "
            "instructions, and `cycles`, `mix`, `kernel`, `visits` are null, `functions` empty"
        ),
    ]
    step: Annotated[int, doc("instructions in which is counted: 1, or 40 by the timer")]
    why: Annotated[str | None, doc("of the timer: no `gcc` on the host, a QEMU that takes no plugins")]
    cycles: Annotated[CycleModel | None, doc("of the estimate; null where there is no table for the core")]
    calls: Annotated[tuple[CallProfile, ...], doc("`infer`, and `train_step` unless `--infer`; sums over the ops")]

    def __repr__(self) -> str:
        calls = ", ".join(f"{call.what} {call.instructions:,} instructions" for call in self.calls)
        return f"<Profile on {self.board} ({self.core}), by {self.method}: {calls}>"
