"""A tiny network on every board: the emulated core and the host twin end in the same bits, with every option."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.artifact.folder import c_sources, include_folders
from mcutrain.firmware import toolchain
from mcutrain.targets import board as boards
from mcutrain.verification import Samples, run_on_device, verify
from tests import tiny_network as network
from tests.cores import BOARDS
from tests.mcutrain.tiny import MIXED

STEPS = 20
OPTIONS = {
    "stm32f746": {"momentum": 0.9, "accumulate": 3, "seed": 5},
    "nrf52840": {"momentum": 0.5},
    "mps2-an385": {"accumulate": 2},
    "rp2040": {"momentum": 0.75, "accumulate": 2},
    "mps3-an547": {"momentum": 0.9, "seed": 11},
    "mps2-an505": {"momentum": 0.75, "seed": 3},
    "stm32f072": {"accumulate": 3},
}


def build(folder: Path, scheme: object, board: str, head: str = "float", **options: object) -> Path:
    model = mcutrain.load(network.tiny_file(folder), network.SIZE, network.CLASSES, head)
    return mcutrain.compile(model, scheme, board, out=folder / "out", **options).directory


def test_every_core_is_tested() -> None:
    assert OPTIONS.keys() == set(BOARDS)


@pytest.mark.slow
@pytest.mark.parametrize("board", OPTIONS)
def test_device_equals_host(board: str, tmp_path: Path) -> None:
    out = build(tmp_path, MIXED, board, **OPTIONS[board])
    images = np.stack([network.random_image(i) for i in range(STEPS)])
    labels = np.arange(STEPS, dtype=np.int32) % network.CLASSES
    rates = np.linspace(0.5, 0.01, 2 * STEPS, dtype=np.float32).reshape(STEPS, 2)
    device = run_on_device(out, images[:3], Samples(images, labels), rates)
    twin = mcutrain.host(out)
    start = twin.state()
    for i in range(3):
        assert twin.infer(images[i]).tobytes() == device.infer_logits[i].tobytes()
    for i in range(STEPS):
        twin.learning_rate = rates[i]
        loss = np.float32(twin.train_step(images[i], int(labels[i])))
        assert loss.tobytes() == device.losses[i].tobytes(), f"loss of step {i}"
        assert twin.last_logits().tobytes() == device.train_logits[i].tobytes(), f"logits of step {i}"
    assert twin.state_bytes() == device.state
    assert all((value != start[name]).any() for name, value in twin.state().items())
    assert len(set(device.losses.tolist())) > STEPS / 2 and device.stack_peak < 1000
    found = verify(out, 2)
    assert found.host_equals_device and found.fits and found.board == board


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["inference", "full"])
def test_int8_head_on_the_core_without_fpu(scheme: str, tmp_path: Path) -> None:
    out = build(tmp_path, scheme, "mps2-an385", "int8-slice")
    found = verify(out, 3)
    assert found.host_equals_device and found.fits
    assert len(found.losses) == (0 if scheme == "inference" else 3)
    assert (found.instructions.train_step > 0) is (scheme == "full")


@pytest.mark.slow
def test_firmware_has_no_warnings(tmp_path: Path) -> None:
    out = build(tmp_path, "full", "nrf52840")
    sources, include = [*c_sources(out), toolchain.VERIFY_MAIN], include_folders(out)
    image = toolchain.build_firmware(sources, include, boards.get("nrf52840"), None, tmp_path / "firmware.elf")
    assert image.warnings == () and image.arena > 10_000
