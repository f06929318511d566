"""Bars on the emulated boards: SRAM, flash, instructions, bits; and the reference engine's figures beside them."""

from __future__ import annotations

from bars import CLASSES, INPUT_SIZE, OUT, Bar, Progress, at_most, equal, network

import mcutrain
from mcutrain.verify import verify

STEPS = 20
SRAM, SRAM_OF_ALL, FLASH = 200_000, 256 * 1024, 700_000  # bytes
INFER, TRAIN_STEP = 200_000_000, 330_000_000  # instructions
COMPILE = "mcutrain compile {path} --scheme 49kb --board {board} -o out/"
VERIFY = "mcutrain verify out/ --steps {steps} --json"
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


def measure(name: str, board: str, steps: int, progress: Progress) -> dict:
    """Compile a network's 49kb scheme with a float head for `board`, run it there: the measurement of verify()."""
    progress(f"{name} on {board}: compile, build, run {steps} steps")
    model = mcutrain.load(network(name), INPUT_SIZE, CLASSES)
    artifact = mcutrain.compile(model, "49kb", board, "256KB", OUT / f"{name}-{board}")
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


def other_network(name: str, measured: dict) -> Bar:
    """SRAM of another network's 49kb scheme."""
    total = measured["sram_total_bytes"]
    command = COMPILE.format(path=f"{name}.pkl", board="stm32f746") + " && " + VERIFY.format(steps=1)
    return at_most(f"SRAM in all, {name} 49kb", total, SRAM_OF_ALL, f"{total:,} B", "262,144 B", command)


def comparison(measured: dict[str, dict]) -> list[dict]:
    """Rows {build, sram, flash, infer, train_step, stack}: ours by board, and the reference engine's."""
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
    return rows + [{"build": f"TinyEngine, {build}", **figures} for build, figures in REFERENCE_ENGINE.items()]


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
