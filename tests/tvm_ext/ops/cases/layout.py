"""Ops that move values: channels joined and taken apart, borders added and taken off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tests.tvm_ext.support import networks, torch_parts
from tests.tvm_ext.support.draws import normal, numbers, size
from tests.tvm_ext.support.op_cases import Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs


def joined(height: int, width: int, counts: Sequence[int], dtype: str) -> Case:
    shapes = [(1, height, width, n) for n in counts]
    title = f"{dtype} {height}x{width}x{'+'.join(map(str, counts))}"
    return Case(
        title,
        {"dtype": dtype},
        lambda seed: [numbers(dtype, seed + 100 * i, s) for i, s in enumerate(shapes)],
        slack=(int(height * width * sum(counts) == 1),) * 2,
    )


def bordered(shape: tuple[int, ...], padding: list[int], dtype: str, value: float) -> Case:
    attrs = {"padding": padding, "value": value, "dtype": dtype}
    single = int(np.prod(shape) == 1 and not any(padding))
    title = f"{dtype} {size(shape)} p{''.join(map(str, padding))} of {value}"
    return Case(title, attrs, lambda seed: [numbers(dtype, seed, shape)], slack=(single, single))


def some_channels(shape: tuple[int, ...], begin: int, n: int) -> Case:
    attrs = {"shape": [*shape[:3], n], "begin": begin}
    single = int(np.prod(shape[:3]) * n == 1)
    return Case(f"{n} of {size(shape)} from {begin}", attrs, lambda seed: [normal(seed, shape)], slack=(single, single))


def without_borders(shape: tuple[int, ...], padding: list[int]) -> Case:
    """shape: of what is left."""
    top, left, bottom, right = padding
    whole = (1, shape[1] + top + bottom, shape[2] + left + right, shape[3])
    attrs, single = {"shape": list(shape), "padding": padding}, int(np.prod(shape) == 1)
    title = f"{size(shape)} p{''.join(map(str, padding))}"
    return Case(title, attrs, lambda seed: [normal(seed, whole)], slack=(single, single))


# --------------------------------------------------------------------------- references
def pad(attrs: Attrs, x: np.ndarray) -> list[np.ndarray]:
    top, left, bottom, right = attrs["padding"]
    return [np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)),
                   constant_values=x.dtype.type(attrs["value"]))]  # fmt: skip


def slice_channels(attrs: Attrs, g: np.ndarray) -> list[np.ndarray]:
    return [g[..., attrs["begin"] : attrs["begin"] + attrs["shape"][3]]]


def crop(attrs: Attrs, g: np.ndarray) -> list[np.ndarray]:
    (top, left, _, _), (_, height, width, _) = attrs["padding"], attrs["shape"]
    return [g[:, top : top + height, left : left + width]]


def crop_by_torch(attrs: Attrs, g: torch.Tensor) -> torch.Tensor:
    (top, left, _, _), (_, height, width, _) = attrs["padding"], attrs["shape"]
    return g[:, :, top : top + height, left : left + width]


# --------------------------------------------------------------------------- any small call
def _drawn(make: Callable[[np.random.Generator, int, int], Case]) -> list[Case]:
    cases = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        cases.append(make(rng, *map(int, rng.integers(1, 7, 2))))
    return cases


def _dtype(rng: np.random.Generator) -> str:
    return str(rng.choice(["int8", "float32"]))


def _counts(rng: np.random.Generator) -> list[int]:
    return rng.integers(1, 10, rng.integers(1, 5)).tolist()


def _near_concat(rng: np.random.Generator, height: int, width: int) -> Case:
    return joined(height, width, _counts(rng), _dtype(rng))


def _near_pad(rng: np.random.Generator, height: int, width: int) -> Case:
    return bordered((1, height, width, int(rng.integers(1, 7))), rng.integers(0, 4, 4).tolist(), _dtype(rng), 3.0)


def _near_crop(rng: np.random.Generator, height: int, width: int) -> Case:
    return without_borders((1, height, width, int(rng.integers(1, 7))), rng.integers(0, 4, 4).tolist())


def _near_slice(rng: np.random.Generator, height: int, width: int) -> Case:
    counts = _counts(rng)
    which = int(rng.integers(len(counts)))
    return some_channels((1, height, width, sum(counts)), sum(counts[:which]), counts[which])


CONCAT = [joined(3, 4, [2, 5, 1], "int8"), joined(2, 3, [4, 4], "float32"), joined(1, 1, [6, 10, 3, 2], "int8"),
          joined(4, 2, [3], "int8")]  # fmt: skip
PAD = [
    bordered((1, 4, 5, 3), [1, 2, 3, 0], "int8", -128.0),
    bordered((1, 3, 2, 4), [0, 0, 2, 0], "int8", 7.0),
    bordered((1, 3, 2, 4), [0, 0, 0, 1], "float32", 0.1),
    bordered((1, 2, 3, 1), [2, 0, 0, 0], "float32", 0.0),
]
SLICES = [some_channels((1, 3, 4, 7), 2, 4), some_channels((1, 2, 3, 5), 0, 1), some_channels((1, 5, 1, 4), 3, 1)]
CROPS = [without_borders((1, 4, 5, 3), [1, 2, 3, 0]), without_borders((1, 3, 2, 2), [0, 0, 2, 1]),
         without_borders((1, 2, 4, 1), [2, 1, 0, 1])]  # fmt: skip

RECORDS = [
    OpCases(
        "concat",
        lambda _, *xs: [np.concatenate(xs, axis=3)],
        CONCAT,
        lambda _, *xs: torch.cat(xs, 1),
        near=_drawn(_near_concat),
        rows=CONCAT,
        network=networks.joined,
    ),
    OpCases(
        "pad",
        pad,
        PAD,
        lambda attrs, x: torch_parts.padded(x, attrs, attrs["value"]),
        torch_error=2.0**-23,
        near=_drawn(_near_pad),
        rows=PAD,
        network=networks.bordered,
    ),
    OpCases(
        "slice_channels",
        slice_channels,
        SLICES,
        lambda attrs, g: g[:, attrs["begin"] : attrs["begin"] + attrs["shape"][3]],
        near=_drawn(_near_slice),
        rows=SLICES,
    ),
    OpCases("crop", crop, CROPS, crop_by_torch, near=_drawn(_near_crop), rows=CROPS),
]
