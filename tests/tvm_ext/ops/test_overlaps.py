"""Every declared overlap is proven: with the output over the input at exactly its distance the result is the same, and
one element nearer it is not."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest

from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support import product_ops
from tests.tvm_ext.support.conv_case import conv_case, forward, input_grad
from tests.tvm_ext.support.op_cases import Case, Expected, OpCases, each, expected_of, kernel
from tests.tvm_ext.support.product_ops import Kernel, Variant
from tests.tvm_ext.support.run_kernel import prepare, run, run_overlapped

DRAWS = 10


def check_overlaps(
    kernel: Kernel, draws: Sequence[Sequence[np.ndarray]], expected: Sequence[Expected], slack: int = 0
) -> None:
    """draws: the operands, several times: an element that is overwritten too early may by chance not change the result.
    expected: shapes and dtypes of the outputs. slack: elements of the output by which a distance may exceed what is
    needed."""
    assert kernel.overlaps
    apart = []
    for operands in draws:
        apart.append([np.zeros(e.shape, e.dtype) for e in expected])
        run(kernel, operands, apart[-1])

    def is_right(overlap: tuple[int, int, int], correction: int) -> bool:
        return all(_together(kernel, *pair, overlap, correction) for pair in zip(draws, apart, strict=True))

    for overlap in kernel.overlaps:
        source, target, distance = overlap
        for more in (0, 4, 64):  # the distance is a least one: farther apart is as good
            assert is_right(overlap, more), f"wrong at distance {distance} + {more}"
        element = np.dtype(expected[target].dtype).itemsize
        spare = distance + draws[0][source].nbytes  # with the output so much farther up, the two share no byte
        if spare > slack * element:
            broken = any(not is_right(overlap, -n * element) for n in range(1, slack + 2))
            assert broken, f"distance {distance} is more than {slack} elements larger than it need be"


def _together(
    kernel: Kernel,
    operands: Sequence[np.ndarray],
    apart: Sequence[np.ndarray],
    overlap: tuple[int, int, int],
    correction: int,
) -> bool:
    """Whether a call with this overlap, its distance corrected by some bytes, gives what one without it does."""
    source, target, distance = overlap
    outputs = [np.zeros_like(a) for a in apart]
    run_overlapped(kernel, operands, outputs, source, target, distance + correction)
    return all(np.array_equal(a, b) for a, b in zip(outputs, apart, strict=True))


@functools.cache
def prepare_all(op: str) -> None:
    prepare(RECORDS[op].kernels(RECORDS[op].near))


@pytest.mark.parametrize(("record", "case"), each(RECORDS.values(), "near"))
def test_a_distance_suffices_and_no_smaller_one_does(record: OpCases, case: Case) -> None:
    prepare_all(record.op)
    draws = [case.draw(seed) for seed in range(DRAWS)]
    for name in record.names(case):
        built = kernel(name, case)
        check_overlaps(built, draws, expected_of(record, case, built, draws[0]), case.slack[built.outputs - 1])


@pytest.mark.parametrize("record", RECORDS.values(), ids=str)
def test_whatever_declares_an_overlap_is_proven(record: OpCases) -> None:
    """A new kernel with an overlap must have cases: those of the record are searched for the declaration."""
    declares = any(built.overlaps for built in record.kernels([*record.cases, *record.rows, *record.blocks]))
    assert declares == bool(record.near), f"{record.op}: give its record cases `near`"
    for name in product_ops.op_names()[record.op]:
        assert not record.near or any(name in record.names(case) for case in record.near)


def test_a_widening_convolution_needs_its_output_and_no_more_than_a_block() -> None:
    """MCUNet's 8 -> 32 channels at 64 x 64: all but the last four pixels are written before these four are read."""
    ((_, _, distance),) = kernel("qconv2d", forward(conv_case(1, 64, 64, 8, 32, 1))).overlaps
    assert distance == (64 * 64 - 4) * (32 - 8)


def test_over_channels_nothing_is_declared() -> None:
    """There the order of elements is another one than in the tensor."""
    cases = {
        "mask_scale": RECORDS["mask_scale"].blocks[0],
        "conv2d_input_grad": input_grad(conv_case(0, 4, 4, 2, 2, 1)),
    }
    variants = [Variant(axis="channels"), Variant(axis="channels", ring_out=1)]
    kernels = [kernel(name, case, variant) for name, case in cases.items() for variant in variants]
    assert [built.overlaps for built in kernels] == [()] * 4
