"""Kernels give the same bits on every emulated core as on the host, whose results others compare with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcutrain import boards
from tests.tvm_ext.cases import ConvCase, conv_case
from tests.tvm_ext.device_kernel import Job, run_on_board
from tests.tvm_ext.run_kernel import prepare, run
from tests.tvm_ext.test_forward_kernels import block_cases, kernel_of
from tvm_ext.kernels import conv

pytestmark = pytest.mark.slow


def forward_jobs() -> list[Job]:
    roundings = [conv_case(90 + i, 2, 5, 10, 9, 3, 1, rounding=r) for i, r in enumerate(("tflite", "upward"))]
    depthwise = [
        conv_case(95 + i, h, w, c, c, k, s, depthwise=True, rounding=r, clamp=clamp)
        for i, (h, w, c, k, s, r, clamp) in enumerate(
            [
                (5, 8, 8, 3, 1, "even", (-128, 127)),
                (6, 7, 5, 3, 2, "tflite", (-20, 35)),
                (6, 8, 12, 5, 1, "upward", (-128, 127)),
                (9, 9, 4, 5, 2, "even", (-128, 127)),
                (8, 8, 16, 7, 1, "even", (-20, 35)),
                (8, 5, 4, 7, 2, "even", (-128, 127)),
            ]
        )
    ]
    jobs = []
    for case in [*block_cases(), *roundings, *depthwise]:
        for with_mask in (False, True):
            jobs.append(job(case, kernel_of(case, with_mask)))
        if not case.attrs["depthwise"] and conv.can_be_wide(case.shapes, case.attrs):
            wide = conv.qconv2d(case.shapes, {**case.attrs, "weights": conv.WIDE}, False)
            jobs.append(job(case, wide, [case.x, conv.wide(case.weight), *case.arguments[2:]]))
    return jobs


def job(case: ConvCase, kernel: conv.Kernel, arguments: list[np.ndarray] | None = None) -> Job:
    _, height, width, filters = case.out_shape
    mask = [np.full((height, (width * filters + 7) // 8), 0xFF, np.uint8)] if kernel.outputs == 2 else []
    return kernel, arguments or case.arguments, [np.full(case.out_shape, 77, np.int8), *mask]


def on_host(jobs: list[Job]) -> list[list[np.ndarray]]:
    prepare([kernel for kernel, *_ in jobs])
    results = []
    for kernel, inputs, outputs in jobs:
        results.append([a.copy() for a in outputs])
        run(kernel, inputs, results[-1])
    return results


def test_wide_weights_give_the_same_bits() -> None:
    jobs = forward_jobs()
    wide = [i for i, (kernel, *_) in enumerate(jobs) if kernel.wide]
    results = on_host(jobs)
    assert len(wide) >= 3
    for i in wide:
        np.testing.assert_array_equal(results[i][0], results[i - 2][0])


@pytest.mark.parametrize("board", sorted(boards.BOARDS))
def test_forward(board: str, tmp_path: Path) -> None:
    jobs = forward_jobs()
    for (kernel, *_), host, device in zip(jobs, on_host(jobs), run_on_board(jobs, board, tmp_path), strict=True):
        for one, other in zip(host, device, strict=True):
            np.testing.assert_array_equal(other, one, str(kernel.func.params))
