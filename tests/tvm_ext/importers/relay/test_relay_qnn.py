"""The quantised operators bit for bit: against the rule worked out by hand, and against numpy in unbounded integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.operators.fixed_point import fixed_point
from mcutrain.tvm_ext.importers.relay.read.reader import bind
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from tests.tvm_ext.importers.relay.reference import numpy_relay
from tests.tvm_ext.importers.relay.run_relay import assert_same, execute, inputs_of, main, result


@pytest.mark.parametrize(
    ("ratio", "m", "shift"),
    [(0.5, 1 << 30, 0), (1.0, 1 << 30, 1), (0.75, 3 << 29, 0), (3.0, 3 << 29, 2), (1 - 2.0**-40, 1 << 30, 1)],
)
def test_fixed_point_numbers(ratio: float, m: int, shift: int) -> None:
    """ratio = m / 2**31 * 2**shift; what rounds up to 2**31 moves into the shift."""
    found, at = fixed_point(np.array(ratio))
    assert (int(found), int(at)) == (m, shift)


def test_fixed_point_numbers_are_the_nearest() -> None:
    ratios = np.exp(np.random.default_rng(0).uniform(-30, 8, 500))
    for ratio, m, shift in zip(ratios, *fixed_point(ratios), strict=True):
        assert 1 << 30 <= m < 1 << 31
        assert abs(Fraction(int(m)) * Fraction(2) ** (int(shift) - 31) - Fraction(ratio)) <= Fraction(2) ** (
            int(shift) - 32
        )


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [("UPWARD", [-1, -1, 0, 0, 0, 1, 1, 2, 2]), ("TONEAREST", [-2, -1, -1, 0, 0, 1, 1, 2, 2])],
)
def test_halves(rounding: str, wanted: list[int]) -> None:
    """-3 ... 4 times one half, and 5 times it less a bit: halves go up, or away from zero."""
    x = np.array([-3, -2, -1, 0, 0, 1, 2, 3, 4], np.int32)
    body = f'qnn.requantize(%x, 1f, 0, 2f, 0, rounding="{rounding}", out_dtype="int32")'
    assert result(main(body, "%x: Tensor[(9), int32]"), x=x).tolist() == wanted


def test_upward_is_the_default() -> None:
    x = np.array([-3, -1, 1], np.int32)
    body = 'qnn.requantize(%x, 1f, 0, 2f, 0, out_dtype="int8")'
    assert result(main(body, "%x: Tensor[(3), int32]"), x=x).tolist() == [-1, 0, 1]


def both(body: str, params: str, consts: dict[str, np.ndarray], **inputs: np.ndarray) -> None:
    """params are those of the data; consts are bound by name, as arrays of a parameter file are."""
    kinds = {n: str(ast.TensorType(v.shape, str(v.dtype))) for n, v in consts.items()}
    module = main(body, ", ".join([params, *(f"%{n}: {t}" for n, t in kinds.items())]))
    module = bind(module, consts, "constants")
    inputs = inputs or inputs_of(module)
    assert_same(execute(to_relax(module), inputs), numpy_relay.run(module, inputs))


@pytest.mark.parametrize("rounding", ["UPWARD", "TONEAREST"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_requantize_per_channel(rounding: str, dtype: str) -> None:
    """Over the whole of int32, with ratios from 2**-40 to 2000, on a middle axis."""
    rng = np.random.default_rng(1)
    x = rng.integers(-(2**31), 2**31, (3, 4, 50)).astype(np.int32) >> rng.integers(0, 31, (3, 4, 50))
    scales = np.array([2.0**-38, 0.013, 0.49, 500.0], np.float32)
    call = f'qnn.requantize(%x, %s, 0, 0.25f, 7, axis=1, rounding="{rounding}", out_dtype="{dtype}")'
    both(call, "%x: Tensor[(3, 4, 50), int32]", {"s": scales}, x=x.astype(np.int32))


def test_requantize_between_eight_bit_types() -> None:
    body = (
        '(qnn.requantize(%x, 0.1f, 3, 0.07f, -5, out_dtype="uint8"), qnn.requantize(%x, 0.1f, 3, 0.1f, -5, out_dtype='
        '"int8"), qnn.requantize(%x, 9f, -128, 0.0001f, 0, out_dtype="int8"))'
    )
    both(body, "%x: Tensor[(256), int8]", {}, x=np.arange(-128, 128).astype(np.int8))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_binary_operators(dtype: str) -> None:
    q = "0.05f, -3, 0.11f, 9, 0.08f, 4"
    body = (
        f"(qnn.add(%x, %y, {q}), qnn.subtract(%x, %y, {q}), qnn.mul(%x, %y, {q}), qnn.add(%x, %y, 1f, 5, 1f, 5, 1f, 5))"
    )
    both(body, f"%x: Tensor[(64), {dtype}], %y: Tensor[(64), {dtype}]", {})


def test_concatenate() -> None:
    body = "qnn.concatenate((%x, %y), (0.05f, 0.2f), (-3, 0), 0.05f, -3, axis=1)"
    both(body, "%x: Tensor[(2, 3), int8], %y: Tensor[(2, 4), int8]", {})


def test_products_with_zero_points() -> None:
    """Padding counts as the zero point, so it adds nothing; a depthwise multiplier; weights with zero points."""
    conv = 'data_layout="NHWC", kernel_layout="HWIO", padding=[1, 0, 2, 1], strides=[2, 1], out_dtype="int32"'
    deep = 'groups=4, kernel_layout="OIHW", padding=[1, 1, 1, 1], out_dtype="int32"'
    body = (
        f"(qnn.conv2d(%x, %w, -128, 3, 0.1f, 0.2f, {conv}), qnn.conv2d(%u, %d, 128, 0, 0.1f, %s, {deep}), "
        'qnn.dense(%a, %b, 5, -2, 0.1f, 0.2f, units=3, out_dtype="int32"))'
    )
    params = (
        "%x: Tensor[(1, 5, 6, 3), int8], %w: Tensor[(3, 2, 3, 4), int8], %u: Tensor[(1, 4, 5, 5), uint8], "
        "%d: Tensor[(4, 2, 3, 3), int8], %a: Tensor[(2, 9), uint8], %b: Tensor[(3, 9), int8]"
    )
    both(body, params, {"s": np.array([0.1, 0.2, 0.3, 0.4], np.float32)})


def test_quantize_and_dequantize_per_channel() -> None:
    body = (
        '(qnn.quantize(%x, %s, %z, axis=1, out_dtype="int8"), qnn.quantize(%x, 0.25f, 128, out_dtype="uint8"), '
        "qnn.dequantize(%q, %s, %z, axis=1), qnn.dequantize(%q, 0.3f, -7))"
    )
    consts = {"s": np.array([0.01, 0.5, 2.0], np.float32), "z": np.array([0, -5, 100], np.int32)}
    both(body, "%x: Tensor[(4, 3, 5), float32], %q: Tensor[(4, 3, 5), int8]", consts)


def test_quantize_rounds_halves_away_from_zero() -> None:
    x = np.array([-1000, -0.75, -0.25, 0.25, 0.75, 1.25, 1000], np.float32)
    found = result(main('qnn.quantize(%x, 0.5f, 1, out_dtype="int8")', "%x: Tensor[(7), float32]"), x=x)
    assert found.tolist() == [-128, -1, 0, 2, 3, 4, 127]


def test_fixed_point_multiply() -> None:
    x = np.array([-(2**31), -5, -4, 4, 5, 2**31 - 1], np.int32)
    body = (
        "(fixed_point_multiply(%x, multiplier=1073741824, shift=-2), fixed_point_multiply(%x, multiplier=5, shift=-60))"
    )
    eighth, none = result(main(body, "%x: Tensor[(6), int32]"), x=x)
    assert eighth.tolist() == [-(2**28), -1, 0, 1, 1, 2**28] and none.tolist() == [0] * 6
