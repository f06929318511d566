"""The lists of CONTRIBUTING.md name the files that their last additions stand in, and no others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
# list -> what its last addition is called in code, and the folders that are searched for it
LAST = {
    "Add an op": (r"\b[qf]prelu\b", ("tvm_ext/ops", "tvm_ext/importers/base", "runtime_c", "tests/tvm_ext/ops")),
    "Add an operator to a frontend": (
        r"['\"](PRELU|PRelu|prelu|nn\.prelu|R\.nn\.prelu)['\"]",
        ("tvm_ext/importers", "tests/tvm_ext/importers"),
    ),
    "Add a format": (
        r"importers\.torch\b|guide-torch|guide-pytorch",
        ("mcutrain", "tvm_ext", "tests/tvm_ext", "README.md", "docs"),
    ),
    "Add a board": (r"\bstm32u585\b", ("mcutrain", "tvm_ext", "planner", "runtime_c", "tests")),
    "Add a core": (r"\bCortex-M33\b", ("mcutrain", "tvm_ext", "planner", "runtime_c", "tests")),
}


def sections() -> dict[str, list[str]]:
    """Heading -> the numbered steps below it."""
    text = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    steps = {
        h: re.findall(r"^\d+\. (.*)$", body, re.MULTILINE) for h, body in zip(parts[::2], parts[1::2], strict=True)
    }
    return {heading: found for heading, found in steps.items() if found}


def patterns(step: str) -> list[re.Pattern[str]]:
    """The paths that a step names; words in capitals stand for one name each."""
    spans = [s for s in re.findall(r"`([\w./-]+)`", step) if s == "README.md" or ("/" in s and "." in s)]
    return [re.compile(re.sub(r"[A-Z]{2,}(?!\.md)", r"[\\w-]+", s.replace(".", r"\."))) for s in spans]


def files_of(words: str, folders: tuple[str, ...]) -> set[str]:
    command = ["git", "grep", "-lP", words, "--", *folders]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.split())


def test_each_list_has_its_last_addition() -> None:
    assert set(sections()) == set(LAST)


@pytest.mark.parametrize("heading", LAST)
def test_the_list_is_what_the_last_addition_touched(heading: str) -> None:
    steps, touched = sections()[heading], files_of(*LAST[heading])
    assert touched
    known = [pattern for step in steps for pattern in patterns(step)]
    assert [file for file in sorted(touched) if not any(p.fullmatch(file) for p in known)] == []
    for step in steps:
        if not step.startswith("If ") and patterns(step):
            assert any(p.fullmatch(file) for p in patterns(step) for file in touched), step
