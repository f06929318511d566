"""PReLU, int8 and float32, and its gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from tests.tvm_ext.ops.cases.activation import in_blocks
from tests.tvm_ext.ops.cases.elementwise import NEAR, SHAPES, alone
from tests.tvm_ext.support import networks, reference, torch_parts
from tests.tvm_ext.support.draws import adjoint, int8, normal, size
from tests.tvm_ext.support.op_cases import IMAGE, Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs

EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 8, 8, 4)
ROUNDINGS = ("even", "tflite", "upward")
# scale and zero point of x, scale of y and its zero point, scale of the slopes, lo and hi
QUANTISATIONS = [(0.1, -7, 0.1, -7, 0.01, -128, 127), (0.1, 3, 0.037, -20, 0.02, -128, 127),
                 (0.02, -128, 0.5, -128, 0.004, -128, 127), (0.3, 127, 0.6, 1, 0.01, -60, 70),
                 (0.05, 10, 0.011, -5, 0.03, -128, 127)]  # fmt: skip
SLOPES = np.array([25, -60, 0, 127, 90, 3, -128, 13], np.int8)


def slopes_of(channels: int) -> np.ndarray:
    """int8, less a zero point of 5: int16."""
    return np.resize(SLOPES, channels).astype(np.int16) - np.int16(5)


def attrs_of(quantisation: tuple, rounding: str) -> Attrs:
    (x_scale, x_zero, y_scale, y_zero, slope_scale, lo, hi) = quantisation
    positive, negative = (np.float32(s) / np.float32(y_scale) for s in (x_scale, x_scale * np.float32(slope_scale)))
    return {"in_zero": x_zero, "out_zero": y_zero, "lo": lo, "hi": hi, "rounding": rounding, "layer": "op",
            "positive": float(positive), "negative": float(negative), "can_clamp": True}  # fmt: skip


def operand(attrs: Attrs, channels: int) -> np.ndarray:
    """What the kernel reads of each channel."""
    slopes, factor = slopes_of(channels), np.float64(attrs["negative"])
    if attrs["rounding"] == "even":
        return (slopes * factor).astype(np.float32)
    if attrs["rounding"] == "tflite":
        return slopes
    pairs = [fixed_point(abs(float(s)) * factor) for s in slopes]
    return np.array(
        [(int(np.sign(s)) * m, shift) for s, (m, shift) in zip(slopes, pairs, strict=True)], np.int32
    ).T.copy()


def fixed_point(real: float) -> tuple[int, int]:
    fraction, shift = np.frexp(real)
    return int(np.floor(fraction * 2**31 + 0.5)), int(shift)


# --------------------------------------------------------------------------- int8
def qprelu(attrs: Attrs, x: np.ndarray, *tables: np.ndarray) -> list[np.ndarray]:
    """tables: the scale of each channel, then (integer rounding) what its integers are; the last counts."""
    step, rounding, of = x.astype(np.int64) - attrs["in_zero"], attrs["rounding"], tables[-1]
    above = reference.scaled(step, attrs["positive"], rounding)
    if rounding == "even":
        below = np.rint(step.astype(np.float32) * of).astype(np.int64)
    elif rounding == "tflite":
        below = reference.scaled(step * of.astype(np.int64), attrs["negative"], rounding)
    else:
        exact = np.ldexp(np.abs(of[0].astype(np.float64)) / 2**31, of[1])
        below = torch_parts.times(step * np.sign(of[0]), exact, rounding)
    return reference.clamped(np.where(step > 0, above, below) + attrs["out_zero"], attrs)


def in_torch(attrs: Attrs, x: torch.Tensor, scale: torch.Tensor, integers: torch.Tensor | None = None) -> torch.Tensor:
    """With the gradient of real numbers; integers alone, where a kernel has no scale."""
    step, rounding = x - attrs["in_zero"], attrs["rounding"]
    if integers is None and rounding != "even":
        integers = scale
        exact = integers * attrs["negative"] if rounding == "tflite" else torch.ldexp(integers[0] / 2**31, integers[1])
        scale = exact
    steps = step * torch.where(step > 0, attrs["positive"], scale[None, :, None, None])
    if rounding == "even":
        return torch_parts.clamp(torch_parts.rounded(steps) + attrs["out_zero"], attrs)
    nhwc = torch_parts.integers(x).transpose(0, 2, 3, 1)
    of = integers.numpy().astype(np.int64)
    v = np.where(nhwc > attrs["in_zero"], *both(attrs, nhwc - attrs["in_zero"], of)).transpose(0, 3, 1, 2)
    return torch_parts.clamp(torch_parts.instead(steps, v) + attrs["out_zero"], attrs)


def both(attrs: Attrs, step: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rounding = attrs["rounding"]
    above = torch_parts.times(step, attrs["positive"], rounding)
    if rounding == "tflite":
        return above, torch_parts.times(step * of, attrs["negative"], rounding)
    return above, torch_parts.times(step * np.sign(of[0]), np.ldexp(np.abs(of[0]) / 2**31, of[1]), rounding)


def of_every_value() -> Iterator[Case]:
    for quantisation in QUANTISATIONS:
        for rounding in ROUNDINGS:
            attrs = attrs_of(quantisation, rounding)
            values = [EVERY, operand(attrs, 4)]
            yield Case(f"{quantisation} {rounding}", attrs, lambda _, values=values: values)


def image(shape: tuple[int, ...], rounding: str = "even") -> Case:
    attrs = attrs_of(QUANTISATIONS[1], rounding)
    return Case(f"{size(shape)} {rounding}", attrs, lambda s: [int8(s, shape), operand(attrs, shape[3])],
                slack=alone(shape))  # fmt: skip


def quantised(b: NetworkBuilder, x: Value) -> Value:
    """One that cannot clamp, one that can, and one of TFLite's."""
    own, slopes = x.steps, np.array([-0.5309, -0.0703, 0.3667, 0.9101], np.float32)
    x = b.prelu("same", x, slopes[2:3], own)
    x = b.prelu("op", networks.conv(b, "between", x, 4), slopes, Quantisation(0.02, 5), lo=-100)
    steps = Quantisation(0.01, -3)
    return b.prelu("tflite", networks.conv(b, "more", x, 4), SLOPES[:4], Quantisation(0.03, 1), steps, "tflite")


