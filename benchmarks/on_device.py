"""Measures the bars on the emulated boards: SRAM, flash, instructions, bits; and the reference engine's figures beside
them."""

from __future__ import annotations

from typing import Any

import mcutrain
from benchmarks.bars import CLASSES, INPUT_SIZE, OUT, Bar, Progress, Table, at_least, at_most, equal, network
from mcutrain.schema.measurement import Measurement
from mcutrain.verification import verify

STEPS = 20
SRAM, SRAM_INFERENCE, SRAM_148KB, FLASH = 120_000, 95_000, 192 * 1024, 620_000  # bytes
SRAM_49KB, STACK = 91_140, 2_048  # bytes; the first is what the kernels before these needed
STREAMING = 0.03  # of the instructions of a step, that streaming may cost
INFER, TRAIN_STEP, TRAIN_STEP_M4 = 45_000_000, 75_000_000, 85_000_000  # instructions
HELIUM = 2.0  # times fewer instructions of the forward pass than on the Cortex-M4
MAIN, M4, M33, M55 = "stm32f746", "nrf52840", "mps2-an505", "mps3-an547"
BOARDS = {MAIN: STEPS, M4: 2, "mps2-an385": 2, M33: 2, M55: 2, "rp2040": 1}  # and steps to run there
COMPILE = "mcutrain compile {path} --scheme {scheme} --board {board} -o out/"
VERIFY = "mcutrain verify out/ --steps {steps} --json"
COLUMNS = {  # of the comparison
    "ram": "SRAM in all, B",
    "flash": "flash, B",
    "infer": "instructions, inference",
    "train_step": "instructions, training step",
    "stack": "stack, B",
}
# TinyEngine's training graph of the same network and scheme, built from its published generator with the same compiler
# and run on the same emulator. RAM = .data + .bss + stack, flash = .text + .data.
REFERENCE_ENGINE = {
    "Cortex-M7 -O2": {
        "infer": 65_287_413, "train_step": 127_279_304, "ram": 252_244, "flash": 657_740, "stack": 21_664,
    },
    "Cortex-M7 -Ofast": {
        "infer": 65_035_921, "train_step": 106_371_050, "ram": 252_428, "flash": 663_828, "stack": 21_848,
    },
    "Cortex-M4 -Ofast": {
        "infer": 65_322_241, "train_step": 120_106_207, "ram": 252_428, "flash": 670_380, "stack": 21_848,
    },
}  # fmt: skip


def measure(name: str, board: str, steps: int, progress: Progress, scheme: str = "49kb", **options: Any) -> Measurement:
    """Compiles a network's scheme with a float head for `board`, runs it there and returns verify()'s measurement."""
    progress(f"{name} {scheme} on {board}: compile, build, run {steps} steps")
    model = mcutrain.load(network(name), INPUT_SIZE, CLASSES)
    out = OUT / "-".join([name, scheme, board, *(f"{key}={value}" for key, value in options.items())])
    artifact = mcutrain.compile(model, scheme, board, "256KB", out, **options)
    return verify(artifact.directory, steps)


