"""Verify an artifact: build its firmware, run it on the emulated core inside the budget, compare with the twin."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain.artifact.folder import (
    REPORT_HTML,
    REPORT_JSON,
    c_sources,
    include_folders,
    replace_file,
    to_json,
)
from mcutrain.artifact.metadata import read_metadata
from mcutrain.firmware import emulator
from mcutrain.firmware.flash_map import flash_parts
from mcutrain.firmware.toolchain import VERIFY_MAIN, Image, build_firmware
from mcutrain.planner.errors import BudgetError, ModelError, OutputError
from mcutrain.report.build import with_measurement
from mcutrain.report.files import read_report
from mcutrain.report.page import render_html
from mcutrain.schema.measurement import Measurement
from mcutrain.schema.metadata import Metadata
from mcutrain.schema.report import Flash, Instructions
from mcutrain.targets import board as boards
from mcutrain.twin import labels
from mcutrain.twin.twin import Twin, host

Progress = Callable[[str], None]
RUN_SECONDS = 120.0  # for an emulator run, and as much again a sample
ROUND_RATES = (0.001, 0.01)


@dataclass(frozen=True)
class Samples:
    """What the device is fed. images: int8 or float32 (N, H, W, C); labels: N of them, for one training step each, as
    the loss takes them (of an autoencoder: None)."""

    images: np.ndarray
    labels: Sequence[object] | np.ndarray


def verify(
    out: str | os.PathLike[str],
    steps: int = 3,
    *,
    samples: Samples | None = None,
    learning_rate: Sequence[float] = ROUND_RATES,
    progress: Progress | None = None,
) -> Measurement:
    """Run one inference and `steps` training steps on the emulated board and on the host twin; returns the measurement
    (docs/FORMATS.md) and completes the folder's report.json and report.html. Leaves out/build/firmware.elf.

    out: an Artifact or its folder. samples: at least `steps` of them; by default random ones with a fixed seed.
    learning_rate: of the network and of the head. progress: called with one line of text a stage.
    Raises BudgetError where the firmware does not link inside the budget, DeviceError where it faults, ToolError where
    a tool is missing."""
    out, say = Path(out), progress or (lambda _: None)
    meta = read_metadata(out)
    steps = steps if meta.train else 0
    samples = samples or random_samples(meta, max(1, steps))
    if len(samples.images) < max(1, steps):
        raise ModelError(f"{steps} steps need as many samples, only {len(samples.images)} were given")
    board = boards.in_folder(out, meta.board)
    emulator.find_emulator()  # a missing tool is said before the minutes that a build can take
    say("building the firmware")
    image = build(out, board, meta.budget_bytes, "firmware", ())
    say("building the host twin")
    twin = host(out)
    rates = np.asarray(learning_rate, np.float32)
    say(f"running {steps} training steps on the emulated {board.core.name}")
    fed = Samples(samples.images[:steps], samples.labels[:steps])
    device = _run(image, meta, samples.images[:1], fed, rates, progress)
    equal = _equal(twin, samples, steps, rates, device)
    say("building and running the profile")
    profile = build(out, board, meta.budget_bytes, "profile", ("MCU_PROFILE",))
    one = Samples(fed.images[:1], fed.labels[:1])
    profiled = _run(profile, meta, samples.images[:1], one, rates, None)
    measurement = _measurement(meta, image, device, profiled, equal)
    _complete_report(out, meta, measurement, image)
    return measurement


def run_on_device(
    out: str | os.PathLike[str],
    images: np.ndarray,
    samples: Samples | None = None,
    learning_rate: np.ndarray | Sequence[float] = ROUND_RATES,
    progress: Progress | None = None,
) -> emulator.Results:
    """Run the artifact's firmware on its emulated board: an inference on each of `images`, then a training step on each
    of `samples`; logits, losses, instructions and the trained state come back.

    images: int8 (N, H, W, C), may be empty. learning_rate: of network and head, or one such pair a step: (steps, 2).
    progress sees every line that the firmware prints. Raises BudgetError, DeviceError, ModelError and ToolError."""
    out = Path(out)
    meta = read_metadata(out)
    emulator.find_emulator()
    image = build(out, boards.in_folder(out, meta.board), meta.budget_bytes, "firmware", ())
    if samples is None:
        samples = Samples(images[:0], ())
    elif meta.train is None and len(samples.labels):
        raise ModelError(f"{out}: compiled for inference only; compile with a training scheme")
    return _run(image, meta, images, samples, np.asarray(learning_rate, np.float32), progress)


def random_samples(meta: Metadata, count: int) -> Samples:
    """Random inputs and labels from a fixed seed: bits must be equal on any input."""
    source = np.random.default_rng(0)
    shape = (count, *meta.input.shape[1:])
    images: np.ndarray
    if meta.input.dtype == "float32":
        images = source.normal(size=shape).astype(np.float32)
    else:
        images = source.integers(-128, 128, shape, dtype=np.int8)
    return Samples(images, labels.random(meta, source, count))


def build(out: Path, board: boards.Board, budget: int, name: str, defines: tuple[str, ...]) -> Image:
    """The firmware out/build/NAME.elf of the verify program, inside the budget and the chip's memory. Raises
    BudgetError, ToolError and OutputError."""
    sources, include, folder = [*c_sources(out), VERIFY_MAIN], include_folders(out), out / "build"
    limit = min(budget, board.ram_bytes)
    try:
        folder.mkdir(exist_ok=True)
        return build_firmware(
            sources, include, board, limit, folder / f"{name}.elf", defines, build_dir=folder / "objects"
        )
    except BudgetError as error:
        if limit == budget:
            raise
        raise BudgetError(f"{out}: the firmware's {boards.shortage(board, error.nbytes)}", error.nbytes) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}; make room and the folder writable") from None


def layout(meta: Metadata) -> emulator.Layout:
    """The sizes that the verify program's files are read and written with."""
    train = meta.train
    return emulator.Layout(
        input_bytes=meta.input.nbytes,
        logits_bytes=meta.logits.nbytes,
        label_bytes=train.label.nbytes if train and train.label else 0,
        hyper_bytes=train.learning_rate.nbytes if train else 0,
        infer_ops=meta.infer_ops,
        train_ops=train.ops if train else 0,
        segments=tuple(place.nbytes for place in meta.state),
    )


