"""Runs a firmware on QEMU, and speaks the verify program's file formats (runtime_c/src/verify_main.c).

samples.bin goes in, results.bin comes out, both in the emulator's working folder."""

from __future__ import annotations

import itertools
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain.errors import DeviceError, ToolError
from mcutrain.planner.errors import ModelError
from mcutrain.targets.board import Board

QEMU = "qemu-system-arm"
SAMPLES, RESULTS = "samples.bin", "results.bin"
EXIT_GUARD, EXIT_FAULT, EXIT_STACK = 16, 17, 18  # enum mcu_exit in runtime_c/src/mcu_device.h
_SAMPLES_MAGIC, _RESULTS_MAGIC, _RESULTS_VERSION = b"MCUS", b"MCUR", 1


@dataclass(frozen=True)
class Layout:
    """Holds what the host must know of an emitted model; the numbers stand in its mcu_model.h. Sizes in bytes.

    segments: bytes of each piece of the trained state. An inference-only model has train_ops 0 and no segments."""

    input_bytes: int
    logits_bytes: int
    label_bytes: int = 0
    hyper_bytes: int = 0
    infer_ops: int = 0
    train_ops: int = 0
    segments: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Results:
    """Holds what one run handed back. Logits are uint8 [n, logits_bytes], to be viewed as the model's type.

    state: the bytes of each segment after the last step. Instructions are those of the emulated core, not cycles,
    counted around the model's call in steps of the timer; *_op_instructions, one for each op of the last inference and
    of the last step, are zeros unless the firmware was built with MCU_PROFILE. stack_peak: bytes, measured by painting.
    """

    infer_logits: np.ndarray
    infer_instructions: np.ndarray  # uint64 [n_infer]
    losses: np.ndarray  # float32 [n_steps]
    train_logits: np.ndarray
    train_instructions: np.ndarray  # uint64 [n_steps]
    state: tuple[bytes, ...]
    stack_peak: int
    infer_op_instructions: np.ndarray  # uint32 [infer_ops]
    train_op_instructions: np.ndarray  # uint32 [train_ops]

    def __repr__(self) -> str:
        runs = f"{len(self.infer_logits)} inferences and {len(self.losses)} training steps"
        return f"<Results of {runs}, {sum(map(len, self.state)):,} B of trained state>"


def encode_samples(
    layout: Layout,
    inputs: Sequence[np.ndarray],
    steps: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]] = (),
) -> bytes:
    """Write samples.bin: `inputs` to infer on, then training steps (hyper-parameters, input, label).
    Raises ModelError where an array has not the size that the model takes."""
    parts = [_SAMPLES_MAGIC, struct.pack("<2I", len(inputs), len(steps))]
    parts += [_exact(array, layout.input_bytes, f"input {i}") for i, array in enumerate(inputs)]
    for i, (hyper, sample, label) in enumerate(steps):
        parts.append(_exact(hyper, layout.hyper_bytes, f"hyper-parameters of step {i}"))
        parts.append(_exact(sample, layout.input_bytes, f"input of step {i}"))
        parts.append(_exact(label, layout.label_bytes, f"label of step {i}"))
    return b"".join(parts)


def _exact(array: np.ndarray, nbytes: int, what: str) -> bytes:
    array = np.ascontiguousarray(array)
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    if len(data) != nbytes:
        raise ModelError(f"{what} has {len(data)} bytes ({array.dtype}, {array.shape}), but the model takes {nbytes}")
    return data


