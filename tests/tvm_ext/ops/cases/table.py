"""The cases of all ops: every module of this folder adds its own."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.tvm_ext.support.op_cases import OpCases


def _modules() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != Path(__file__).stem)


RECORDS: dict[str, OpCases] = {
    record.op: record
    for name in _modules()
    for record in getattr(importlib.import_module(f"tests.tvm_ext.ops.cases.{name}"), "RECORDS", ())
}
