"""The emitted C and the plan of many models stay byte for byte what tests/golden/emitted.json remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.emitted import CASES, GOLDEN, emitted, sources


@pytest.fixture(scope="module")
def paths(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return sources(data, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", CASES)
def test_the_same_bytes(name: str, paths: dict[str, Path], tmp_path: Path) -> None:
    wanted = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = emitted(CASES[name], paths[CASES[name].model], tmp_path)
    changed = [file for file in sorted({*found, *wanted}) if found.get(file) != wanted.get(file)]
    hint = "if that is meant, run `python -m tests.end_to_end.emitted --update` and read the difference"
    assert not changed, f"{name}: {', '.join(changed)} changed; {hint}"
