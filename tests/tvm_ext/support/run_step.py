"""Runs a lowered entry point without a plan and without emitted entry points: call by call, each tensor an array."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcutrain.tvm_ext.lower.graph import Call, Lowered, Step
from tests.tvm_ext.support.run_kernel import prepare, run

DTYPES = {"int8": np.int8, "uint8": np.uint8, "int32": np.int32, "uint32": np.uint32, "float32": np.float32}


def calls_to_run(step: Step, with_updates: bool = False) -> list[Call]:
    return [c for c in step.calls if with_updates or c.phase != "update"]


def execute(
    lowered: Lowered, step: Step, given: Mapping[str, np.ndarray], with_updates: bool = False
) -> dict[str, np.ndarray]:
    """Every tensor of the step by name. given: x, the label, and parameters in the place of the model's own."""
    calls = calls_to_run(step, with_updates)
    prepare(lowered.kernels[c.kernel] for c in calls)
    tensors = {n: v.copy() for n, v in {**lowered.constants, **lowered.state, **given}.items() if n in step.values}
    for call in calls:
        kernel = lowered.kernels[call.kernel]
        for name in call.op.outputs:
            value = step.values[name]
            tensors[name] = np.zeros(value.shape, DTYPES[value.dtype])
        inputs = [tensors[n] for n in call.op.inputs]
        mutated = [i for i, n in enumerate(call.op.inputs) if n in call.op.mutates]
        run(kernel, inputs, [tensors[n] for n in call.op.outputs], mutates=mutated)
    return tensors
