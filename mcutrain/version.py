"""The version: of a checkout what its pyproject.toml says, else what was installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def _version() -> str:
    if PROJECT.is_file():  # an editable install keeps the version of the day when it was made
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "mcutrain":
            return str(project["version"])
    return version("mcutrain")


__version__ = _version()
