"""Float32 convolutions, forward and backward: against PyTorch's in float64, for any window, stride and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from mcutrain.tvm_ext.dialect import mask_shape
from mcutrain.tvm_ext.ops.kernel import PLAIN, Kernel, Variant
from mcutrain.tvm_ext.ops.table import build
from tests.tvm_ext.ops.test_blocks import FILTERS, IMAGE, Case, check
from tests.tvm_ext.ops.test_forward_kernels import DENSE, DEPTHWISE, OBLONG
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.cases import ConvCase, adjoint, conv_case
from tests.tvm_ext.support.run_kernel import prepare, run
from tests.tvm_ext.support.streaming import check_rows

NOWHERE = (-math.inf, math.inf)
CLAMPS = [(0.0, math.inf), (0.0, 6.0), NOWHERE, (-math.inf, 1.5), (-0.25, 0.5)]


def floating(case: ConvCase, clamp: tuple[float, float] = NOWHERE, seed: int = 0) -> ConvCase:
    """The same shapes in float32; fan-in or not, accumulators of about 1."""
    rng = np.random.default_rng(seed)
    size = 1 / np.sqrt(case.weight[0].size)
    attrs = {**case.attrs, "lo": clamp[0], "hi": clamp[1], "dtype": "float32", "in_zero": 0}
    arrays = {"x": rng.normal(size=case.x.shape), "weight": rng.normal(0, size, case.weight.shape)}
    arrays["bias"] = rng.normal(size=case.bias.shape)
    return replace(case, attrs=attrs, **{n: v.astype(np.float32) for n, v in arrays.items()})


def cases_of(size: int, depthwise: bool) -> list[ConvCase]:
    if size == 0:
        cases = [case for case in OBLONG if case.attrs["depthwise"] == depthwise]
        # a window over everything, with and without split channels; one wider than what is unrolled; much padding
        more = [(4, 5, 6, 7, (4, 5), 1, (0, 0, 0, 0), ()), (3, 4, 5, 2, (3, 4), 1, (0, 0, 0, 0), (1, 3))]
        more += [(5, 11, 4, 4, (3, 9), 1, (1, 4, 1, 4), ()), (3, 3, 2, 8, 2, 3, (3, 4, 2, 0), ())]
        for i, (h, w, n_in, n_out, kernel, stride, padding, trained) in enumerate(more):
            n_out, trained = (n_in, ()) if depthwise else (n_out, trained)
            cases.append(conv_case(i, h, w, n_in, n_out, kernel, stride, depthwise, trained, padding=padding))
    elif depthwise:
        cases = [
            conv_case(i, h, w, c, c, size, s, True, (0,) * (i % 2)) for i, (h, w, c, s) in enumerate(DEPTHWISE[size])
        ]
    else:
        rows = DENSE[size]
        cases = [conv_case(i, h, w, a, b, k, s, trained=t) for i, (h, w, a, b, k, s, t) in enumerate(rows)]
    return [floating(case, CLAMPS[i % len(CLAMPS)], i) for i, case in enumerate(cases, size)]


SIZES = [(0, False), (0, True), (1, False), (3, False), (5, False), (7, False), (3, True), (5, True), (7, True)]


def operands(case: ConvCase) -> list[np.ndarray]:
    return [case.x, *case.weights, case.bias]


def forward(case: ConvCase, with_mask: bool, variant: Variant = PLAIN, **more: object) -> Kernel:
    shapes = [list(a.shape) for a in operands(case)]
    return build("fconv2d_with_mask" if with_mask else "fconv2d", shapes, {**case.attrs, **more}, variant)


def torch_layer(case: ConvCase, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[torch.Tensor, ...]:
    """(x, weight and bias that want gradients, the accumulators), in float64; images are NCHW, weights OIHW."""
    depthwise, (top, left, bottom, right) = case.attrs["depthwise"], case.attrs["padding"]
    image = torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float64, requires_grad=True)
    oihw = weight[:, None] if depthwise else weight.transpose(0, 3, 1, 2)
    w, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (oihw, bias))
    padded = functional.pad(image, (left, right, top, bottom))
    groups = x.shape[3] if depthwise else 1
    return image, w, b, functional.conv2d(padded, w, b, tuple(case.attrs["stride"]), groups=groups)


def hwc(image: torch.Tensor) -> np.ndarray:
    return image.detach().numpy().transpose(0, 2, 3, 1)


def gradients(case: ConvCase, g: np.ndarray, clamp: bool, magnitude: bool) -> list[np.ndarray]:
    """Of x, weight and bias by autograd; magnitude: the sums of the absolute values of what is summed there."""
    f = np.abs if magnitude else np.asarray
    x, w, b, acc = torch_layer(case, f(case.x), f(case.weight), f(case.bias))
    y = functional.hardtanh(acc, case.attrs["lo"], case.attrs["hi"]) if clamp else acc
    y.backward(torch.tensor(f(g).transpose(0, 3, 1, 2), dtype=torch.float64))
    g_w = w.grad.numpy()
    return [hwc(x.grad), g_w[:, 0] if case.attrs["depthwise"] else g_w.transpose(0, 2, 3, 1), b.grad.numpy()]


@pytest.mark.parametrize(("size", "depthwise"), SIZES)
def test_forward(size: int, depthwise: bool) -> None:
    """The unclamped sum is PyTorch's; clamp and mask then are exact functions of it."""
    cases = cases_of(size, depthwise)
    plain = [forward(case, False, lo=-math.inf, hi=math.inf) for case in cases]
    clamped = [[forward(case, mask) for mask in (False, True)] for case in cases]
    prepare([*plain, *(k for pair in clamped for k in pair)])
    for case, kernel, pair in zip(cases, plain, clamped, strict=True):
        acc = np.full(case.out_shape, np.nan, np.float32)
        run(kernel, operands(case), [acc])
        exact, magnitude = (
            hwc(torch_layer(case, f(case.x), f(case.weight), f(case.bias))[3]) for f in (np.asarray, np.abs)
        )
        reference.assert_sum(acc, exact, magnitude, terms=case.weight[0].size + 1)
        lo, hi = case.attrs["lo"], case.attrs["hi"]
        passes = reference.pack_mask((acc > lo) & (acc < hi))
        for masked in pair:
            outputs = [np.full_like(acc, np.nan), np.full(passes.shape, 0xFF, np.uint8)][: masked.outputs]
            run(masked, operands(case), outputs)
            np.testing.assert_array_equal(outputs[0], np.clip(acc, lo, hi).astype(np.float32))
            if masked.outputs == 2:
                np.testing.assert_array_equal(outputs[1], passes)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_value_that_equals_a_bound_does_not_pass_the_mask(depthwise: bool) -> None:
    """Small integers: sums are exact, and many lie on 0 and on 6. A network's ReLU6 differentiates so in PyTorch."""
    case = floating(conv_case(1, 8, 8, 4, 4, 3, depthwise=depthwise), (0.0, 6.0))
    rng = np.random.default_rng(0)
    case = replace(
        case, **{n: rng.integers(-2, 3, getattr(case, n).shape).astype(np.float32) for n in ("x", "weight", "bias")}
    )
    *_, acc = torch_layer(case, case.x, case.weight, case.bias)
    acc.retain_grad()
    y = functional.relu6(acc)
    y.backward(torch.ones_like(y))
    ours, mask = np.zeros(case.out_shape, np.float32), np.zeros((1, 8, 4), np.uint8)
    run(forward(case, True), operands(case), [ours, mask])
    np.testing.assert_array_equal(ours, hwc(y))
    np.testing.assert_array_equal(mask, reference.pack_mask(hwc(acc.grad) == 1))
    assert {-1.0, 0.0, 6.0, 7.0} <= set(hwc(acc).reshape(-1).tolist())


