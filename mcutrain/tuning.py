"""Runs every form of a model's kernels on the emulated core, and keeps the counts that a compile chooses by."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain import boards, emulator
from mcutrain.folder import replace_file
from mcutrain.toolchain import KERNEL_SOURCES, RUNTIME, build_firmware
from planner.errors import DeviceError

if TYPE_CHECKING:
    from tvm_ext.kernels.build import Kernel
    from tvm_ext.lower import Lowered

MEMORY = 1 << 20  # bytes for the arrays of one kernel; the emulated boards have more
RUN_SECONDS = 120.0
MAIN = """/* Runs each kernel once, over all rows, and prints its instructions. */
#include "mcu_device.h"
#include "mcu_kernels.h"
#include "mcu_math.h"
#include "semihost.h"

{kernels}
static _Alignas(16) uint8_t memory[{memory}];

static void fill(void) {{
    for (uint32_t i = 0; i < sizeof memory; i++) {{
        memory[i] = (uint8_t)(i * 37u >> 3);
    }}
}}

static void fill_floats(float *to, uint32_t n) {{
    for (uint32_t i = 0; i < n; i++) {{
        to[i] = 0.01f;
    }}
}}

static void say(uint32_t started) {{
    const uint32_t ticks = mcu_timer_ticks() - started;
    semihost_print("instructions ");
    semihost_print_number(ticks * MCU_INSTRUCTIONS_PER_TICK);
    semihost_print("\\n");
}}

int main(void) {{
    uint32_t started;
    mcu_timer_init();
{calls}
    return 0;
}}
"""


def tune(lowered: Lowered, board: str, known: dict, progress: Callable[[str], None] | None = None) -> dict:
    """Counts of every form of every kernel of `lowered` that has a choice, for a board: {kernel: {form: instructions}}.
    What is in `known` is not measured again. Raises ToolError and DeviceError."""
    from tvm_ext.kernels.table import KERNELS
    from tvm_ext.tuning import candidates, forms, key

    say, target = progress or (lambda _: None), boards.get(board)
    found = {}
    for call in candidates(lowered):
        if key(call) in known:
            found[key(call)] = known[key(call)]
            continue
        say(f"measuring {key(call)}")
        attrs = [{**call.attrs, **form} for form in forms(call).values()]
        kernels = [KERNELS[call.kind](list(map(list, call.shapes)), a) for a in attrs]
        found[key(call)] = dict(zip(forms(call), measure(kernels, target), strict=True))
    return found


def measure(kernels: list[Kernel], board: boards.Board) -> list[int]:
    """Instructions of a call of each kernel over all rows, in steps of the timer. Raises ToolError and DeviceError."""
    from tvm_ext.codegen import c_functions

    names = [f"kernel{i}" for i in range(len(kernels))]
    functions = c_functions(kernels, names, ["measured"] * len(kernels))
    calls = [line for kernel, name in zip(kernels, names, strict=True) for line in _call(kernel, name)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = MAIN.format(
            kernels="\n".join(f"{f.prototype}\n{f.definition}" for f in functions),
            memory=MEMORY,
            calls="\n".join(f"    {line}" for line in calls),
        )
        (work / "measure.c").write_text(text)
        image = build_firmware(
            [work / "measure.c", *KERNEL_SOURCES], [RUNTIME / "src"], board, MEMORY + (64 << 10), work / "measure.elf"
        )
        lines = emulator.run(image.elf, image.board, work, RUN_SECONDS)
    return [int(number) for line in lines for number in re.findall(r"^instructions (\d+)$", line)]


def _call(kernel: Kernel, name: str) -> list[str]:
    """C that fills memory, runs a kernel on arrays that lie there one behind the other, and says what it took."""
    from tvm_ext.codegen import C_TYPES
    from tvm_ext.lower import ITEM_BYTES

    floats, arguments, at = [], [], 0
    for param in kernel.func.params:
        if not hasattr(param.ty, "shape"):  # the rows
            continue
        length, dtype = int(param.ty.shape[0]), str(getattr(param.ty.dtype, "dtype", param.ty.dtype))
        place = f"({C_TYPES[dtype]} *)(void *)(memory + {at})"
        floats += [f"fill_floats({place}, {length});"] if dtype == "float32" else []
        arguments.append(place)
        at += -(-length * ITEM_BYTES[dtype] // 16) * 16
    if at > MEMORY:
        raise DeviceError(f"{name} takes {at} bytes of arrays, {at - MEMORY} more than are there to measure in")
    limits = () if kernel.rows is None else ("0", str(kernel.rows))
    return ["fill();", *floats, "started = mcu_timer_ticks();", f"{name}({', '.join([*arguments, *limits])});",
            "say(started);"]  # fmt: skip


def write(path: Path, core: str, counts: dict) -> None:
    """Adds counts of a core to a table; sorted, so that two runs give the same file. Raises OutputError."""
    table = json.loads(path.read_text()) if path.exists() else {}
    table.setdefault(core, {}).update(counts)
    replace_file(path, json.dumps(table, indent=1, sort_keys=True) + "\n")
