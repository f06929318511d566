"""Looks at types of the schema through what is said of them."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo


def options(kind: Any) -> tuple[Any, ...]:
    """List the types that a value of `kind` may have: those of a union, else itself; without Annotated around them."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def struct_of(kind: Any) -> type[Struct] | None:
    """Find the struct among the options of `kind`; None where there is none."""
    return next((option for option in options(kind) if isinstance(option, type) and issubclass(option, Struct)), None)


def fields(struct: type[Struct]) -> tuple[FieldInfo, ...]:
    """List the fields of a struct, in their order."""
    return msgspec.structs.fields(struct)
