"""The demo: a deployed int8 network adapts to a new sensor on an emulated Cortex-M; then MCUNet's training step there.

1. The digits network (digits/) reads upright digits well and another camera's badly. Its firmware trains on 500 of
   those images, one step an image, on the emulated core; every figure printed comes from the firmware's own output.
2. Where the MCUNet files are there (../shared/data beside the repository): MCUNet-5fps at 128x128, scheme 49kb,
   planned, compiled and verified in 256 KB.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import mcutrain

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "demo_out"
SHARED = HERE.parent.parent / "shared" / "data"
MCUNET, PHOTOS = SHARED / "mcunet" / "mcunet-5fps.pkl", SHARED / "datasets" / "cifar10_subset.npz"
BOARD = "stm32f746"
DIGITS_SCHEME, DIGITS_BUDGET = "last_k=6", "96KB"
# Of the rates from 1e-6 to 1e-2, this one has the lowest loss on the training images.
RATE, ORDER_SEED = 0.01, 0
MCUNET_STEPS = 5
console = Console(highlight=False)


def main() -> int:
    """Run the demo; the exit status is 2 where a tool is missing or a stage fails."""
    try:
        console.rule("1  A deployed network adapts, on the emulated microcontroller")
        digits = adapt_digits()
        if not MCUNET.is_file():
            show_report(digits)
            console.print(f"\nMCUNet was left out: {MCUNET} is not there.", soft_wrap=True)
            return 0
        console.rule("2  MCUNet-5fps, 128x128, scheme 49kb: one training step in 256 KB")
        show_report(train_mcunet())
        return 0
    except mcutrain.McutrainError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def adapt_digits() -> Path:
    """Compile the digits network, train it on the device with the other sensor's images, print what changed."""
    data = rotated_digits()
    with working() as say:
        say("reading the digits network")
        model = mcutrain.load(
            HERE / "digits" / "digits_int8.pkl", input_size=16, classes=10, head="int8-slice", logits="dequantized"
        )
        out = mcutrain.compile(model, DIGITS_SCHEME, BOARD, DIGITS_BUDGET, OUT / "digits", progress=say).directory
    steps, tests = len(data.x_train), len(data.x_test)
    run, rates = course(data)
    core = mcutrain.boards[BOARD].core.name
    console.print(f"{tests} inferences, {steps} training steps, {tests} inferences on the emulated {core}:")
    started = time.monotonic()
    with device_progress() as progress:
        device = mcutrain.run_on_device(out, data.x_test, run, rates, progress)
    seconds = time.monotonic() - started
    with working() as say:
        say("the same steps on the host twin")
        twin = mcutrain.host(out)
        equal = same_on_twin(twin, run, rates, device)
        measured = mcutrain.verify(
            out, 2, samples=mcutrain.Samples(data.x_train, data.y_train), learning_rate=(RATE, RATE), progress=say
        )
    show_adaptation(data, steps, device, measured, equal, seconds)
    return out


def course(data) -> tuple[mcutrain.Samples, np.ndarray]:
    """The device's training steps and their learning rates (steps, 2): each training image once, then the test images.

    A step with rate zero changes no weight and returns the logits of what was learnt so far: so the firmware is tested
    behind its training, in the same run."""
    steps, tests = len(data.x_train), len(data.x_test)
    order = np.random.default_rng(ORDER_SEED).permutation(steps)
    cosine = RATE * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
    rates = np.concatenate([cosine, np.zeros(tests)]).astype(np.float32)
    images = np.concatenate([data.x_train[order], data.x_test])
    labels = np.concatenate([data.y_train[order], data.y_test])
    return mcutrain.Samples(images, labels), np.repeat(rates[:, None], 2, axis=1)


def same_on_twin(twin: mcutrain.Twin, run: mcutrain.Samples, rates: np.ndarray, device: mcutrain.Results) -> bool:
    """Whether the host twin gives the same losses and logits at every step, and the same state at the end."""
    same = True
    for i, (x, y) in enumerate(zip(run.images, run.labels, strict=True)):
        twin.learning_rate = rates[i]
        same &= np.float32(twin.train_step(x, int(y))) == device.losses[i]
        same &= twin.last_logits().tobytes() == device.train_logits[i].tobytes()
    return bool(same) and twin.state_bytes() == device.state


