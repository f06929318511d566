"""The forms of the forward depthwise convolution: against the numpy reference, and the same bits on every core."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mcutrain import boards
from tests.tvm_ext.cases import ConvCase, conv_case
from tests.tvm_ext.device_kernel import run_on_board
from tests.tvm_ext.run_kernel import run
from tests.tvm_ext.test_forward_kernels import check_all, kernel_of
from tests.tvm_ext.test_kernels_on_device import job, on_host
from tvm_ext.kernels.table import KERNELS

WHOLE, PART = (-128, 127), (-20, 35)
# height, width, channels, kernel, stride: what the forms tell apart
SIZES = [
    # 3 x 3 with all columns in pairs: no pair in the middle, several, tap rows outside the image
    (1, 2, 8, 3, 1), (2, 4, 16, 3, 1), (5, 12, 9, 3, 1), (3, 2, 8, 3, 2), (4, 16, 24, 3, 2), (1, 6, 2, 3, 2),
    # 3 x 3 otherwise: an odd column at the end, one column in all, one channel
    (4, 5, 8, 3, 1), (4, 7, 8, 3, 2), (3, 1, 3, 3, 1), (6, 6, 1, 3, 1),
    # all outputs in blocks of 4 and all channels in groups of 4: tap rows outside the image
    (4, 4, 8, 5, 1), (9, 12, 4, 5, 1), (7, 8, 12, 5, 2), (2, 15, 8, 5, 2), (8, 8, 16, 7, 1), (2, 12, 4, 7, 1),
    (8, 8, 8, 7, 2), (7, 24, 4, 7, 2), (7, 16, 16, 5, 2),
    # blocks and groups, whole and not
    (6, 11, 7, 5, 1), (6, 13, 6, 5, 2), (2, 1, 5, 5, 1), (3, 6, 9, 7, 1), (8, 9, 8, 7, 2),
    (7, 23, 4, 7, 2), (1, 3, 2, 7, 2),
]  # fmt: skip
# top, left, bottom, right; 3 x 3, 5 x 5 and 7 x 7 with a stride
PADDINGS = [(0, 0, 1, 1), (0, 0, 0, 0), (2, 2, 2, 2), (1, 2, 2, 1), (3, 3, 0, 4), (0, 4, 4, 1)]


def sized(clamp: tuple[int, int], rounding: str) -> list[ConvCase]:
    return [
        conv_case(i, h, w, c, c, k, s, depthwise=True, clamp=clamp, rounding=rounding)
        for i, (h, w, c, k, s) in enumerate(SIZES)
    ]


def padded() -> list[ConvCase]:
    return [
        conv_case(40 + i, 9, 10, c, c, k, s, depthwise=True, padding=p, clamp=clamp)
        for i, p in enumerate(PADDINGS)
        for k, s, c, clamp in [(3, 1, 8, WHOLE), (3, 2, 5, PART), (5, 2, 8, WHOLE), (7, 1, 6, WHOLE)]
    ]


@pytest.mark.parametrize(
    ("clamp", "rounding"), [(WHOLE, "even"), (PART, "even"), (WHOLE, "tflite"), (PART, "tflite"), (PART, "upward")]
)
def test_sizes(clamp: tuple[int, int], rounding: str) -> None:
    check_all(sized(clamp, rounding))


def test_paddings() -> None:
    check_all(padded())


def test_products_at_their_ends() -> None:
    """Inputs 255 away from the zero point, weights of 127: a lane that wrapped would show."""
    cases = []
    for i, (zero, value) in enumerate([(-128, 127), (127, -128)]):
        for k in (3, 5, 7):
            case = conv_case(i, 6, 8, 8, 8, k, depthwise=True)
            case.attrs["in_zero"] = zero
            case.x[:], case.weight[:], case.bias[:] = value, 127, 0
            case.scale[:] = np.float32(100 / (255 * 127 * k * k))
            cases.append(case)
    check_all(cases)


@pytest.mark.parametrize("size", SIZES[1:3] + SIZES[4:5] + SIZES[10:18:2])
@pytest.mark.parametrize("ring", [0, 3])
def test_rows_of_a_ring(size: tuple[int, ...], ring: int) -> None:
    """Row by row from rings of as many rows as the window, and `ring` more."""
    h, w, c, k, s = size
    case = conv_case(7, h, w, c, c, k, s, depthwise=True)
    y = np.zeros(case.out_shape, np.int8)
    run(kernel_of(case, False), case.arguments, [y])
    ringed = KERNELS["qconv2d"](case.shapes, {**case.attrs, "ring_in": k + ring, "ring_out": 2})
    ring_in, ring_out = np.zeros((k + ring, w, c), np.int8), np.zeros((2, *y.shape[2:]), np.int8)
    made = 0
    for row in range(y.shape[1]):
        needed = min(h, row * s - k // 2 + k)
        for fresh in range(made, needed):
            ring_in[fresh % (k + ring)] = case.x[0, fresh]
        made = max(made, needed)
        run(ringed, [ring_in, *case.arguments[1:]], [ring_out], rows=(row, row + 1))
        np.testing.assert_array_equal(ring_out[row % 2], y[0, row])


def test_every_form_is_called() -> None:
    """What test_sizes runs is what it is meant to run."""
    cases = [*sized(WHOLE, "even"), *sized(PART, "even")]
    text = "\n".join(str(kernel_of(case, mask).func) for case in cases for mask in (False, True))
    called = set(re.findall(r"mcu_depthwise\w+", text))
    forms = {f"mcu_depthwise{k}_s{s}_{r}{m}" for k in (3, 5, 7) for s in (1, 2) for r in ("full", "even")
             for m in ("", "_mask")}  # fmt: skip
    assert called == forms | {"mcu_depthwise_even", "mcu_depthwise_even_mask"}


@pytest.mark.slow
@pytest.mark.parametrize("board", sorted(boards.BOARDS))
def test_every_core_gives_the_same_bits(board: str, tmp_path: Path) -> None:
    cases = [*sized(WHOLE, "even"), *sized(PART, "even"), *sized(PART, "upward"), *padded()]
    jobs = [job(case, kernel_of(case, mask)) for case in cases for mask in (False, True)]
    for (kernel, *_), host, device in zip(jobs, on_host(jobs), run_on_board(jobs, board, tmp_path), strict=True):
        for one, other in zip(host, device, strict=True):
            np.testing.assert_array_equal(other, one, str(kernel.func.params))
