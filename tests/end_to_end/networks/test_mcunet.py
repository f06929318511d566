"""The main job: MCUNet-5fps with the 49kb scheme trains on an emulated Cortex-M7 inside 256 KB, at known cost."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import BudgetError, DeviceError
from mcutrain.artifact.folder import c_sources, include_folders
from mcutrain.artifact.metadata import read_metadata
from mcutrain.firmware import emulator, toolchain
from mcutrain.targets import board as boards
from mcutrain.twin.data import to_int8
from mcutrain.verification import Samples, layout, random_samples, run_on_device
from tests.end_to_end.conftest import STEPS, Verified, mcutrain_command

pytestmark = pytest.mark.slow

# (floor, ceiling): a figure that leaves its range, in either direction, is news; the bars themselves stand behind
RANGES = {
    "sram_total_bytes": (88_000, 91_140),  # not a byte more than before the kernels were made for speed
    "arena_bytes": (87_500, 90_600),
    "data_bytes": (0, 64),
    "bss_bytes": (4, 256),
    "stack_peak_bytes": (100, 544),
    "stack_bound_bytes": (200, 544),  # 2,048
    "flash_bytes": (540_000, 566_000),  # 620,000
}
INSTRUCTIONS = {"infer": (26e6, 35e6), "train_step": (42e6, 56e6)}  # 45e6, 75e6


def test_figures_stay_in_their_ranges(mcunet: Verified) -> None:
    found = mcunet.measurement
    for key, (floor, ceiling) in RANGES.items():
        assert floor <= found[key] <= ceiling, f"{key} is {found[key]:,}"
    for key, (floor, ceiling) in INSTRUCTIONS.items():
        assert floor <= found["instructions"][key] <= ceiling, f"{key}: {found['instructions'][key]:,} instructions"
    assert found["plan_status"] == "OPTIMAL" and found["arena_bytes"] == found["arena_bound_bytes"]
    assert found["stack_peak_bytes"] <= found["stack_bound_bytes"]
    assert found["fits"] is True and found["sram_total_bytes"] <= found["budget_bytes"] == 262_144


def test_figures_are_those_of_the_image(mcunet: Verified) -> None:
    """The linked image itself, read by binutils, holds what the report says."""
    elf = mcunet.out / "build/firmware.elf"
    listing = subprocess.run(["arm-none-eabi-size", "-A", elf], capture_output=True, text=True, check=True).stdout
    sizes = {row[0]: int(row[1]) for row in map(str.split, listing.splitlines()) if len(row) == 3 and row[1].isdigit()}
    found = mcunet.measurement
    assert sizes[".bss"] == found["bss_bytes"] + found["arena_bytes"]
    assert found["flash_bytes"] == sum(sizes.get(name, 0) for name in (".text", ".rodata", ".data", ".ARM.exidx"))
    symbols = subprocess.run(["arm-none-eabi-nm", "-S", elf], capture_output=True, text=True, check=True).stdout
    (arena,) = [line.split() for line in symbols.splitlines() if line.endswith(" tvmgen_mcunet_5fps_arena")]
    assert int(arena[1], 16) == found["arena_bytes"]


def test_device_and_host_agree_bit_for_bit(mcunet: Verified) -> None:
    assert mcunet.measurement["host_equals_device"] is True
    assert len(mcunet.measurement["losses"]) == STEPS and len(set(mcunet.measurement["losses"])) == STEPS
    twin = mcutrain.host(mcunet.out)
    samples = random_samples(twin.meta, STEPS)
    twin.learning_rate = (0.001, 0.01)
    pairs = zip(samples.images, samples.labels, strict=True)
    assert [twin.train_step(x, int(y)) for x, y in pairs] == mcunet.measurement["losses"]


def test_real_images_at_rates_that_move_every_tensor(mcunet: Verified, data: Path) -> None:
    """Photographs, a rate of its own for each step: every loss, every logit, all of the state, compared here."""
    with np.load(data / "datasets/cifar10_subset.npz") as file:
        images = to_int8(file["x_train"][:4].repeat(4, axis=1).repeat(4, axis=2))
        labels = file["y_train"][:4].astype(np.int32)
    rates = np.array([[0.5, 0.05], [0.2, 0.1], [0.1, 0.02], [0.05, 0.01]], np.float32)
    device = run_on_device(mcunet.out, images[:2], Samples(images, labels), rates)
    twin = mcutrain.host(mcunet.out)
    start = twin.state()
    for i in range(2):
        assert twin.infer(images[i]).tobytes() == device.infer_logits[i].tobytes()
    for i in range(4):
        twin.learning_rate = rates[i]
        loss = np.float32(twin.train_step(images[i], int(labels[i])))
        assert loss.tobytes() == device.losses[i].tobytes() and np.isfinite(loss)
        assert twin.last_logits().tobytes() == device.train_logits[i].tobytes()
    assert twin.state_bytes() == device.state
    moved = {name for name, value in twin.state().items() if (value != start[name]).any()}
    assert moved == start.keys() and len(moved) >= 23


def test_budget_is_enforced_at_link_time(mcunet: Verified) -> None:
    """The arena alone would fit this budget; with stack and data it does not."""
    needed = mcunet.measurement["sram_total_bytes"]
    budget = (needed - 1) // 32 * 32
    assert mcunet.measurement["arena_bytes"] <= budget
    with pytest.raises(BudgetError) as error:
        firmware(mcunet.out, budget, "linked")
    assert f"stm32f746: the firmware needs {needed} bytes of RAM (arena " in str(error.value)
    assert f"{needed - budget} more than the budget of {budget}" in str(error.value)
    assert not (mcunet.out / "build/linked.elf").exists()


def test_budget_is_enforced_at_run_time(mcunet: Verified, tmp_path: Path) -> None:
    """The real firmware with a budget that it just fits: its last byte is free to write, the next one faults."""
    budget = (mcunet.measurement["sram_total_bytes"] + 31) // 32 * 32
    meta = read_metadata(mcunet.out)
    sample = random_samples(meta, 1)
    steps = [(np.array([0.001, 0.01], np.float32), sample.images[0], sample.labels.astype(np.int32))]
    (tmp_path / emulator.SAMPLES).write_bytes(emulator.encode_samples(layout(meta), sample.images, steps))
    past = firmware(mcunet.out, budget, "past", "MCU_TEST_OVERRUN=0")
    with pytest.raises(DeviceError, match=f"FAULT memory guard.*exit code {emulator.EXIT_GUARD}") as error:
        emulator.run(past.elf, past.board, tmp_path, 60)
    assert f"MMFAR={past.board.core.machine.ram_base + budget:#010x}" in str(error.value)
    last = firmware(mcunet.out, budget, "last", "MCU_TEST_OVERRUN=-1")
    assert emulator.run(last.elf, last.board, tmp_path, 60)[-1] == "train 1/1"


def firmware(out: Path, budget: int, name: str, *defines: str) -> toolchain.Image:
    """The artifact's firmware with another budget; only what depends on `defines` is compiled."""
    sources, include = [*c_sources(out), toolchain.VERIFY_MAIN], include_folders(out)
    elf = out / f"build/{name}.elf"
    return toolchain.build_firmware(
        sources, include, boards.get("stm32f746"), budget, elf, defines, build_dir=out / "build/objects"
    )


