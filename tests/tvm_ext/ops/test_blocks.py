"""Kernels over blocks of channels: the same bits as one call over whole tensors."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import pytest

from mcutrain import pipeline
from mcutrain.planner.policy import Policy, Update
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.train.training import train
from tests.tiny_network import LAYERS
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support.blocks import check_blocks, prepare_blocks
from tests.tvm_ext.support.conv_case import conv_case, weight_grad
from tests.tvm_ext.support.op_cases import IMAGE, Case, OpCases, each, expected_of, kernel
from tests.tvm_ext.support.product_ops import Kernel, Variant
from tests.tvm_ext.support.run_kernel import prepare, run, run_overlapped


@functools.cache
def turns(op: str) -> dict[Case, int]:
    """Compiles all at once; what rings a case has goes by its place."""
    record = RECORDS[op]
    numbers = {case: i for i, case in enumerate(record.blocks)}
    prepare_blocks((name, case, turn) for case, turn in numbers.items() for name in record.names(case))
    return numbers


@pytest.mark.parametrize(("record", "case"), each(RECORDS.values(), "blocks"))
def test_block_by_block(record: OpCases, case: Case) -> None:
    turn, operands = turns(record.op)[case], case.draw(1)
    (expected, *_) = expected_of(record, case, kernel(record.op, case), operands)
    check_blocks(record.op, case, operands, expected.shape, turn)


def test_mask_scale_in_the_ring_of_its_input() -> None:
    """In place, as the planner may put it; here in a ring that holds all blocks, so that one call runs over them."""
    cases = [(op, case) for op in ("mask_scale", "mask_scale_by") for case in RECORDS[op].blocks]
    wholes = [kernel(op, case) for op, case in cases]
    sizes = [whole.by_channel[0][0] for whole in wholes]
    ringed = [kernel(op, case, Variant((n,), n, "channels")) for (op, case), n in zip(cases, sizes, strict=True)]
    prepare([*wholes, *ringed])
    for (_, case), whole, in_ring, blocks in zip(cases, wholes, ringed, sizes, strict=True):
        g, *others = case.draw(0)
        expected, ring = np.full_like(g, np.nan), np.stack(np.split(g, blocks, IMAGE))
        run(whole, [g, *others], [expected])
        out = np.full_like(ring, np.nan)
        run_overlapped(in_ring, [ring, *others], [out], 0, 0, 0)
        np.testing.assert_array_equal(out, np.stack(np.split(expected, blocks, IMAGE)))


def test_the_weight_gradient_of_trained_depthwise_channels_has_no_blocks() -> None:
    """Its g has other channels than the slice: a block of one is no block of the other."""
    case = weight_grad(conv_case(0, 4, 4, 6, 6, 3, depthwise=True, trained=(1, 4)))
    assert kernel("conv2d_weight_grad", case).by_channel == ()


# --------------------------------------------------------------------------- completeness
def forms(kernels: Iterable[Kernel]) -> set[bool]:
    """Whether outputs are sums over the blocks, of all ways to run over blocks that these kernels have."""
    return {accumulates for built in kernels for *_, accumulates in built.by_channel}


@pytest.mark.parametrize("record", RECORDS.values(), ids=str)
def test_whatever_runs_over_blocks_is_proven(record: OpCases) -> None:
    """A new kernel with such a form must have cases: those of the record are searched for it."""
    declared = forms(record.kernels([*record.cases, *record.near, *record.rows]))
    assert declared <= forms(record.kernels(record.blocks)), f"{record.op}: give its record cases `blocks`"


def test_a_training_step_has_every_form_and_no_other(tiny_model: pipeline.Model) -> None:
    ratios = {"pointwise1": 0.5, "pointwise2": 1.0, "depthwise": 1.0, "first_conv": 1.0}
    updates = tuple(Update(name, weight_ratio=ratios[name.split(".")[-1]]) for name in LAYERS)
    lowered = lower(train(tiny_model, Policy("every kind", updates)))
    calls = [*lowered.infer.calls, *lowered.train_step.calls]
    kinds = {call.kind for call in calls}
    proven = {
        (op, form) for op, record in RECORDS.items() if op in kinds for form in forms(record.kernels(record.blocks))
    }
    assert {(call.kind, form.accumulates) for call in calls for form in call.op.by_channel} == proven