# --------------------------------------------------------------------------- float32
def fprelu(_: Attrs, x: np.ndarray, slopes: np.ndarray) -> list[np.ndarray]:
    return [np.where(x > 0, x, x * slopes)]


def reals(shape: tuple[int, ...], seed: int = 0) -> Case:
    return Case(size(shape), {}, lambda s: [normal(seed + s, shape), normal(9, shape[3:])], slack=alone(shape))


def prelu_grad(attrs: Attrs, g: np.ndarray, x: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    return [g * np.where(x > attrs["in_zero"], np.float32(attrs["positive"]), scale)]


def sloped(shape: tuple[int, ...], dtype: str = "int8") -> Case:
    is_float = dtype == "float32"
    attrs: Attrs = {"in_zero": 0 if is_float else 7, "positive": 1.0 if is_float else 0.7, "dtype": dtype}

    def draw(seed: int) -> list[np.ndarray]:
        x = normal(seed, shape) if is_float else int8(seed, shape)
        return [adjoint(seed, shape), x, np.float32(2) + normal(seed, shape[3:])]

    return Case(f"{size(shape)} {dtype}", attrs, draw, slack=alone(shape), axes={0: IMAGE})


def gradient_in_torch(attrs: Attrs, g: torch.Tensor, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return g * torch.where(x > attrs["in_zero"], np.float32(attrs["positive"]).item(), scale[None, :, None, None])


RECORDS = [
    OpCases(
        "qprelu",
        qprelu,
        [*of_every_value(), *map(image, SHAPES)],
        in_torch,
        torch_error=1.0,
        near=list(map(image, NEAR)),
        rows=[image(shape, rounding) for shape in SHAPES for rounding in ROUNDINGS],
        device=list(of_every_value()),
        network=lambda: networks.around(quantised, True),
    ),
    OpCases(
        "fprelu",
        fprelu,
        list(map(reals, SHAPES)),
        lambda _, x, slopes: torch.nn.functional.prelu(x, slopes),
        torch_error=2.0**-23,
        near=list(map(reals, NEAR)),
        rows=list(map(reals, SHAPES)),
        network=lambda: networks.around(lambda b, x: b.prelu("op", x, normal(1, (4,))), False),
    ),
    OpCases(
        "prelu_grad",
        prelu_grad,
        [sloped(shape, dtype) for shape in SHAPES for dtype in ("int8", "float32")],
        gradient_in_torch,
        torch_error=2.0**-23,
        near=list(map(sloped, NEAR)),
        rows=list(map(sloped, SHAPES)),
        blocks=[sloped(shape, dtype) for shape in in_blocks() for dtype in ("int8", "float32")],
    ),
]
