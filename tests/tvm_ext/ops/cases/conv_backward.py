"""Gradients of the convolutions, quantised and float: with respect to input, weight and bias."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from tests.tvm_ext.ops.cases import conv, float_conv
from tests.tvm_ext.ops.cases.depthwise import DEPTHWISE
from tests.tvm_ext.support import reference, torch_parts
from tests.tvm_ext.support.conv_case import ConvCase, conv_case, floating, input_grad, weight_grad
from tests.tvm_ext.support.draws import adjoint, counts, extents, int8, numbers, size
from tests.tvm_ext.support.op_cases import FILTERS, IMAGE, Case, Expected, OpCases, Within
from tests.tvm_ext.support.product_ops import Attrs


# --------------------------------------------------------------------------- references
def conv2d_input_grad(attrs: Attrs, g: np.ndarray, *weights: np.ndarray) -> list[Expected]:
    """Every output position scatters its window."""
    (w,) = conv.whole_weight(attrs, weights)

    def sums(of: np.ufunc | type) -> np.ndarray:
        formula = "hwc,ckl->hwklc" if attrs["depthwise"] else "hwo,oklc->hwklc"
        patches = np.einsum(formula, of(g[0]).astype(np.float64), of(w.astype(np.float64)))
        return reference.scattered(patches, attrs["shape"], attrs)

    return [Within(sums(np.asarray), lambda: reference.sum_error(sums(np.abs), w.size))]


def conv2d_weight_grad(attrs: Attrs, x: np.ndarray, g: np.ndarray) -> list[Expected]:
    """Of x less its zero point; of the trained channels of a depthwise layer alone."""
    of_g = g[0][..., attrs["trained_channels"] or slice(None)] if attrs["depthwise"] else g[0]

    def sums(of: np.ufunc | type) -> np.ndarray:
        cut = reference.windows(of(x.astype(np.float64) - attrs["in_zero"]), attrs)
        formula = "hwckl,hwc->ckl" if attrs["depthwise"] else "hwckl,hwo->oklc"
        return np.einsum(formula, cut, of(of_g.astype(np.float64)))

    terms = g.shape[1] * g.shape[2]
    return [Within(sums(np.asarray), lambda: reference.sum_error(sums(np.abs), terms))]


def conv2d_bias_grad(_: Attrs, g: np.ndarray) -> list[Expected]:
    wide = g.astype(np.float64)
    error = reference.sum_error(np.abs(wide).sum((0, 1, 2)), g.shape[1] * g.shape[2])
    return [Within(wide.sum((0, 1, 2)), error)]


def take_channels(attrs: Attrs, x: np.ndarray) -> list[Expected]:
    return [x[..., attrs["channels"]]]


def input_grad_by_torch(attrs: Attrs, g: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    w, _ = torch_parts.whole_weight(attrs, weights)
    _, height, width, channels = attrs["shape"]
    x, bias = torch.zeros(1, channels, height, width, dtype=torch.float64), torch.zeros(len(w), dtype=torch.float64)
    return torch_parts.backward(lambda x: torch_parts.conv(attrs, x, w, bias), x, g)


def weight_grad_by_torch(attrs: Attrs, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    if attrs["depthwise"] and attrs["trained_channels"]:
        g = g[:, attrs["trained_channels"]]
    w = torch_parts.to_torch(np.zeros(attrs["shape"]))
    bias = torch.zeros(len(w), dtype=torch.float64)
    return torch_parts.backward(lambda w: torch_parts.conv(attrs, x - attrs["in_zero"], w, bias), w, g)


# --------------------------------------------------------------------------- cases
def quantised() -> Iterator[ConvCase]:
    yield from conv.OBLONG
    for k, rows in conv.DENSE.items():
        for i, (h, w, n_in, n_out, k, s, trained) in enumerate(rows):
            yield conv_case(40 + i, h, w, n_in, n_out, k, s, trained=trained)
    for k, rows in DEPTHWISE.items():
        for i, (h, w, c, s) in enumerate(rows):
            yield conv_case(40 + i, h, w, c, c, k, s, depthwise=True, trained=sorted({0, c - 1})[: i % 3])


GROUPS = conv_case(50, 5, 6, 16, 16, 3, depthwise=True)  # groups of 8 channels, all of which train
ALL = [*quantised(), GROUPS, *float_conv.ALL, floating(GROUPS)]


def near_input_grad(seed: int) -> Case:
    """Pointwise; integer weights, and float ones in which channels were split."""
    rng = np.random.default_rng(seed)
    height, width = map(int, rng.integers(1, 10, 2))
    inputs, outputs = map(int, rng.integers(1, 14, 2))
    trained = (inputs // 2,) if seed % 2 and inputs > 1 else ()
    case = conv_case(seed, height, width, inputs, outputs, 1, trained=trained)
    return input_grad(floating(case, seed=seed) if trained else case)


def input_grad_rows() -> Iterator[ConvCase]:
    """Transposed: a row of g_x takes the rows of g whose windows cover it; with a stride, some take none. At the end a
    fully connected layer behind an image: the one row of g serves every row of g_x."""
    for depthwise in (False, True):
        for k, s, height in [(3, 1, 4), (5, 2, 9), (7, 2, 8), (1, 2, 5)]:
            yield conv_case(k, height, height, 8, 8, k, s, depthwise)
    yield conv_case(1, 6, 4, 8, 8, 1)
    for trained in ((), (1, 4)):
        yield conv_case(0, 5, 4, 8, 10, (5, 4), padding=(0, 0, 0, 0), trained=trained)


def weight_grad_rows() -> list[Case]:
    kinds = [(8, 8, False), (8, 8, True), (5, 6, False)]
    return [weight_grad(conv_case(2, 6, 4, n_in, n_out, 3, depthwise=d)) for n_in, n_out, d in kinds]


# --------------------------------------------------------------------------- blocks of channels
def blocked(seed: int, kind: str) -> Iterator[ConvCase]:
    """Four convolutions of a kind, whose channels come in blocks of different sizes."""
    rng = np.random.default_rng(seed)
    height, width = extents(rng)
    n_in, n_out = counts(rng), counts(rng)
    sizes, strides = rng.permutation([3, 5, 7, rng.choice([3, 5, 7])]), rng.permutation([1, 1, 2, 2])
    for i in range(4):
        a, b, size, stride = n_in[i], n_out[i - seed % 4], int(sizes[i]), int(strides[i])
        if kind == "pointwise":
            yield conv_case(seed, height, width, a, b, 1)
        elif kind == "split":
            a = max(2, a)
            trained = np.sort(rng.choice(a, rng.integers(1, a), replace=False)).tolist()
            yield conv_case(seed, height, width, a, b, 1, trained=trained)
        elif kind == "dense":
            yield conv_case(seed, height, width, int(rng.integers(1, 14)), b, 3, stride)
        else:
            yield conv_case(seed, height, width, a, a, size, stride, depthwise=True)


def blocked_floats(kind: str) -> Iterator[ConvCase]:
    trained = (1, 3) if kind == "split" else ()
    for turn in range(3):
        for n_in, n_out in [(16, 8), (12, 24), (6, 20)]:
            k = 1 if kind in ("pointwise", "split") else 3
            yield floating(conv_case(turn, 5, 4, n_in, n_out, k, 1, kind == "depthwise", trained), seed=turn)


def input_grad_blocks() -> list[Case]:
    kinds = ("pointwise", "split", "depthwise")
    quantised = [case for kind in kinds for seed in range(3) for case in blocked(seed, kind)]
    return [input_grad(case, i) for i, case in enumerate([*quantised, *(c for k in kinds for c in blocked_floats(k))])]


def weight_grad_blocks() -> list[Case]:
    kinds = ("pointwise", "dense", "depthwise")
    quantised = [case for kind in kinds for seed in range(2) for case in blocked(seed, kind)]
    floats = [case for kind in ("dense", "depthwise") for case in blocked_floats(kind)]
    return [weight_grad(case, i) for i, case in enumerate([*quantised, *floats])]


def bias_grad(shape: tuple[int, ...]) -> Case:
    return Case(size(shape), {}, lambda seed: [adjoint(seed, shape)], axes={0: IMAGE}, out_axis=FILTERS)


def bias_grad_blocks() -> Iterator[Case]:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        height, width = extents(rng)
        yield from (bias_grad((1, height, width, n)) for n in counts(rng))


# --------------------------------------------------------------------------- channels that are kept
def taken(shape: tuple[int, ...], channels: list[int], dtype: str = "int8") -> Case:
    title = f"{dtype} {size(shape)} at {','.join(map(str, channels))}"
    return Case(title, {"channels": channels, "dtype": dtype}, lambda seed: [numbers(dtype, seed, shape)])


def near_taken(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    height, width, n = int(rng.integers(1, 10)), int(rng.integers(1, 10)), int(rng.integers(1, 14))
    channels = rng.permutation(13)[:n].tolist()
    case = taken((1, height, width, 13), sorted(channels) if seed % 2 else channels, "int8" if seed % 2 else "float32")
    return Case(case.title, case.attrs, lambda s: [int8(s, (1, height, width, 13)).astype(case.attrs["dtype"])])


TAKEN = [[0, 4, 10], [7], [9, 2, 5], list(range(11))]  # also in an order that does not ascend
RECORDS = [
    OpCases(
        "conv2d_input_grad",
        conv2d_input_grad,
        [input_grad(case, i) for i, case in enumerate(ALL)],
        input_grad_by_torch,
        near=list(map(near_input_grad, range(12))),
        rows=[input_grad(case) for case in input_grad_rows()],
        blocks=input_grad_blocks(),
    ),
    OpCases(
        "conv2d_weight_grad",
        conv2d_weight_grad,
        [weight_grad(case, i) for i, case in enumerate(ALL)],
        weight_grad_by_torch,
        rows=weight_grad_rows(),
        blocks=weight_grad_blocks(),
    ),
    OpCases(
        "conv2d_bias_grad",
        conv2d_bias_grad,
        list(map(bias_grad, [(1, 7, 5, 9), (1, 1, 1, 4), (1, 16, 16, 3)])),
        lambda _, g: g.sum((0, 2, 3)),
        rows=[bias_grad((1, 6, 4, 8))],
        blocks=list(bias_grad_blocks()),
    ),
    OpCases(
        "take_channels",
        take_channels,
        [*(taken((1, 5, 3, 11), c) for c in TAKEN), taken((1, 5, 3, 11), [9, 2, 5], "float32")],
        lambda attrs, x: x[:, attrs["channels"]],
        near=list(map(near_taken, range(12))),
    ),
]
