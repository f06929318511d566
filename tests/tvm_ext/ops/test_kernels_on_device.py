"""Kernels give the same bits on every emulated core as on the host, whose results others compare with numpy: all
micro-kernels but those of test_depthwise_kernels.py and of the backward pass (tests/runtime_c)."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcutrain.firmware.toolchain import INCLUDE, find_compiler
from mcutrain.planner.model import RowAccess
from mcutrain.tvm_ext.ops.conv.dense import can_be_wide, wide
from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from mcutrain.tvm_ext.ops.table import build
from tests.cores import CODES
from tests.tvm_ext.ops.test_forward_kernels import ADD, CLAMPS, OBLONG, block_cases, cases_at_their_ends, kernel_of
from tests.tvm_ext.ops.test_sgd import Tensor, weights
from tests.tvm_ext.support.cases import ConvCase, conv_case
from tests.tvm_ext.support.device_kernel import Job, check_on_board, on_host, with_overlaps
from tests.tvm_ext.support.streaming import ring_size, rings_for, wrong

WHOLE, PART = CLAMPS[:2]
INTEGER = ("tflite", "upward")
# height, width, input channels, output channels, kernel, trained channels: with a stride of 2, blocks of 4 pixels among
# them; the second is the first layer of a network
STRIDED = [(5, 16, 8, 8, 1, ()), (9, 16, 3, 8, 3, ()), (7, 9, 5, 7, 3, ()), (6, 8, 4, 3, 3, (0, 3)),
           (7, 16, 2, 6, 5, ()), (5, 10, 3, 4, 7, (1,)), (5, 4, 3, 7, 1, (0,))]  # fmt: skip
# kernel, stride, depthwise, trained channels: windows over rings of rows
RINGS = [(1, 1, False, ()), (1, 2, False, ()), (3, 1, False, ()), (3, 2, False, (1, 4)), (3, 1, True, ()),
         (3, 2, True, ()), (5, 1, True, ()), (5, 2, True, ()), (7, 1, True, ()), (7, 2, True, ())]  # fmt: skip


def job(case: ConvCase, kernel: Kernel, arguments: list[np.ndarray] | None = None) -> Job:
    return Job(kernel, arguments or case.arguments, outputs_of(case.out_shape, kernel))


def outputs_of(shape: Sequence[int], kernel: Kernel) -> list[np.ndarray]:
    """The int8 output and its mask, if the kernel has one; stale values must not stay."""
    mask = [np.full((1, shape[1], (shape[2] * shape[3] + 7) // 8), 0xFF, np.uint8)] if kernel.outputs == 2 else []
    return [np.full(shape, 77, np.int8), *mask]


def conv_jobs() -> list[Job]:
    strided = [
        conv_case(100 + i, h, w, n_in, n_out, k, 2, trained=trained, clamp=clamp)
        for i, (h, w, n_in, n_out, k, trained) in enumerate(STRIDED)
        for clamp in (WHOLE, PART)
    ]
    integer = [conv_case(90 + i, 2, 5, 10, 9, 3, 1 + i, rounding=r, clamp=c) for i, r in enumerate(INTEGER)
               for c in (WHOLE, PART)]  # fmt: skip
    depthwise = [conv_case(95 + i, 6, 8, 12, 12, k, s, depthwise=True, rounding=r, clamp=PART)
                 for i, (k, s, r) in enumerate([(3, 1, "tflite"), (5, 2, "tflite"), (7, 1, "upward")])]  # fmt: skip
    steep = [steep_case(r, d) for r in INTEGER for d in (False, True)]
    cases = [*block_cases(), *strided, *integer, *depthwise, *steep, *OBLONG, *cases_at_their_ends()]
    return [job(case, kernel_of(case, with_mask)) for case in cases for with_mask in (False, True)]


def steep_case(rounding: str, depthwise: bool) -> ConvCase:
    """Small sums and factors about one, which shift a product to the left, too."""
    case = conv_case(110, 4, 5, 8, 6, 1 + 2 * depthwise, depthwise=depthwise, rounding=rounding)
    factors = np.random.default_rng(0).uniform(0.2, 4, len(case.scale)).astype(np.float32)
    attrs = {**case.attrs, "in_zero": 1}
    return replace(case, x=case.x // 30, weight=case.weight // 50, bias=case.bias // 4096, scale=factors, attrs=attrs)


def wide_jobs() -> list[tuple[Job, Job]]:
    """The same convolution with weights as they are and laid out beforehand."""
    strided = [conv_case(103, *size[:5], 2) for size in STRIDED[:2]]
    cases = [c for c in [*block_cases(), *strided, *cases_at_their_ends()] if can_be_wide(c.shapes, c.attrs)]
    return [
        (
            job(case, kernel_of(case, False)),
            job(
                case,
                build("qconv2d", case.shapes, case.attrs, Variant(wide_weights=True)),
                [case.x, wide(case.weight), *case.arguments[2:]],
            ),
        )
        for case in cases
        if not case.attrs["depthwise"]
    ]


def ring_jobs(make: Callable[[Variant], Kernel], inputs: Sequence, shape: Sequence[int]) -> list[Job]:
    """Row by row, in rings as small as can be that hold nothing but what a row takes; the output in a ring of 2."""
    accesses = {i: RowAccess("", *access) for i, *access in make(PLAIN).reads}
    sizes = {i: ring_size(access, shape[1]) for i, access in accesses.items()}
    kernel = make(Variant(tuple(sizes.values()), 2))
    outputs = [wrong((2, *shape[2:]), np.int8), *outputs_of(shape, kernel)[1:]]
    return [Job(kernel, rings_for(inputs, accesses, sizes, row), outputs, (row, row + 1)) for row in range(shape[1])]


def over_rings() -> list[Job]:
    jobs = []
    for i, (k, s, depthwise, trained) in enumerate(RINGS):
        case = conv_case(120 + i, 9, 8, 8, 8, k, s, depthwise, trained, clamp=(WHOLE, PART)[i % 2])
        kind = "qconv2d_with_mask" if i % 3 else "qconv2d"

        def make(variant: Variant, case: ConvCase = case, kind: str = kind) -> Kernel:
            return build(kind, case.shapes, case.attrs, variant)

        jobs += ring_jobs(make, case.arguments, case.out_shape)
    attrs, operands = {**ADD, "lo": -20, "hi": 127, "layer": "add"}, [conv_case(i, 5, 7, 5, 5, 1).x for i in range(2)]
    shapes = [[1, 5, 7, 5]] * 2
    for kind in ("qadd", "qadd_with_mask"):
        jobs += ring_jobs(lambda variant, kind=kind: build(kind, shapes, attrs, variant), operands, shapes[0])
    return jobs


def sums() -> list[Job]:
    """Every pair of values, halves, results far outside; rows that fill no vector and no byte of the mask."""
    a, b = (v.reshape(1, 256, 256, 1).astype(np.int8) for v in np.mgrid[-128:128, -128:128])
    attrs, jobs = {**ADD, "lo": -128, "hi": 127, "layer": "add"}, []
    halves = {"a_scale": 0.5, "b_scale": 0.25, "out_scale": 1.0, "lo": -20, "hi": 35}
    large = {"a_scale": 3e5, "b_scale": 2e30, "out_scale": 1e-6}
    for more in ({}, halves, large):
        jobs += [sum_job(a, b, {**attrs, **more}, mask) for mask in (False, True)]
    rng = np.random.default_rng(5)
    for shape in ((1, 3, 5, 3), (1, 2, 4, 8), (1, 1, 1, 1), (1, 4, 7, 5)):
        a, b = (rng.integers(-128, 128, shape).astype(np.int8) for _ in range(2))
        jobs += [sum_job(a, b, {**attrs, "lo": -20}, mask) for mask in (False, True)]
        jobs += [sum_job(a, b, {**attrs, "rounding": r}, True) for r in INTEGER]
    return jobs


def sum_job(a: np.ndarray, b: np.ndarray, attrs: dict, with_mask: bool) -> Job:
    kernel = build("qadd_with_mask" if with_mask else "qadd", [list(a.shape)] * 2, attrs)
    return Job(kernel, [a, b], outputs_of(a.shape, kernel))


def updates() -> list[Job]:
    """Of int8 and int32, with a dead channel and steps that saturate or are no numbers; all channels or a list of them;
    momentum, accumulation; by blocks of a ring."""
    jobs, rng = [], np.random.default_rng(6)
    made = [
        (weights((12, 3, 3, 4)), {}),
        (weights((10, 3, 3)), {"channels": (1, 4, 7)}),
        (weights((9, 5)), {"every": 2}),
        (weights((9,), "int32", 10**6), {"momentum": 0.9}),
        (weights((8,), "int32", 2**30), {}),
    ]
    for w, more in made:
        tensor = Tensor(w, rng.uniform(0.01, 0.4, len(w)).astype(np.float32), step=1, **more)
        tensor.scale[4] = 1e-10
        g = (rng.normal(size=tensor.g_shape) * 10.0 ** rng.uniform(-3, 1, tensor.g_shape)).astype(np.float32)
        g.flat[:5] = 1e30, -1e30, np.nan, np.inf, -np.inf
        inputs = tensor.inputs(g)
        jobs.append(Job(tensor.kernel, inputs, [], changed=tuple(tensor.changed(inputs))))
    whole, ringed = jobs[0], Tensor(made[0][0], jobs[0].inputs[2])
    kernel, inputs = ringed.blocked(1), list(whole.inputs)
    for block, rows in enumerate(np.split(whole.inputs[1], kernel.rows)):
        jobs.append(Job(kernel, [inputs[0], np.ascontiguousarray(rows), *inputs[2:]], [], (block, block + 1), (0,)))
    return jobs


def all_jobs() -> list[Job]:
    wide = [job for _, job in wide_jobs()]
    return [*with_overlaps([*conv_jobs(), *wide, *sums()]), *over_rings(), *updates()]


def test_wide_weights_give_the_same_bits() -> None:
    pairs = wide_jobs()
    plain, wide = (on_host(jobs) for jobs in zip(*pairs, strict=True))
    assert len(wide) >= 5
    for one, other in zip(plain, wide, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_all_micro_kernels_are_called() -> None:
    """What the header declares but for depthwise windows and gradients."""
    header = [find_compiler("gcc"), "-E", INCLUDE / "mcu_kernels.h"]
    declared = set(re.findall(r"void (mcu_\w+)\(", subprocess.run(header, capture_output=True, text=True).stdout))
    expected = {name for name in declared if not re.search("grad|mask_scale|mcu_depthwise", name)}
    called = set(re.findall(r"mcu_\w+", "\n".join(str(job.kernel.func) for job in all_jobs())))
    assert len(expected) > 20 and expected <= called, expected - called


@pytest.mark.slow
@pytest.mark.parametrize("board", CODES)
def test_every_core_gives_the_same_bits(board: str, tmp_path: Path) -> None:
    check_on_board(all_jobs(), board, tmp_path)
