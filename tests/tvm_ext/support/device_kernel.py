"""Runs kernels on an emulated core and on the host, and compares: the host's build is checked against other oracles.

Whole tensors, some rows of a ring, or an output that lies over an input; many calls share one firmware."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mcutrain.firmware import emulator
from mcutrain.firmware.toolchain import KERNEL_SOURCES, RUNTIME, build_firmware
from mcutrain.targets import board as boards
from mcutrain.tvm_ext.emit.codegen import C_TYPES
from tests.tvm_ext.support.product_ops import Kernel
from tests.tvm_ext.support.run_kernel import GUARD, c_text, prepare, run

MEMORY = 256 << 10
ALIGNMENT = 16  # of every array, and the least distance between two
MAIN = """#include "mcu_kernels.h"
#include "mcu_math.h"
#include "semihost.h"

{kernels}
static _Alignas({alignment}) uint8_t memory[{memory}];

/* hundreds of calls, which GCC takes long to optimise */
__attribute__((optimize("O0"))) int main(void) {{
    const int32_t samples = semihost_open_read("samples.bin"), results = semihost_open_write("results.bin");
    int good = 1;
{calls}
    semihost_close(results);
    return good ? 0 : 2;
}}
"""


@dataclass(frozen=True)
class Job:
    """One call of a kernel on copies of these arrays.

    rows: the output rows [y0, y1) to compute, None for all. changed: numbers of the inputs that the kernel changes.
    overlap: one of kernel.overlaps; on the board that output then lies over that input, at exactly the distance."""

    kernel: Kernel
    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]
    rows: tuple[int, int] | None = None
    changed: tuple[int, ...] = ()
    overlap: tuple[int, int, int] | None = None

    @property
    def arrays(self) -> list[np.ndarray]:
        """All arguments in their order, the scratch last."""
        scratch = [np.full(self.kernel.scratch // 2, 0x5A5A, np.int16)] if self.kernel.scratch else []
        return [np.ascontiguousarray(a) for a in (*self.inputs, *self.kernel.tables, *self.outputs, *scratch)]

    @property
    def results(self) -> list[int]:
        """Numbers of the arguments that are compared: the outputs, then the inputs that change."""
        first = len(self.inputs) + len(self.kernel.tables)
        return [*range(first, first + len(self.outputs)), *self.changed]

    def __str__(self) -> str:
        called = sorted(set(re.findall(r"mcu_\w+", str(self.kernel.func))))
        return f"{called}, inputs {[a.shape for a in self.inputs]}, rows {self.rows}, overlap {self.overlap}"


def with_overlaps(jobs: Sequence[Job]) -> list[Job]:
    """Each of these calls over all rows, then once more for each declared overlap."""
    return [j for job in jobs for j in (job, *(replace(job, overlap=o) for o in job.kernel.overlaps))]


@dataclass(frozen=True, eq=False)
class Program:
    """A firmware that runs these jobs, on any board."""

    jobs: Sequence[Job]

    @functools.cached_property
    def images(self) -> list[np.ndarray]:
        """The memory before each job."""
        images = [_image(job) for job in self.jobs]
        assert max(map(len, images)) <= MEMORY
        return images

    @functools.cached_property
    def text(self) -> str:
        """C that reads the memory of each job, calls its kernel and writes the memory."""
        kernels, calls = {}, []
        for job, image in zip(self.jobs, self.images, strict=True):
            name, kernels[name] = c_text(job.kernel)
            places = zip(job.arrays, _begins(job), strict=True)
            pointers = [f"({C_TYPES[str(a.dtype)]} *)(void *)(memory + {begin})" for a, begin in places]
            limits = [] if job.kernel.rows is None else map(str, job.rows or (0, job.kernel.rows))
            calls += [f"good &= semihost_read(samples, memory, {len(image)});",
                      f"{name}({', '.join([*pointers, *limits])});",
                      f"good &= semihost_write(results, memory, {len(image)});"]  # fmt: skip
        lines = "\n".join(f"    {line}" for line in calls)
        return MAIN.format(kernels="\n".join(kernels.values()), memory=MEMORY, alignment=ALIGNMENT, calls=lines)

    @functools.cache  # noqa: B019  one program lives as long as its tests
    def on_host(self, fused: bool) -> list[list[np.ndarray]]:
        return on_host(self.jobs, fused)

    def check(self, board: boards.Board, folder: Path) -> None:
        """The board gives the bits of the host, where nothing overlaps, and writes nowhere else."""
        for job, host, ours in zip(
            self.jobs, self.on_host(board.core.has_fma), self._on_board(board, folder), strict=True
        ):
            for one, other in zip(host, ours, strict=True):
                np.testing.assert_array_equal(other, one, str(job))

    def _on_board(self, board: boards.Board, folder: Path) -> list[list[np.ndarray]]:
        """The results of each job. All other bytes of the memory must be as they were."""
        (folder / "main.c").write_text(self.text)
        sources, elf = [folder / "main.c", *KERNEL_SOURCES], folder / f"{board.name}.elf"
        built = build_firmware(sources, [RUNTIME / "src"], board, MEMORY + (16 << 10), elf)
        assert not built.warnings, built.warnings
        (folder / emulator.SAMPLES).write_bytes(b"".join(image.tobytes() for image in self.images))
        emulator.run(elf, built.board, folder, 120)
        written = np.fromfile(folder / emulator.RESULTS, np.uint8)
        after = np.split(written, np.cumsum([len(image) for image in self.images])[:-1])
        return [_results(job, *pair) for job, *pair in zip(self.jobs, self.images, after, strict=True)]


def on_host(jobs: Sequence[Job], fused: bool = True) -> list[list[np.ndarray]]:
    """The results of each job, which is not changed. fused: as the board's has_fma."""
    prepare([job.kernel for job in jobs], fused)
    found = []
    for job in jobs:
        inputs, outputs = [a.copy() for a in job.inputs], [a.copy() for a in job.outputs]
        run(job.kernel, inputs, outputs, job.rows, job.changed, fused)
        found.append([*outputs, *(inputs[i] for i in job.changed)])
    return found


