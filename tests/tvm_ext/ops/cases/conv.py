"""The quantised convolution: sizes, windows, roundings and clamps that its micro-kernels tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from tests.tvm_ext.ops.cases import depthwise
from tests.tvm_ext.support import networks, product_ops, reference, torch_parts
from tests.tvm_ext.support.conv_case import ConvCase, conv_case, forward
from tests.tvm_ext.support.op_cases import Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs

# height, width, input channels, output channels, kernel, stride, trained channels
DENSE = {
    1: [(6, 5, 8, 6, 1, 1, ()), (4, 4, 16, 5, 1, 1, (3, 7, 8)), (1, 1, 12, 10, 1, 1, ()), (5, 4, 3, 7, 1, 2, (0,))],
    3: [(5, 7, 3, 8, 3, 1, ()), (9, 9, 3, 8, 3, 2, (1,)), (6, 8, 4, 3, 3, 1, (0, 3)), (2, 1, 5, 4, 3, 1, ())],
    5: [(7, 7, 4, 6, 5, 2, (2,)), (4, 6, 1, 1, 5, 1, ())],
    7: [(9, 8, 2, 4, 7, 1, ()), (3, 3, 2, 2, 7, 2, (1,))],
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
# height, width, input channels, output channels, kernel, trained channels: with a stride of 2, blocks of 4 pixels among
# them; the second is the first layer of a network
STRIDED = [(5, 16, 8, 8, 1, ()), (9, 16, 3, 8, 3, ()), (7, 9, 5, 7, 3, ()), (6, 8, 4, 3, 3, (0, 3)),
           (7, 16, 2, 6, 5, ()), (5, 10, 3, 4, 7, (1,)), (5, 4, 3, 7, 1, (0,))]  # fmt: skip
CLAMPS = [(-128, 127), (-20, 35), (4, 5)]
WHOLE, PART = CLAMPS[:2]
INTEGER = ("tflite", "upward")
# kernel, stride, depthwise, trained channels: windows over rings of rows
RINGS = [(1, 1, False, ()), (1, 2, False, ()), (3, 1, False, ()), (3, 2, False, (1, 4)), (3, 1, True, ()),
         (3, 2, True, ()), (5, 1, True, ()), (5, 2, True, ()), (7, 1, True, ()), (7, 2, True, ())]  # fmt: skip


def values(attrs: Attrs, x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    """int64 before the clamp. rest: weight, or its frozen and its trained channels; bias; scales, then (where rounding
    is by integers) multipliers."""
    w, bias, *tables = whole_weight(attrs, rest)
    cut = reference.windows(x.astype(np.float64) - attrs["in_zero"], attrs)
    acc = reference.products(cut, w, attrs["depthwise"]).astype(np.int64) + bias.astype(np.int64)
    assert acc.min() >= -(2**31) and acc.max() < 2**31
    return reference.requantise(acc, tables[-1], attrs)


def whole_weight(attrs: Attrs, rest: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The operands with one weight in the place of its frozen and its trained channels."""
    trained = attrs["trained_channels"]
    if not trained or attrs["depthwise"]:
        return rest
    frozen, chosen, *behind = rest
    whole = np.empty((*frozen.shape[:3], frozen.shape[3] + len(trained)), frozen.dtype)
    whole[..., sorted(set(range(whole.shape[3])) - set(trained))], whole[..., trained] = frozen, chosen
    return whole, *behind


def qconv2d(attrs: Attrs, *operands: np.ndarray) -> list[np.ndarray]:
    return reference.clamped(values(attrs, *operands), attrs)


