"""Turns what a JSON file holds into typed values, and says in plain words where it is not what it should be."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from mcutrain.schema.kinds import fields, options, struct_of

T = TypeVar("T")
_STEPS = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_WORDS: dict[object, str] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a string", NoneType: "null",
    tuple: "a list", list: "a list",
}  # fmt: skip
_LONGEST = 40  # characters of a value that a message shows


class SchemaError(ValueError):
    """A file is not as its schema says: the message tells the key, what stands there, and what should."""


def load_json(path: Path) -> object:
    """Read what a JSON file holds. Raises OSError, and ValueError for anything else than JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(str(error)) from None


def typed(content: object, kind: type[T], root: str) -> T:
    """Make a `kind` of `content`, which holds dicts, lists, strings and numbers. root: what its keys stand under in
    the message, "" for nothing. Raises SchemaError for the first that is wrong."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise SchemaError(_in_words(str(error), content, kind, root)) from None
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair, which is no text
        raise SchemaError("a text holds half of a surrogate pair: write the whole character") from None


def plain(value: object) -> Any:
    """Turn a typed value, or one of dicts and lists, into what JSON has: what is missing is left out, and NaN and
    infinities, for which JSON has no word, are None."""
    return _finite(msgspec.to_builtins(value, enc_hook=_bare))


def _bare(value: object) -> str:
    """Make a plain str of a name that came from TVM, which has a class of its own. Raises TypeError for anything
    else."""
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_words(message: str, content: object, kind: object, root: str) -> str:
    """Say msgspec's message in our words. It tells the place as a path (`$.ops[3].macs`), and types by its own
    names."""
    what, _, path = message.partition(" - at `$")
    where, value = root, content
    for name, index in _STEPS.findall(path):
        where, value, kind = _entered(where, value, kind, name, index)
    named = what.partition("`")[2].partition("`")[0]
    below = f"{where}." if where else ""
    if what.startswith("Object missing"):
        return f"{below}{named} is missing"
    if what.startswith("Object contains unknown"):
        return f"{below}{named} is unknown"
    if what.startswith(("Expected", "Invalid enum value", "Number out of range")):
        return f"{where or 'it'} is {_shown(value)}, not {_kind_in_words(kind)}"
    return below + what


def _entered(where: str, value: Any, kind: object, name: str, index: str) -> tuple[str, Any, object]:
    """Take one step of a path: what is called how there, its value and its type."""
    if name and (struct := struct_of(kind)) is not None:
        inner = next(field.type for field in fields(struct) if field.encode_name == name)
        return (f"{where}.{name}" if where else name), value[name], inner
    inner = next(get_args(option) for option in options(kind) if get_origin(option) in (tuple, dict))
    if index != "...":
        return f"{where}[{index}]", value[int(index)], inner[0]
    key = next(key for key, item in value.items() if not _fits(item, inner[1]))
    return f"{where}[{_shown(key)}]", value[key], inner[1]


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _kind_in_words(kind: object) -> str:
    """Tell a type as a message does: `a whole number of 0 or more`, `one of rows, channels`, `a string or null`."""
    if get_origin(kind) is Annotated:
        bare, *said = get_args(kind)
        return _kind_in_words(bare) + "".join(_limits(meta) for meta in said if isinstance(meta, Meta))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_kind_in_words, get_args(kind)))
    if get_origin(kind) is Literal:
        words = ", ".join(map(str, get_args(kind)))
        return f"one of {words}" if len(get_args(kind)) > 1 else words
    return _WORDS.get(get_origin(kind) or kind, "an object")


def _limits(meta: Meta) -> str:
    if meta.ge is None:
        return ""
    return f" of {meta.ge:g} or more" if meta.le is None else f" from {meta.ge:g} to {meta.le:g}"


def _shown(value: object) -> str:
    """Show a value of JSON, short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