def _run(
    image: Image,
    meta: Metadata,
    images: np.ndarray,
    samples: Samples,
    rates: np.ndarray,
    progress: Progress | None,
) -> emulator.Results:
    work = write_samples(image, meta, images, samples, rates)
    emulator.run(image.elf, image.board, work, RUN_SECONDS * (1 + len(images) + len(samples.labels)), progress)
    return emulator.decode_results((work / emulator.RESULTS).read_bytes(), layout(meta))


def write_samples(image: Image, meta: Metadata, images: np.ndarray, samples: Samples, rates: np.ndarray) -> Path:
    """Puts the samples that a run reads into the folder in which it works; returns that folder. Raises OutputError."""
    rates = np.broadcast_to(rates, (len(samples.labels), 2))
    fed = [(rates[i], samples.images[i], labels.encode(meta, label)) for i, label in enumerate(samples.labels)]
    work = image.elf.parent
    try:
        (work / emulator.SAMPLES).write_bytes(emulator.encode_samples(layout(meta), list(images), fed))
    except OSError as error:
        raise OutputError(f"{work}: cannot write the samples: {error.strerror}") from None
    return work


def _equal(twin: Twin, samples: Samples, steps: int, rates: np.ndarray, device: emulator.Results) -> bool:
    """Whether the host twin gives the same bits: logits, every loss, every step's logits, the state at the end."""
    same = twin.infer(samples.images[0]).tobytes() == device.infer_logits[0].tobytes()
    for i in range(steps):
        twin.learning_rate = rates
        loss = np.float32(twin.train_step(samples.images[i], samples.labels[i]))
        same &= loss.tobytes() == device.losses[i].tobytes()
        same &= twin.last_logits().tobytes() == device.train_logits[i].tobytes()
    return bool(same and twin.state_bytes() == device.state)


def _measurement(
    meta: Metadata, image: Image, device: emulator.Results, profiled: emulator.Results, equal: bool
) -> Measurement:
    total = image.ram
    counts = profiled.train_op_instructions if meta.train else profiled.infer_op_instructions
    return Measurement(
        name=meta.name,
        scheme=meta.scheme,
        board=meta.board,
        budget_bytes=meta.budget_bytes,
        sram_total_bytes=total,
        data_bytes=image.data,
        bss_bytes=image.bss,
        arena_bytes=image.arena,
        arena_bound_bytes=meta.plan.bound,
        plan_status=meta.plan.status,
        stack_peak_bytes=device.stack_peak,
        stack_bound_bytes=image.stack_bound,
        flash_bytes=image.flash,
        flash=Flash(text=image.text, rodata=image.rodata, data=image.data, total=image.flash),
        instructions=Instructions(
            infer=int(device.infer_instructions[-1]),
            train_step=int(device.train_instructions[-1]) if len(device.train_instructions) else 0,
        ),
        op_instructions=tuple(int(n) for n in counts),
        losses=tuple(float(x) for x in device.losses),
        host_equals_device=equal,
        fits=total <= meta.budget_bytes and device.stack_peak <= image.stack_bound,
    )


def _complete_report(out: Path, meta: Metadata, measurement: Measurement, image: Image) -> None:
    # an older artifact does not say whose a constant is
    parts = None if meta.symbols is None else flash_parts(image.elf, meta.symbols, image.flash)
    report = with_measurement(read_report(out), measurement, parts)
    replace_file(out / REPORT_JSON, to_json(report))
    replace_file(out / REPORT_HTML, render_html(report))