def _begins(job: Job) -> list[int]:
    """Where each argument lies in memory: guard bytes between all but the two that overlap."""
    first = len(job.inputs) + len(job.kernel.tables)
    source, target, distance = job.overlap or (-1, -1 - first, 0)
    places, end = {}, ALIGNMENT
    for number, array in enumerate(job.arrays):
        if number == first + target:
            continue
        if number == source:
            output = job.arrays[first + target]
            places[source], places[first + target] = end + max(0, distance), end + max(0, -distance)
            end = max(places[source] + array.nbytes, places[first + target] + output.nbytes)
        else:
            places[number], end = end, end + array.nbytes
        end = (-(-end // ALIGNMENT) + 1) * ALIGNMENT
    return [places[number] for number in range(len(places))]


def _image(job: Job) -> np.ndarray:
    """The memory before the call, with guard bytes at its end, too."""
    arrays, places = job.arrays, _begins(job)
    image = np.full(max(b + a.nbytes for a, b in zip(arrays, places, strict=True)) + ALIGNMENT, GUARD, np.uint8)
    inputs_last = [*range(len(job.inputs), len(arrays)), *range(len(job.inputs))]
    for number in inputs_last:
        array, begin = arrays[number], places[number]
        image[begin : begin + array.nbytes] = array.reshape(-1).view(np.uint8)
    return image


def _results(job: Job, before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    arrays, places, kept = job.arrays, _begins(job), np.ones(len(before), bool)
    spans = [slice(b, b + a.nbytes) for a, b in zip(arrays, places, strict=True)]
    for number in [*job.results, *([len(arrays) - 1] if job.kernel.scratch else [])]:
        kept[spans[number]] = False
    assert np.array_equal(after[kept], before[kept]), f"wrote outside its outputs: {job}"
    return [after[spans[n]].view(arrays[n].dtype).reshape(arrays[n].shape) for n in job.results]
