"""Shared by all tests: golden files, the tiny network as a file and as a model, the folder of real networks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mcutrain import frontends
from tests.tiny_network import CLASSES, SIZE, tiny_file

GOLDEN = Path(__file__).parent / "golden"
REPO = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/ anew from what is emitted now")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(file name, text): the text must equal the file of tests/golden/; --update-golden writes it."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"no {path}: run pytest --update-golden and read what it wrote"
        assert text == path.read_text(encoding="utf-8"), f"{name} changed: run pytest --update-golden, read the diff"

    return compare


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network's file, tiny.pkl."""
    return tiny_file(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Path):
    """The tiny network as a Model with a float head of CLASSES classes."""
    return frontends.load(tiny_path, SIZE, CLASSES)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of published networks and reference results: beside the repository, or where MCUTRAIN_DATA says."""
    path = Path(os.environ.get("MCUTRAIN_DATA") or REPO.parent / "shared" / "data")
    if not (path / "mcunet").is_dir():
        message = f"{path} is not there: set MCUTRAIN_DATA to the folder with mcunet/ and reference/"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
