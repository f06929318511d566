"""Derives what the terminal, the page and the picture say of a profile."""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.report.figures import PHASES
from mcutrain.schema.profile import CallProfile, FunctionProfile, OpProfile, Profile

CALLS = {"infer": "inference", "train_step": "training step"}


@dataclass(frozen=True)
class Bar:
    """One layer of the picture: its instructions by phase, in the order of PHASES."""

    layer: str
    phases: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(n for _, n in self.phases)


def main_call(profile: Profile) -> CallProfile:
    """Find the call that the picture shows: the training step where it was run, else the inference."""
    return profile.calls[-1]


def title(call: CallProfile) -> str:
    """Name the call in words."""
    return CALLS[call.what]


def how(profile: Profile) -> str:
    """Say how the figures came about, in a sentence or two."""
    if profile.method == "timer":
        return (
            f"Counted by the emulator's timer, in steps of {profile.step} instructions a mark of an op: {profile.why}."
        )
    counted = "Every executed instruction is counted; an op's include the two or three that mark the next one."
    if profile.cycles is None:
        return f"{counted} There is no table of cycles for {profile.core}."
    return f"{counted} Cycles are {profile.cycles.assumes} ({profile.core}: {profile.cycles.source})."


def per_mac(instructions: int, macs: int) -> float | None:
    """Divide instructions by multiply-accumulates; None where there is none."""
    return instructions / macs if macs > 0 else None


def share(part: OpProfile | FunctionProfile, call: CallProfile) -> float:
    """Find the part's share of the call's instructions, 0 to 1."""
    return share_of(part.instructions, call)


def share_of(instructions: int, call: CallProfile) -> float:
    """Find the same of a number of instructions."""
    return instructions / call.instructions if call.instructions > 0 else 0.0


def bars(call: CallProfile) -> list[Bar]:
    """Make one bar a layer, in the order of execution; an op on a parameter (LAYER.weight) counts with its layer."""
    layers: dict[str, dict[str, int]] = {}
    forward = {op.name for op in call.ops if op.phase == "forward"}
    for op in call.ops:
        owners = [name for name in forward if op.name == name or op.name.startswith(f"{name}.")]
        phases = layers.setdefault(max(owners, key=len, default=op.name), {})
        phases[op.phase] = phases.get(op.phase, 0) + op.instructions
    return [Bar(name, tuple((p, found[p]) for p in PHASES if p in found)) for name, found in layers.items()]


def mix_rows(call: CallProfile) -> list[tuple[str, int, float]]:
    """List (group, instructions, share 0 to 1) of the call's instruction mix; none where it was not counted."""
    if call.mix is None:
        return []
    counts = [(name, getattr(call.mix, name)) for name in call.mix.__struct_fields__]
    return [(name, count, count / max(call.instructions, 1)) for name, count in counts]