def test_folder_and_report_after_verify(mcunet: Verified) -> None:
    assert {"metadata.json", "plan.csv", "report.json", "report.html", "build"} <= set(os.listdir(mcunet.out))
    report = json.loads((mcunet.out / "report.json").read_text())
    found = mcunet.measurement
    assert report["sram"]["total"] == found["sram_total_bytes"] and report["flash"]["total"] == found["flash_bytes"]
    assert report["instructions"] == found["instructions"]
    by_op = sum(op["instructions"] for op in report["ops"])
    assert 0.98 <= by_op / found["instructions"]["train_step"] <= 1.01
    assert len(report["trained"]) == 21  # 20 convolutions and the head
    backward = {op["name"] for op in report["ops"] if op["phase"] != "forward"}
    upstream = ("first_conv", *(f"blocks.{b}." for b in range(7)), "blocks.7.pointwise1")
    assert not any(name.startswith(upstream) for name in backward), backward  # the first bias is blocks.7.depthwise's
    assert len(backward) > 20
    ran = mcutrain_command("report", mcunet.out)
    assert ran.returncode == 0 and f"{found['sram_total_bytes']:,}" in ran.stdout


def test_compile_says_what_it_does(mcunet: Verified) -> None:
    lines = mcunet.progress.splitlines()
    assert len(lines) >= 5 and all(line.startswith("... ") for line in lines)
