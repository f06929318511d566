"""Reads the report of an artifact folder."""

from __future__ import annotations

from pathlib import Path

from mcutrain.artifact.folder import REPORT_JSON, read_json
from mcutrain.planner.errors import McutrainError
from mcutrain.schema.reading import SchemaError, typed
from mcutrain.schema.report import Report
from mcutrain.schema.words import SCHEMA


class ReportError(McutrainError):
    """A report that cannot be shown: a key is missing, has another type, or contradicts another one."""


def read_report(out: Path) -> Report:
    """Read the report.json of the artifact `out`. Raises OutputError where there is no such file, and ReportError,
    which names file and key, where it is none."""
    return report_from(read_json(out / REPORT_JSON, "the report"), f"{out / REPORT_JSON}: ")


def report_from(content: dict[str, object], before: str = "") -> Report:
    """Make the report that a JSON object holds. before: what the message of an error begins with. Raises
    ReportError."""
    version = content.get("schema", SCHEMA)
    if version != SCHEMA:
        said = f"report.schema is {version}, this version reads {SCHEMA}"
        raise ReportError(f"{before}{said}: make the report again")
    try:
        return typed(content, Report, "report")
    except SchemaError as error:
        raise ReportError(f"{before}{error}: make the report again with this version of mcutrain") from None
