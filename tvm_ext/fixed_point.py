"""Requantisation factors as integers: a multiplier of 31 bits and a shift (mcu_math.h applies them)."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.planner.errors import ModelError

LARGEST_SHIFT = 30
LARGEST_STEP = 255  # |q - zero| of int8
LARGEST_WEIGHT = 128
SUM_BITS = 20  # by which "tflite" lifts the operands of a sum
LIMIT = 2**30  # of a product in steps of the output: a bit is left for the shift to the left, which is a power of two


def multiplier(real: float) -> tuple[int, int]:
    """real = multiplier / 2^31 * 2^shift as gemmlowp and TVM form it: a multiplier of 31 bits in [2^30, 2^31), shift
    positive to the left. 0 for what is too small to count."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    if shift > LARGEST_SHIFT:
        raise ModelError(f"a requantisation by {real:.3g} leaves int32", "the scales do not fit")
    return (mantissa, shift) if shift >= -31 else (0, 0)


def multipliers(x_scale: float, w_scales: np.ndarray, y_scale: float) -> np.ndarray:
    """int32 [2, O]: multipliers of s_x * s_w / s_y, formed in float64, and their shifts."""
    exact = np.float64(x_scale) * w_scales.astype(np.float64) / np.float64(y_scale)
    return np.array([multiplier(float(real)) for real in exact], np.int32).T.copy()


def require_int32(real: float, largest: int, layer: str) -> None:
    """`largest` * real must stay inside int32 on its way to the clamp, as float32 does not ask for. Raises ModelError
    naming the layer."""
    if real * largest >= LIMIT:
        raise ModelError(
            f"layer {layer}: a requantisation by {real:.3g} of numbers up to {largest} leaves int32",
            "check its scales, or choose a board with an FPU",
        )
