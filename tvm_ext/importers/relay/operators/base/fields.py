"""The attributes of operators: the kind of each, its default, and the check of what a file says.

Text leaves defaults out. Saved JSON holds every value as a string, and the kind alone says whether "1" is a number or
the index of a node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mcutrain.planner.errors import ModelError

REQUIRED = object()
LARGEST_INT = 2**63 - 1
Kind = Literal["int", "float", "bool", "string", "dtype", "list", "any"]
_EXPECTED = {"int": "an integer", "float": "a number", "bool": "True or False", "list": "a list"}


@dataclass(frozen=True)
class Field:
    """kind: what the value is. default: the value where a file has none; REQUIRED where it must have one.
    is_reference: saved JSON holds the index of the node that is the value ("0" is None), not the value itself."""

    kind: Kind
    default: object = REQUIRED
    is_reference: bool = False

    def convert(self, value: object, where: str) -> object:
        """Return the value in this kind: a copy of a list, an integral float as an int. Raises ModelError."""
        kind, number = self.kind, _number(value)
        if value is None and (self.default is None or kind in ("dtype", "any")):
            return None
        if kind == "any":
            return value
        if kind == "int" and number is not None and abs(number) <= LARGEST_INT and float(number).is_integer():
            return int(number)
        if kind == "float" and number is not None:
            return float(number)
        if kind == "bool" and isinstance(value, bool | int) and value in (0, 1):
            return bool(value)
        if kind in ("string", "dtype") and isinstance(value, str):
            return (value or None) if kind == "dtype" else value
        if kind == "list" and isinstance(value, list):
            return list(value)
        if kind == "list" and number is not None and math.isfinite(number):
            return [number]
        raise ModelError(f"{where} is {str(value)[:40]}, expected {_EXPECTED.get(kind, f'a {kind}')}")


def _number(value: object) -> int | float | None:
    if isinstance(value, float) or (type(value) is int and abs(value) <= LARGEST_INT):
        return value
    return None


def integer(default: object = REQUIRED) -> Field:
    return Field("int", default)


def real(default: object = REQUIRED) -> Field:
    return Field("float", default)


def string(default: object = REQUIRED) -> Field:
    return Field("string", default)


def reference(kind: Kind, default: object = REQUIRED) -> Field:
    return Field(kind, default, is_reference=True)


def listed(*default: int) -> Field:
    """Make a field of a list; without a default the file must give it."""
    return reference("list", list(default) or REQUIRED)


NO, YES = Field("bool", False), Field("bool", True)
DTYPE, DTYPE_GIVEN = Field("dtype", None), Field("dtype")
LISTED, LIST_OR_NONE, INT_OR_NONE = listed(), reference("list", None), reference("int", None)
LAYOUT, NO_LAYOUT = reference("string", "NCHW"), reference("string", "")
