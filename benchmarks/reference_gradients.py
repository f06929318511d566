"""Measures the bars on correctness: gradients and logits of the host twin against the published PyTorch reference's."""

from __future__ import annotations

import numpy as np

import mcutrain
from benchmarks.bars import CLASSES, INPUT_SIZE, OUT, REFERENCE, Bar, Progress, at_most, equal, network

LABEL, LIMIT = 1, 1e-4
CASES = (  # network, scheme, reference file
    ("mcunet-5fps", "49kb", "mcunet_sliced_49kb"),
    ("mcunet-5fps", "99kb", "mcunet_sliced_99kb"),
    ("mbv2-w0.35", "49kb", "mbv2_sliced_49kb"),
    ("mcunet-5fps", "full", "mcunet_sliced_full"),
)
COMMAND = "benchmarks/run.py --only gradients"


def run(progress: Progress) -> list[Bar]:
    """Returns a bar for each reference file, and one for the logits."""
    bars = []
    for name, scheme, file in CASES:
        progress(f"gradients of {name}, {scheme}: compile, build the host twin, compare")
        bars += _case(name, scheme, file)
    return bars


def _case(name: str, scheme: str, file: str) -> list[Bar]:
    model = mcutrain.load(network(name), INPUT_SIZE, CLASSES, head="int8-slice")
    # gradients do not depend on the plan; `full` is far from any microcontroller's memory
    out = OUT / f"gradients-{name}-{scheme}"
    artifact = mcutrain.compile(model, scheme, out=out, budget="64MB", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    image = np.load(REFERENCE / "input_hwc_int8.npy")
    with np.load(REFERENCE / f"{file}.npz") as stored:
        expected = dict(stored)
    error, tensors = worst_error(model, twin.gradients(image, LABEL), expected)
    what = f"gradients, {name} {scheme}, {tensors} tensors: largest relative error"
    bars = [at_most(what, error, LIMIT, f"{error:.1e}", "1e-4", COMMAND)]
    if "out" in expected:
        same = np.array_equal(twin.infer(image).astype(np.float32), expected["out"].reshape(-1))
        bars.append(equal(f"logits, {name}", same, COMMAND))
    return bars


def worst_error(model, gradients: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, int]:
    """Returns (largest error of any tensor relative to its largest value, tensors compared). A gradient that the
    reference has and that is missing here counts as an error of 1."""
    names = reference_names(model)
    compared, worst = set(), 0.0
    for name, gradient in gradients.items():
        layer, kind = name.rsplit(".", 1)
        key = f"{names[layer]}.{kind}"
        reference = expected[key]
        largest = max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
        worst = max(worst, float(np.abs(gradient.reshape(reference.shape) - reference).max()) / largest)
        compared.add(key)
    missing = [k for k, v in expected.items() if k not in compared and k not in ("out", "loss") and np.any(v)]
    return (1.0 if missing else worst), len(compared)


def reference_names(model) -> dict[str, str]:
    """Maps layer names to the reference's: 0 first conv, 1.{block}.conv.{0,1,2} as far as the block has them, 4 the
    head."""
    names = {"first_conv": "0", "classifier": "4"}
    seen: dict[str, int] = {}
    for layer in model.layers:
        if layer.name.startswith("blocks."):
            block = layer.name.split(".")[1]
            names[layer.name] = f"1.{block}.conv.{seen.get(block, 0)}"
            seen[block] = seen.get(block, 0) + 1
    return names
