"""What the terminal, the page and the picture say of a profile: the figures derived from it, and flash by function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcutrain.firmware.instructions import MIX
from mcutrain.report.figures import PHASES, Closing
from mcutrain.report.profile_shape import CALLS

Profile = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """One layer of the picture: its instructions by phase, in the order of PHASES."""

    layer: str
    phases: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        return sum(n for _, n in self.phases)


def main_call(profile: Profile) -> dict[str, Any]:
    """The call that the picture shows: the training step where it was run, else the inference."""
    return profile["calls"][-1]


def title(call: dict[str, Any]) -> str:
    return CALLS.get(call["what"], call["what"])


def how(profile: Profile) -> str:
    """How the figures came about, in a sentence or two."""
    if profile["method"] == "timer":
        step = profile["step"]
        return f"Counted by the emulator's timer, in steps of {step} instructions a mark of an op: {profile['why']}."
    counted = "Every executed instruction is counted; an op's include the two or three that mark the next one."
    if profile["cycles"] is None:
        return f"{counted} There is no table of cycles for {profile['core']}."
    return f"{counted} Cycles are {profile['cycles']['assumes']} ({profile['core']}: {profile['cycles']['source']})."


def per_mac(row: dict[str, Any]) -> float | None:
    return row["instructions"] / row["macs"] if row["macs"] > 0 else None


def share(row: dict[str, Any], call: dict[str, Any]) -> float:
    """Of the call's instructions, 0 to 1."""
    return row["instructions"] / call["instructions"] if call["instructions"] > 0 else 0.0


def bars(call: dict[str, Any]) -> list[Bar]:
    """One bar a layer, in the order of execution; an op on a parameter (LAYER.weight) counts with its layer."""
    layers: dict[str, dict[str, int]] = {}
    forward = {op["name"] for op in call["ops"] if op["phase"] == "forward"}
    for op in call["ops"]:
        owners = [name for name in forward if op["name"] == name or op["name"].startswith(f"{name}.")]
        phases = layers.setdefault(max(owners, key=len, default=op["name"]), {})
        phases[op["phase"]] = phases.get(op["phase"], 0) + op["instructions"]
    return [Bar(name, tuple((p, found[p]) for p in PHASES if p in found)) for name, found in layers.items()]


def mix_rows(call: dict[str, Any]) -> list[tuple[str, int, float]]:
    """(group, instructions, share 0 to 1) of the call's instruction mix; none where it was not counted."""
    total = max(call["instructions"], 1)
    return [(name, call["mix"][name], call["mix"][name] / total) for name in MIX] if call["mix"] else []


def short_name(function: str, model: str) -> str:
    """A function's name without what all emitted ones begin with."""
    return function.removeprefix(f"tvmgen_{model}_")


def flash_rows(parts: dict[str, Any], most: int, model: str) -> list[tuple[str, str, int]]:
    """(what, kind, bytes): the largest functions and layers' constants, and what is left of each."""
    functions = [(short_name(f["name"], model), f"{f['kind']} function", f["nbytes"]) for f in parts["functions"]]
    constants = [(c["layer"], "constants", c["nbytes"]) for c in parts["constants"]]
    rows = []
    for found, what in ((functions, "functions"), (constants, "layers' constants")):
        rows += found[:most]
        if found[most:]:
            rows.append((f"{len(found) - most} smaller", what, sum(n for *_, n in found[most:])))
    return [*rows, ("without a name", "alignment, texts, data", parts["other"])]


def flash_closing(parts: dict[str, Any]) -> Closing:
    """Constants must lie somewhere, so that they bound the flash from below."""
    constants = sum(c["nbytes"] for c in parts["constants"])
    total = constants + sum(f["nbytes"] for f in parts["functions"]) + parts["other"]
    return Closing("the constants alone", constants, "flash in all", total)
