"""Which form of a kernel runs, where there are several with the same results: chosen from instruction counts that were
measured on the emulator and are kept, so that a compile measures nothing and two compiles agree.

A form is a dict of attributes beside the op's own. Counts are those of one call over all rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from planner.errors import ModelError
from tvm_ext.kernels.conv import WIDE, can_be_wide, wide
from tvm_ext.lower import Call, KernelPool, Lowered

Counts = Mapping[str, Mapping[str, int]]  # kernel -> form -> instructions
TUNED = Path(__file__).with_name("tuned.json")
NARROW, WIDENED = "narrow weights", "wide weights"
WORTH = 64  # instructions that a byte of flash must save, in one inference
IDENTITY = ("depthwise", "kernel", "stride", "padding", "shape", "trained_channels")  # of a kernel, beside its shapes


def forms(call: Call) -> dict[str, dict]:
    """The forms that a call's kernel can take, by name; the first runs where nothing was measured."""
    if call.kind == "qconv2d" and can_be_wide(list(map(list, call.shapes)), dict(call.attrs)):
        return {NARROW: {}, WIDENED: {"weights": WIDE}}
    return {"": {}}


def key(call: Call) -> str:
    """What a kernel's instructions depend on, as text: op, shapes, geometry."""
    attrs = {name: call.attrs[name] for name in IDENTITY if call.attrs.get(name)}
    shapes = " ".join("x".join(map(str, shape)) for shape in call.shapes[:2])
    return f"{call.kind} {shapes} {json.dumps(attrs)}"


def candidates(lowered: Lowered) -> list[Call]:
    """The calls that have a choice, one of each kernel."""
    return list({key(call): call for call in _choices(lowered)}.values())


def tuned(lowered: Lowered, counts: Counts) -> Lowered:
    """The same step over the cheapest forms: fewest instructions, where flash that it costs is worth it."""
    pool, chosen = KernelPool(lowered.kernels, lowered.kernel_titles), {}
    for call in _choices(lowered):
        form = _best(call, counts.get(key(call), {}), lowered)
        if form:
            chosen[call.layer] = form

    def formed(call: Call) -> Call:
        if call.kind != "qconv2d" or call.layer not in chosen:
            return call
        attrs = {**call.attrs, **chosen[call.layer]}
        number = pool.get(call.kind, list(map(list, call.shapes)), list(call.dtypes), attrs)
        return replace(call, attrs=attrs, kernel=number)

    steps = [
        step and replace(step, calls=tuple(map(formed, step.calls))) for step in (lowered.infer, lowered.train_step)
    ]
    kernels, titles = tuple(pool.kernels), tuple(pool.titles)
    return replace(lowered, kernels=kernels, kernel_titles=titles, infer=steps[0], train_step=steps[1])


def read_counts(core: str, path: Path = TUNED) -> Counts:
    """The counts of a core, {} where none are kept. Raises ModelError for a file that is not such a table."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text()).get(core, {})
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: no table of instruction counts ({error}); remove it, and tune again") from None


def _choices(lowered: Lowered) -> Sequence[Call]:
    """Calls of the forward pass with more than one form, whose weights are constants that nobody else reads."""
    calls = [*lowered.infer.calls, *(lowered.train_step.calls if lowered.train_step else ())]
    readers: dict[str, set[str]] = {}
    for call in calls:
        for name in call.op.inputs:
            readers.setdefault(name, set()).add(f"{call.layer}:{call.kind}")
    return [
        call
        for call in lowered.infer.calls
        if len(forms(call)) > 1 and call.op.inputs[1] in lowered.constants and len(readers[call.op.inputs[1]]) == 1
    ]


def _best(call: Call, counts: Mapping[str, int], lowered: Lowered) -> dict:
    if NARROW not in counts or WIDENED not in counts:
        return {}
    weights = np.asarray(lowered.constants[call.op.inputs[1]])
    nbytes = wide(weights).nbytes - weights.nbytes
    return forms(call)[WIDENED] if counts[NARROW] - counts[WIDENED] >= WORTH * nbytes else {}
