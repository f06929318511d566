"""Shared by the runtime's tests: one cache of objects for all firmwares, and a way to build and run one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mcutrain.firmware import emulator, toolchain
from mcutrain.targets import board as boards

HERE = Path(__file__).parent
FAKE_MODEL = HERE / "fake_model"


@pytest.fixture(scope="session")
def object_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture
def build(tmp_path: Path, object_cache: Path) -> Callable[..., toolchain.Image]:
    """build(board, *sources, budget=, defines=): sources are names in this folder; none is the verify program."""

    def build_one(
        board: boards.AnyBoard,
        *names: str,
        budget: int | None = None,
        defines: tuple[str, ...] = (),
        optimise: str = "-O2",
    ) -> toolchain.Image:
        verify = [FAKE_MODEL / "tvmgen_fake.c", toolchain.VERIFY_MAIN]
        sources = [HERE / name for name in names] or verify
        folders, elf = [FAKE_MODEL, HERE], tmp_path / "firmware.elf"
        return toolchain.build_firmware(
            sources, folders, boards.get(board), budget, elf, defines, optimise, build_dir=object_cache
        )

    return build_one


@pytest.fixture
def execute(tmp_path: Path) -> Callable[[toolchain.Image], tuple[str, ...]]:
    """Runs a firmware in the test's own folder; samples.bin and results.bin lie there."""
    return lambda image: emulator.run(image.elf, image.board, tmp_path, timeout_seconds=60)
