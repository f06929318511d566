"""The verify program end to end with a small model: host and device agree bit for bit, and everything is measured."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mcutrain.errors import DeviceError
from mcutrain.firmware import emulator, toolchain
from mcutrain.planner.errors import ModelError
from mcutrain.targets import board as boards
from tests.cores import BOARDS

FAKE_MODEL = Path(__file__).parent / "fake_model"
LAYOUT = emulator.Layout(
    input_bytes=16, logits_bytes=16, label_bytes=4, hyper_bytes=8, infer_ops=1, train_ops=3, segments=(64, 16)
)
Step = tuple[np.ndarray, np.ndarray, np.ndarray]


def samples(n_steps: int) -> tuple[list[np.ndarray], list[Step]]:
    rng = np.random.default_rng(4)
    inputs = [rng.integers(-128, 128, 16, dtype=np.int8) for _ in range(3)]
    steps = []
    for i in range(n_steps):
        hyper = np.array([np.float32(0.02).view(np.uint32), i], np.uint32)
        steps.append((hyper, rng.integers(-128, 128, 16, dtype=np.int8), np.array([i % 4], np.uint32)))
    return inputs, steps


def run_on_host(folder: Path, board: str, steps: list[Step]) -> tuple[np.ndarray, np.ndarray]:
    """Losses of each step and the final arena of the host twin."""
    library = folder / "fake.so"
    toolchain.build_host([FAKE_MODEL / "tvmgen_fake.c"], [FAKE_MODEL], library, boards.get(board).defines)
    model = ctypes.CDLL(str(library))
    arena = np.ctypeslib.as_array((ctypes.c_uint8 * 2048).in_dll(model, "tvmgen_fake_arena"))
    losses = []
    assert model.tvmgen_fake_init() == 0
    for hyper, sample, label in steps:
        arena[52:60], arena[0:16], arena[16:20] = hyper.view(np.uint8), sample.view(np.uint8), label.view(np.uint8)
        assert model.tvmgen_fake_train_arena() == 0
        losses.append(arena[48:52].view(np.float32)[0])
    return np.array(losses), arena


@pytest.mark.parametrize("board", BOARDS)
def test_device_trains_like_the_host(board: str, build: Callable, execute: Callable, tmp_path: Path) -> None:
    inputs, steps = samples(20)
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(LAYOUT, inputs, steps))
    image = build(board)
    lines = execute(image)
    results = emulator.decode_results((tmp_path / "results.bin").read_bytes(), LAYOUT)
    losses, arena = run_on_host(tmp_path, board, steps)
    assert results.losses.tobytes() == losses.tobytes()
    assert results.state == (arena[64:128].tobytes(), arena[128:144].tobytes())
    assert results.train_logits[-1].tobytes() == arena[32:48].tobytes()
    assert results.infer_logits.view(np.float32).shape == (3, 4)
    assert lines[0] == "infer 1/3" and lines[-1] == "train 20/20"
    assert image.warnings == ()
    assert 0 < results.stack_peak <= image.stack_bound <= results.stack_peak + 256
    assert (image.arena, image.data) == (2048, 0) and image.ram <= image.budget
    assert (results.train_instructions > results.infer_instructions.max()).all()
    assert not results.train_op_instructions.any()


def test_an_m0_of_the_emulators_own_trains_like_the_host(build: Callable, execute: Callable, tmp_path: Path) -> None:
    """The M3 that stands in for an M0 has a timer, an MPU and more memory; the bits are those of a true one, too."""
    known, (inputs, steps) = boards.get("stm32f072"), samples(20)
    changes = {"name": "microbit", "flash_bytes": 256 << 10, "ram_bytes": 16 << 10, "mpu": "none"}
    core = msgspec.structs.replace(known.core, machine=msgspec.structs.replace(known.core.machine, **changes))
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(LAYOUT, inputs, steps))
    execute(build(replace(known, name="microbit", core=core), budget=4096))
    results = emulator.decode_results((tmp_path / "results.bin").read_bytes(), LAYOUT)
    losses, arena = run_on_host(tmp_path, "stm32f072", steps)
    assert results.losses.tobytes() == losses.tobytes()
    assert results.state == (arena[64:128].tobytes(), arena[128:144].tobytes())


def test_counts_are_repeatable_and_ops_add_up(build: Callable, execute: Callable, tmp_path: Path) -> None:
    inputs, steps = samples(6)
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(LAYOUT, inputs, steps))
    plain = build("mps2-an385")
    profile = build("mps2-an385", defines=("MCU_PROFILE",))
    assert profile.arena == plain.arena and profile.sections[".measure"] == 4096 and plain.sections[".measure"] == 0
    seen = []
    for _ in range(2):
        execute(profile)
        seen.append((tmp_path / "results.bin").read_bytes())
    assert seen[0] == seen[1]
    results = emulator.decode_results(seen[0], LAYOUT)
    execute(plain)
    unprofiled = emulator.decode_results((tmp_path / "results.bin").read_bytes(), LAYOUT)
    assert results.state == unprofiled.state
    assert (results.train_op_instructions > 0).all()
    total = float(results.train_op_instructions.sum())
    assert total == pytest.approx(unprofiled.train_instructions[-1], rel=0.02)
    assert results.infer_op_instructions[0] == pytest.approx(unprofiled.infer_instructions[-1], abs=120)


def decode_gradients(data: bytes) -> list[tuple[int, bytes]]:
    """Read gradients.bin of a MCU_GRADIENTS build: (index, bytes) in the order in which the gradients completed;
    one that was made in blocks comes in as many pieces."""
    gradients, at = [], 0
    while at < len(data):
        head = data[at : at + 8]
        index, nbytes = struct.unpack("<2I", head) if len(head) == 8 else (0, len(data))
        if at + 8 + nbytes > len(data):
            raise DeviceError(f"gradients.bin is cut short at byte {at}: the firmware stopped before the end")
        gradients.append((index, data[at + 8 : at + 8 + nbytes]))
        at += 8 + nbytes
    return gradients


def test_gradients_are_handed_out(build: Callable, execute: Callable, tmp_path: Path) -> None:
    _, steps = samples(2)
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(LAYOUT, [], steps))
    execute(build("stm32f746", defines=("MCU_GRADIENTS",)))
    data = (tmp_path / "gradients.bin").read_bytes()
    gradients = decode_gradients(data)
    assert [index for index, _ in gradients] == [0, 0]
    values = np.frombuffer(gradients[-1][1], np.float32)
    assert abs(values.sum()) < 1e-5 and values[1] < 0  # softmax minus one-hot of label 1
    with pytest.raises(DeviceError, match="cut short"):
        decode_gradients(data[:-1])


def test_inference_only_model(build: Callable, execute: Callable, tmp_path: Path) -> None:
    layout = emulator.Layout(input_bytes=16, logits_bytes=16, infer_ops=1)
    inputs, steps = samples(1)
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(layout, inputs))
    image = build("nrf52840", defines=("FAKE_INFERENCE_ONLY",))
    execute(image)
    results = emulator.decode_results((tmp_path / "results.bin").read_bytes(), layout)
    assert results.infer_logits.any() and results.state == () and len(results.losses) == 0
    (tmp_path / "samples.bin").write_bytes(emulator.encode_samples(LAYOUT, inputs, steps))
    with pytest.raises(DeviceError, match="training steps for an inference model"):
        execute(image)


def test_errors_of_the_verify_program(build: Callable, execute: Callable, tmp_path: Path) -> None:
    image = build("stm32f746")
    with pytest.raises(DeviceError, match=r"ERROR cannot open samples\.bin"):
        execute(image)
    _, [(hyper, sample, _)] = samples(1)
    good = emulator.encode_samples(LAYOUT, [], [(hyper, sample, np.array([3], np.uint32))])
    bad_label = emulator.encode_samples(LAYOUT, [], [(hyper, sample, np.array([9], np.uint32))])
    for data, message in (
        (good[:-1], r"ERROR samples\.bin ends too early"),
        (b"XXXX" + good[4:], r"ERROR samples\.bin is not for this program"),
        (bad_label, "ERROR the model's training step failed"),
    ):
        (tmp_path / "samples.bin").write_bytes(data)
        with pytest.raises(DeviceError, match=message):
            execute(image)


def test_wrong_sizes_and_broken_results() -> None:
    inputs, _ = samples(0)
    with pytest.raises(ModelError, match="input 0 has 12 bytes"):
        emulator.encode_samples(LAYOUT, [inputs[0][:12]])
    with pytest.raises(DeviceError, match="no result of the verify program"):
        emulator.decode_results(b"", LAYOUT)
    head = np.array([1, 0, 0, 16, 80, 1, 3], "<u4").tobytes()
    with pytest.raises(DeviceError, match="instead of"):
        emulator.decode_results(b"MCUR" + head, LAYOUT)
    with pytest.raises(DeviceError, match="another model"):
        emulator.decode_results(b"MCUR" + head[:-4] + b"\7\0\0\0", LAYOUT)