def test_what_is_no_number_stays_none() -> None:
    """As in PyTorch; and no gradient passes there. An infinity is clamped."""
    case = floating(conv_case(0, 1, 3, 1, 2, 1), (0.0, 6.0))
    x = np.array([math.nan, math.inf, 1], np.float32).reshape(case.x.shape)
    case = replace(case, x=x, weight=np.array([1, -1], np.float32).reshape(2, 1, 1, 1), bias=np.zeros(2, np.float32))
    y, mask = np.zeros((1, 1, 3, 2), np.float32), np.zeros((1, 1, 1), np.uint8)
    run(forward(case, True), operands(case), [y, mask])
    np.testing.assert_array_equal(y, hwc(functional.relu6(torch_layer(case, x, case.weight, case.bias)[3])))
    assert np.isnan(y[0, 0, 0]).all() and mask.item() == 1 << 4


def test_no_clamp_no_comparison() -> None:
    """An infinite bound is not compared with: C has no literal for it."""
    case = floating(conv_case(0, 4, 4, 4, 4, 3))
    texts = {
        clamp: forward(replace(case, attrs={**case.attrs, "lo": clamp[0], "hi": clamp[1]}), True) for clamp in CLAMPS
    }
    bounds = {clamp: str(kernel.func).count("mcu_f32") > 0 for clamp, kernel in texts.items()}
    assert bounds == {clamp: clamp != NOWHERE for clamp in CLAMPS}
    assert not any("inf" in str(kernel.func) for kernel in texts.values())


