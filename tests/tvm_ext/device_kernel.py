"""Runs kernels on an emulated core, and hands back what they wrote: the host's build is the one to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcutrain import boards, emulator
from mcutrain.toolchain import KERNEL_SOURCES, RUNTIME, build_firmware
from tvm_ext.codegen import C_TYPES, c_functions
from tvm_ext.kernels.build import Kernel

MEMORY = 256 << 10
MAIN = """#include "mcu_kernels.h"
#include "mcu_math.h"
#include "semihost.h"

{kernels}
static _Alignas(16) uint8_t memory[{memory}];

int main(void) {{
    const int32_t samples = semihost_open_read("samples.bin"), results = semihost_open_write("results.bin");
    int good = 1;
{calls}
    semihost_close(results);
    return good ? 0 : 2;
}}
"""
Job = tuple[Kernel, Sequence[np.ndarray], Sequence[np.ndarray]]


def run_on_board(jobs: Sequence[Job], board: str, folder: Path) -> list[list[np.ndarray]]:
    """The outputs of each (kernel, inputs, outputs), which are not changed, of a call over all rows."""
    names = [f"kernel{i}" for i in range(len(jobs))]
    functions = c_functions([kernel for kernel, *_ in jobs], names, ["under test"] * len(jobs))
    calls, samples, places = [], [], []
    for (kernel, inputs, outputs), name in zip(jobs, names, strict=True):
        scratch = [np.full(kernel.scratch, 0x5A, np.uint8)] if kernel.scratch else []
        arrays = [np.ascontiguousarray(a) for a in (*inputs, *kernel.tables, *outputs, *scratch)]
        begins = np.cumsum([0, *(-(-a.nbytes // 16) * 16 for a in arrays)])
        assert begins[-1] <= MEMORY
        image = np.zeros(begins[-1], np.uint8)
        for array, begin in zip(arrays, begins, strict=False):
            image[begin : begin + array.nbytes] = array.reshape(-1).view(np.uint8)
        samples.append(image.tobytes())
        places.append([(a, begins[len(inputs) + len(kernel.tables) + i]) for i, a in enumerate(outputs)])
        types = [C_TYPES[str(a.dtype)] for a in arrays[: len(arrays) - len(scratch)]] + ["int16_t"] * len(scratch)
        arguments = [f"({t} *)(void *)(memory + {b})" for t, b in zip(types, begins, strict=False)]
        limits = [] if kernel.rows is None else ["0", str(kernel.rows)]
        calls += [f"good &= semihost_read(samples, memory, {len(image)});", f"{name}({', '.join(arguments + limits)});",
                  f"good &= semihost_write(results, memory, {len(image)});"]  # fmt: skip
    text = "\n".join(f"{f.prototype}\n{f.definition}" for f in functions)
    (folder / "main.c").write_text(
        MAIN.format(kernels=text, memory=MEMORY, calls="\n".join(f"    {line}" for line in calls))
    )
    elf = folder / f"{board}.elf"
    sources = [folder / "main.c", *KERNEL_SOURCES]
    image = build_firmware(sources, [RUNTIME / "src"], boards.get(board), MEMORY + (16 << 10), elf)
    assert not image.warnings, image.warnings
    (folder / emulator.SAMPLES).write_bytes(b"".join(samples))
    emulator.run(elf, image.board, folder, 120)
    written, at, found = (folder / emulator.RESULTS).read_bytes(), 0, []
    for sample, outputs in zip(samples, places, strict=True):
        after = np.frombuffer(written[at : at + len(sample)], np.uint8)
        found.append([after[b : b + a.nbytes].view(a.dtype).reshape(a.shape) for a, b in outputs])
        at += len(sample)
    return found
