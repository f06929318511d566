"""Each file, heading and symbol that a document names exists, and so does each document that the code names."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    p
    for pattern in ("*.md", "docs/*.md", "examples/*.md")
    for p in sorted(REPO.glob(pattern))
    if p.name != "CHANGELOG.md"
]
SOURCES = (".py", ".pyi", ".c", ".h", ".in", ".j2", ".js", ".sh", ".toml", ".json", ".yaml")
MADE = ("out/", "../shared/", "src/", "runtime/", "codegen/", "parameters/")  # where users and commands put files
# Documents about the inside, where every symbol is ours but those of FOREIGN; in the others OURS tells which are.
INSIDE = ("DESIGN.md", "NUMERICS.md", "FORMATS.md", "CONTRIBUTING.md")
FOREIGN = {"FLegalize", "call_tir", "tensorize", "vmov", "vmul", "vcvt", "expf", "logf"}
PLACEHOLDER = re.compile(r"\b(FAMILY|FRONTEND|FORMAT|NAME|BOARD|CORE)\b|_(NAME|FAMILY|FRONTEND)")
OURS = r"(mcutrain|planner|tvm_ext|mcu|MCU)[._].*"


def code_spans(text: str) -> Iterator[str]:
    """What stands between backticks in running text, without what stands in code blocks."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", prose)


@cache
def tracked() -> frozenset[str]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, text=True)
    return frozenset(line for line in listed.stdout.splitlines() if (REPO / line).exists())


@cache
def words() -> frozenset[str]:
    """All words of the sources; of the tests none, so that a test cannot keep a dead name alive."""
    found: set[str] = set()
    for name in tracked():
        if name.endswith(SOURCES) and not name.startswith("tests/"):
            found.update(re.findall(r"\w+", (REPO / name).read_text(encoding="utf-8")))
    return frozenset(found)


def headings(path: Path) -> set[str]:
    """Anchors of a document, as GitHub forms them."""
    lines = [line.lstrip("#").strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def missing_files(document: Path) -> list[str]:
    text, missing = document.read_text(encoding="utf-8"), []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        path = document.parent / target if target else document
        if not path.exists() or (anchor and anchor not in headings(path)):
            missing.append(f"{target}#{anchor}" if anchor else target)
    names, tops = {Path(name).name for name in tracked()}, {Path(name).parts[0] for name in tracked()}
    for span in code_spans(text):
        if span.startswith(MADE) or PLACEHOLDER.search(span) or not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)*/?", span):
            continue
        if re.search(r"\.(py|pyi)$", span):
            is_there = any(f"/{name}".endswith(f"/{span}") for name in tracked())
        elif "/" in span:
            is_there = span.split("/")[0] not in tops or (REPO / span).exists()
        else:
            is_there = not re.fullmatch(r"[a-z][a-z0-9_\-]*\.(c|h|md|toml)", span) or span in names | files_in_code()
        if not is_there:
            missing.append(span)
    return missing


@cache
def files_in_code() -> frozenset[str]:
    """Names of files that the code writes."""
    found: set[str] = set()
    for name in tracked():
        if name.endswith(SOURCES) and not name.startswith("tests/"):
            found.update(re.findall(r"[\w\-]+\.(?:c|h|md|toml)", (REPO / name).read_text(encoding="utf-8")))
    return frozenset(found)


def missing_symbols(document: Path) -> list[str]:
    missing = []
    for span in code_spans(document.read_text(encoding="utf-8")):
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\([\w, =.]*\))?", span):
            continue
        if document.name not in INSIDE and not re.fullmatch(OURS, span):
            continue
        dotted = span.split("(")[0].split(".")
        if len(dotted[-1]) > 2 and not FOREIGN & set(dotted):
            missing += [span] * any(part not in words() for part in dotted if len(part) > 2)
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    assert not missing_files(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_symbol_that_a_document_names_is_there(document: Path) -> None:
    assert not missing_symbols(document)


def test_every_document_that_the_code_names_is_there() -> None:
    missing = []
    for name in sorted(tracked()):
        if not name.endswith(SOURCES) or name.startswith("tests/docs"):
            continue
        text = (REPO / name).read_text(encoding="utf-8")
        missing += [
            f"{name}: {target}" for target in re.findall(r"docs/[\w-]+\.md", text) if not (REPO / target).is_file()
        ]
        for document, heading in re.findall(r"\b(NUMERICS|DESIGN|FORMATS)(?:\.md)?, \"([^\"]+)\"", text):
            anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            if anchor not in headings(REPO / f"docs/{document}.md"):
                missing.append(f'{name}: {document}, "{heading}"')
    assert not missing


def test_the_checks_see_what_is_missing(tmp_path: Path) -> None:
    document = tmp_path / "bad.md"
    document.write_text(
        "See [x](absent.md), `planner/absent.py`, `mcu_absent_kernel` and `mcu_fma`.\n", encoding="utf-8"
    )
    assert missing_files(document) == ["absent.md", "planner/absent.py"]
    assert missing_symbols(document) == ["mcu_absent_kernel"]
