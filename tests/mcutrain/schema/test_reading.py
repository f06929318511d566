"""What is wrong in a file is said by its key, what stands there, and what should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from mcutrain.planner import policy
from mcutrain.planner.errors import PolicyError
from mcutrain.schema.reading import SchemaError, load_json, plain, typed


class Inner(Struct, frozen=True):
    size: Annotated[int, Meta(ge=0)]
    word: Literal["a", "b"] = "a"
    part: Annotated[float, Meta(ge=0, le=1)] = 0.5


class Outer(Struct, frozen=True, forbid_unknown_fields=True):
    inner: Inner | None
    many: tuple[Inner, ...] = ()
    named: dict[str, dict[str, int]] = {}
    text: str | None = None

    def __post_init__(self) -> None:
        if self.text == "bad":
            raise ValueError("text cannot be bad")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "file is a list, not an object"),
        ({}, "file.inner is missing"),
        ({"inner": 3}, "file.inner is 3, not an object or null"),
        ({"inner": {}}, "file.inner.size is missing"),
        ({"inner": {"size": True}}, "file.inner.size is true, not a whole number of 0 or more"),
        ({"inner": {"size": -1}}, "file.inner.size is -1, not a whole number of 0 or more"),
        ({"inner": {"size": 1, "word": "c"}}, "file.inner.word is 'c', not one of a, b"),
        ({"inner": {"size": 1, "part": 2}}, "file.inner.part is 2, not a number from 0 to 1"),
        ({"inner": {"size": 1, "part": float("nan")}}, "file.inner.part is NaN, not a number from 0 to 1"),
        ({"inner": None, "many": [{"size": 1}, {"size": "x"}]}, "file.many[1].size is 'x', not a whole number"),
        ({"inner": None, "many": {}}, "file.many is an object, not a list"),
        ({"inner": None, "named": {"k": {"a": 1, "b.c": None}}}, "file.named['k']['b.c'] is null, not a whole number"),
        ({"inner": None, "text": 3}, "file.text is 3, not a string or null"),
        ({"inner": None, "text": "bad"}, "file.text cannot be bad"),
        ({"inner": None, "more": 1}, "file.more is unknown"),
        ({"inner": "y" * 99}, f"file.inner is '{'y' * 39}..., not an object"),
    ],
)
def test_the_key_is_named(content: object, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        typed(content, Outer, "file")
    assert str(error.value).startswith(message)


def test_without_a_root_the_key_stands_alone() -> None:
    for content, message in (
        (3, "it is 3, not an object"),
        ({"size": "x"}, "size is 'x', not"),
        ({}, "size is missing"),
    ):
        with pytest.raises(SchemaError, match=message):
            typed(content, Inner, "")


def test_what_is_written_is_read_again() -> None:
    value = Outer(Inner(3), (Inner(1, "b"),), {"k": {"a": 1}}, "\ud800")
    assert typed(json.loads(json.dumps(plain(value))), Outer, "file") == value


def test_json_has_no_word_for_infinity() -> None:
    assert plain({"losses": (1.0, float("nan"), float("-inf"))}) == {"losses": [1.0, None, None]}
    with pytest.raises(TypeError, match="complex has no form in JSON"):
        plain([1j])


def test_only_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for text, message in (("{", "Expecting"), ("[" * 100_000, "recursion"), ("\udcff", "decode")):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=message):
            load_json(path)
    with pytest.raises(OSError, match="No such file"):
        load_json(tmp_path / "none.json")


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    """JSON can escape one, and no file can hold it."""
    for content in ('[{"layer": 0, "select": "\\ud800"}]', '[{"\\ud800": 0}]'):
        (tmp_path / "p.json").write_text(content, encoding="utf-8")
        with pytest.raises(PolicyError, match=r"p\.json.*half of a surrogate pair"):
            policy.read(tmp_path / "p.json")
