"""Makes names of model files safe to show: a terminal obeys escape codes, a page direction marks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

T = TypeVar("T")


def spelled(value: T, spell: Callable[[str], str]) -> T:
    """Return `value`, of structs, tuples, strings and numbers, with every string in it changed by `spell`."""
    return cast(T, _spelled(value, spell))


def _spelled(value: Any, spell: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return spell(value)
    if isinstance(value, tuple):
        return tuple(_spelled(item, spell) for item in value)
    if isinstance(value, Struct):
        changed = {name: _spelled(getattr(value, name), spell) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **changed)
    return value


def printable(text: str) -> str:
    """Return `text` with every unprintable character spelt out; lone surrogates, which no encoder takes, too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_in(encoding: str) -> Callable[[str], str]:
    """Return a function that spells out, too, what an encoding lacks."""
    return lambda text: printable(text).encode(encoding, "backslashreplace").decode(encoding)
