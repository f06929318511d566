"""Makes the tables of docs/FORMATS.md from the schema: a row a key, with its type and meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct

from mcutrain.schema.counts import LEVELS
from mcutrain.schema.inspection import Inspection
from mcutrain.schema.kinds import fields, options, struct_of
from mcutrain.schema.measurement import Measurement
from mcutrain.schema.metadata import Metadata, MetadataFile
from mcutrain.schema.plan import Row
from mcutrain.schema.policy import PolicyEntry
from mcutrain.schema.profile import Profile
from mcutrain.schema.report import Report

FILES: dict[str, type] = {
    "policy": PolicyEntry,
    "metadata file": MetadataFile,
    "metadata": Metadata,
    "plan": Row,
    "report": Report,
    "measurement": Measurement,
    "profile": Profile,
    "inspection": Inspection,
}
ELSEWHERE = (Metadata, Profile)  # structs that have a table of their own
_TYPES: dict[object, str] = {int: "int", float: "number", str: "string", bool: "bool", NoneType: "null"}
_TABLE = re.compile(r"(<!-- table: ([a-z ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


class Line(NamedTuple):
    """One row of a table."""

    key: str
    type: str
    meaning: str


def with_tables(document: str) -> str:
    """Return `document` with each table between `<!-- table: NAME -->` and `<!-- end -->` made anew.
    Raises KeyError for a name that no file has."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", document)


def table(name: str) -> str:
    """Make the table of one of FILES, or of `counts`, in Markdown."""
    if name == "counts":
        rows = ["| level | meaning |", "|---|---|", *(f"| {level} | {meaning} |" for level, meaning in LEVELS.items())]
    else:
        rows = ["| key | type | meaning |", "|---|---|---|"]
        rows += [f"| `{line.key}` | {line.type} | {line.meaning} |" for line in _lines(FILES[name], "", {})]
    return "\n".join(rows) + "\n"


def _lines(kind: type, prefix: str, known: dict[type, str]) -> Iterator[Line]:
    """List the keys of a struct and, below each, those of the structs that it holds. known: where a struct that stood
    before is described."""
    for name, hint, default in _hints(kind):
        key, said = prefix + name, _type(hint, default)
        inner, brackets = _inner_struct(hint)
        if inner is not None and inner in known:
            said += f", as `{known[inner]}`"
        yield Line(key, said, _meaning(hint))
        if inner is not None and inner not in known and inner not in ELSEWHERE:
            known[inner] = key + brackets
            yield from _lines(inner, f"{key}{brackets}.", known)


def _hints(kind: type) -> Iterator[tuple[str, object, object]]:
    """List (key, type, default) of each field; the default is NODEFAULT where the key must be there."""
    if issubclass(kind, Struct):
        yield from ((field.encode_name, field.type, field.default) for field in fields(kind))
    else:
        yield from ((name, hint, NODEFAULT) for name, hint in get_type_hints(kind, include_extras=True).items())


def _inner_struct(hint: object) -> tuple[type[Struct] | None, str]:
    """Find the struct that a field holds, and what stands behind its key: `[]` of a list, `.NAME` of an object by
    name."""
    for option in options(hint):
        if get_origin(option) in (tuple, dict):
            is_list = get_origin(option) is tuple
            inner, more = _inner_struct(get_args(option)[0 if is_list else 1])
            return inner, ("[]" if is_list else ".NAME") + more
    return struct_of(hint), ""


def _type(hint: object, default: object = NODEFAULT) -> str:
    said = [_type_of(option) for option in options(hint) if not (default is None and option is NoneType)]
    text = " or ".join(said)
    if default is NODEFAULT:
        return text
    return f"{text}; may be missing" if default is None else f"{text}; {json.dumps(default)} if missing"


def _type_of(option: Any) -> str:
    if get_origin(option) is Literal:
        return ", ".join(map(str, get_args(option)))
    if get_origin(option) is tuple:
        inner = _type(get_args(option)[0])
        return f"list of ({inner})" if " or " in inner else f"list of {inner}s"
    if get_origin(option) is dict:
        return f"object of {_type(get_args(option)[1])}s by name"
    return _TYPES.get(option, "object")


def _meaning(hint: object) -> str:
    """Tell what is said of a field, not of the type that it shares with others."""
    said = [m.description for m in get_args(hint)[1:] if isinstance(m, Meta) and m.description]
    return said[-1] if get_origin(hint) is Annotated and said else ""
