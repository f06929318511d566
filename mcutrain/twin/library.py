"""The shared library behind a host twin: built from an artifact's sources, loaded in a copy of its own."""

from __future__ import annotations

import ctypes
import hashlib
import platform
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from mcutrain.artifact.folder import c_sources, include_folders
from mcutrain.errors import DeviceError
from mcutrain.firmware.compiling import user_cache
from mcutrain.firmware.toolchain import RUNTIME, build_host, host_flags
from mcutrain.planner.errors import OutputError
from mcutrain.schema.metadata import Metadata, Place


class Library:
    """One loaded copy of the compiled sources: static memory of its own."""

    def __init__(self, directory: Path, meta: Metadata, defines: tuple[str, ...]) -> None:
        built = _build(directory, meta, defines)
        copy = Path(tempfile.mkdtemp(prefix="mcutrain-twin-")) / built.name
        shutil.copy(built, copy)
        self.library = ctypes.CDLL(str(copy))
        shutil.rmtree(copy.parent, ignore_errors=True)  # mapped already; the file is not needed any more
        self.library.mcu_twin_arena.restype = ctypes.POINTER(ctypes.c_uint8)
        self.library.mcu_twin_arena_bytes.restype = ctypes.c_uint32
        if self.library.mcu_twin_arena_bytes() != meta.arena_bytes:
            raise OutputError(f"{directory}: metadata.json and the C sources speak of different arenas; compile again")
        self.arena = np.ctypeslib.as_array(self.library.mcu_twin_arena(), (meta.arena_bytes,))
        handle, close = self.library._handle, ctypes.CDLL(None).dlclose
        close.argtypes = [ctypes.c_void_p]
        self._finalizer = weakref.finalize(self, close, handle)

    def call(self, function: str) -> None:
        """Run a function of the twin's interface. Raises DeviceError where it returns an error."""
        status = getattr(self.library, function)()
        if status != 0:
            raise DeviceError(f"{function} returned status {status}")

    def _view(self, place: Place) -> np.ndarray:
        return self.arena[place.offset : place.offset + place.nbytes].view(place.dtype)

    def read(self, place: Place) -> np.ndarray:
        """A copy of the tensor at `place`: its offset in the arena, shape and dtype."""
        return self._view(place).reshape(place.shape).copy()

    def write(self, place: Place, value: np.ndarray) -> None:
        """Write a tensor of that many values; it is cast to the place's dtype."""
        self._view(place)[:] = np.asarray(value).reshape(-1)


def _build(directory: Path, meta: Metadata, defines: tuple[str, ...]) -> Path:
    """Build the shared library of an artifact, in its build folder or, where that cannot be written, in the user's
    cache. A changed source, flag or processor makes another file."""
    sources = [*c_sources(directory), RUNTIME / "src" / "host_twin.c"]
    headers = [path for part in ("codegen/host", "runtime") for path in sorted((directory / part).glob("*/*.h"))]
    digest = hashlib.sha256(repr((meta.defines, defines, host_flags(), _processor())).encode())
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    name = f"libtwin-{digest.hexdigest()[:16]}.so"
    for folder in (directory / "build" / "host", user_cache()):
        library = folder / name
        if library.exists():
            return library
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as work:
                fresh = Path(work) / name
                macros = (*meta.defines, *defines)
                build_host(sources, include_folders(directory), fresh, macros, folder / "objects")
                fresh.replace(library)
            return library
        except OSError:
            continue
    raise OutputError(f"{directory}: neither its build folder nor {user_cache()} can be written")


def _processor() -> str:
    """Say what -march=native depends on: a folder copied to another machine is built anew there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")
