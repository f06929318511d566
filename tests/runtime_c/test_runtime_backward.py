"""The backward micro-kernels, each form of which a core has in assembly: the bits of the host's plain C, on every
board. What they compute is tested where they are called (tests/tvm_ext)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.firmware import toolchain
from mcutrain.targets import board as boards
from tests.cores import BOARDS

HERE = Path(__file__).parent
KERNELS = [source for source in toolchain.KERNEL_SOURCES if source.name.startswith("mcu_backward")]
CASES, FLOATS = 65, 1200


def on_host(folder: Path, board: str) -> np.ndarray:
    library, sources = folder / "cases.so", [HERE / "backward_cases.c", *KERNELS]
    assert toolchain.build_host(sources, [HERE], library, boards.get(board).defines) == ()
    results = np.zeros((CASES, FLOATS), np.float32)
    run = ctypes.CDLL(str(library)).backward_case
    ends = [run(number, row.ctypes.data_as(ctypes.c_void_p)) for number, row in enumerate(results)]
    beyond = np.zeros(FLOATS, np.float32)
    assert ends == [1] * CASES and run(CASES, beyond.ctypes.data_as(ctypes.c_void_p)) == 0
    return results


@pytest.mark.parametrize("board", BOARDS)
def test_backward_kernels(board: str, build: Callable, execute: Callable, tmp_path: Path) -> None:
    image = build(board, "backward_cases.c", "backward_main.c", *KERNELS, budget=64 << 10)
    assert image.warnings == ()
    execute(image)
    device = np.fromfile(tmp_path / "results.bin", np.float32).reshape(CASES, FLOATS)
    host = on_host(tmp_path, board)
    wrong = np.flatnonzero((device.view(np.uint32) != host.view(np.uint32)).any(axis=1))
    assert not wrong.size, f"cases {wrong.tolist()} differ"
    assert (host[0] != host[1]).any() and np.isfinite(host).all()
