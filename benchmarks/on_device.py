"""Bars on the emulated boards: SRAM, flash, instructions, bits; and the reference engine's figures beside them."""

from __future__ import annotations

from bars import CLASSES, INPUT_SIZE, OUT, Bar, Progress, Table, at_most, equal, network

import mcutrain
from mcutrain.verify import verify

STEPS = 20
SRAM, SRAM_INFERENCE, SRAM_148KB, FLASH = 120_000, 95_000, 192 * 1024, 700_000  # bytes
STREAMING = 0.03  # of the instructions of a step, that streaming may cost
INFER, TRAIN_STEP = 200_000_000, 330_000_000  # instructions
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


def measure(name: str, board: str, steps: int, progress: Progress, scheme: str = "49kb", **options: object) -> dict:
    """Compile a network's scheme with a float head for `board`, run it there: the measurement of verify()."""
    progress(f"{name} {scheme} on {board}: compile, build, run {steps} steps")
    model = mcutrain.load(network(name), INPUT_SIZE, CLASSES)
    out = OUT / "-".join([name, scheme, board, *(f"{key}={value}" for key, value in options.items())])
    artifact = mcutrain.compile(model, scheme, board, "256KB", out, **options)
    return verify(artifact.directory, steps)


def main_board(measured: dict) -> list[Bar]:
    """The bars of MCUNet-5fps on stm32f746."""
    verify_command = VERIFY.format(steps=STEPS)
    total, flash = measured["sram_total_bytes"], measured["flash_bytes"]
    infer, step = (measured["instructions"][key] for key in ("infer", "train_step"))
    return [
        at_most("SRAM in all: data + bss + arena + stack", total, SRAM, f"{total:,} B", f"{SRAM:,} B", verify_command),
        at_most("flash", flash, FLASH, f"{flash:,} B", f"{FLASH:,} B", verify_command),
        at_most("instructions, inference", infer, INFER, _millions(infer), "200 M", verify_command),
        at_most("instructions, training step", step, TRAIN_STEP, _millions(step), "330 M", verify_command),
        equal(f"host == device over {STEPS} steps: state, logits, losses", measured["host_equals_device"],
              verify_command),
    ]  # fmt: skip


def other_builds(streamed: dict, progress: Progress) -> list[Bar]:
    """SRAM of the other networks and schemes, and what streaming costs in instructions."""
    bars = [
        _fits(name, scheme, limit, progress)
        for name, scheme, limit in (
            ("mcunet-5fps", "inference", SRAM_INFERENCE),
            ("mcunet-5fps", "148kb", SRAM_148KB),
            ("mbv2-w0.35", "49kb", SRAM),
            ("proxyless-w0.3", "49kb", SRAM),
        )
    ]
    whole = measure("mcunet-5fps", "stm32f746", 1, progress, stream=False)["instructions"]["train_step"]
    more = streamed["instructions"]["train_step"] / whole - 1
    shown = f"{more:+.1%} of {_millions(whole)}"
    command = COMPILE.format(path="mcunet-5fps.pkl", scheme="49kb", board="stm32f746") + " --no-stream"
    return [*bars, at_most("instructions that streaming costs a step", more, STREAMING, shown, "+3.0%", command)]


def _fits(name: str, scheme: str, limit: int, progress: Progress) -> Bar:
    total = measure(name, "stm32f746", int(scheme != "inference"), progress, scheme)["sram_total_bytes"]
    command = COMPILE.format(path=f"{name}.pkl", scheme=scheme, board="stm32f746") + " && " + VERIFY.format(steps=1)
    return at_most(f"SRAM in all, {name} {scheme}", total, limit, f"{total:,} B", f"{limit:,} B", command)


def comparison(measured: dict[tuple[str, str], dict]) -> Table:
    """Ours by board, and the reference engine's."""
    rows = [
        {
            "build": f"mcutrain, {board} ({core}) -O2",
            "ram": m["sram_total_bytes"],
            "flash": m["flash_bytes"],
            "infer": m["instructions"]["infer"],
            "train_step": m["instructions"]["train_step"],
            "stack": m["stack_bound_bytes"],
        }
        for (board, core), m in measured.items()
    ]
    rows += [{"build": f"TinyEngine, {build}", **figures} for build, figures in REFERENCE_ENGINE.items()]
    cells = tuple((row["build"], *(f"{row[key]:,}" for key in COLUMNS)) for row in rows)
    return Table("The same network, scheme, compiler and emulator; instructions are executed ones, not cycles",
                 ("build", *COLUMNS.values()), cells)  # fmt: skip


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
