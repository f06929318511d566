"""Kernels give the same bits on every emulated core as on the host, whose results others compare with numpy: some calls
of every op and every micro-kernel; over rings, by blocks, and at every declared overlap."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mcutrain.firmware.toolchain import INCLUDE, find_compiler
from mcutrain.targets import board as boards
from tests.cores import CODES
from tests.tvm_ext.ops.cases.conv import wide_pairs
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support.blocks import alone, variants
from tests.tvm_ext.support.device_kernel import Job, Program, on_host, with_overlaps
from tests.tvm_ext.support.op_cases import Case, OpCases, expected_of, kernel, stale
from tests.tvm_ext.support.product_ops import Variant
from tests.tvm_ext.support.run_kernel import c_text
from tests.tvm_ext.support.streaming import ring_sizes, rings_for, wrong


def micro_kernels(job: Job) -> set[str]:
    return set(re.findall(r"mcu_\w+", c_text(job.kernel)[1]))


def instances(record: OpCases) -> list[Job]:
    """The calls that the record asks for; else of its cases the first, and each that calls another micro-kernel."""
    cases, called, chosen = record.cases if record.device is None else record.device, set(), []
    for job in (whole(record, name, case) for case in cases for name in record.names(case)):
        if record.device is not None or not chosen or not micro_kernels(job) <= called:
            chosen.append(job)
            called |= micro_kernels(job)
    return chosen


def whole(record: OpCases, name: str, case: Case) -> Job:
    built, operands = kernel(name, case), case.draw(0)
    expected = expected_of(record, case, built, operands)
    return Job(built, operands, [stale(e) for e in expected[: built.outputs]], changed=case.changed)


def by_rows(record: OpCases, name: str, case: Case) -> Iterator[Job]:
    """Row by row, in rings as small as can be that hold nothing but what a row takes; the output in a ring of 2. Or a
    sum over the rows: the first, which must not read what was there before."""
    job = whole(record, name, case)
    sums = job.kernel.accumulates
    variant = Variant(tuple(ring_sizes(job.kernel).values()), 0 if sums else 2)
    ringed, (first, *others) = kernel(name, case, variant), job.outputs
    outputs = [first if sums else wrong((2, *first.shape[2:]), first.dtype), *others]
    for row in range(1 if sums else job.kernel.rows or 0):
        yield Job(ringed, rings_for(job.kernel, job.inputs, variant, row), outputs, (row, row + 1))


def by_blocks(record: OpCases, name: str, case: Case) -> Iterator[Job]:
    """Block by block, of which the one at hand alone is what it should be."""
    job = whole(record, name, case)
    for (blocks, reads, _), variant in variants(job.kernel, 1):
        (ring_in,), ring_out = variant.rings_in, variant.ring_out
        outputs = [np.full((ring_out, o.size // blocks) if ring_out else o.shape, np.nan, o.dtype) for o in job.outputs]
        for number in range(blocks):
            inputs = [*job.inputs]
            for i in reads:
                inputs[i] = alone(inputs[i], (case.axes[i], blocks, number), ring_in if i == reads[0] else 0)
            yield Job(kernel(name, case, variant), inputs, outputs, (number, number + 1), case.changed)


@functools.cache
def program() -> Program:
    plain, more = [job for _, job in wide_jobs()], []
    for record in RECORDS.values():
        plain += instances(record)
        for case in record.rows_on_device:
            more += [job for name in record.names(case) for job in by_rows(record, name, case)]
        for case in record.blocks[:1]:
            more += by_blocks(record, record.op, case)
    return Program([*with_overlaps(plain), *more])


def wide_jobs() -> list[tuple[Job, Job]]:
    """The same convolution with weights as they are and laid out beforehand."""
    record, pairs = RECORDS["qconv2d"], []
    for case, operands in wide_pairs():
        job = whole(record, record.op, case)
        pairs.append((job, Job(kernel(record.op, case, Variant(wide_weights=True)), operands, job.outputs)))
    return pairs


def test_wide_weights_give_the_same_bits() -> None:
    pairs = wide_jobs()
    plain, wide = (on_host(jobs) for jobs in zip(*pairs, strict=True))
    assert len(wide) >= 5
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_all_micro_kernels_are_called() -> None:
    """What the header declares."""
    header = [find_compiler("gcc"), "-E", INCLUDE / "mcu_kernels.h"]
    declared = set(re.findall(r"void (mcu_\w+)\(", subprocess.run(header, capture_output=True, text=True).stdout))
    called = set().union(*map(micro_kernels, program().jobs))
    assert len(declared) > 20 and declared <= called, declared - called


@pytest.mark.slow
@pytest.mark.parametrize("board", CODES)
def test_every_core_gives_the_same_bits(board: str, tmp_path: Path) -> None:
    program().check(boards.get(board), tmp_path)
