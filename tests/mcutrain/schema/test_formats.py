"""docs/FORMATS.md says of each file what the schema says, and what is written is what the schema reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

import mcutrain
from mcutrain.artifact.folder import to_json
from mcutrain.schema.inspection import Inspection
from mcutrain.schema.metadata import MetadataFile
from mcutrain.schema.plan import Row
from mcutrain.schema.reading import load_json, typed
from mcutrain.schema.report import Report
from mcutrain.schema.tables import FILES, table, with_tables

FORMATS = Path(__file__).resolve().parents[3] / "docs/FORMATS.md"


def test_the_documents_tables_are_the_schemas() -> None:
    text = FORMATS.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run `python -m mcutrain.schema docs/FORMATS.md`"
    assert sorted(re.findall(r"<!-- table: (.*) -->", text)) == sorted([*FILES, "counts"])


def test_a_changed_table_is_made_anew() -> None:
    text = "before\n<!-- table: policy -->\n| key |\n<!-- end -->\nafter\n"
    made = with_tables(text)
    assert made == f"before\n<!-- table: policy -->\n{table('policy')}<!-- end -->\nafter\n"
    assert "| `bias` | bool; true if missing | whether the bias trains |\n" in made
    with pytest.raises(KeyError, match="no such"):
        with_tables("<!-- table: no such -->\n<!-- end -->\n")


@pytest.mark.parametrize("name", FILES)
def test_each_key_has_a_meaning(name: str) -> None:
    rows = [row.split(" | ") for row in table(name).splitlines()[2:]]
    assert rows and all(len(row) == 3 and row[2].rstrip(" |") for row in rows), rows


@pytest.mark.parametrize(("file", "kind"), [("report.json", Report), ("metadata.json", MetadataFile)])
def test_what_compile_writes_is_what_is_read(file: str, kind: type, compiled: mcutrain.Artifact) -> None:
    path = compiled.directory / file
    assert to_json(typed(load_json(path), kind, file)) == path.read_text(encoding="utf-8")


def test_the_plans_header_is_the_schemas(compiled: mcutrain.Artifact) -> None:
    assert (compiled.directory / "plan.csv").read_text().splitlines()[0] == ",".join(Row._fields)


def test_a_name_in_json_may_differ_from_the_fields() -> None:
    names = [field.encode_name for field in msgspec.structs.fields(Inspection)]
    assert "front_door" in names and "| `front_door` | string or null |" in table("inspection")


def test_what_is_missing_is_not_written(compiled: mcutrain.Artifact) -> None:
    report = compiled.report
    assert {"profile", "flash_parts"} & json.loads(to_json(report)).keys() == set()
    assert json.loads(to_json(report))["wide_weights"] == []
