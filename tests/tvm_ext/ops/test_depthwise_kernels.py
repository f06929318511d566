"""The forms of the forward depthwise convolution: against the numpy reference, and the same bits on every core."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.kernel import Variant
from mcutrain.tvm_ext.ops.table import build
from tests.cores import CODES
from tests.tvm_ext.ops.test_forward_kernels import check_all, kernel_of
from tests.tvm_ext.ops.test_kernels_on_device import job
from tests.tvm_ext.support.cases import ConvCase, conv_case
from tests.tvm_ext.support.device_kernel import check_on_board, with_overlaps
from tests.tvm_ext.support.run_kernel import run

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


def sized(clamp: tuple[int, int], rounding: str, sizes: Sequence[tuple[int, ...]] = SIZES) -> list[ConvCase]:
    return [
        conv_case(i, h, w, c, c, k, s, depthwise=True, clamp=clamp, rounding=rounding)
        for i, (h, w, c, k, s) in enumerate(sizes)
    ]


def integer() -> list[ConvCase]:
    """All sizes in one integer rounding, and a size of each form in the other."""
    one_each = {(k, s): (h, w, c, k, s) for h, w, c, k, s in SIZES if c % 8 == 0}
    return [*sized(PART, "upward"), *sized(PART, "tflite", [*one_each.values(), (6, 6, 1, 3, 1)])]


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


def at_their_ends() -> list[ConvCase]:
    """Inputs 255 away from the zero point, weights of 127: a lane that wrapped would show. In the last windows the sums
    of the weights leave 16 bits, too."""
    sizes = [(k, s, clamp) for k in (3, 5, 7) for s in (1, 2) for clamp in (WHOLE, PART)]
    cases = [
        conv_case(0, 8, 12, 8, 8, k, s, depthwise=True, clamp=clamp).at_its_ends(value)
        for k, s, clamp in sizes
        for value in (127, -128)
    ]
    large = [conv_case(1, 9, 36, 8, 8, kernel, depthwise=True, padding=(0,) * 4) for kernel in ((8, 32), (8, 33))]
    return [*cases, *(case.at_its_ends(value) for case in large for value in (127, -128))]


def test_products_at_their_ends() -> None:
    check_all(at_their_ends())


@pytest.mark.parametrize("size", SIZES[1:3] + SIZES[4:5] + SIZES[10:18:2])
@pytest.mark.parametrize("ring", [0, 3])
def test_rows_of_a_ring(size: tuple[int, ...], ring: int) -> None:
    """Row by row from rings of as many rows as the window, and `ring` more."""
    h, w, c, k, s = size
    case = conv_case(7, h, w, c, c, k, s, depthwise=True)
    y = np.zeros(case.out_shape, np.int8)
    run(kernel_of(case, False), case.arguments, [y])
    ringed = build("qconv2d", case.shapes, case.attrs, Variant((k + ring,), 2))
    ring_in, ring_out = np.zeros((k + ring, w, c), np.int8), np.zeros((2, *y.shape[2:]), np.int8)
    made = 0
    for row in range(y.shape[1]):
        needed = min(h, row * s - k // 2 + k)
        for fresh in range(made, needed):
            ring_in[fresh % (k + ring)] = case.x[0, fresh]
        made = max(made, needed)
        run(ringed, [ring_in, *case.arguments[1:]], [ring_out], rows=(row, row + 1))
        np.testing.assert_array_equal(ring_out[row % 2], y[0, row])


def called_by(cases: Sequence[ConvCase]) -> set[str]:
    """The micro-kernels that these call, without and with mask."""
    text = "\n".join(str(kernel_of(case, mask).func) for case in cases for mask in (False, True))
    return set(re.findall(r"mcu_depthwise(\w+)", text))


def test_every_form_is_called() -> None:
    """What the tests run is what they are meant to run."""
    windows = [f"{k}_s{s}" for k in (3, 5, 7) for s in (1, 2)]
    masks = ("", "_mask")
    forms = {f"{w}_{r}{m}" for w in windows for r in ("full", "even") for m in masks}
    assert called_by([*sized(WHOLE, "even"), *sized(PART, "even")]) == forms | {"_even", "_even_mask"}
    assert called_by(integer()) == {f"{w}_{r}{m}" for w in (*windows, "") for r in ("tflite", "upward") for m in masks}


@pytest.mark.slow
@pytest.mark.parametrize("board", CODES)
def test_every_core_gives_the_same_bits(board: str, tmp_path: Path) -> None:
    cases = [*sized(WHOLE, "even"), *sized(PART, "even"), *integer(), *padded(), *at_their_ends()]
    jobs = [job(case, kernel_of(case, mask)) for case in cases for mask in (False, True)]
    check_on_board(with_overlaps(jobs), board, tmp_path)