def by_torch(attrs: Attrs, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    w, (b, *tables) = torch_parts.whole_weight(attrs, rest)
    acc = torch_parts.conv(attrs, x - attrs["in_zero"], w, b)
    if attrs["rounding"] == "even":
        v = torch_parts.rounded(acc * tables[0][None, :, None, None])
    else:
        multiplier, shift = tables[-1].numpy()
        exact = np.ldexp(multiplier / 2**31, shift.astype(int))[None, :, None, None]
        factor = torch.tensor(exact) if len(tables) == 1 else tables[0][None, :, None, None]
        steps = torch_parts.times(torch_parts.integers(acc), exact, attrs["rounding"])
        v = torch_parts.instead(acc * factor, steps)
    return torch_parts.clamp(v + attrs["out_zero"], attrs)


# --------------------------------------------------------------------------- cases
def sized() -> Iterator[ConvCase]:
    for rows in DENSE.values():
        for i, (h, w, n_in, n_out, k, s, trained) in enumerate(rows):
            yield conv_case(i, h, w, n_in, n_out, k, s, trained=trained, clamp=CLAMPS[i % 2])


def in_blocks() -> Iterator[ConvCase]:
    """Over the whole range of int8, which has a micro-kernel of its own, and a part of it."""
    for i, (h, w, n_in, n_out, *more) in enumerate(BLOCKS):
        kernel = next((m for m in more if isinstance(m, int)), 1)
        trained = next((m for m in more if isinstance(m, tuple)), ())
        for clamp in CLAMPS[:2]:
            yield conv_case(70 + i, h, w, n_in, n_out, kernel, 1, trained=trained, clamp=clamp)


def strided() -> Iterator[ConvCase]:
    for i, (h, w, n_in, n_out, k, trained) in enumerate(STRIDED):
        for clamp in CLAMPS[:2]:
            yield conv_case(100 + i, h, w, n_in, n_out, k, 2, trained=trained, clamp=clamp)


def at_their_ends() -> Iterator[ConvCase]:
    """Every product as large as can be, over blocks of pixels and one left over: a lane that wraps shows."""
    trained = tuple(range(1, 12, 2))
    for i, (n, k) in enumerate([(40, 1), (5, 3)]):
        for split, clamp, r in [(0, WHOLE, "even"), (1, PART, "even"), (0, WHOLE, "upward")]:
            for value in (127, -128):
                case = conv_case(i, 3, 9, n, 8, k, trained=trained[: n // 2] * split, clamp=clamp, rounding=r)
                yield case.at_its_ends(value)


def by_integers() -> Iterator[ConvCase]:
    """Both integer roundings; of scales and of far smaller and larger ones."""
    rows = [(5, 7, 3, 8, 3, False), (4, 4, 16, 5, 1, False), (6, 5, 4, 4, 5, True)]
    for rounding in INTEGER:
        for i, (h, w, n_in, n_out, k, d) in enumerate(rows):
            case = conv_case(80 + i, h, w, n_in, n_out, k, depthwise=d, rounding=rounding, clamp=CLAMPS[i % 2])
            yield case
            yield replace(case, scale=case.scale * np.float32([1, 1e-3, 40])[i])
    for i, rounding in enumerate(INTEGER):
        for clamp in (WHOLE, PART):
            yield conv_case(90 + i, 2, 5, 10, 9, 3, 1 + i, rounding=rounding, clamp=clamp)
        for is_depthwise in (False, True):
            yield steep(rounding, is_depthwise)


def steep(rounding: str, is_depthwise: bool) -> ConvCase:
    """Small sums and factors about one, which shift a product to the left, too."""
    case = conv_case(110, 4, 5, 8, 6, 1 + 2 * is_depthwise, depthwise=is_depthwise, rounding=rounding)
    factors = np.random.default_rng(0).uniform(0.2, 4, len(case.scale)).astype(np.float32)
    attrs = {**case.attrs, "in_zero": 1}
    return replace(case, x=case.x // 30, weight=case.weight // 50, bias=case.bias // 4096, scale=factors, attrs=attrs)


def wide_pairs() -> list[tuple[Case, list[np.ndarray]]]:
    """Convolutions whose constant weights may lie as pairs, and their operands with weights laid out so."""
    strides = [conv_case(103, *size[:5], 2) for size in STRIDED[:2]]
    cases = [case for case in (*in_blocks(), *strides, *at_their_ends()) if not case.attrs["depthwise"]]
    fitting = [case for case in cases if product_ops.can_be_wide(case.shapes, case.attrs)]
    return [(forward(case), [case.x, product_ops.wide(case.weight), *case.arguments[2:]]) for case in fitting]


def near(seed: int, is_depthwise: bool) -> ConvCase:
    """Any small convolution."""
    rng = np.random.default_rng(seed)
    kernel, stride = (
        tuple(map(int, rng.choice(numbers, 2))) if rng.random() < 0.5 else int(rng.choice(numbers))
        for numbers in ([1, 3, 5, 7], [1, 1, 2, 3])
    )
    height, width = map(int, rng.integers(1, 10, 2))
    inputs, outputs = map(int, rng.integers(1, 14, 2))
    trained = () if is_depthwise or inputs < 2 or rng.random() < 0.5 else (int(rng.integers(inputs)),)
    return conv_case(seed, height, width, inputs, outputs, kernel, stride, is_depthwise, trained)


def over_rings() -> list[ConvCase]:
    return [
        conv_case(120 + i, 9, 8, 8, 8, k, s, is_depthwise, trained, clamp=(WHOLE, PART)[i % 2])
        for i, (k, s, is_depthwise, trained) in enumerate(RINGS)
    ]


CASES = [forward(c) for c in (*sized(), *in_blocks(), *strided(), *at_their_ends(), *by_integers(), *OBLONG)]
ROWS = [
    *(conv_case(k, 12, 6, 8, 8, k, s, d) for k, s, d in [(1, 1, False), (3, 2, False), (3, 1, True), (7, 2, True)]),
    *(conv_case(5, 7, 6, 4, 5, 3, 2, depthwise=d, trained=() if d else (1,)) for d in (False, True)),
    *depthwise.rows(),
]
DEVICE_ROWS = [forward(case) for case in over_rings()]

RECORDS = [
    OpCases(
        "qconv2d",
        qconv2d,
        [*CASES, *map(forward, depthwise.cases())],
        by_torch,
        torch_error=1.0,
        near=[forward(near(seed, d)) for d in (False, True) for seed in range(12)],
        rows=[*map(forward, ROWS), *DEVICE_ROWS],
        device=[*CASES, *map(forward, depthwise.on_device())],
        device_rows=DEVICE_ROWS,
        network=networks.quantised_conv,
    )
]
