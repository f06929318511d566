"""Shared by the tests of the public API and the command line: one compiled tiny network, one way to run a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import mcutrain
from mcutrain.cli import main as cli
from tests.mcutrain import tiny
from tests.tiny_network import tiny_file

PROGRESS = "... "


@pytest.fixture(scope="session")
def pickle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> mcutrain.Artifact:
    """The tiny network with the mixed policy; tests read it and leave it alone."""
    folder = tmp_path_factory.mktemp("tiny")
    return mcutrain.compile(tiny.load(folder), tiny.MIXED, out=folder / "out")


@pytest.fixture
def twin(compiled: mcutrain.Artifact) -> mcutrain.Twin:
    """A fresh twin; the library behind it is built once a session."""
    return mcutrain.host(compiled.directory)


@dataclass(frozen=True)
class Ran:
    """A command's leavings: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that are no progress."""
        return [line for line in self.err.splitlines() if not line.startswith(PROGRESS)]

    @property
    def progress(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith(PROGRESS)]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """command("plan", path, ...) runs the command line's own main in this process; no exception may leave it."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mcutrain", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
        streams = capsys.readouterr()
        return Ran(status, streams.out, streams.err)

    return run
