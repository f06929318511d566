"""Tells whose the counted instructions are: by kind, by function, by kernel, with an estimate of their cycles."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcutrain.firmware.flash_map import function_kind, functions_of
from mcutrain.firmware.instructions import GROUPS, Instruction
from mcutrain.firmware.linked import Symbol, disassemble, symbols
from mcutrain.profiling import cycle_model
from mcutrain.profiling.cycle_model import Price
from mcutrain.schema.profile import FunctionProfile, Mix

Executions = Mapping[int, int]  # address -> how often it ran
_ENTRY = re.compile(r"_(infer|train)_(ops|arena)\b")


@dataclass(frozen=True)
class Firmware:
    """The code of a firmware by address, what its instructions cost (None for a core without a table), and its
    functions in the order of addresses."""

    code: Mapping[int, Instruction]
    priced: Mapping[int, Price] | None
    functions: list[Symbol]

    @property
    def starts(self) -> list[int]:
        return [function.address for function in self.functions]


def read_firmware(elf: Path, core: str | None) -> Firmware:
    """Read a firmware. core: a key of cycle_model.CORES, None for one without a table. Raises ToolError."""
    code = {i.address: i for i in disassemble(elf)}
    return Firmware(code, cycle_model.prices(list(code.values()), core), functions_of(symbols(elf)))


def total_of(scopes: Iterable[Executions]) -> Executions:
    """Sum the executions of all."""
    total: Counter[int] = Counter()
    for scope in scopes:
        total.update(scope)
    return total


def mix(executions: Executions, firmware: Firmware) -> Mix:
    """Count the instructions by kind."""
    groups: Counter[str] = Counter()
    for address, times in executions.items():
        groups[GROUPS[firmware.code[address].kind]] += times
    return Mix(**{group: groups[group] for group in Mix.__struct_fields__})


def cycles(executions: Executions, firmware: Firmware) -> int | None:
    """Estimate the cycles; None for a core without a table."""
    return None if firmware.priced is None else round(cycle_model.cycles(firmware.priced, executions))


def kernel(executions: Executions, firmware: Firmware) -> str | None:
    """Name the emitted kernel that an op calls (it may hand its work on): not the entry point that calls all of
    them."""
    split = _by_function(executions, firmware)
    emitted = [f for f in split if function_kind(f.name) == "model" and not _ENTRY.search(f.name)]
    return max(emitted or split, key=lambda f: (sum(split[f].values()), f.name)).name if split else None


def function_rows(executions: Executions, firmware: Firmware) -> tuple[FunctionProfile, ...]:
    """Describe what each function ran, the most first. calls: how often its first instruction ran."""
    rows = [
        FunctionProfile(
            name=f.name,
            kind=function_kind(f.name),
            calls=own.get(f.address, 0),
            instructions=sum(own.values()),
            cycles=cycles(own, firmware),
            mix=mix(own, firmware),
            nbytes=f.nbytes,
        )
        for f, own in _by_function(executions, firmware).items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.instructions, row.name)))


def _by_function(executions: Executions, firmware: Firmware) -> dict[Symbol, dict[int, int]]:
    """Split the executions by the functions that ran."""
    starts = firmware.starts
    split: dict[Symbol, dict[int, int]] = {}
    for address, times in executions.items():
        owner = firmware.functions[bisect_right(starts, address) - 1]
        split.setdefault(owner, {})[address] = times
    return split
