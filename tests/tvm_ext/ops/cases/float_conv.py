"""The float32 convolution: any window, stride, padding and clamp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tests.tvm_ext.ops.cases import conv
from tests.tvm_ext.ops.cases.depthwise import DEPTHWISE
from tests.tvm_ext.support import networks, reference, torch_parts
from tests.tvm_ext.support.conv_case import NOWHERE, ConvCase, conv_case, floating, forward
from tests.tvm_ext.support.op_cases import Expected, OpCases, Passes, Within
from tests.tvm_ext.support.product_ops import Attrs

CLAMPS = [(0.0, math.inf), (0.0, 6.0), NOWHERE, (-math.inf, 1.5), (-0.25, 0.5)]
# a window over everything, with and without split channels; one wider than what is unrolled; much padding
MORE = [(4, 5, 6, 7, (4, 5), 1, (0, 0, 0, 0), ()), (3, 4, 5, 2, (3, 4), 1, (0, 0, 0, 0), (1, 3)),
        (5, 11, 4, 4, (3, 9), 1, (1, 4, 1, 4), ()), (3, 3, 2, 8, 2, 3, (3, 4, 2, 0), ())]  # fmt: skip


def fconv2d(attrs: Attrs, x: np.ndarray, *rest: np.ndarray) -> list[Expected]:
    """The clamp moves no two numbers farther apart, so what the sum may be off the result may be, too."""
    w, bias = conv.whole_weight(attrs, rest)

    def sums(of: np.ufunc | type) -> np.ndarray:
        cut = reference.windows(of(x).astype(np.float64), attrs)
        return reference.products(cut, of(w), attrs["depthwise"]) + of(bias).astype(np.float64)

    acc = Within(sums(np.asarray), lambda: reference.sum_error(sums(np.abs), w[0].size + 1))
    lo, hi = attrs["lo"], attrs["hi"]
    return [replace(acc, value=np.clip(acc.value, lo, hi)), Passes(acc, lo, hi)]


def by_torch(attrs: Attrs, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    w, (b,) = torch_parts.whole_weight(attrs, rest)
    return torch_parts.strict_clamp(torch_parts.conv(attrs, x, w, b), attrs)


def sized(size: int, depthwise: bool) -> list[ConvCase]:
    """size: of the square window, 0 for those that are not square."""
    if size == 0:
        cases = [case for case in conv.OBLONG if case.attrs["depthwise"] == depthwise]
        for i, (h, w, n_in, n_out, kernel, stride, padding, trained) in enumerate(MORE):
            n_out, trained = (n_in, ()) if depthwise else (n_out, trained)
            cases.append(conv_case(i, h, w, n_in, n_out, kernel, stride, depthwise, trained, padding=padding))
    elif depthwise:
        cases = [
            conv_case(i, h, w, c, c, size, s, True, (0,) * (i % 2)) for i, (h, w, c, s) in enumerate(DEPTHWISE[size])
        ]
    else:
        rows = conv.DENSE[size]
        cases = [conv_case(i, h, w, a, b, k, s, trained=t) for i, (h, w, a, b, k, s, t) in enumerate(rows)]
    return [floating(case, CLAMPS[i % len(CLAMPS)], i) for i, case in enumerate(cases, size)]


ALL = [case for size in (0, 1, 3, 5, 7) for depthwise in (False, True) if size != 1 or not depthwise
       for case in sized(size, depthwise)]  # fmt: skip


def near(seed: int, depthwise: bool) -> ConvCase:
    """Also with more padding than the window has taps: some windows then read nothing."""
    rng, case = np.random.default_rng(seed), conv.near(seed, depthwise)
    (kh, kw), (_, height, width, _) = case.attrs["kernel"], case.x.shape
    most = [kh, kw, kh, kw]
    padding = [int(rng.integers(n + 1)) for n in most]
    if height + padding[0] + padding[2] < kh or width + padding[1] + padding[3] < kw:
        padding = most
    return floating(replace(case, attrs={**case.attrs, "padding": padding}), clamp=(-1.0, 1.5))


def rows() -> Sequence[ConvCase]:
    kinds = [(1, 1, False), (3, 2, False), (3, 1, True), (5, 2, True)]
    return [floating(conv_case(k, 9, 6, 8, 8, k, s, d), (0.0, 6.0)) for k, s, d in kinds]


RECORDS = [
    OpCases(
        "fconv2d",
        fconv2d,
        [forward(case) for case in ALL],
        by_torch,
        near=[forward(near(seed, d)) for d in (False, True) for seed in range(8)],
        rows=list(map(forward, rows())),
        network=networks.float_conv,
    )
]
