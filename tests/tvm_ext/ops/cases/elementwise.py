"""Sums, requantisation and the float clamp: ops that take element by element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from tests.tvm_ext.support import networks, reference, torch_parts
from tests.tvm_ext.support.draws import adjoint, int8, normal, numbers, size
from tests.tvm_ext.support.op_cases import Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs

ADD = {"a_scale": 0.031, "a_zero": -7, "b_scale": 0.017, "b_zero": 100, "out_scale": 0.023, "out_zero": 11,
       "layer": "add", "rounding": "even"}  # fmt: skip
CLAMPS = [(-128, 127), (-20, 35), (4, 5)]
ROUNDINGS = ("even", "tflite", "upward")
EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 8, 8, 4)
PAIRS = [v.reshape(1, 256, 256, 1).astype(np.int8) for v in np.mgrid[-128:128, -128:128]]  # every pair of values
SCALES = [(0.1, 0.1, -7, 5), (0.1, 0.037, 3, -20), (0.02, 0.5, -128, -128), (1.0, 0.5, 0, 0), (0.3, 0.6, 127, 1)]
SHAPES = [(1, 4, 5, 3), (1, 3, 4, 8), (1, 5, 1, 1)]
NEAR = [*SHAPES, (1, 1, 1, 1), (1, 1, 1, 7), (1, 9, 2, 13), (1, 2, 7, 6), (1, 6, 9, 1)]
BOUNDS = [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (-math.inf, 0.1), (-math.inf, math.inf)]


def alone(shape: tuple[int, ...]) -> tuple[int, int]:
    """The slack of a tensor of one element: no distance is wrong."""
    return (int(np.prod(shape) == 1),) * 2


# --------------------------------------------------------------------------- sums
def qadd(attrs: Attrs, a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    return reference.clamped(reference.add_values(a, b, attrs), attrs)


def qadd_by_torch(attrs: Attrs, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b, out = a - attrs["a_zero"], b - attrs["b_zero"], attrs["out_scale"]
    scales, rounding = (attrs["a_scale"], attrs["b_scale"]), attrs["rounding"]
    real = (a * scales[0] + b * scales[1]) / out
    if rounding == "even":
        return torch_parts.clamp(torch_parts.rounded(real) + attrs["out_zero"], attrs)
    parts = [torch_parts.integers(a), torch_parts.integers(b)]
    if rounding == "upward":
        exact = sum(
            torch_parts.times(q, s / out, rounding) if s != out else q for q, s in zip(parts, scales, strict=True)
        )
    else:
        common = 2 * max(scales)
        lifted = sum(torch_parts.times(q << 20, s / common, rounding) for q, s in zip(parts, scales, strict=True))
        exact = torch_parts.times(lifted, common / (out * 2**20), rounding)
    return torch_parts.clamp(torch_parts.instead(real, exact) + attrs["out_zero"], attrs)


def of_pairs(title: str, **more: object) -> Case:
    return Case(f"every pair {title}", {**ADD, "lo": -128, "hi": 127, **more}, lambda _: list(PAIRS))


def two(shape: tuple[int, ...], seed: int, **more: object) -> Case:
    """Two random images."""
    attrs: Attrs = {**ADD, "lo": -128, "hi": 127, **more}
    title = f"{size(shape)} in {attrs['lo']}..{attrs['hi']} {attrs['rounding']}"
    return Case(title, attrs, lambda s: [int8(2 * (seed + s) + i, shape) for i in range(2)], slack=alone(shape))


def sums() -> Iterator[Case]:
    """Halves, results far outside; rows that fill no vector and no byte of the mask."""
    for rounding in ROUNDINGS:
        yield of_pairs(rounding, rounding=rounding)
    yield of_pairs("of halves", a_scale=0.5, b_scale=0.25, out_scale=1.0, lo=-20, hi=35)
    yield of_pairs("far outside", a_scale=3e5, b_scale=2e30, out_scale=1e-6)
    for shape in ((1, 3, 5, 3), (1, 2, 4, 8), (1, 1, 1, 1), (1, 4, 7, 5)):
        for rounding in ROUNDINGS:
            yield two(shape, 5, rounding=rounding, lo=-20)


def clamped_sums() -> Iterator[Case]:
    for lo, hi in CLAMPS:
        for shape in ((1, 4, 5, 3), (1, 32, 16, 8)):
            yield two(shape, lo & 255, lo=lo, hi=hi)


SUMS = list(sums())
SUMS_IN_ROWS = [two((1, 5, 7, 5), 0, lo=-20), two((1, 5, 3, 3), 1, lo=-20, hi=30)]


def floats(count: int, shape: tuple[int, ...]) -> Case:
    """So many images or adjoints."""
    return Case(size(shape), {}, lambda s: [adjoint(1 + count * s + i, shape) for i in range(count)],
                slack=alone(shape))  # fmt: skip


# --------------------------------------------------------------------------- requantisation
def quantisation(case: tuple, **more: object) -> Attrs:
    names = ("in_scale", "out_scale", "in_zero", "out_zero")
    return {**dict(zip(names, case, strict=True)), "layer": "q", "rounding": "even", "lo": -128, "hi": 127, **more}


def requantise(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    v = x.astype(np.int64)
    if (attrs["in_scale"], attrs["in_zero"]) != (attrs["out_scale"], attrs["out_zero"]):
        ratio = attrs["in_scale"] / attrs["out_scale"]
        v = reference.scaled(v - attrs["in_zero"], ratio, attrs["rounding"]) + attrs["out_zero"]
    return reference.clamped(v, attrs)


def requantise_by_torch(attrs: Attrs, x: torch.Tensor) -> torch.Tensor:
    real = (x - attrs["in_zero"]) * attrs["in_scale"] / attrs["out_scale"]
    return torch_parts.clamp(torch_parts.rounded(real) + attrs["out_zero"], attrs)


def of_every_value() -> Iterator[Case]:
    for scales in [*SCALES, (0.1, 0.1, 4, 4)]:
        for lo, hi in CLAMPS[:2]:
            for rounding in ROUNDINGS:
                attrs = quantisation(scales, rounding=rounding, lo=lo, hi=hi)
                yield Case(f"{scales} in {lo}..{hi} {rounding}", attrs, lambda _: [EVERY])


def int8_image(attrs: Attrs, shape: tuple[int, ...]) -> Case:
    return Case(size(shape), attrs, lambda seed: [int8(seed, shape)], slack=alone(shape))


NARROW = quantisation(SCALES[1], lo=-100, hi=90)


# --------------------------------------------------------------------------- float clamp
def fclip(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    lo, hi = attrs["lo"], attrs["hi"]
    return [np.clip(x, np.float32(lo), np.float32(hi)), reference.pack_mask((x > lo) & (x < hi))]


def clip(shape: tuple[int, ...], lo: float, hi: float) -> Case:
    """Of values that lie on the bounds, too, and of both zeros."""
    attrs: Attrs = {"lo": float(np.float32(lo)), "hi": float(np.float32(hi))}

    def draw(seed: int) -> list[np.ndarray]:
        x = np.float32(3) * normal(1 + seed, shape)
        some = min(5, x.size)
        x.reshape(-1)[:some] = [v if math.isfinite(v) else 0 for v in (lo, hi, -0.0, lo, hi)][:some]
        return [x]

    return Case(f"{size(shape)} in {lo}..{hi}", attrs, draw, slack=alone(shape))


def images(shape: tuple[int, ...], attrs: Attrs) -> Case:
    return Case(size(shape), attrs, lambda seed: [numbers("float32", seed, shape)], slack=alone(shape))


UNIT = {"lo": -0.5, "hi": 2.0}
RECORDS = [
    OpCases(
        "qadd",
        qadd,
        [*SUMS, *clamped_sums()],
        qadd_by_torch,
        torch_error=1.0,
        near=[two(shape, 7, lo=-20, hi=30) for shape in NEAR],
        rows=SUMS_IN_ROWS,
        device=SUMS,
        network=networks.quantised_sum,
    ),
    OpCases(
        "requantise",
        requantise,
        list(of_every_value()),
        requantise_by_torch,
        torch_error=1.0,
        near=[int8_image(NARROW, shape) for shape in NEAR],
        rows=[int8_image(NARROW, shape) for shape in SHAPES],
        network=networks.requantised,
    ),
    OpCases(
        "fclip",
        fclip,
        [clip(shape, *bounds) for bounds in BOUNDS for shape in SHAPES],
        lambda attrs, x: torch_parts.strict_clamp(x, attrs),
        near=[images(shape, UNIT) for shape in NEAR],
        rows=[images(shape, UNIT) for shape in SHAPES],
        network=networks.clipped,
    ),
    OpCases(
        "fadd",
        lambda _, a, b: [a + b],
        [floats(2, (1, 4, 3, 5))],
        lambda _, a, b: a + b,
        torch_error=2.0**-23,
        near=list(map(partial(floats, 2), NEAR)),
        rows=list(map(partial(floats, 2), SHAPES)),
        network=networks.float_sum,
    ),
    OpCases(
        "relax.add",
        lambda _, a, b: [a + b],
        [floats(2, (1, 3, 7, 5))],
        lambda _, a, b: a + b,
        torch_error=2.0**-23,
        near=list(map(partial(floats, 2), NEAR)),
    ),
]
