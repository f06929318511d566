"""Fixed-point arithmetic of Relay's quantised operators in Relax, exact in integers.

A real number is scale * (q - zero point). A change of scale is a multiplication by a 31-bit fixed-point number in int64
with one rounding."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.operators.activation import clip
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import integer
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, Value, constant, dtype_of, shape_of

INTEGERS = ("int8", "uint8", "int16", "int32")


def fixed_point(multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split a multiplier into (m, shift), int64: m / 2**31 * 2**shift with m in [2**30, 2**31), rounded half away from
    zero."""
    significand, shift = np.frexp(np.asarray(multiplier, np.float64))
    m = np.floor(significand * 2.0**31 + 0.5).astype(np.int64)
    is_over = m == 1 << 31
    return np.where(is_over, m >> 1, m), (shift + is_over).astype(np.int64)


def multiply(c: Context, x: Tensor, m: np.ndarray, shift: np.ndarray, rounding: str) -> Tensor:
    """Compute round(x * m / 2**31 * 2**shift) of an int32 tensor, int64.

    Halves go up ("UPWARD") or away from zero ("TONEAREST"). Products that int64 cannot hold are cut where the result
    is outside int32 anyway."""
    if np.any(shift > 31):
        raise c.fail("the scales are too far apart: their ratio is 2**31 or more")
    left, right = np.maximum(shift, 0), np.minimum(31 + np.maximum(-shift, 0), 63)  # 63 bits away, all round to 0
    half = np.int64(1) << (right - 1)
    factor = m.astype(object) << left.astype(object)
    most = np.asarray((2**63 - 1 - half.astype(object)) // np.maximum(factor, 1), object)
    y = c.cast(x, "int64")
    if np.any(most < 2**31):
        most = np.minimum(most, 2**31).astype(np.int64)
        y = c(op.maximum(c(op.minimum(y, constant(most))), constant(-most)))
        y = c(op.left_shift(y, constant(left, "int64")))
    elif np.any(left):
        y = c(op.left_shift(y, constant(left, "int64")))
    y = c(op.multiply(y, constant(m, "int64")))
    return c(op.right_shift(c(op.add(y, _rounder(c, y, half, rounding))), constant(right, "int64")))


def _rounder(c: Context, y: Tensor, half: np.ndarray, rounding: str) -> Tensor:
    """Return what must be added before the shift to the right, which rounds down."""
    if rounding == "UPWARD":
        return constant(half, "int64")
    if rounding != "TONEAREST":
        raise c.fail(f"rounding {rounding[:20]!r}: expected UPWARD or TONEAREST")
    is_positive = c(op.greater_equal(y, constant(0, "int64")))
    return c(op.where(is_positive, constant(half, "int64"), constant(half - 1, "int64")))


def scales_of(c: Context, x: Value, what: str) -> np.ndarray:
    """Read a scale, or one a channel: constant, positive, finite, float32."""
    found = c.numbers(x, what)
    if found.dtype != np.float32 or not np.all(np.isfinite(found)) or np.any(found <= 0):
        raise c.fail(f"{what} must be positive finite float32")
    return found.reshape(()) if found.size == 1 else found


def zero_of(c: Context, x: Value, what: str = "the zero point") -> np.ndarray:
    """Read a zero point, or one a channel, int32."""
    found = c.numbers(x, what)
    if found.dtype.kind not in "iu" or np.any(np.abs(found.astype(np.int64)) >= 1 << 31):
        raise c.fail(f"{what} must be an int32")
    return found.reshape(()).astype(np.int32) if found.size == 1 else found.astype(np.int32)


def centred(c: Context, x: Tensor, zero: np.ndarray, axis: int = -1) -> Tensor:
    """Compute x - zero point in int32."""
    x = c.cast(x, "int32")
    shifts = c.along(zero, c.axis(x, axis) if zero.ndim else 0, len(shape_of(x)))
    return c(op.subtract(x, constant(shifts, "int32"))) if np.any(zero) else x


def saturated(c: Context, x: Tensor, dtype: str) -> relax.Expr:
    """Clip x to the range of an integer dtype, and cast."""
    if dtype not in INTEGERS:
        raise c.fail(f"out_dtype {dtype}: expected one of {', '.join(INTEGERS)}")
    info = np.iinfo(dtype)
    is_float = dtype_of(x).startswith("float")
    high = float(np.nextafter(np.float32(2**31), np.float32(0))) if is_float and dtype == "int32" else float(info.max)
    return op.astype(c(clip(c, x, a_min=float(info.min), a_max=high)), dtype)


def rescaled(c: Context, x: Tensor, ratio: np.ndarray, zero: np.ndarray, axis: int, rounding: str) -> Tensor:
    """Compute round(x * ratio) + zero of an int32 tensor, int64.

    ratio: float64, a scalar or one a channel along axis."""
    y = c.cast(x, "int64")
    if not (ratio.ndim == 0 and ratio == 1.0):
        rank = len(shape_of(x))
        m, shift = (c.along(v, c.axis(x, axis) if v.ndim else 0, rank) for v in fixed_point(ratio))
        y = multiply(c, x, m, shift, rounding)
    return c(op.add(y, constant(zero, "int64"))) if np.any(zero) else y


def fixed_point_multiply(c: Context, x: Tensor, *, multiplier: int, shift: int) -> relax.Expr:
    if dtype_of(x) != "int32" or not 0 <= multiplier < 1 << 31 or not -64 <= shift <= 31:
        raise c.fail(f"{dtype_of(x)} by {multiplier} shifted by {shift}: expected int32, a 31-bit number, -64 to 31")
    return saturated(c, multiply(c, x, np.array(multiplier, np.int64), np.array(shift, np.int64), "UPWARD"), "int32")


OPERATORS = (
    RelayOperator(
        "fixed_point_multiply", to_relax=fixed_point_multiply, attributes={"multiplier": integer(), "shift": integer()}
    ),
)
