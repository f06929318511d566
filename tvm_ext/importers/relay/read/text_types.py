"""Types, numbers and attribute values of Relay text: they need no scope to be read."""

from __future__ import annotations

import math
import re

import numpy as np

from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM, FuncType, TensorType, TupleType, Type
from mcutrain.tvm_ext.importers.relay.read.arrays import DTYPES
from mcutrain.tvm_ext.importers.relay.read.cursor import Cursor, printable
from mcutrain.tvm_ext.importers.relay.read.lexer import tokenize, unquote

_NUMBER = re.compile(r"(-?(?:inf|nan|[\d.]+(?:[eE][+-]?\d+)?))(f(?:16|32|64)?|[iu]\d+)?")
_WORDS = {"True": True, "False": False, "None": None}


def parse_type(c: Cursor) -> Type:
    """Read a type: Tensor[(1, 3), float32], float32, (T, T), fn (T) -> T."""
    c.enter()
    try:
        if c.accept("Tensor"):
            return _tensor(c)
        if c.accept("("):
            return TupleType(_types(c))
        if c.accept("fn"):
            c.expect("(", "of a function type")
            params = _types(c)
            c.expect("->", "of a function type")
            return FuncType(params, parse_type(c))
        if c.token.kind == "name" and c.token.text in DTYPES:
            return TensorType((), c.next().text)
        raise c.error(f"expected a type (Tensor[(1, 2), float32], int32, ...), found {c.shown()}")
    finally:
        c.leave()


def _types(c: Cursor) -> tuple[Type, ...]:
    """Read the rest of (T, T)."""
    found: list[Type] = []
    while not c.accept(")"):
        found.append(parse_type(c))
        if not c.accept(","):
            c.expect(")", "after the types")
            break
    return tuple(found)


def _tensor(c: Cursor) -> TensorType:
    c.expect("[", "after Tensor")
    c.expect("(", "before the shape")
    shape: list[int | None] = []
    while not c.accept(")"):
        if c.accept("?"):
            shape.append(None)
        elif c.token.kind == "number" and c.token.text.isdecimal() and int(c.token.text[:12]) <= LARGEST_DIM:
            shape.append(int(c.next().text))
        else:
            raise c.error(f"expected a dimension from 0 to {LARGEST_DIM}, found {c.shown()}")
        if not c.accept(","):
            c.expect(")", "after the shape")
            break
    c.expect(",", "after the shape")
    if c.token.kind != "name" or c.token.text not in DTYPES:
        raise c.error(f"expected a dtype ({', '.join(sorted(DTYPES))}), found {c.shown()}")
    dtype = c.next().text
    c.expect("]", "after the dtype")
    return TensorType(tuple(shape), dtype)


def number(c: Cursor) -> tuple[int | float, str]:
    """Read (value, dtype) of the number under the cursor: 7 is int32 (int64 where it needs it), 2.5f float32."""
    token = c.next()
    match = _NUMBER.fullmatch(token.text)
    if match is None:
        raise c.error(f"expected a number, found '{printable(token.text)}'", token)
    digits, suffix = match[1], match[2] or ""
    is_float = "." in digits or "e" in digits.lower() or digits.lstrip("-") in ("inf", "nan")
    if suffix.startswith("f") or (is_float and not suffix):
        return float(digits), f"float{suffix[1:] or 32}"
    if is_float:
        raise c.error(f"'{token.text}' is a fraction with an integer's suffix", token)
    value = int(digits) if len(digits) <= 20 else 2**64
    dtype = ("u" if suffix[0] == "u" else "") + f"int{suffix[1:]}" if suffix else "int32"
    if not suffix and not -(2**31) <= value < 2**31:
        dtype = "int64"
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        raise c.error(f"{token.text[:40]} is outside {dtype}", token)
    return value, dtype


def attribute_value(c: Cursor) -> object:
    """Read a number, string, list, tuple (as a list), map, True, False, None; "meta[K][i]" for what is no constant."""
    c.enter()
    try:
        token = c.token
        if token.kind == "number":
            return number(c)[0]
        if token.kind == "string":
            return unquote(c.next().text)
        if token.kind == "name" and token.text in _WORDS:
            return _WORDS[c.next().text]
        if c.sees("meta"):
            return _meta_attribute(c)
        if c.accept("["):
            return _values(c, "]")
        if c.accept("("):
            return _values(c, ")")
        if c.accept("{"):
            return _map(c)
        raise c.error(f"expected an attribute's value, found {c.shown()}")
    finally:
        c.leave()


def _values(c: Cursor, closing: str) -> list[object]:
    found: list[object] = []
    while not c.accept(closing):
        found.append(attribute_value(c))
        if not c.accept(","):
            c.expect(closing, "after the list")
            break
    return found


def _map(c: Cursor) -> dict[str, object]:
    found: dict[str, object] = {}
    while not c.accept("}"):
        if c.token.kind != "string":
            raise c.error(f"expected a string as the key of a map, found {c.shown()}")
        key = unquote(c.next().text)
        c.expect(":", "after the key")
        found[key] = attribute_value(c)
        if not c.accept(","):
            c.expect("}", "after the map")
            break
    return found


def meta_reference(c: Cursor) -> tuple[str, int]:
    """Read (kind, index) of meta[kind][index]."""
    c.expect("meta", "")
    c.expect("[", "after meta")
    kind = c.next().text
    c.expect("]", "after the kind of metadata")
    c.expect("[", "before the index of metadata")
    if not c.token.text.isdecimal():
        raise c.error(f"expected an index of metadata, found {c.shown()}")
    index = int(c.next().text[:12])
    c.expect("]", "after the index of metadata")
    return kind, index


def meta_constant(c: Cursor, kind: str, index: int) -> np.ndarray:
    """Return the array of meta[relay.Constant][index]."""
    named = f"meta[{kind}][{index}]"
    if kind != "relay.Constant":
        raise c.error(f"{named} is no constant; only relay.Constant can be a value")
    if c.constants is None:
        raise c.error(
            f"{named}, but the file has no #[metadata] section that holds it; print the module with "
            "mod.astext(show_meta_data=True), or save it with tvm.ir.save_json"
        )
    if index >= len(c.constants):
        raise c.error(f"{named}, but the metadata section has {len(c.constants)} constants")
    return c.constants[index]


def _meta_attribute(c: Cursor) -> object:
    kind, index = meta_reference(c)
    return meta_constant(c, kind, index).tolist() if kind == "relay.Constant" else f"meta[{kind}][{index}]"


def scalar(value: float, dtype: str) -> np.ndarray:
    """Make a scalar array; what float16 and float32 cannot hold becomes infinite, as in C."""
    with np.errstate(over="ignore"):
        return np.array(value, dtype) if math.isfinite(value) else np.full((), value, dtype)


def read_note(note: str, source: str, line: int) -> tuple[Type | None, str]:
    """Read (type, span) of a comment such as `ty=Tensor[(1, 2), float32] span=conv:0:0`."""
    head, _, span = note.partition("span=")
    head, found = head.strip().removeprefix("ty="), None
    if head:
        c = Cursor(tokenize(head, source, line), source)
        found = parse_type(c)
        if c.token.kind != "end":
            raise c.error(f"the type comment goes on with {c.shown()}")
    return found, span.strip()
