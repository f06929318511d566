"""Broken copies of every kind of Relay file: a ModelError or a module, never another exception."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.read import saved_json, text
from mcutrain.tvm_ext.importers.relay.read.arrays import from_params
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax

FILES = ("syntax/let_if_tuple", "syntax/scalars", "syntax/func_attrs", "syntax/many_ops", "qnn_int8_nhwc/bound")
NUMBERS = ("0", "-1", "1", "-5", "65536", "4294967296", "9223372036854775807", "99999999999999999999", "1e400", "nan")
KINDS = r"\b(?:float32|int32|int8|uint8|bool|int64|float16)\b"


def mutated(content: str, rng: random.Random) -> str:
    """Make one to three edits: cut, drop, insert, repeat, another number, another dtype, two names swapped."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = content or " "
        at = rng.randrange(len(content))
        way = rng.randrange(7)
        if way == 0:
            content = content[:at]
        elif way == 1:
            content = content[:at] + content[at + rng.randrange(1, 40) :]
        elif way == 2:
            content = content[:at] + rng.choice('%@(){}[],;:="0-.#/*\\\x00é') + content[at:]
        elif way == 3:
            content = content[: at + 60] + content[at : at + 60] + content[at + 60 :]
        elif way == 4:
            content = _replaced(content, r"-?\d+", NUMBERS, rng)
        elif way == 5:
            content = _replaced(content, KINDS, ("float32", "int8", "bool", "uint8", "float64", "foo"), rng)
        else:
            names = r'%[\w.]+|[a-z_]+\.?\w*(?=\()|"[\w.]+"'
            content = _replaced(content, names, [m.group() for m in re.finditer(names, content)] or ["x"], rng)
    return content


def _replaced(content: str, pattern: str, values: tuple | list, rng: random.Random) -> str:
    found = list(re.finditer(pattern, content))
    if not found:
        return content
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(values) + content[match.end() :]


@pytest.mark.parametrize("end", ["relay", "json"])
@pytest.mark.parametrize("name", FILES)
def test_broken_files_raise_model_errors_alone(data: Path, name: str, end: str) -> None:
    """Seven of each file are read; some must be refused, and what is read must convert or be refused."""
    content = (data / f"relay/tvm/{name}.{end}").read_text()
    rng, refused = random.Random(f"{name}.{end}"), []
    for _ in range(7):
        broken = mutated(content, rng)
        try:
            to_relax((saved_json if broken.lstrip().startswith("{") else text).parse(broken, "broken"))
        except ModelError as error:
            refused.append(str(error))
    assert refused and all(message.startswith("broken") and "\n" not in message for message in refused)


def test_broken_parameters_raise_model_errors_alone(data: Path) -> None:
    blob, rng, refused = (data / "relay/tvm/qnn_int8_nhwc/params.bin").read_bytes(), random.Random(0), []
    for _ in range(300):
        at = rng.randrange(len(blob) // 4)
        try:
            from_params(blob[:at] + rng.randbytes(rng.randrange(1, 9)) + blob[at + rng.randrange(9) :], "broken")
        except ModelError as error:
            refused.append(str(error))
    assert refused and all(message.startswith("broken") for message in refused)
