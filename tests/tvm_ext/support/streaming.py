"""Checks a kernel that declares how it reads rows: over parts of its rows, and row by row through rings as small as the
declaration allows, it gives the bits of one call over whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mcutrain.planner.model import RowAccess
from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from tests.tvm_ext.support.run_kernel import prepare, run

WRONG = 0x6B  # every byte of what a row must not read


def check_rows(
    make: Callable[[Variant], Kernel],
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
) -> None:
    """make(variant) makes the kernel. outputs: of the right shapes; the first may lie in a ring, the others are
    whole."""
    whole = make(PLAIN)
    accesses = {i: RowAccess("", *access) for i, *access in whole.reads}
    assert whole.rows == outputs[0].shape[1]
    sizes = {i: ring_size(access, whole.rows) for i, access in accesses.items()}
    variants = [make(Variant(tuple(sizes.values()), n)) for n in (1, 2)]
    prepare([whole, *variants])
    expected = [np.zeros_like(o) for o in outputs]
    run(whole, inputs, expected)
    _check_parts(whole, inputs, expected)
    for kernel, ring_out in zip(variants, (1, 2), strict=True):
        made = [wrong((ring_out, *outputs[0].shape[2:]), outputs[0].dtype), *(np.zeros_like(o) for o in outputs[1:])]
        for row in range(whole.rows):
            run(kernel, rings_for(inputs, accesses, sizes, row), made, rows=(row, row + 1))
            np.testing.assert_array_equal(made[0][row % ring_out], expected[0][0, row])
        for ours, right in zip(made[1:], expected[1:], strict=True):
            np.testing.assert_array_equal(ours, right)


def _check_parts(kernel: Kernel, inputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """The second part first; an empty part writes nothing."""
    middle = kernel.rows // 2
    ours = [wrong(e.shape, e.dtype) for e in expected]
    for rows in ((middle, middle), (middle, kernel.rows), (0, middle)):
        run(kernel, inputs, ours, rows=rows)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def ring_size(access: RowAccess, rows: int) -> int:
    """The most rows of the input that one row of the output takes."""
    return max(1, *(access.end(r) - access.first(r) for r in range(rows)))


def rings_for(inputs: Sequence[np.ndarray], accesses: dict, sizes: dict, row: int) -> list[np.ndarray]:
    """The inputs, of which those that are read by rows lie in rings that hold what `row` takes and nothing else."""
    result = list(inputs)
    for i, access in accesses.items():
        result[i] = wrong((sizes[i], *inputs[i].shape[2:]), inputs[i].dtype)
        for source in range(access.first(row), access.end(row)):
            result[i][source % sizes[i]] = inputs[i][0, source]
    return result


def wrong(shape: Sequence[int], dtype: object) -> np.ndarray:
    return np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, WRONG, np.uint8).view(dtype).reshape(shape)
