"""The Relax values of Relay expressions: tensors and tuples of them, their types, constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from mcutrain.tvm_ext.importers.relay.ast import Function, TensorType, TupleType, Type

Tensor: TypeAlias = relax.Var | GenericConst


@dataclass(frozen=True)
class Pack:
    """A tuple value. leaves: the tensors in it; depth: tuples in tuples, 1 for a flat one."""

    fields: tuple[Value, ...]
    leaves: int
    depth: int


Value: TypeAlias = Tensor | Pack


def pack(fields: Sequence[Value]) -> Pack:
    inner = [f for f in fields if isinstance(f, Pack)]
    leaves = len(fields) - len(inner) + sum(f.leaves for f in inner)
    return Pack(tuple(fields), leaves, 1 + max((f.depth for f in inner), default=0))


def constant(value: np.ndarray | float, dtype: str | None = None) -> GenericConst:
    """Make a Relax constant of exactly this dtype (or the array's own)."""
    array = np.asarray(value, dtype)
    return relax.const(array, str(array.dtype))


def shape_of(x: Tensor) -> tuple[int, ...]:
    return tuple(int(d) for d in x.ty.shape)


def dtype_of(x: Tensor) -> str:
    return str(x.ty.dtype)


def is_integer(x: Tensor) -> bool:
    return dtype_of(x).startswith(("int", "uint"))


def unpack(builder: relax.BlockBuilder, var: relax.Var, unique: Callable[[str], str] = str) -> Value:
    """Return a tuple variable as the tuple of its fields."""
    if not isinstance(var.ty, relax.TupleType):
        return var
    parts = [relax.TupleGetItem(var, i) for i in range(len(var.ty.fields))]
    return pack(
        [unpack(builder, builder.emit(p, name_hint=unique(f"{var.name}_{i}")), unique) for i, p in enumerate(parts)]
    )


def fits(said: Type, value: Value | Function) -> bool:
    """Say whether a value is of the type that the file says; a function is taken as it is."""
    if isinstance(value, Function):
        return True
    if isinstance(value, Pack):
        if not isinstance(said, TupleType) or len(said.fields) != len(value.fields):
            return False
        return all(fits(s, v) for s, v in zip(said.fields, value.fields, strict=True))
    if not isinstance(said, TensorType) or said.dtype != dtype_of(value) or len(said.shape) != len(shape_of(value)):
        return False
    return all(s is None or s == d for s, d in zip(said.shape, shape_of(value), strict=True))


def described(value: Value | Function) -> str:
    if isinstance(value, Function):
        return "a function"
    if isinstance(value, Pack):
        shown = ", ".join(described(f) for f in value.fields[:3])
        return f"a tuple of {len(value.fields)} ({shown}{', ...' if len(value.fields) > 3 else ''})"
    return str(TensorType(shape_of(value), dtype_of(value)))


def same_type(a: Value, b: Value) -> bool:
    if isinstance(a, Pack) and isinstance(b, Pack):
        return len(a.fields) == len(b.fields) and all(map(same_type, a.fields, b.fields))
    if isinstance(a, Pack) or isinstance(b, Pack):
        return False
    return shape_of(a) == shape_of(b) and dtype_of(a) == dtype_of(b)
