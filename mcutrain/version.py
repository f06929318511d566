"""The version of the installed package; pyproject.toml alone says it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mcutrain")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+checkout"
