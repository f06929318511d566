"""Importers that misbehave, each in its own way, under the fuzz run's worker: prints its verdicts as JSON.

    python tests/end_to_end/misbehaving.py FOLDER    (empty; with one BLAS thread)

A process of its own, since the worker forks."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzz import worker as fuzz_worker
from mcutrain.planner.errors import ModelError

GROWTH = 100 << 20  # bytes that an import may grow by


def refuse(path: Path, text: str = "damaged") -> None:
    raise ModelError(f"{path}: {text}")


def key_error(path: Path) -> None:
    raise KeyError("missing")


def recurse(path: Path) -> None:
    recurse(path)


def leave(path: Path) -> None:
    sys.exit("wrong")


def nameless(path: Path) -> None:
    raise ModelError("damaged")


def unescaped(message: str) -> ModelError:
    """As an error would be whose class forgot to replace what is not printable."""
    error = ModelError("")
    error.args = (message,)
    return error


def control_characters(path: Path) -> None:
    raise unescaped(f"{path}: the layer \x1b[31mred")


def lone_surrogate(path: Path) -> None:
    raise unescaped(f"{path}: the layer \udc80")


def nested_traceback(path: Path) -> None:
    refuse(path, "Traceback (most recent call last)")


def endless_message(path: Path) -> None:
    refuse(path, "x" * 30_000)


def warn(path: Path) -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    refuse(path)


def print_natively(path: Path) -> None:
    """As a library in C++ does."""
    os.write(2, b"error: from C++\n")
    refuse(path)


def write_and_remove(path: Path) -> None:
    """Gone before anyone looks into the folder."""
    path.with_name("beside").touch()
    path.with_name("beside").unlink()
    refuse(path)


def write_natively(path: Path) -> None:
    """Past Python."""
    ctypes.pythonapi.fclose(ctypes.c_void_p(_fopen(bytes(path.with_name("native")), b"w")))
    refuse(path)


def _fopen(name: bytes, mode: bytes) -> int:
    ctypes.pythonapi.fopen.restype = ctypes.c_void_p
    return ctypes.pythonapi.fopen(name, mode)


def change_the_model(path: Path) -> None:
    path.write_bytes(b"changed")
    refuse(path)


def start_a_process(path: Path) -> None:
    subprocess.run(["true"], check=True)
    refuse(path)


def crash(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def work_for_ever(path: Path) -> None:
    while True:
        pass


def wait_for_ever(path: Path) -> None:
    signal.pause()


def take_memory(path: Path) -> None:
    bytearray(b"x") * (3 * GROWTH)
    refuse(path)


WAYS: tuple[Callable[[Path], None], ...] = (
    refuse, key_error, recurse, leave, nameless, control_characters, lone_surrogate, nested_traceback, endless_message,
    warn, print_natively, write_and_remove, write_natively, change_the_model, start_a_process, crash, work_for_ever,
    wait_for_ever, take_memory,
)  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    fuzz_worker.CPU_SECONDS = 1
    found = {}
    for way in WAYS:
        for old in folder.iterdir():
            old.unlink()
        path = folder / "model.relay"
        path.write_bytes(b"model")
        fuzz_worker.HANG_SECONDS = 1 if way is wait_for_ever else 600
        fuzz_worker.NBYTES = fuzz_worker._nbytes("self") + GROWTH
        fuzz_worker.mcutrain.load = lambda path, size, way=way: way(path)
        found[way.__name__] = fuzz_worker.examine(path)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