def show_adaptation(
    data, steps: int, device: mcutrain.Results, measured: mcutrain.Measurement, equal: bool, seconds: float
) -> None:
    """Accuracy before and after, both from the firmware's logits on images that it never trained on."""
    before = correct(device.infer_logits, data.y_test)
    after = correct(device.train_logits[steps:], data.y_test)
    table = Table(title="Digits through another sensor: turned, blurred, less contrast", title_justify="left")
    for column in ("on the emulated device", "before", f"after {steps} steps"):
        table.add_column(column, justify="left" if column.startswith("on") else "right")
    table.add_row(f"right of {len(data.y_test)} held-out images", str(before.sum()), str(after.sum()))
    table.add_row("accuracy", f"{before.mean():.1%}", f"{after.mean():.1%}")
    quarter = steps // 4
    losses = (device.losses[:quarter].mean(), device.losses[steps - quarter : steps].mean())
    table.add_row(f"mean loss, first and last {quarter} steps", *(f"{loss:.3f}" for loss in losses))
    console.print(table)
    budget, ram = measured.budget_bytes, measured.sram_total_bytes
    console.print(
        f"SRAM in all {ram:,} of {budget:,} B; flash {measured.flash_bytes:,} B; "
        f"{measured.instructions.train_step:,} instructions a training step (instructions are not cycles); "
        f"{seconds:.0f} s of emulation.\n"
        f"Host twin: every loss, every logit and the final weights are {'the same bits' if equal else 'DIFFERENT'}."
    )
    if not equal:
        raise mcutrain.DeviceError("the device and the host twin differ: please report it with this compiler's version")


def correct(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether the largest int8 logit is the label's, an image each; logits as the device's bytes."""
    return logits.view(np.int8).argmax(axis=1) == labels


def train_mcunet() -> Path:
    """Plan, compile and verify MCUNet-5fps with a fresh float head."""
    with working() as say:
        say("reading MCUNet-5fps")
        model = mcutrain.load(MCUNET, input_size=128, classes=10)
        artifact = mcutrain.compile(model, "49kb", BOARD, "256KB", OUT / "mcunet", progress=say)
        mcutrain.verify(artifact.directory, MCUNET_STEPS, samples=one_photo(), progress=say)
    return artifact.directory


def one_photo() -> mcutrain.Samples | None:
    """One real image, the same at every step, so that its loss must fall; None (verify's own noise) without it."""
    if not PHOTOS.is_file():
        return None
    with np.load(PHOTOS) as file:
        photo, label = file["x_train"][0], file["y_train"][0]
    enlarged = photo.repeat(4, axis=0).repeat(4, axis=1)  # 32x32 to 128x128
    image = np.clip(np.rint(enlarged.astype(np.float32) - 127.5), -128, 127).astype(np.int8)
    return mcutrain.Samples(np.repeat(image[None], MCUNET_STEPS, axis=0), np.repeat(label, MCUNET_STEPS))


def show_report(out: Path) -> None:
    """The report's summary, and where the page with the pictures is."""
    mcutrain.print_report(out, console)
    console.print(f"\nThe whole report, with a picture of the arena: {out / 'report.html'}", soft_wrap=True)


def rotated_digits():
    """The other sensor's images (digits/make_data.py, a script folder and no package)."""
    sys.path.insert(0, str(HERE / "digits"))
    from make_data import rotated_digits as load

    return load()


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A spinner that says what is done; plain lines where there is no terminal."""
    if not console.is_terminal:
        yield lambda text: None if "/" in text else console.print(f"... {text}")
        return
    with console.status("starting") as status:
        yield status.update


@contextmanager
def device_progress() -> Iterator[Callable[[str], None]]:
    """Turns the firmware's lines, such as `train 3/900`, into a bar."""
    count = TextColumn("{task.completed}/{task.total}")
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def line(text: str) -> None:
            what, _, count = text.partition(" ")
            done, _, total = count.partition("/")
            if not (done.isdigit() and total.isdigit()):
                return
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=int(total))
            bar.update(tasks[what], completed=int(done))
            if not console.is_terminal and int(done) % 100 == 0:
                console.print(f"... {text}")

        yield line


if __name__ == "__main__":
    sys.exit(main())
