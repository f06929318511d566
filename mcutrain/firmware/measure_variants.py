"""Runs every variant of a model's kernels on the emulated core, and keeps the counts that a compile chooses by
(mcutrain.tvm_ext.lower.variants)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain.artifact.folder import replace_file, to_json
from mcutrain.errors import DeviceError
from mcutrain.firmware import emulator
from mcutrain.firmware.toolchain import KERNEL_SOURCES, RUNTIME, build_firmware
from mcutrain.planner.errors import OutputError
from mcutrain.targets import board as boards

if TYPE_CHECKING:
    from mcutrain.tvm_ext.lower.graph import Call, Lowered
    from mcutrain.tvm_ext.ops.kernel import Kernel

MEMORY = 1 << 20  # bytes for the arrays of one kernel; the emulated boards have more
RUN_SECONDS = 120.0
MAIN = RUNTIME / "emulator" / "measure_main.c"


@dataclass(frozen=True)
class TooLarge:
    """Names a kernel that was not measured, with the layers that run it; nbytes of its arrays, of which MEMORY are
    there."""

    kernel: str
    layers: tuple[str, ...]
    nbytes: int


@dataclass(frozen=True)
class Tuned:
    """Holds what tuning found. counts: {kernel: {variant: instructions}} of all kernels with a choice, too large ones
    left out.
    measured: the kernels that ran; the others of counts were known."""

    counts: dict[str, dict[str, int]]
    measured: tuple[str, ...] = ()
    too_large: tuple[TooLarge, ...] = ()


def tune(
    lowered: Lowered,
    board: boards.AnyBoard,
    table: Path | None = None,
    again: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Tuned:
    """Measure every variant of every kernel of `lowered` that has a choice, for a board, and write each into the
    table as soon as it is known, for the core whose counts the board's are. What the table holds is not measured again,
    unless `again`.

    table: a file, made where there is none, also where nothing has a choice; by default the installed one, which
    compiles read.
    Raises ModelError for a damaged table, OutputError, before anything runs, where it cannot be written, ToolError, and
    DeviceError naming the layer."""
    from mcutrain.tvm_ext.lower.variants import TUNED, candidates, read_counts, variants

    say, target, path = progress or (lambda _: None), boards.get(board), table or TUNED
    known = read_counts(target.core.counts, path) if os.path.exists(path) else {}
    counts, waiting, too_large = {}, {}, []
    for kernel, calls in candidates(lowered).items():
        nbytes = max(map(array_bytes, _kernels(calls[0])))
        if not again and set(variants(calls[0])) <= set(known.get(kernel, {})):
            counts[kernel] = dict(known[kernel])
        elif nbytes > MEMORY:
            too_large.append(TooLarge(kernel, tuple(call.layer for call in calls), nbytes))
        else:
            waiting[kernel] = calls[0]
    is_new = table is not None and not path.exists()
    if waiting or is_new:
        check_place(path)
    if is_new:
        replace_file(path, to_json({}))  # a compile reads it, though nothing may be measured
    for number, (kernel, call) in enumerate(waiting.items(), 1):
        say(f"measuring {kernel} ({number} of {len(waiting)})")
        counts[kernel] = measure_variants(call, target)
        write(path, target.core.counts, {kernel: counts[kernel]})
    return Tuned(counts, tuple(waiting), tuple(too_large))


def measure_variants(call: Call, board: boards.Board) -> dict[str, int]:
    """Count the instructions of each variant of a call's kernel. Raises ToolError, and DeviceError naming the layer."""
    from mcutrain.tvm_ext.lower.variants import variants

    try:
        return dict(zip(variants(call), measure(_kernels(call), board), strict=True))
    except DeviceError as error:
        raise DeviceError(f"layer {call.layer}: {error}; kernels that were measured before it are kept") from None


def _kernels(call: Call) -> list[Kernel]:
    """Build one of each variant, in their order."""
    from mcutrain.tvm_ext.lower.variants import variants
    from mcutrain.tvm_ext.ops.table import build

    shapes = list(map(list, call.shapes))
    return [build(call.kind, shapes, call.attrs, variant) for variant in variants(call).values()]


def measure(kernels: list[Kernel], board: boards.Board) -> list[int]:
    """Count the instructions of a call of each kernel over all rows, in steps of the timer; its arrays take at most
    MEMORY. Raises ToolError and DeviceError."""
    from mcutrain.tvm_ext.emit.codegen import c_functions

    names = [f"kernel{i}" for i in range(len(kernels))]
    functions = [f"{f.prototype}\n{f.definition}" for f in c_functions(kernels, names, ["measured"] * len(kernels))]
    runs = [_run(kernel, name) for kernel, name in zip(kernels, names, strict=True)]
    header = [f"#define MEASURED_BYTES {MEMORY}", " \\\n".join(["#define MEASURED_CALLS(RUN)", *runs]), *functions, ""]
    roomy = replace(board, flash_bytes=board.core.machine.flash_bytes)  # what is measured need not fit the board
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "measured.h").write_text("\n".join(header))
        sources, elf = [MAIN, *KERNEL_SOURCES], work / "measure.elf"
        image = build_firmware(sources, [work, RUNTIME / "src"], roomy, MEMORY + (64 << 10), elf)
        lines = emulator.run(image.elf, image.board, work, RUN_SECONDS)
    return [int(number) for line in lines for number in re.findall(r"^instructions (\d+)$", line)]


def array_bytes(kernel: Kernel) -> int:
    """Add up the bytes that a kernel's arrays take where it is measured."""
    return sum(_places(kernel)[1])


def _places(kernel: Kernel) -> tuple[list[tuple[str, int]], list[int]]:
    """Return (dtype, length) of each array argument, and the bytes that it takes in memory."""
    from mcutrain.tvm_ext.ops.kernel import ITEM_BYTES

    arrays = [
        (str(getattr(param.ty.dtype, "dtype", param.ty.dtype)), int(param.ty.shape[0]))
        for param in kernel.func.params
        if hasattr(param.ty, "shape")  # the others are the rows
    ]
    return arrays, [-(-length * ITEM_BYTES[dtype] // 16) * 16 for dtype, length in arrays]


def _run(kernel: Kernel, name: str) -> str:
    """Write RUN(...) of measure_main.c for a kernel, on arrays that lie in its memory one behind the other."""
    from mcutrain.tvm_ext.emit.codegen import C_TYPES

    floats, arguments, at = [], [], 0
    for (dtype, length), nbytes in zip(*_places(kernel), strict=True):
        place = f"({C_TYPES[dtype]} *)(void *)(memory + {at})"
        floats += [f"fill_floats({place}, {length})"] if dtype == "float32" else []
        arguments.append(place)
        at += nbytes
    limits = () if kernel.rows is None else ("0", str(kernel.rows))
    return f"    RUN({'; '.join(floats)}, {name}({', '.join([*arguments, *limits])}))"


def check_place(path: Path) -> None:
    """Check that a table can be written. Raises OutputError for a folder that is missing or closed, or is the path
    itself."""
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "is a folder")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"{path}: the table of counts cannot be written: {reason}; name another file with --table FILE, "
            "and give it to `mcutrain compile` too"
        ) from None


def write(path: Path, core: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Add counts of a core to a table; sorted, so that two runs give the same file. Raises ModelError, OutputError."""
    from mcutrain.tvm_ext.lower.variants import read_table

    table = read_table(path) if path.exists() else {}
    table.setdefault(core, {}).update({kernel: dict(by_variant) for kernel, by_variant in counts.items()})
    replace_file(path, to_json(table))
