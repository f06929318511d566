"""Counts every executed instruction of a firmware with a plugin of QEMU (runtime_c/emulator/count_plugin.c).

The plugin is compiled by the host's gcc beside the files of the run. Where it counts, the emulator runs without
-icount: counts do not need its clock, and the timer's values mean nothing then."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain.errors import DeviceError, ToolError
from mcutrain.firmware import emulator
from mcutrain.firmware.compiling import Compiler, compile_all, find_compiler, run_tool
from mcutrain.firmware.linked import symbols
from mcutrain.firmware.toolchain import COMMON_FLAGS, RUNTIME
from mcutrain.targets.board import Board

PLUGIN = RUNTIME / "emulator" / "count_plugin.c"
RUN_SECONDS = 600.0
_COUNTS = "counts.bin"
_RECORD = np.dtype([("op", "<u4"), ("address", "<u4"), ("executions", "<u8")])
_HOOK, _COUNTERS = "mcu_profile_op", "op_ticks"  # of a profile build: runtime_c/src/verify_main.c
_PROGRAM = re.compile(r"^(main|infer|train|begin_call|end_call|close_op)(\.|$)")


class PluginError(ToolError):
    """The plugin cannot be built here, or this QEMU does not take it."""


@dataclass(frozen=True)
class OpCounts:
    """by_op: for each op (those of the inference, then those of the step) address -> executions, without what the
    profile's own hook and the program around the model ran. outside: the same of all else, from reset on.
    visits: how often each op was marked; an op of a streamed run comes many times."""

    by_op: tuple[Mapping[int, int], ...]
    outside: Mapping[int, int]
    visits: tuple[int, ...]


def find_host_compiler() -> Path:
    """Find the compiler of the plugin. Raises PluginError where there is none."""
    try:
        return find_compiler("gcc")
    except ToolError as error:
        raise PluginError(f"the counting plugin cannot be built: {error}") from None


def count(elf: Path, board: Board, work: Path) -> dict[int, int]:
    """Count how often each instruction of `elf` runs: address -> executions, from reset to the end of the program.

    work: the folder of the run, with the program's samples.bin; the plugin is kept in work/emulator.
    Raises PluginError where the plugin cannot be built or QEMU takes none, ToolError where another tool is missing,
    DeviceError where it faults."""
    _, records = _run(elf, board, work, 0, ())
    return _histogram(records)


def count_ops(elf: Path, board: Board, work: Path, ops: int) -> OpCounts:
    """Count the same of a profile build (MCU_PROFILE) with `ops` ops, inference and step together. Errors as
    `count`."""
    named = {s.name: s for s in symbols(elf)}
    missing = [name for name in (_HOOK, _COUNTERS) if name not in named]
    if missing:
        raise ToolError(f"{elf.name} is no profile build: it has no {missing[0]}; build it with MCU_PROFILE")
    hook = named[_HOOK]
    program = [s for s in named.values() if s.letter in "tT" and _PROGRAM.match(s.name)]
    ranges = [f"program={s.address:#x}:{s.end:#x}" for s in program]
    arguments = (f"ticks={named[_COUNTERS].address:#x}", f"hook={hook.address:#x}:{hook.end:#x}", *ranges)
    visits, records = _run(elf, board, work, ops, arguments)
    own = np.zeros(len(records), bool)
    for symbol in (hook, *program):
        own |= (records["address"] >= symbol.address) & (records["address"] < symbol.end)
    in_model = records[~own]
    by_op = tuple(_histogram(in_model[in_model["op"] == op]) for op in range(ops))
    return OpCounts(by_op, _histogram(records[own | (records["op"] == ops)]), tuple(int(n) for n in visits))


def _histogram(records: np.ndarray) -> dict[int, int]:
    addresses, places = np.unique(records["address"], return_inverse=True)
    sums = np.zeros(len(addresses), np.uint64)
    np.add.at(sums, places, records["executions"])
    return dict(zip(addresses.tolist(), sums.tolist(), strict=True))


def _run(elf: Path, board: Board, work: Path, ops: int, arguments: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Run once under the plugin; returns the marks of each op, and records."""
    emulator.find_emulator()  # a missing tool is said before the compiler runs
    try:
        plugin = _build(work / "emulator")
    except PluginError:
        raise
    except ToolError as error:
        raise PluginError(f"the counting plugin cannot be built: {error}") from None
    counts = work / _COUNTS
    counts.unlink(missing_ok=True)
    # a comma ends an argument of QEMU, two of them stand for one
    spoken = ",".join([str(plugin).replace(",", ",,"), f"out={_COUNTS}", f"ops={ops}", *arguments])
    try:
        emulator.run(elf, board, work, RUN_SECONDS, plugin=spoken)
    except DeviceError as error:
        if "-plugin" in error.said or "load plugin" in error.said:  # no such option, or another version
            raise PluginError(f"this {emulator.QEMU} does not take the counting plugin ({error})") from None
        raise
    if not counts.exists():
        raise DeviceError(f"{elf.name}: the emulator left no {_COUNTS} in {work}: make room and run it again")
    data = counts.read_bytes()
    return np.frombuffer(data, "<u8", ops), np.frombuffer(data, _RECORD, offset=8 * ops)


def _build(folder: Path) -> Path:
    """Make the plugin a shared library in `folder`, if it is not there yet."""
    flags = (*COMMON_FLAGS, "-O2", "-fPIC", "-D_POSIX_C_SOURCE=200809L", f"-DPLUGIN_API={_plugin_api()}")
    compiler = Compiler(find_host_compiler(), flags)
    made = compile_all(compiler, [PLUGIN], folder).files[0]
    library = made.with_suffix(".so").resolve()
    if not library.exists():
        run_tool([compiler.path, "-shared", made, "-o", library], f"linking {library.name}")
    return library


def _plugin_api() -> int:
    """Tell the version of the interface to ask for: QEMU 9 dropped the first one; what the plugin uses is in both."""
    said = run_tool([emulator.find_emulator(), "--version"], "asking QEMU for its version").stdout
    version = re.search(r"version (\d+)", said)
    return 2 if version and int(version[1]) >= 9 else 1
