"""What the tests know of an op of the dialect: its calls, and what each must give. The records stand in
tests/tvm_ext/ops/cases; the generic tests of tests/tvm_ext/ops go through them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.tvm_ext.support import product_ops
from tests.tvm_ext.support.product_ops import PLAIN, Attrs, Kernel, Variant
from tests.tvm_ext.support.run_kernel import run

IMAGE, FILTERS = 3, 0  # the axis that is cut into blocks: of an image (1, H, W, C), of a weight [O, ...]


@dataclass(frozen=True)
class Within:
    """Values that may lie `error` apart from the float64 `value`: numbers of its shape, or what computes them."""

    value: np.ndarray
    error: np.ndarray | float | Callable[[], np.ndarray]
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def tolerance(self) -> np.ndarray | float:
        return self.error() if callable(self.error) else self.error

    def check(self, ours: np.ndarray, what: str) -> None:
        assert str(ours.dtype) == self.dtype and ours.shape == self.shape, what
        error, tolerance = np.abs(ours.astype(np.float64) - self.value), self.tolerance
        bad = ~(error <= tolerance)
        assert not bad.any(), f"{what}: {bad.sum()} of {bad.size} are wrong, by up to {error.max():.3g}"


@dataclass(frozen=True)
class Passes:
    """The packed bits of lo < sum < hi, (1, H, bytes): of sums too near to a bound both are right."""

    sums: Within
    lo: float
    hi: float
    dtype: str = "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        _, height, width, channels = self.sums.shape
        return 1, height, (width * channels + 7) // 8

    def check(self, ours: np.ndarray, what: str) -> None:
        v, error, row = self.sums.value, self.sums.tolerance, self.sums.value[0, 0].size
        bits = np.unpackbits(ours, axis=2, bitorder="little")
        assert not bits[..., row:].any(), f"{what}: a bit behind the end of a row"
        certain = (np.abs(v - self.lo) > error) & (np.abs(v - self.hi) > error)
        passes = (v > self.lo) & (v < self.hi)
        assert certain.any()
        np.testing.assert_array_equal(bits[..., :row].reshape(v.shape)[certain], passes[certain], what)


Expected = np.ndarray | Within | Passes


@dataclass(frozen=True, eq=False)
class Case:
    """One call of an op, and operands for it.

    title: tells it from the op's other cases.
    draw: operands of a seed, of the same shapes and dtypes for each.
    seeds: how many draws are compared with the reference.
    changed: numbers of the operands that the kernel changes.
    slack: elements by which a declared overlap distance may exceed what is needed, without and with the companion.
    axes: which axis of each operand that may be read by blocks of channels is cut; out_axis: of the output.
    forms: in how many ways the kernel runs over blocks.
    parts: whether the op runs alone (0), with its companion (1), or both.
    """

    title: str
    attrs: Attrs
    draw: Callable[[int], list[np.ndarray]]
    seeds: int = 1
    changed: tuple[int, ...] = ()
    slack: tuple[int, int] = (0, 0)
    axes: Mapping[int, int] = field(default_factory=dict)
    out_axis: int = IMAGE
    forms: int = 1
    parts: tuple[int, ...] = (0, 1)

    @functools.cached_property
    def shapes(self) -> list[list[int]]:
        return [list(a.shape) for a in self.draw(0)]

    def __str__(self) -> str:
        return self.title


@dataclass(frozen=True)
class OpCases:
    """All that the tests know of an op.

    expect: attributes and operands -> the result and then (an op with a companion) what is kept for the gradient, or
        (an update) the new values of the operands that change: exact bits, or `Within`.
    cases: calls that are compared with the reference.
    torch: the op in PyTorch, float64, of images (1, C, H, W) and weights OIHW. Rounding is straight-through, so that
        autograd gives the gradient that the op's rule must give.
    torch_error: how far it may be from the reference: steps of an integer op, else relative.
    near: calls whose outputs are laid over inputs.
    rows: calls that run row by row.
    blocks: calls that run over blocks of channels.
    device: calls that run on every core, None for those of `cases` that call different micro-kernels.
    device_rows: those of `rows` that run there, None for the first; of `blocks` it is the first.
    network: makes a small model around the op, on which its gradient rule is compared with PyTorch.
    """

    op: str
    expect: Callable[..., Iterable[Expected]]
    cases: Sequence[Case]
    torch: Callable | None = None
    torch_error: float = 1e-9
    near: Sequence[Case] = ()
    rows: Sequence[Case] = ()
    blocks: Sequence[Case] = ()
    device: Sequence[Case] | None = None
    device_rows: Sequence[Case] | None = None
    network: Callable | None = None

    def names(self, case: Case) -> list[str]:
        """What of the op runs in a case: alone and, if it has one, with its companion."""
        names = product_ops.op_names()[self.op]
        return [name for part, name in enumerate(names) if len(names) == 1 or part in case.parts]

    @property
    def rows_on_device(self) -> Sequence[Case]:
        return self.rows[:1] if self.device_rows is None else self.device_rows

    def kernels(self, cases: Iterable[Case]) -> list[Kernel]:
        """Of these cases, each without and with the companion, or as it says."""
        return [kernel(name, case) for case in cases for name in self.names(case)]

    def __str__(self) -> str:
        return self.op


@functools.cache
def kernel(name: str, case: Case, variant: Variant = PLAIN) -> Kernel:
    """The kernel of a case; one object for all tests."""
    return product_ops.build(name, case.shapes, case.attrs, variant)


def stale(expected: Expected) -> np.ndarray:
    """An output before a call, of values that it must not keep."""
    number: float = {"float32": np.nan, "int8": 77}.get(str(expected.dtype), 0xFF)
    return np.full(expected.shape, number, expected.dtype)


def call(kernel: Kernel, case: Case, operands: Sequence[np.ndarray], expected: Sequence[Expected]) -> list[np.ndarray]:
    """The outputs of one call, and the operands that changed. expected: their shapes and dtypes."""
    inputs = [a.copy() if i in case.changed else a for i, a in enumerate(operands)]
    outputs = [stale(e) for e in expected[: kernel.outputs]]
    run(kernel, inputs, outputs, mutates=case.changed)
    return [*outputs, *(inputs[i] for i in case.changed)]


def expected_of(record: OpCases, case: Case, kernel: Kernel, operands: Sequence[np.ndarray]) -> list[Expected]:
    """What this kernel, without or with the companion, makes of the operands."""
    return list(record.expect(case.attrs, *operands))[: kernel.outputs + len(case.changed)]


def check(ours: np.ndarray, expected: Expected, what: str) -> None:
    if isinstance(expected, np.ndarray):
        assert ours.dtype == expected.dtype, what
        np.testing.assert_array_equal(ours, expected, what)
    else:
        expected.check(ours, what)


def each(records: Iterable[OpCases], group: str) -> list:
    """pytest's parameters (record, case) for one group of cases of all records: "cases", "near", "rows" or "blocks"."""
    return [
        pytest.param(record, case, id=f"{record.op}-{case.title.replace(' ', '-')}")
        for record in records
        for case in getattr(record, group)
    ]
