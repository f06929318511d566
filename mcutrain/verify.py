"""Verify an artifact: build its firmware, run it on the emulated core inside the budget, compare with the twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain import boards, emulator
from mcutrain.folder import METADATA, REPORT_HTML, REPORT_JSON, read_json, replace_file, to_json
from mcutrain.report import render_html
from mcutrain.reporting import with_measurement
from mcutrain.toolchain import VERIFY_MAIN, Image, build_firmware
from mcutrain.twin import Twin, host
from planner.errors import ModelError, OutputError

Progress = Callable[[str], None]
RUN_SECONDS = 120.0  # for an emulator run, and as much again a sample
ROUND_RATES = (0.001, 0.01)


@dataclass(frozen=True)
class Samples:
    """What the device is fed. images: int8 (N, H, W, C); labels: (N,), for one training step each."""

    images: np.ndarray
    labels: np.ndarray


def verify(
    out: str | Path,
    steps: int = 3,
    samples: Samples | None = None,
    learning_rate: Sequence[float] = ROUND_RATES,
    progress: Progress | None = None,
) -> dict:
    """Run one inference and `steps` training steps on the emulated board and on the host twin; returns the measurement
    (docs/FORMATS.md) and completes the folder's report.json and report.html. Leaves out/build/firmware.elf.

    samples: at least `steps` of them; by default random ones with a fixed seed. Raises BudgetError where the firmware
    does not link inside the budget, DeviceError where it faults, ToolError where a tool is missing."""
    out, say = Path(out), progress or (lambda _: None)
    meta = read_json(out / METADATA, "the artifact's description").get("mcutrain")
    if not isinstance(meta, dict):
        raise OutputError(f"{out}: was not made by `mcutrain compile`; compile the model first")
    steps = steps if meta["train"] else 0
    samples = samples or random_samples(meta, max(1, steps))
    if len(samples.images) < max(1, steps):
        raise ModelError(f"{steps} steps need as many samples, only {len(samples.images)} were given")
    board = boards.get(meta["board"])
    say("building the firmware")
    image = _build(out, board, meta["budget_bytes"], "firmware", ())
    say("building the host twin")
    twin = host(out)
    rates = np.asarray(learning_rate, np.float32)
    say(f"running {steps} training steps on the emulated {board.core}")
    device = _run(out, image, meta, samples, steps, rates, progress)
    equal = _equal(twin, meta, samples, steps, rates, device)
    say("building and running the profile")
    profiled = _run(out, _build(out, board, meta["budget_bytes"], "profile", ("MCU_PROFILE",)), meta, samples,
                    min(steps, 1), rates, None)  # fmt: skip
    measurement = _measurement(meta, image, device, profiled, equal)
    _complete_report(out, measurement)
    return measurement


def random_samples(meta: dict, count: int) -> Samples:
    """Uniform int8 images and labels from a fixed seed: bits must be equal on any input."""
    source = np.random.default_rng(0)
    shape = (count, *meta["input"]["shape"][1:])
    images = source.integers(-128, 128, shape, dtype=np.int8)
    return Samples(images, source.integers(0, meta["classes"], count))


def _build(out: Path, board: boards.Board, budget: int, name: str, defines: tuple[str, ...]) -> Image:
    sources = [*sorted((out / "codegen/host/src").glob("*.c")), VERIFY_MAIN]
    include = [out / "codegen/host/include", out / "codegen/host/src"]
    build = out / "build"
    try:
        build.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{build}: cannot be made: {error.strerror}; make the folder writable") from None
    return build_firmware(sources, include, board, budget, build / f"{name}.elf", defines, build_dir=build / name)


def layout(meta: dict) -> emulator.Layout:
    """The sizes that the verify program's files are read and written with."""
    train = meta["train"]
    return emulator.Layout(
        input_bytes=_nbytes(meta["input"]),
        logits_bytes=_nbytes(meta["logits"]),
        label_bytes=_nbytes(train["label"]) if train else 0,
        hyper_bytes=_nbytes(train["learning_rate"]) if train else 0,
        infer_ops=meta["infer_ops"],
        train_ops=train["ops"] if train else 0,
        segments=tuple(_nbytes(place) for place in meta["state"]),
    )


def _nbytes(place: dict) -> int:
    return np.dtype(place["dtype"]).itemsize * int(np.prod(place["shape"], dtype=np.int64))


def _run(out, image, meta, samples, steps, rates, progress) -> emulator.Results:
    sizes = layout(meta)
    labels = np.asarray(samples.labels, np.int32)
    fed = [(rates, samples.images[i], labels[i : i + 1]) for i in range(steps)]
    work = image.elf.parent
    try:
        (work / emulator.SAMPLES).write_bytes(emulator.encode_samples(sizes, samples.images[:1], fed))
    except OSError as error:
        raise OutputError(f"{work}: cannot write the samples: {error.strerror}") from None
    emulator.run(image.elf, image.board, work, RUN_SECONDS * (2 + steps), progress)
    return emulator.decode_results((work / emulator.RESULTS).read_bytes(), sizes)


def _equal(twin: Twin, meta, samples, steps, rates, device: emulator.Results) -> bool:
    """Whether the host twin gives the same bits: logits, every loss, every step's logits, the state at the end."""
    same = twin.infer(samples.images[0]).tobytes() == device.infer_logits[0].tobytes()
    for i in range(steps):
        twin.learning_rate = rates
        loss = np.float32(twin.train_step(samples.images[i], int(samples.labels[i])))
        same &= loss.tobytes() == device.losses[i].tobytes()
        same &= twin.last_logits().tobytes() == device.train_logits[i].tobytes()
    return bool(same and twin.state_bytes() == device.state)


def _measurement(meta: dict, image: Image, device, profiled, equal: bool) -> dict:
    plan = meta["plan"]
    total = image.ram
    counts = profiled.train_op_instructions if meta["train"] else profiled.infer_op_instructions
    return {
        "name": meta["name"],
        "scheme": meta["scheme"],
        "board": meta["board"],
        "budget_bytes": meta["budget_bytes"],
        "sram_total_bytes": total,
        "data_bytes": image.data,
        "bss_bytes": image.bss,
        "arena_bytes": image.arena,
        "arena_bound_bytes": plan["bound"],
        "plan_status": plan["status"],
        "stack_peak_bytes": device.stack_peak,
        "stack_bound_bytes": image.stack_bound,
        "flash_bytes": image.flash,
        "flash": {"text": image.text, "rodata": image.rodata, "data": image.data, "total": image.flash},
        "instructions": {
            "infer": int(device.infer_instructions[-1]),
            "train_step": int(device.train_instructions[-1]) if len(device.train_instructions) else 0,
        },
        "op_instructions": [int(n) for n in counts],
        "losses": [float(x) for x in device.losses],
        "host_equals_device": equal,
        "fits": total <= meta["budget_bytes"] and device.stack_peak <= image.stack_bound,
    }


def _complete_report(out: Path, measurement: dict) -> None:
    report = with_measurement(read_json(out / REPORT_JSON, "the report"), measurement)
    replace_file(out / REPORT_JSON, to_json(report))
    replace_file(out / REPORT_HTML, render_html(report))
