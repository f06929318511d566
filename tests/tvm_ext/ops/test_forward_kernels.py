"""Forward kernels against exact numpy references: convolutions, residual add, global mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcutrain.tvm_ext.ops.kernel import Kernel
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import ConvCase, conv_case
from tests.tvm_ext.support.run_kernel import prepare, run

# height, width, input channels, output channels, kernel, stride, trained channels
DENSE = {
    1: [(6, 5, 8, 6, 1, 1, ()), (4, 4, 16, 5, 1, 1, (3, 7, 8)), (1, 1, 12, 10, 1, 1, ()), (5, 4, 3, 7, 1, 2, (0,))],
    3: [(5, 7, 3, 8, 3, 1, ()), (9, 9, 3, 8, 3, 2, (1,)), (6, 8, 4, 3, 3, 1, (0, 3)), (2, 1, 5, 4, 3, 1, ())],
    5: [(7, 7, 4, 6, 5, 2, (2,)), (4, 6, 1, 1, 5, 1, ())],
    7: [(9, 8, 2, 4, 7, 1, ()), (3, 3, 2, 2, 7, 2, (1,))],
}
DEPTHWISE = {
    3: [(5, 7, 3, 1), (8, 8, 8, 2), (1, 1, 5, 1), (6, 3, 1, 2)],
    5: [(7, 9, 4, 2), (4, 4, 6, 1)],
    7: [(9, 8, 5, 1), (7, 7, 3, 2), (2, 2, 2, 2)],
}
# windows that are not square, strides that differ, more padding on one side than on the other; two of them depthwise
OBLONG = [
    conv_case(60, 12, 5, 1, 6, (10, 4), (2, 2), padding=(4, 1, 5, 1)),
    conv_case(61, 7, 6, 3, 4, 3, 2, padding=(0, 0, 1, 1), trained=(1,)),
    conv_case(62, 1, 9, 2, 4, (1, 3), (1, 2), padding=(0, 0, 0, 2)),
    conv_case(63, 4, 3, 5, 3, (4, 3), padding=(0, 0, 0, 0)),
    conv_case(64, 6, 7, 4, 4, (3, 5), (1, 2), depthwise=True, padding=(2, 1, 0, 3)),
    conv_case(65, 8, 8, 3, 3, 3, 2, depthwise=True, trained=(0, 2), padding=(0, 0, 1, 1)),
]
# what micro-kernels tell apart: blocks of 4 pixels, one left over, inputs that fill no word, bits of several bytes
BLOCKS = [(3, 4, 24, 16), (2, 8, 7, 24, 3), (2, 5, 9, 8), (3, 4, 20, 16, 1, (2, 3, 5, 9, 11, 17)), (1, 12, 3, 40),
          (2, 8, 5, 17), (2, 4, 33, 32, 3, tuple(range(0, 33, 2)))]  # fmt: skip
CLAMPS = [(-128, 127), (-20, 35), (4, 5)]


def kernel_of(case: ConvCase, with_mask: bool) -> Kernel:
    return build("qconv2d_with_mask" if with_mask else "qconv2d", case.shapes, case.attrs)


def check_conv(case: ConvCase, kernel: Kernel) -> np.ndarray:
    """Run and compare bits, outputs and mask; the values before the clamp are returned."""
    acc = reference.accumulate(case.x, case.weight, case.bias, case.attrs)
    assert acc.min() >= -(2**31) and acc.max() < 2**31
    v = reference.requantise(acc, case.scale, case.attrs)
    y = np.full(case.out_shape, 77, np.int8)
    outputs = [y]
    expected_mask = reference.pack_mask(reference.inside(v, case.attrs))
    if kernel.outputs == 2:
        outputs.append(np.full(expected_mask.shape, 0xFF, np.uint8))  # stale bits must not stay
    run(kernel, case.arguments, outputs)
    np.testing.assert_array_equal(y, reference.clamp(v, case.attrs))
    if kernel.outputs == 2:
        np.testing.assert_array_equal(outputs[1], expected_mask)
    return v


def check_all(cases: list[ConvCase]) -> None:
    kernels = [kernel_of(case, mask) for case in cases for mask in (False, True)]
    prepare(kernels)
    for case, *pair in zip(cases, kernels[::2], kernels[1::2], strict=True):
        for kernel in pair:
            check_conv(case, kernel)


@pytest.mark.parametrize("size", DENSE)
def test_convolution(size: int) -> None:
    check_all(
        [
            conv_case(i, h, w, n_in, n_out, k, s, trained=trained, clamp=CLAMPS[i % 2])
            for i, (h, w, n_in, n_out, k, s, trained) in enumerate(DENSE[size])
        ]
    )


def block_cases() -> list[ConvCase]:
    """Over the whole range of int8, which has a form of its own, and a part of it."""
    cases = []
    for i, (h, w, n_in, n_out, *more) in enumerate(BLOCKS):
        kernel = next((m for m in more if isinstance(m, int)), 1)
        trained = next((m for m in more if isinstance(m, tuple)), ())
        cases += [conv_case(70 + i, h, w, n_in, n_out, kernel, 1, trained=trained, clamp=clamp) for clamp in CLAMPS[:2]]
    return cases


def test_blocks_of_pixels() -> None:
    check_all(block_cases())


def cases_at_their_ends() -> list[ConvCase]:
    """Every product as large as can be, over blocks of pixels and one left over: a lane that wraps shows."""
    trained = tuple(range(1, 12, 2))
    return [
        conv_case(i, 3, 9, n, 8, k, trained=trained[: n // 2] * split, clamp=clamp, rounding=r).at_its_ends(value)
        for i, (n, k) in enumerate([(40, 1), (5, 3)])
        for split, clamp, r in [(0, CLAMPS[0], "even"), (1, CLAMPS[1], "even"), (0, CLAMPS[0], "upward")]
        for value in (127, -128)
    ]


def test_products_at_their_ends() -> None:
    check_all(cases_at_their_ends())


@pytest.mark.parametrize("size", DEPTHWISE)
def test_depthwise(size: int) -> None:
    """The trained channels of a depthwise layer do not split its weight."""
    check_all(
        [
            conv_case(i, h, w, c, c, size, s, depthwise=True, trained=(0,) * (i % 2), clamp=CLAMPS[i % 2])
            for i, (h, w, c, s) in enumerate(DEPTHWISE[size])
        ]
    )


@pytest.mark.parametrize("rounding", ["tflite", "upward"])
def test_integer_requantisation(rounding: str) -> None:
    rows = [(5, 7, 3, 8, 3, False), (4, 4, 16, 5, 1, False), (6, 5, 4, 4, 5, True)]
    cases = [
        conv_case(80 + i, h, w, n_in, n_out, k, depthwise=d, rounding=rounding, clamp=CLAMPS[i % 2])
        for i, (h, w, n_in, n_out, k, d) in enumerate(rows)
    ]
    wide = [replace(c, scale=c.scale * s) for c, s in zip(cases, np.float32([1, 1e-3, 40]), strict=True)]
    check_all([*cases, *wide])


def test_windows_that_are_not_square() -> None:
    check_all(OBLONG)


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_a_value_that_equals_a_bound_passes_the_mask(is_depthwise: bool) -> None:
    """Few steps of spread: many values lie on lo, on hi, and one step outside of each."""
    case = conv_case(3, 8, 7, 6, 6, 3, depthwise=is_depthwise, clamp=(-2, 3), spread=4.0)
    case.attrs["out_zero"] = 0
    kernel = kernel_of(case, with_mask=True)
    values = set(check_conv(case, kernel).reshape(-1).tolist())
    assert {-3, -2, 3, 4} <= values


@pytest.mark.parametrize("sign", [1, -1])
def test_no_accumulator_wraps(sign: int) -> None:
    """Every product at its extreme, and a bias that brings the sum to the very end of int32."""
    case = conv_case(0, 2, 2, 512, 2, 1)
    attrs = {**case.attrs, "in_zero": 127 if sign < 0 else -128, "out_zero": 0}
    x = np.full_like(case.x, -128 if sign < 0 else 127)
    weight = np.full_like(case.weight, 127)
    reach = sign * 255 * 127 * 512
    end = 2**31 - 1 if sign > 0 else -(2**31) + 1
    bias = np.array([end - reach, -reach], np.int32)
    extreme = ConvCase(x, weight, bias, np.array([5e-8, 3.0], np.float32), attrs)
    v = check_conv(extreme, kernel_of(extreme, with_mask=True))
    assert v[0, 0, 0].tolist() == [sign * 107, 0]


def test_rounding_is_half_to_even_and_saturates() -> None:
    """acc * 0.5: every second value is a half. A huge product stays on its side of the clamp."""
    case = conv_case(0, 1, 1, 1, 8, 1)
    attrs = {**case.attrs, "in_zero": 0, "out_zero": 0}
    weight = np.zeros_like(case.weight)
    bias = np.array([1, 3, 5, -1, -3, 2**31 - 1, -(2**31), 7], np.int32)
    scale = np.array([0.5] * 5 + [1e20, 1e20, 0.5], np.float32)
    halves = ConvCase(case.x, weight, bias, scale, attrs)
    v = check_conv(halves, kernel_of(halves, with_mask=True)).reshape(-1)
    assert v.tolist() == [0, 2, 2, 0, -2, 2**22, -(2**22), 4]


ADD = {"a_scale": 0.031, "a_zero": -7, "b_scale": 0.017, "b_zero": 100, "out_scale": 0.023, "out_zero": 11}


@pytest.mark.parametrize(("lo", "hi"), CLAMPS)
def test_residual_add(lo: int, hi: int) -> None:
    rng = np.random.default_rng(lo & 255)
    attrs = {**ADD, "lo": lo, "hi": hi, "layer": "add"}
    shapes = [(1, 4, 5, 3), (1, 32, 16, 8)]
    kernels = [
        build("qadd_with_mask" if mask else "qadd", [list(s)] * 2, attrs) for s in shapes for mask in (False, True)
    ]
    prepare(kernels)
    for index, kernel in enumerate(kernels):
        a, b = (rng.integers(-128, 128, shapes[index // 2]).astype(np.int8) for _ in range(2))
        v = reference.add_values(a, b, attrs)
        expected_mask = reference.pack_mask(reference.inside(v, attrs))
        outputs = [np.zeros_like(a), np.full(expected_mask.shape, 0xFF, np.uint8)][: kernel.outputs]
        run(kernel, [a, b], outputs)
        np.testing.assert_array_equal(outputs[0], reference.clamp(v, attrs))
        if kernel.outputs == 2:
            np.testing.assert_array_equal(outputs[1], expected_mask)
    assert {lo, hi, lo - 1, hi + 1} <= set(v.reshape(-1).tolist())


@pytest.mark.parametrize("rounding", ["even", "tflite", "upward"])
def test_residual_add_of_every_pair_of_values(rounding: str) -> None:
    a, b = (v.reshape(1, 256, 256, 1).astype(np.int8) for v in np.mgrid[-128:128, -128:128])
    attrs = {**ADD, "lo": -128, "hi": 127, "layer": "add", "rounding": rounding}
    y = np.zeros_like(a)
    run(build("qadd", [list(a.shape)] * 2, attrs), [a, b], [y])
    np.testing.assert_array_equal(y, reference.clamp(reference.add_values(a, b, attrs), attrs))


def test_mean_rounds_halves_to_even() -> None:
    shapes = [(1, 2, 1, 6), (1, 4, 4, 12), (1, 3, 5, 7), (1, 64, 64, 3)]
    kernels = [build("qmean", [list(s)], {"layer": "pool"}) for s in shapes]
    prepare(kernels)
    halves = np.array([[1, 2, -1, -2, 127, -128], [2, 3, -2, -3, 126, -127]]).reshape(shapes[0]).astype(np.int8)
    rng = np.random.default_rng(0)
    extreme = np.full(shapes[3], 127, np.int8)
    extreme[..., 1] = -128
    extreme[0, 0, 0, 2] = 126
    for kernel, x in zip(
        kernels, [halves, *(rng.integers(-128, 128, s).astype(np.int8) for s in shapes[1:3]), extreme], strict=True
    ):
        y = np.zeros((1, 1, 1, x.shape[3]), np.int8)
        run(kernel, [x], [y])
        np.testing.assert_array_equal(y, reference.mean(x))
        if x is halves:
            assert y.reshape(-1).tolist() == [2, 2, -2, -2, 126, -128]


@pytest.mark.parametrize("kind", ["conv", "depthwise", "add"])
def test_rows_in_parts_equal_the_whole(kind: str) -> None:
    """[0, a) then [a, H), and the second part first; an empty range writes nothing."""
    case = conv_case(5, 7, 6, 4, 5, 3, 2, depthwise=kind == "depthwise", trained=(1,) if kind == "conv" else ())
    if kind == "add":
        rng = np.random.default_rng(1)
        arguments = [rng.integers(-128, 128, (1, 5, 3, 3)).astype(np.int8) for _ in range(2)]
        attrs = {**ADD, "lo": -20, "hi": 30, "layer": "add"}
        kernel, out_shape = build("qadd_with_mask", [[1, 5, 3, 3]] * 2, attrs), (1, 5, 3, 3)
    else:
        kernel, arguments, out_shape = kernel_of(case, True), case.arguments, case.out_shape
    height, row_bytes = out_shape[1], (out_shape[2] * out_shape[3] + 7) // 8

    def computed(*parts: tuple[int, int]) -> list[np.ndarray]:
        outputs = [np.full(out_shape, 99, np.int8), np.full((1, height, row_bytes), 0x3C, np.uint8)]
        for part in parts:
            run(kernel, arguments, outputs, rows=part)
        return outputs

    whole = computed((0, height))
    for split in range(1, height):
        for parts in ([(0, split), (split, height)], [(split, height), (0, split), (2, 2)]):
            for ours, expected in zip(computed(*parts), whole, strict=True):
                np.testing.assert_array_equal(ours, expected)
    untouched = computed((0, 1))[0]
    assert (untouched[0, 1:] == 99).all()