def main_boards(measured: dict[str, Measurement]) -> list[Bar]:
    """Returns the bars of MCUNet-5fps, by board; the reference engine's figures stand in the comparison."""
    main, command = measured[MAIN], _commands(MAIN, STEPS)
    total, flash, stack = main.sram_total_bytes, main.flash_bytes, main.stack_bound_bytes
    infer, step = main.instructions.infer, main.instructions.train_step
    step_m4 = measured[M4].instructions.train_step
    fewer = measured[M4].instructions.infer / measured[M55].instructions.infer
    theirs, theirs_m4 = REFERENCE_ENGINE["Cortex-M7 -Ofast"], REFERENCE_ENGINE["Cortex-M4 -Ofast"]
    on_m4, on_m55 = _commands(M4, BOARDS[M4]), _commands(M55, BOARDS[M55])
    return [
        at_most("instructions, inference", infer, INFER, _millions(infer), "45 M", command, "36 M",
                _millions(theirs["infer"])),
        at_most("instructions, training step", step, TRAIN_STEP, _millions(step), "75 M", command, "58 M",
                _millions(theirs["train_step"])),
        at_most(f"instructions, training step, {M4} (M4)", step_m4, TRAIN_STEP_M4, _millions(step_m4), "85 M", on_m4,
                "65 M", _millions(theirs_m4["train_step"])),
        at_least("instructions, inference: M4 / M55 (Helium)", fewer, HELIUM, f"{fewer:.2f}", "2",
                 f"{on_m4}; {on_m55}"),
        at_most("flash", flash, FLASH, f"{flash:,} B", f"{FLASH:,} B", command, "560,000 B", f"{theirs['flash']:,} B"),
        at_most("stack, worst case, static", stack, STACK, f"{stack:,} B", f"{STACK:,} B", command, "1,024 B",
                f"{theirs['stack']:,} B"),
        at_most("SRAM: data + bss + arena + stack", total, SRAM_49KB, f"{total:,} B", f"{SRAM_49KB:,} B", command, "",
                f"{theirs['ram']:,} B"),
        *(equal(f"host == device on {board}, {steps} steps: state, logits, losses",
                measured[board].host_equals_device, _commands(board, steps)) for board, steps in BOARDS.items()),
    ]  # fmt: skip


def other_builds(streamed: Measurement, progress: Progress) -> list[Bar]:
    """Returns bars on the SRAM of the other networks and schemes, and on what streaming costs in instructions."""
    bars = [
        _fits(name, scheme, limit, progress)
        for name, scheme, limit in (
            ("mcunet-5fps", "inference", SRAM_INFERENCE),
            ("mcunet-5fps", "148kb", SRAM_148KB),
            ("mbv2-w0.35", "49kb", SRAM),
            ("proxyless-w0.3", "49kb", SRAM),
        )
    ]
    whole = measure("mcunet-5fps", "stm32f746", 1, progress, stream=False).instructions.train_step
    more = streamed.instructions.train_step / whole - 1
    shown = f"{more:+.1%} of {_millions(whole)}"
    command = COMPILE.format(path="mcunet-5fps.pkl", scheme="49kb", board="stm32f746") + " --no-stream"
    return [*bars, at_most("instructions that streaming costs a step", more, STREAMING, shown, "+3.0%", command)]


def _fits(name: str, scheme: str, limit: int, progress: Progress) -> Bar:
    total = measure(name, "stm32f746", int(scheme != "inference"), progress, scheme).sram_total_bytes
    command = _commands("stm32f746", 1, name, scheme)
    return at_most(f"SRAM in all, {name} {scheme}", total, limit, f"{total:,} B", f"{limit:,} B", command)


def comparison(measured: dict[tuple[str, str], Measurement]) -> Table:
    """Lists our figures by board, and the reference engine's."""
    rows = {
        f"mcutrain, {board} ({core}) -O2": {
            "ram": m.sram_total_bytes,
            "flash": m.flash_bytes,
            "infer": m.instructions.infer,
            "train_step": m.instructions.train_step,
            "stack": m.stack_bound_bytes,
        }
        for (board, core), m in measured.items()
    }
    rows |= {f"TinyEngine, {build}": figures for build, figures in REFERENCE_ENGINE.items()}
    cells = tuple((build, *(f"{figures[key]:,}" for key in COLUMNS)) for build, figures in rows.items())
    return Table("The same network, scheme, compiler and emulator; instructions are executed ones, not cycles",
                 ("build", *COLUMNS.values()), cells)  # fmt: skip


def _commands(board: str, steps: int, name: str = "mcunet-5fps", scheme: str = "49kb") -> str:
    return COMPILE.format(path=f"{name}.pkl", scheme=scheme, board=board) + " && " + VERIFY.format(steps=steps)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
