"""Checks a kernel over blocks of channels: block by block through rings it gives the bits of one call over whole
tensors, and of what it says it reads by blocks it reads the block at hand alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tests.tvm_ext.support.op_cases import FILTERS, Case, kernel
from tests.tvm_ext.support.product_ops import Kernel, Variant
from tests.tvm_ext.support.run_kernel import prepare, run

Form = tuple[int, tuple[int, ...], bool]  # of Kernel.by_channel: blocks, operands that are read by blocks, accumulates
# (ring_in, ring_out) by (something is read by blocks, the output is made by blocks); 0 where a tensor is whole
RINGS = {
    (True, True): [(0, 1), (1, 2), (2, 1)],
    (True, False): [(0, 0), (1, 0), (2, 0)],
    (False, True): [(0, 1), (0, 2)],
    (False, False): [(0, 0)],
}


def variants(whole: Kernel, turn: int) -> list[tuple[Form, Variant]]:
    """The variant of each way to run over blocks; what rings it has goes by turns."""
    found = []
    for form in whole.by_channel:
        _, reads, accumulates = form
        choices = RINGS[bool(reads), not accumulates and whole.outputs > 0]
        ring_in, ring_out = choices[turn % len(choices)]
        found.append((form, Variant((ring_in,), ring_out, "channels")))
    return found


def prepare_blocks(names: Iterable[tuple[str, Case, int]]) -> None:
    """Compiles the kernels of `check_blocks` for all these, in one call."""
    built = []
    for name, case, turn in names:
        whole = kernel(name, case)
        built += [whole, *(kernel(name, case, variant) for _, variant in variants(whole, turn))]
    prepare(built)


def check_blocks(name: str, case: Case, operands: Sequence[np.ndarray], shape: Sequence[int], turn: int) -> None:
    """Every way to run over blocks. shape: of the output, where there is one."""
    whole = kernel(name, case)
    assert len(whole.by_channel) == case.forms
    for form, variant in variants(whole, turn):
        if whole.outputs:
            out = np.full(shape, np.nan, np.float32)
            run(whole, operands, [out])
            _check_output(kernel(name, case, variant), case, operands, out, form, variant)
        else:
            _check_state(kernel(name, case, variant), whole, case, operands, form, variant)


def _check_output(
    kernel: Kernel, case: Case, operands: Sequence[np.ndarray], expected: np.ndarray, form: Form, variant: Variant
) -> None:
    """Rings of so many blocks, 0 for a whole tensor. They, outputs and the blocks that are not at hand hold NaN (or
    wrong weights) before each call."""
    (blocks, reads, _), (ring_in,), ring_out = form, variant.rings_in, variant.ring_out
    assert kernel.rows == blocks
    shape = (ring_out, expected.size // blocks) if ring_out else expected.shape
    out = np.full(shape, np.nan, np.float32)
    for number in range(blocks):
        given, slot, before = [*operands], number % max(1, ring_out), out.copy()
        for i in reads:
            given[i] = alone(given[i], (case.axes[i], blocks, number), ring_in if i == reads[0] else 0)
        run(kernel, given, [out], rows=(number, number + 1))
        if ring_out:
            np.testing.assert_array_equal(out[slot], block(expected, case.out_axis, blocks, number).reshape(-1))
            np.testing.assert_array_equal(np.delete(out, slot, 0), np.delete(before, slot, 0))
    if not ring_out:
        np.testing.assert_array_equal(out, expected)


def _check_state(
    kernel: Kernel, whole: Kernel, case: Case, operands: Sequence[np.ndarray], form: Form, variant: Variant
) -> None:
    """Each call changes its block of what the kernel changes, and no other."""
    blocks, reads, _ = form
    ours, right = ([a.copy() for a in operands] for _ in range(2))
    run(whole, right, mutates=case.changed)
    assert any((right[i] != operands[i]).any() for i in case.changed)
    assert kernel.rows == blocks
    for number in range(blocks):
        given = list(ours)
        for i in reads:
            given[i] = alone(operands[i], (case.axes[i], blocks, number), variant.rings_in[0])
        before = {i: np.split(ours[i].copy(), blocks, FILTERS) for i in case.changed}
        run(kernel, given, rows=(number, number + 1), mutates=case.changed)
        for i, old in before.items():
            new = np.split(ours[i], blocks, FILTERS)
            assert all(np.array_equal(new[n], old[n]) for n in range(blocks) if n != number), "another block changed"
    for i in case.changed:
        np.testing.assert_array_equal(ours[i], right[i])


def block(array: np.ndarray, axis: int, blocks: int, number: int) -> np.ndarray:
    return np.split(array, blocks, axis)[number]


def alone(array: np.ndarray, cut: tuple[int, int, int], ring: int) -> np.ndarray:
    """The array of which only one block is what it should be: in its slot of a ring, or at its place in the whole."""
    wrong = np.full_like(array, np.nan) if array.dtype == np.float32 else ~array
    part = block(array, *cut)
    if ring:
        slots = np.full((ring, part.size), np.nan, np.float32)
        slots[cut[2] % ring] = part.reshape(-1)
        return slots
    block(wrong, *cut)[...] = part
    return wrong
