"""int8 tables of activation functions, and their slopes, in the arithmetic of whoever quantised the network.

A table holds the output of each of the 256 inputs, in their order: table[q + 128]. "real" dequantises, computes in
float64 and rounds halves to even (onnxruntime and PyTorch's QDQ do so in float32). "tflite" holds the integers that
LiteRT's reference kernels give, bit for bit (kernels/activations.cc and kernels/internal/reference of TFLite)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.fixed_point import multiplier
from mcutrain.tvm_ext.ops.activation import FUNCTIONS, Float64, tabulate

Rounding = Literal["real", "tflite"]
Steps = tuple[float, int]  # scale and zero point: real = (q - zero) * scale
Table = tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

LARGEST_RATIO = 1 << 16  # of two scales; the products of int8 numbers stay inside int32
STEEPEST = 1e30  # slope of a table; gradients that pass several of them stay numbers of float32
INPUTS = np.arange(-128, 128, dtype=np.int64)
ONE_OVER_SQRT2, SQRT_2_OVER_PI = np.float32(math.sqrt(0.5)), np.float32(math.sqrt(2 / math.pi))


def table(function: str, x: Steps, out: Steps, rounding: Rounding = "real", **parameters: float) -> Table:
    """(int8 [256], float32 [256]): a function of FUNCTIONS between two quantisations, and its slope.

    The slope is the function's derivative in steps of the output by steps of the input, 0 where the output leaves int8
    and is clamped. Raises ModelError where TFLite has no such kernel, or refuses the scales."""
    if rounding == "real":
        return tabulate(function, x, out, **parameters)
    steps = _in_floats(function, x, out) if function in IN_FLOATS else _in_integers(function, x, out, parameters)
    real = (INPUTS - x[1]) * np.float64(x[0])
    found = FUNCTIONS[function]
    slope = found.slope(real, Float64(), {**found.defaults, **parameters})
    return clamped(steps, slope * (x[0] / out[0]), -128, 127)


def clamped(steps: np.ndarray, slope: npt.NDArray[np.float64], lo: int, hi: int) -> Table:
    """The table of whole `steps` [256] with its slope, 0 where the clamp [lo, hi] acts. Raises ModelError where a slope
    leaves float32."""
    inside = np.where((steps >= lo) & (steps <= hi), slope, 0.0)
    if not np.all(np.abs(inside) < STEEPEST):  # NaN, too
        raise ModelError("the scales on both sides of a function do not fit each other; quantise the model anew")
    return np.clip(steps, lo, hi).astype(np.int8), inside.astype(np.float32)


# --------------------------------------------------------------------------- kernels that tabulate a float32 function
def _rounded(function: Callable[[float], float]) -> Callable[[Floats], Floats]:
    """The function of the C library in float32: computed in float64 and rounded once, which differs from it by less
    than its own error."""
    return lambda x: np.array([function(float(v)) for v in x], np.float32)


def _exponential(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def _logistic(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + _rounded(_exponential)(-x))


def _elu(x: Floats) -> Floats:
    return np.where(x < 0, _rounded(math.expm1)(np.minimum(x, np.float32(0))), x)


def _gelu(x: Floats) -> Floats:
    return np.float32(0.5) * x * _rounded(math.erfc)(x * -ONE_OVER_SQRT2)


def _gelu_tanh(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        inner = SQRT_2_OVER_PI * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (np.float32(1) + _rounded(math.tanh)(inner))


IN_FLOATS: dict[str, Callable[[Floats], Floats]] = {
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "sigmoid": _logistic,
    "tanh": _rounded(math.tanh),
}


def _in_floats(function: str, x: Steps, out: Steps) -> Ints:
    """The steps of the output before they are clamped: halves away from zero, then the zero point."""
    y = IN_FLOATS[function](np.float32(x[0]) * (INPUTS - x[1]).astype(np.float32)) * (
        np.float32(1) / np.float32(out[0])
    )
    y = np.clip(y, np.float32(-(2**24)), np.float32(2**24))  # far outside int8, and whole numbers are still exact
    whole = np.trunc(y)
    steps = whole + np.where(np.abs(y - whole) >= 0.5, np.sign(y), np.float32(0))
    return steps.astype(np.int64) + out[1]


# --------------------------------------------------------------------------- kernels in fixed point
def _in_integers(function: str, x: Steps, out: Steps, parameters: dict[str, float]) -> Ints:
    """The steps of the output before they are clamped."""
    if function == "leaky_relu":
        return _leaky_relu(x, out, parameters["alpha"])
    if function == "hard_swish":
        return _hard_swish(x, out)
    raise ModelError(f"TFLite has no int8 kernel for {function}")


def _leaky_relu(x: Steps, out: Steps, alpha: float) -> Ints:
    """One multiplier above zero and one below, formed in float32."""
    values, x_scale, out_scale = INPUTS - x[1], np.float32(x[0]), np.float32(out[0])
    ratios = float(x_scale / out_scale), float(x_scale * np.float32(alpha) / out_scale)
    if not all(abs(ratio) < LARGEST_RATIO for ratio in ratios):  # NaN, too
        raise ModelError(f"the scales {x[0]:.3g} and {out[0]:.3g} do not fit a slope of {alpha:.3g}")
    above, below = (_multiplied(values, *multiplier(ratio)) for ratio in ratios)
    return np.where(values >= 0, above, below) + out[1]


def _hard_swish(x: Steps, out: Steps) -> Ints:
    """x * relu6(x + 3) / 6 in 16 bits: the input at 128 times its resolution, once in steps of the output and once in
    units of 3 / 2^15, saturated, which is the factor between 0 and 1."""
    fine = np.float32(1 / 128) * np.float32(x[0])
    (to_out, out_shift), (to_unit, unit_shift) = (
        _multiplier_16(float(fine / np.float32(unit))) for unit in (out[0], 3 / 2**15)
    )
    if not -16 < out_shift <= 0 or unit_shift > 16:  # TFLite refuses the first; 16 bits hold nothing of the others
        raise ModelError(f"the scales {x[0]:.3g} and {out[0]:.3g} do not fit a HARD_SWISH", "convert the model anew")
    values = (INPUTS - x[1]) * 128
    factor = _doubled_high_half(_saturated(values << max(unit_shift - 1, 0)), to_unit, 15)
    factor = _saturated(factor << 1) if unit_shift > 0 else _shifted_right(factor, -unit_shift)
    product = ((factor + 2**15) >> 1) * _doubled_high_half(values, to_out, 15)
    return _shifted_right(np.sign(product) * (np.abs(product) >> 15), -out_shift) + out[1]


def _multiplier_16(real: float) -> tuple[int, int]:
    """A multiplier of 15 bits and its shift."""
    mantissa, shift = multiplier(real)
    return min((mantissa + 2**15) >> 16, 2**15 - 1), shift


def _multiplied(values: Ints, mantissa: int, shift: int) -> Ints:
    """values * mantissa / 2^31 * 2^shift: a doubled high half, rounded, and a rounding shift."""
    return _shifted_right(_doubled_high_half(values << max(shift, 0), mantissa, 31), max(-shift, 0))


def _doubled_high_half(values: Ints, factor: int, bits: int) -> Ints:
    """values * factor / 2^bits, rounded to nearest; halves below zero go up."""
    product = values * factor
    nudged = product + np.where(product >= 0, 1 << (bits - 1), 1 - (1 << (bits - 1)))
    return np.sign(nudged) * (np.abs(nudged) >> bits)


def _shifted_right(values: Ints, count: int) -> Ints:
    """values / 2^count, halves away from zero."""
    return np.sign(values) * ((np.abs(values) + ((1 << count) >> 1)) >> count)


def _saturated(values: Ints) -> Ints:
    return np.clip(values, -(2**15), 2**15 - 1)
