"""Reading fields of an untrusted dict: each error names the place, the key and what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from mcutrain.planner.errors import LayerError

SMALLEST_SCALE, LARGEST_SCALE = 1e-18, 1e18
NUMBERS = (int, float, np.integer, np.floating)
Fields = Mapping[str, object]
T = TypeVar("T")


def take(mapping: Fields, key: str, kind: type[T], where: str) -> T:
    """mapping[key], which must be a `kind`. Raises ModelError."""
    if key not in mapping:
        raise LayerError(where, f"key '{key}' is missing")
    value = mapping[key]
    if not isinstance(value, kind):
        raise LayerError(where, f"'{key}' is a {type(value).__name__}, expected a {kind.__name__}")
    return value


def integer(mapping: Fields, key: str, low: int, high: int, where: str) -> int:
    """mapping[key], which must be an integer in [low, high]. Raises ModelError."""
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise LayerError(where, f"'{key}' is {_show(mapping, key)}, expected an integer from {low} to {high}")
    return int(value)


def scale(mapping: Fields, key: str, where: str) -> float:
    """mapping[key], which must be a positive number: the quotient of any two, times 255, stays inside float32. Raises
    ModelError."""
    value = mapping.get(key)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, NUMBERS) and not isinstance(value, bool) and SMALLEST_SCALE <= value <= LARGEST_SCALE:
        return float(value)
    raise LayerError(
        where,
        f"'{key}' is {_show(mapping, key)}, "
        f"expected a positive finite number ({SMALLEST_SCALE:g} to {LARGEST_SCALE:g})",
    )


def array(mapping: Fields, key: str, dtype: str, ndim: int, where: str) -> np.ndarray:
    """mapping[key], which must be a numpy array of this dtype and number of dimensions, none of them zero. Raises
    ModelError."""
    value = mapping.get(key)
    if not isinstance(value, np.ndarray) or value.dtype != np.dtype(dtype) or value.ndim != ndim or value.size == 0:
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else _show(mapping, key)
        raise LayerError(where, f"'{key}' is {found}, expected a {ndim}-dimensional {dtype} array")
    return np.asarray(value)


def _show(mapping: Fields, key: str) -> str:
    """The value in one short line, whatever it is: a file can hold lists of any depth, and numbers of any length."""
    if key not in mapping:
        return "missing"
    value = mapping[key]
    if isinstance(value, bool | float | None) or (isinstance(value, int) and abs(value) < 1 << 64):
        return repr(value)
    return f"{value[:40]!r}" if isinstance(value, str) else f"a {type(value).__name__}"
