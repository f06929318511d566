"""Takes models of other formats all the way to the emulated core: what they need, and whether they compute right."""

from __future__ import annotations

import numpy as np

import mcutrain
from benchmarks.bars import DATA, OUT, Bar, Progress, Table, at_least, equal
from mcutrain.schema.measurement import Measurement
from mcutrain.verification import random_samples, run_on_device, verify
from tests.end_to_end.litert import logits
from tests.end_to_end.networks.test_mlperf_tiny import BOARD, BUDGET, CASES, INPUTS, STEPS, cosine, trained_part
from tests.tvm_ext.support.torch_dialect import gradients

COMMAND = "benchmarks/run.py --only frontends"
COLUMNS = ("MLPerf Tiny, nrf52840 (M4F)", "scheme", "SRAM in all, B", "flash, B", "instructions, inference",
           "instructions, training step", "logits wrong of", "least cosine")  # fmt: skip
LEAST_COSINE = 0.999


def run(progress: Progress, tables: list[Table]) -> list[Bar]:
    """Runs each MLPerf Tiny model under two schemes: 20 inferences on host and core, gradients, 5 steps on the core."""
    rows, wrong, fits, same = [], 0, True, True
    cosines: list[float] = []
    for name, case in CASES.items():
        progress(f"MLPerf Tiny: {name}")
        path = DATA / "mlperf_tiny" / f"{case.file}.tflite"
        model = mcutrain.load(path, loss=case.loss)
        folder = OUT / f"{case.file}_{name.split(', ')[1].replace(' ', '_')}"
        out = mcutrain.compile(model, case.scheme, BOARD, BUDGET, folder).directory
        twin = mcutrain.host(out)
        images = np.random.default_rng(1).integers(-128, 128, (INPUTS, *model.input_shape[1:])).astype(np.int8)
        expected = logits(path, images)
        ours = np.array([twin.infer(image) for image in images])
        core = run_on_device(out, images).infer_logits.view(np.int8)
        mistakes = int(np.count_nonzero(ours != expected) + np.count_nonzero(core != expected))
        sample = random_samples(twin.meta, 1)
        found = twin.gradients(sample.images[0], sample.labels[0])
        _, theirs = gradients(model, sample.images[0], sample.labels[0])
        least = min(cosine(found[p.name], trained_part(p, theirs[p.name])) for p in twin.meta.parameters)
        measured = verify(out, STEPS)
        wrong, cosines = wrong + mistakes, [*cosines, least]
        fits, same = fits and measured.fits, same and measured.host_equals_device
        rows.append(_row(name, measured, f"{mistakes} of {2 * expected.size:,}", least))
    tables.append(Table("Models of other formats", COLUMNS, tuple(rows)))
    return [
        equal("MLPerf Tiny, 20 inputs each: logits on host and core, and TFLite's", wrong == 0, COMMAND),
        at_least("MLPerf Tiny: least cosine of a gradient with PyTorch's", min(cosines), LEAST_COSINE,
                 f"{min(cosines):.9f}", str(LEAST_COSINE), COMMAND),
        equal("MLPerf Tiny, 5 steps of 2 schemes on the M4, in 256 KB: host and device", fits and same, COMMAND),
    ]  # fmt: skip


def _row(name: str, measured: Measurement, mistakes: str, least: float) -> tuple[str, ...]:
    model, scheme = name.split(", ")
    counts = measured.instructions
    sizes = (measured.sram_total_bytes, measured.flash_bytes, counts.infer, counts.train_step)
    return (model, scheme, *(f"{n:,}" for n in sizes), mistakes, f"{least:.7f}")