@pytest.mark.parametrize(("size", "depthwise"), SIZES)
def test_backward(size: int, depthwise: bool) -> None:
    """From the gradient of the clamped output to those of input, weight (its trained part) and bias."""
    cases, kernels = cases_of(size, depthwise), []
    for case in cases:
        trained, shape = case.attrs["trained_channels"], list(case.weight.shape)
        g_shape, x_shape = list(case.out_shape), list(case.x.shape)
        if trained:
            shape[0 if depthwise else 3] = len(trained)
            x_shape[3] = len(trained)
        weights = [list(w.shape) for w in case.weights]
        kernels.append(
            (
                forward(case, True),
                build("conv2d_input_grad", [g_shape, *weights], {**case.attrs, "shape": list(case.x.shape)}),
                build("conv2d_weight_grad", [x_shape, g_shape], {**case.attrs, "shape": shape}),
                build("conv2d_bias_grad", [g_shape], {}),
            )
        )
    taken = build("take_channels", [[1, 5, 3, 11]], {"channels": [9, 2, 5], "dtype": "float32"})
    prepare([taken, *(k for group in kernels for k in group)])
    for number, (case, (both, *backward)) in enumerate(zip(cases, kernels, strict=True)):
        g, trained = adjoint(number, case.out_shape), case.attrs["trained_channels"]
        y, mask = np.zeros(case.out_shape, np.float32), np.zeros(mask_shape(list(case.out_shape)), np.uint8)
        run(both, operands(case), [y, mask])
        bits = np.unpackbits(mask, axis=2, bitorder="little")[..., : y.shape[2] * y.shape[3]].reshape(y.shape)
        g_acc = np.where(bits == 1, g, np.float32(0))
        exact, sizes = gradients(case, g, True, False), gradients(case, g_acc, False, True)
        rows = np.s_[trained or slice(None)] if depthwise else np.s_[..., trained or slice(None)]
        exact[1], sizes[1] = exact[1][rows], sizes[1][rows]
        kept = np.ascontiguousarray(case.x[..., trained]) if trained else case.x
        terms = [case.weight.size, y.shape[1] * y.shape[2], y.shape[1] * y.shape[2]]
        inputs = [[g_acc, *case.weights], [kept, g_acc], [g_acc]]
        for kernel, arrays, expected, magnitude, n in zip(backward, inputs, exact, sizes, terms, strict=True):
            out = np.full(expected.shape, np.nan, np.float32)
            run(kernel, arrays, [out])
            reference.assert_sum(out, expected, magnitude, terms=n)
    x, out = adjoint(0, (1, 5, 3, 11)), np.zeros((1, 5, 3, 3), np.float32)
    run(taken, [x], [out])
    np.testing.assert_array_equal(out, x[..., [9, 2, 5]])


# --------------------------------------------------------------------------- rows and blocks of channels
@pytest.mark.parametrize(("kernel", "stride", "depthwise"), [(1, 1, False), (3, 2, False), (3, 1, True), (5, 2, True)])
def test_row_by_row_over_rings(kernel: int, stride: int, depthwise: bool) -> None:
    case = floating(conv_case(kernel, 9, 6, 8, 8, kernel, stride, depthwise), (0.0, 6.0))
    outputs = [np.zeros(case.out_shape, np.float32), np.zeros(mask_shape(list(case.out_shape)), np.uint8)]
    check_rows(lambda variant: forward(case, True, variant), operands(case), outputs)


def input_gradient(case: ConvCase) -> Case:
    axes = {0: IMAGE} | dict.fromkeys(range(1, 1 + len(case.weights)), FILTERS)
    inputs, attrs = [adjoint(1, case.out_shape), *case.weights], {**case.attrs, "shape": list(case.x.shape)}
    return Case("conv2d_input_grad", inputs, attrs, axes, case.x.shape, IMAGE)


def weight_gradient(case: ConvCase) -> Case:
    inputs, attrs = [case.x, adjoint(1, case.out_shape)], {**case.attrs, "shape": list(case.weight.shape)}
    return Case("conv2d_weight_grad", inputs, attrs, {1: IMAGE}, case.weight.shape, FILTERS)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_gradients_by_blocks_of_channels(turn: int) -> None:
    def cases(kernel: int, depthwise: bool, *trained: int) -> Sequence[ConvCase]:
        pairs = [(16, 8), (12, 24), (6, 20)]
        made = [conv_case(turn, 5, 4, n_in, n_out, kernel, 1, depthwise, trained) for n_in, n_out in pairs]
        return [floating(case, seed=turn) for case in made]

    check([input_gradient(case) for case in cases(1, False)], turn, forms=2)
    check([input_gradient(case) for case in cases(1, False, 1, 3)], turn, forms=1)
    check([input_gradient(case) for case in cases(3, True)], turn, forms=1)
    check([weight_gradient(case) for case in (*cases(3, True), *cases(3, False))], turn, forms=2)
    attrs, inputs = {"dtype": "float32"}, [adjoint(2, (1, 1, 1, 5)), adjoint(3, (24,))]
    check([Case("dense_weight_grad", inputs, attrs, {}, (24, 5), FILTERS)], turn, forms=1)
