"""Convolutions where accumulators, roundings and masks are at their ends, int8 and float32; which micro-kernels are
called."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.tvm_ext.ops.cases import conv, depthwise
from tests.tvm_ext.ops.cases.float_conv import CLAMPS
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support import reference, torch_parts
from tests.tvm_ext.support.conv_case import NOWHERE, ConvCase, conv_case, floating, forward
from tests.tvm_ext.support.op_cases import Case, call, check, expected_of, kernel
from tests.tvm_ext.support.product_ops import Kernel
from tests.tvm_ext.support.run_kernel import c_text, run
from tests.tvm_ext.support.streaming import check_rows
from tests.tvm_ext.support.torch_parts import from_torch, to_torch


def check_conv(case: ConvCase, name: str = "qconv2d_with_mask") -> np.ndarray:
    """Compares the bits of outputs and mask; the values before the clamp are returned."""
    built = kernel(name, made := forward(case))
    expected = expected_of(RECORDS["qconv2d"], made, built, case.arguments)
    for ours, right in zip(call(built, made, case.arguments, expected), expected, strict=True):
        check(ours, right, case.title)
    return conv.values(case.attrs, *case.arguments)


@pytest.mark.parametrize("is_depthwise", [False, True])
def test_a_value_that_equals_a_bound_passes_the_mask(is_depthwise: bool) -> None:
    """Few steps of spread: many values lie on lo, on hi, and one step outside of each."""
    case = conv_case(3, 8, 7, 6, 6, 3, depthwise=is_depthwise, clamp=(-2, 3), spread=4.0)
    case.attrs["out_zero"] = 0
    values = set(check_conv(case).reshape(-1).tolist())
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
    v = check_conv(ConvCase(x, weight, bias, np.array([5e-8, 3.0], np.float32), attrs))
    assert v[0, 0, 0].tolist() == [sign * 107, 0]


def test_rounding_is_half_to_even_and_saturates() -> None:
    """acc * 0.5: every second value is a half. A huge product stays on its side of the clamp."""
    case = conv_case(0, 1, 1, 1, 8, 1)
    attrs = {**case.attrs, "in_zero": 0, "out_zero": 0}
    weight = np.zeros_like(case.weight)
    bias = np.array([1, 3, 5, -1, -3, 2**31 - 1, -(2**31), 7], np.int32)
    scale = np.array([0.5] * 5 + [1e20, 1e20, 0.5], np.float32)
    v = check_conv(ConvCase(case.x, weight, bias, scale, attrs)).reshape(-1)
    assert v.tolist() == [0, 2, 2, 0, -2, 2**22, -(2**22), 4]


@pytest.mark.parametrize("case", list(map(forward, depthwise.rows())), ids=str)
def test_depthwise_rows_of_a_ring_that_is_larger_than_the_window(case: Case) -> None:
    operands = case.draw(0)
    (y, *_) = conv.qconv2d(case.attrs, *operands)
    check_rows("qconv2d", case, operands, [np.zeros_like(y)], spare=3)


# --------------------------------------------------------------------------- the micro-kernels that the cases mean
def called_by(cases: Iterable[ConvCase]) -> set[str]:
    """The depthwise micro-kernels that these call, without and with mask."""
    texts = (c_text(built)[1] for built in RECORDS["qconv2d"].kernels(map(forward, cases)))
    return set(re.findall(r"mcu_depthwise(\w+)\(", "\n".join(texts)))


def test_every_depthwise_micro_kernel_is_called() -> None:
    windows, masks = [f"{k}_s{s}" for k in (3, 5, 7) for s in (1, 2)], ("", "_mask")
    forms = {f"{w}_{r}{m}" for w in windows for r in ("full", "even") for m in masks}
    assert called_by(depthwise.rounding_even()) == forms | {"_even", "_even_mask"}
    integers = {f"{w}_{r}{m}" for w in (*windows, "") for r in conv.INTEGER for m in masks}
    assert called_by(depthwise.by_integers()) == integers == called_by(depthwise.integers_on_device())


# --------------------------------------------------------------------------- float32
def built(case: ConvCase, **more: object) -> Kernel:
    return kernel("fconv2d_with_mask", forward(replace(case, attrs={**case.attrs, **more})))


def sums_by_torch(case: ConvCase) -> torch.Tensor:
    """The accumulators, in float64."""
    return torch_parts.conv(case.attrs, *map(to_torch, (case.x, case.weight, case.bias)))


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_float_that_equals_a_bound_does_not_pass_the_mask(depthwise: bool) -> None:
    """Small integers: sums are exact, and many lie on 0 and on 6. A network's ReLU6 differentiates so in PyTorch."""
    case = floating(conv_case(1, 8, 8, 4, 4, 3, depthwise=depthwise), (0.0, 6.0))
    rng = np.random.default_rng(0)
    case = replace(
        case, **{n: rng.integers(-2, 3, getattr(case, n).shape).astype(np.float32) for n in ("x", "weight", "bias")}
    )
    acc = sums_by_torch(case).requires_grad_()
    y = functional.relu6(acc)
    y.backward(torch.ones_like(y))
    ours, mask = np.zeros(case.out_shape, np.float32), np.zeros((1, 8, 4), np.uint8)
    run(built(case), case.arguments, [ours, mask])
    np.testing.assert_array_equal(ours, from_torch(y, case.out_shape))
    np.testing.assert_array_equal(mask, reference.pack_mask(from_torch(acc.grad, case.out_shape) == 1))
    assert {-1.0, 0.0, 6.0, 7.0} <= set(from_torch(acc, case.out_shape).reshape(-1).tolist())


def test_what_is_no_number_stays_none() -> None:
    """As in PyTorch; and no gradient passes there. An infinity is clamped."""
    case = floating(conv_case(0, 1, 3, 1, 2, 1), (0.0, 6.0))
    x = np.array([math.nan, math.inf, 1], np.float32).reshape(case.x.shape)
    case = replace(case, x=x, weight=np.array([1, -1], np.float32).reshape(2, 1, 1, 1), bias=np.zeros(2, np.float32))
    y, mask = np.zeros((1, 1, 3, 2), np.float32), np.zeros((1, 1, 1), np.uint8)
    run(built(case), case.arguments, [y, mask])
    np.testing.assert_array_equal(y, from_torch(functional.relu6(sums_by_torch(case)), y.shape))
    assert np.isnan(y[0, 0, 0]).all() and mask.item() == 1 << 4


def test_no_clamp_no_comparison() -> None:
    """An infinite bound is not compared with: C has no literal for it."""
    case = floating(conv_case(0, 4, 4, 4, 4, 3))
    texts = {(lo, hi): built(case, lo=lo, hi=hi) for lo, hi in CLAMPS}
    bounds = {clamp: str(kernel.func).count("mcu_f32") > 0 for clamp, kernel in texts.items()}
    assert bounds == {clamp: clamp != NOWHERE for clamp in CLAMPS}
    assert not any("inf" in str(kernel.func) for kernel in texts.values())
