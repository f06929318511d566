"""Checks a kernel that declares how it reads rows: over parts of its rows, and row by row through rings as small as the
declaration allows, it gives the bits of one call over whole tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mcutrain.planner.model import RowAccess
from tests.tvm_ext.support.op_cases import Case, kernel
from tests.tvm_ext.support.product_ops import Kernel, Variant
from tests.tvm_ext.support.run_kernel import prepare, run

WRONG = 0x6B  # every byte of what a row must not read


def variants(whole: Kernel, spare: int = 0) -> list[Variant]:
    """The rings over which a kernel is checked. spare: rows that they have beyond what is needed."""
    sizes = tuple(n + spare for n in ring_sizes(whole).values())
    if whole.accumulates:  # its output is a sum over the rows, and whole
        return [Variant(sizes)]
    return [Variant(sizes, 1), Variant(sizes, 2)]


def prepare_rows(names: Iterable[tuple[str, Case]]) -> None:
    """Compiles the kernels of `check_rows` for all these, in one call."""
    prepare(kernel(name, case, v) for name, case in names for v in (Variant(), *variants(kernel(name, case))))


def check_rows(
    name: str, case: Case, operands: Sequence[np.ndarray], outputs: Sequence[np.ndarray], spare: int = 0
) -> None:
    """outputs: of the right shapes; the first may lie in a ring, the others are whole."""
    whole = kernel(name, case)
    assert whole.reads and whole.rows is not None
    expected = [np.zeros_like(o) for o in outputs]
    run(whole, operands, expected)
    for variant in variants(whole, spare):
        if whole.accumulates:
            _check_sum(kernel(name, case, variant), whole, operands, expected[0], variant)
        else:
            _check_ring(kernel(name, case, variant), whole, operands, expected, variant)
    if not whole.accumulates:
        assert whole.rows == outputs[0].shape[1]
        _check_parts(whole, operands, expected)


def _check_ring(
    ringed: Kernel, whole: Kernel, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray], variant: Variant
) -> None:
    ring, (first, *others) = variant.ring_out, expected
    made = [wrong((ring, *first.shape[2:]), first.dtype), *(np.zeros_like(o) for o in others)]
    for row in range(first.shape[1]):
        run(ringed, rings_for(whole, operands, variant, row), made, rows=(row, row + 1))
        np.testing.assert_array_equal(made[0][row % ring], first[0, row])
    for ours, right in zip(made[1:], others, strict=True):
        np.testing.assert_array_equal(ours, right)


def _check_sum(
    ringed: Kernel, whole: Kernel, operands: Sequence[np.ndarray], expected: np.ndarray, variant: Variant
) -> None:
    """The first row must not read what was there before."""
    assert ringed.accumulates
    by_rows = np.full_like(expected, np.nan)
    for row in range(whole.rows or 0):
        run(ringed, rings_for(whole, operands, variant, row), [by_rows], rows=(row, row + 1))
    np.testing.assert_array_equal(by_rows, expected)


def _check_parts(whole: Kernel, operands: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Two parts, the second first as well; an empty part writes nothing, and no part writes another's rows."""
    height = whole.rows or 0
    middle = height // 2
    for split in range(1, height):
        for parts in ([(0, split), (split, height)], [(middle, middle), (split, height), (0, split)]):
            ours = [wrong(e.shape, e.dtype) for e in expected]
            for part in parts:
                run(whole, operands, ours, rows=part)
            for a, b in zip(ours, expected, strict=True):
                np.testing.assert_array_equal(a, b)
    first = [wrong(e.shape, e.dtype) for e in expected]
    run(whole, operands, first, rows=(0, 1))
    np.testing.assert_array_equal(first[0][:, 1:], wrong(expected[0].shape, expected[0].dtype)[:, 1:])


def _accesses(whole: Kernel) -> dict[int, RowAccess]:
    return {i: RowAccess("", *access) for i, *access in whole.reads}


def ring_sizes(whole: Kernel) -> dict[int, int]:
    """Operand -> the most rows of it that one row of the output takes."""
    rows = range(whole.rows or 0)
    return {i: max(1, *(a.end(r) - a.first(r) for r in rows)) for i, a in _accesses(whole).items()}


def rings_for(whole: Kernel, operands: Sequence[np.ndarray], variant: Variant, row: int) -> list[np.ndarray]:
    """The operands, of which those that are read by rows lie in rings that hold what `row` takes and nothing else."""
    result = list(operands)
    for (i, access), ring in zip(_accesses(whole).items(), variant.rings_in, strict=True):
        result[i] = wrong((ring, *operands[i].shape[2:]), operands[i].dtype)
        for source in range(access.first(row), access.end(row)):
            result[i][source % ring] = operands[i][0, source]
    return result


def wrong(shape: Sequence[int], dtype: object) -> np.ndarray:
    return np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, WRONG, np.uint8).view(dtype).reshape(shape)
