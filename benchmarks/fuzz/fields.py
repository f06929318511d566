"""Damages files for the fuzz run and keeps the container whole: fields of an ONNX message, values of a network
pickle."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from benchmarks.fuzz.mutators import damaged

ARRAYS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a[:0],
    lambda a: a[:-1],
    lambda a: a[None],
    lambda a: a[::-1],
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: np.roll(a, 1),
    lambda a: a // 2,
    lambda a: np.zeros_like(a),
    lambda a: np.repeat(a, 2, 0),
    lambda a: np.full(a.shape, np.nan, np.float32),
    lambda a: np.full_like(a, 127),
    lambda a: a.astype(np.float64),
    lambda a: a.astype(np.uint8),
)


# --------------------------------------------------------------------------- an ONNX message
def onnx_fields(data: bytes, rng: random.Random) -> bytes:
    """Changes one to four fields anywhere in the message; sometimes its bytes."""
    if rng.random() < 0.15:
        return damaged(data, rng)
    model = onnx.ModelProto.FromString(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        slots = _slots(model)
        numbers = [slot for slot in slots if slot[1].type not in (slot[1].TYPE_STRING, slot[1].TYPE_MESSAGE)]
        message, field = rng.choice(numbers if rng.random() < 0.6 else slots)
        _change(message, field, slots, rng)
    return model.SerializeToString()


def _slots(message: Any) -> list[tuple[Any, Any]]:
    """Lists (message, field) of all that are set."""
    found = []
    for field, value in message.ListFields():
        found.append((message, field))
        if field.type == field.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                found += _slots(part)
    return found


def _change(message: Any, field: Any, slots: list[tuple[Any, Any]], rng: random.Random) -> None:
    value, is_message = getattr(message, field.name), field.type == field.TYPE_MESSAGE
    if field.is_repeated:
        at = rng.randrange(len(value))
        way = rng.randrange(4)
        if way == 0:
            del value[at]
        elif way == 1:
            value.extend([value[at]])
        elif is_message:
            value[at].CopyFrom(value[rng.randrange(len(value))])
        else:
            value[at] = _other(field, value[at], slots, rng)
    elif is_message or rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _other(field, value, slots, rng))


def _other(field: Any, value: Any, slots: list[tuple[Any, Any]], rng: random.Random) -> object:
    if isinstance(value, bytes):
        return damaged(value, rng) if value else b"\xff"
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), value * 2))
    if isinstance(value, str):
        values = [getattr(m, f.name) for m, f in slots if f.type == f.TYPE_STRING]
        names = [n for v in values for n in ([v] if isinstance(v, str) else v)]
        return rng.choice([*names, "", "../../x", "\x1b[31m", "Conv", "x" * 5000])
    if field.type == field.TYPE_ENUM:
        return rng.choice([v.number for v in field.enum_type.values])
    top = 31 if field.type in (field.TYPE_INT32, field.TYPE_UINT32) else 63
    low = 0 if field.type in (field.TYPE_UINT32, field.TYPE_UINT64) else -(1 << top)
    return max(low, rng.choice((0, 1, -1, 2, 3, value + 1, -value, 1 << 20, (1 << top) - 1, low)))


# --------------------------------------------------------------------------- a network as dicts, lists and arrays
def tree(root: Any, rng: random.Random) -> object:
    """Returns a copy with one to three values replaced, taken out, or put elsewhere."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(root, ()))
        path, other = rng.choice(places), rng.choice(places)
        root = _put(root, path, _value(_at(root, path), _at(root, other), rng))
    return root


def _places(node: Any, path: tuple) -> list[tuple]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [found for key in keys for found in ((*path, key), *_places(node[key], (*path, key)))]


def _at(root: Any, path: tuple) -> Any:
    for key in path:
        root = root[key]
    return root


def _put(node: Any, path: tuple, value: object) -> object:
    if not path:
        return value
    copy = node.copy()
    if value is Ellipsis and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _put(node[path[0]], path[1:], value)
    return copy


def _value(old: object, other: object, rng: random.Random) -> object:
    """Chooses what stands in the place of `old`; Ellipsis means that it is taken out."""
    if isinstance(old, np.ndarray) and rng.random() < 0.8:
        return rng.choice(ARRAYS)(old)
    if isinstance(old, int | float | tuple) and rng.random() < 0.8:
        near = (old + 1, old - 1, old * 1.5) if isinstance(old, int | float) else ()
        return rng.choice((0, -1, 1, 2, 255, 1 << 31, 1 << 4000, 1e-45, 1e308, float("nan"), float("-inf"), *near))
    return rng.choice((..., None, other, True, "text", "\x1b[31m", [], {}, (), b"x", [old], np.float64("nan")))
