"""Every kernel against the numpy reference of its op, and every reference against PyTorch."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.op_cases import Case, OpCases, Passes, Within, call, check, each, expected_of, kernel
from tests.tvm_ext.support.run_kernel import prepare
from tests.tvm_ext.support.torch_parts import from_torch, to_torch


@functools.cache
def prepare_all(op: str) -> None:
    """One call of the compiler for all cases of an op."""
    prepare(RECORDS[op].kernels(RECORDS[op].cases))


@pytest.mark.parametrize(("record", "case"), each(RECORDS.values(), "cases"))
def test_a_kernel_gives_what_the_reference_says(record: OpCases, case: Case) -> None:
    """Without and with the companion, over outputs that hold something else before."""
    prepare_all(record.op)
    for seed in range(case.seeds):
        operands = case.draw(seed)
        for name in record.names(case):
            built = kernel(name, case)
            assert built.mutates == case.changed
            expected = expected_of(record, case, built, operands)
            for ours, right in zip(call(built, case, operands, expected), expected, strict=True):
                check(ours, right, f"{name} of {case}")


@pytest.mark.parametrize(
    ("record", "case"), each([record for record in RECORDS.values() if record.torch is not None], "cases")
)
def test_a_reference_is_what_pytorch_computes(record: OpCases, case: Case) -> None:
    """In float64, where a number that is rounded to int8 may fall to the other side of a half."""
    for seed in range(case.seeds):
        operands = case.draw(seed)
        expected = next(iter(record.expect(case.attrs, *operands)))
        assert not isinstance(expected, Passes)
        value = expected.value if isinstance(expected, Within) else expected.astype(np.float64)
        theirs = from_torch(record.torch(case.attrs, *map(to_torch, operands)), value.shape)
        if expected.dtype == np.int8:
            assert np.abs(theirs - value).max() <= record.torch_error
        else:
            np.testing.assert_allclose(theirs, value, rtol=record.torch_error, atol=record.torch_error)


def test_clamp_and_mask_of_a_float_convolution_are_exact_functions_of_its_sum() -> None:
    cases = [(case, sum_of(case)) for case in RECORDS["fconv2d"].cases]
    prepare(kernel("fconv2d", unclamped) for _, unclamped in cases)
    for case, unclamped in cases:
        operands, (lo, hi) = case.draw(0), (case.attrs["lo"], case.attrs["hi"])
        (acc,) = call(
            built := kernel("fconv2d", unclamped),
            unclamped,
            operands,
            expected_of(RECORDS["fconv2d"], unclamped, built, operands),
        )
        right = [np.clip(acc, np.float32(lo), np.float32(hi)), reference.pack_mask((acc > lo) & (acc < hi))]
        for name in RECORDS["fconv2d"].names(case):
            for ours, exact in zip(call(kernel(name, case), case, operands, right), right, strict=False):
                np.testing.assert_array_equal(ours, exact)


def sum_of(case: Case) -> Case:
    """The same call without a clamp."""
    return replace(case, attrs={**case.attrs, "lo": -math.inf, "hi": math.inf})
