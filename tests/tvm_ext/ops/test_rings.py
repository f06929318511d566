"""Kernels row by row over rings of rows: the same bits as one call over whole tensors."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.tvm_ext.ops.cases.masks import finite
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support.conv_case import conv_case, input_grad
from tests.tvm_ext.support.op_cases import Case, OpCases, each, expected_of, kernel
from tests.tvm_ext.support.product_ops import Variant
from tests.tvm_ext.support.run_kernel import run
from tests.tvm_ext.support.streaming import check_rows, prepare_rows


@functools.cache
def prepare_all(op: str) -> None:
    record = RECORDS[op]
    prepare_rows((name, case) for case in record.rows for name in record.names(case))


@pytest.mark.parametrize(("record", "case"), each(RECORDS.values(), "rows"))
def test_rows_and_rings(record: OpCases, case: Case) -> None:
    prepare_all(record.op)
    operands = case.draw(5)
    for name in record.names(case):
        outputs = expected_of(record, case, kernel(name, case), operands)
        check_rows(name, case, operands, [np.zeros(o.shape, o.dtype) for o in outputs])


@pytest.mark.parametrize("record", RECORDS.values(), ids=str)
def test_whatever_runs_by_rows_is_proven(record: OpCases) -> None:
    """A new kernel that reads by rows must have cases: those of the record are searched for the declaration."""
    declares = any(built.reads for built in record.kernels([*record.cases, *record.near, *record.blocks]))
    assert declares == bool(record.rows), f"{record.op}: give its record cases `rows`"


def test_pointwise_input_gradient_and_mask_in_one_ring() -> None:
    shape = (1, 6, 4, 8)
    grad, mask = input_grad(conv_case(1, 6, 4, 8, 8, 1)), finite(shape, None, 1)
    (g, w), (_, bits, scale) = grad.draw(1), mask.draw(0)
    hidden, expected = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    run(kernel("conv2d_input_grad", grad), [g, w], [hidden])
    run(kernel("mask_scale", mask), [hidden, bits, scale], [expected])
    gradient = kernel("conv2d_input_grad", grad, Variant(ring_out=2))
    masked = kernel("mask_scale", mask, Variant((2,), 2))
    ring = np.zeros((2, 4, 8), np.float32)
    for row in range(6):
        run(gradient, [g, w], [ring], rows=(row, row + 1))
        run(masked, [ring, bits, scale], [ring], rows=(row, row + 1))
        np.testing.assert_array_equal(ring[row % 2], expected[0, row])