def decode_results(data: bytes, layout: Layout) -> Results:
    """Read results.bin. Raises DeviceError where it is cut short or of another model."""
    state_bytes = sum(layout.segments)
    expected = (_RESULTS_VERSION, layout.logits_bytes, state_bytes, layout.infer_ops, layout.train_ops)
    if len(data) < 32 or data[:4] != _RESULTS_MAGIC:
        raise DeviceError(f"{RESULTS} is no result of the verify program ({len(data)} bytes): run the firmware again")
    version, n_infer, n_steps, *sizes = struct.unpack_from("<7I", data, 4)
    if (version, *sizes) != expected:
        raise DeviceError(f"{RESULTS} is of another model (version and sizes {(version, *sizes)}, expected {expected})")
    logits = ("logits", "u1", (layout.logits_bytes,))
    infer_type = np.dtype([("instructions", "<u8"), logits])
    step_type = np.dtype([("instructions", "<u8"), ("loss", "<f4"), logits])
    ops = layout.infer_ops + layout.train_ops
    whole = 32 + n_infer * infer_type.itemsize + n_steps * step_type.itemsize + state_bytes + 4 + 4 * ops
    if len(data) != whole:
        raise DeviceError(f"{RESULTS} has {len(data)} bytes instead of {whole}: the firmware stopped before the end")
    inferences = np.frombuffer(data, infer_type, n_infer, 32)
    steps = np.frombuffer(data, step_type, n_steps, 32 + inferences.nbytes)
    tail = 32 + inferences.nbytes + steps.nbytes + state_bytes
    ends = np.cumsum([tail - state_bytes, *layout.segments])
    counts = np.frombuffer(data, "<u4", ops, tail + 4)
    return Results(
        infer_logits=inferences["logits"].copy(),
        infer_instructions=inferences["instructions"].copy(),
        losses=steps["loss"].copy(),
        train_logits=steps["logits"].copy(),
        train_instructions=steps["instructions"].copy(),
        state=tuple(data[a:b] for a, b in itertools.pairwise(ends)),
        stack_peak=struct.unpack_from("<I", data, tail)[0],
        infer_op_instructions=counts[: layout.infer_ops].copy(),
        train_op_instructions=counts[layout.infer_ops :].copy(),
    )


def find_emulator() -> Path:
    """Find QEMU on the PATH. Raises ToolError with the line that installs it."""
    found = shutil.which(QEMU)
    if found is None:
        raise ToolError(f"{QEMU} is not on the PATH: install it with `apt install qemu-system-arm`")
    return Path(found)


def run(
    elf: Path,
    board: Board,
    workdir: Path,
    timeout_seconds: float,
    progress: Callable[[str], None] | None = None,
    plugin: str | None = None,
) -> tuple[str, ...]:
    """Run a firmware to its end in `workdir` and return the lines that it printed; `progress` sees each at once.

    plugin: a plugin of QEMU and its arguments; with one, the timer's counts mean nothing.
    Raises DeviceError with the firmware's own line after a fault, an error or a time-out, ToolError without QEMU.
    Instruction counts are exactly repeatable (-icount shift=0: one instruction is one nanosecond of board time)."""
    machine = ("-M", board.core.machine.name, "-nographic", "-monitor", "none", "-serial", "none")
    semihosting = ("-semihosting-config", "enable=on,target=native")
    counting = ("-icount", "shift=0") if plugin is None else ("-plugin", plugin)
    command = [str(find_emulator()), *machine, *counting, *semihosting, "-kernel", str(Path(elf).resolve())]
    lines: list[str] = []
    timed_out = threading.Event()
    with subprocess.Popen(
        command, cwd=workdir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip

        def stop() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(timeout_seconds, stop)
        timer.start()
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip("\n"))
                if progress is not None:
                    progress(lines[-1])
            code = process.wait()
        finally:
            timer.cancel()
            process.kill()
    if timed_out.is_set():
        last = f" after {lines[-1]!r}" if lines else ""
        raise DeviceError(f"{elf.name} on {board.name}: no end within {timeout_seconds:g} s{last}: allow more time")
    if code != 0:
        said = _last_words(lines)
        raise DeviceError(f"{elf.name} on {board.name}: {said} (exit code {code})", said)
    return tuple(lines)


def _last_words(lines: Sequence[str]) -> str:
    """Find the firmware's own line (FAULT ..., ERROR ...) where there is one, else QEMU's last word."""
    own = [line for line in lines if line.startswith(("FAULT ", "ERROR "))]
    return own[-1] if own else lines[-1] if lines else "no output"
