"""Compiles C sources one by one, two at a time, and keeps the objects: an unchanged source is not compiled again, and
the micro-kernels, which all models share, once for each core."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcutrain.errors import ToolError

ARM_COMPILER = "arm-none-eabi-gcc"
_PACKAGES = {ARM_COMPILER: "gcc-arm-none-eabi libnewlib-arm-none-eabi", "gcc": "gcc libc6-dev"}
_JOBS = 2
_SHARED = "kernels"  # name of the folder of the micro-kernels' sources, here and in artifacts


@dataclass(frozen=True)
class Compiler:
    """Holds one way to compile: program, flags, folders of headers, macros ("NAME" or "NAME=VALUE")."""

    path: Path
    flags: tuple[str, ...]
    include_dirs: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()

    def tool(self, name: str) -> Path:
        """Name another program of the same set, e.g. objdump."""
        return self.path.with_name(self.path.name.removesuffix("gcc") + name)

    @property
    def arguments(self) -> list[str]:
        headers = [f"-I{folder}" for folder in self.include_dirs]
        return [str(self.path), *self.flags, *headers, *(f"-D{macro}" for macro in self.defines)]


@dataclass(frozen=True)
class Objects:
    """Holds what compile_all made: object files, GCC's call graphs (.ci, where asked for) and all warning lines."""

    files: tuple[Path, ...]
    callgraphs: tuple[Path, ...]
    warnings: tuple[str, ...]


def find_compiler(name: str = ARM_COMPILER) -> Path:
    """Find the compiler on the PATH. Raises ToolError with the line that installs it."""
    found = shutil.which(name)
    if found is None:
        raise ToolError(f"{name} is not on the PATH: install it with `apt install {_PACKAGES.get(name, name)}`")
    return Path(found)


def run_tool(command: Sequence[str | Path], doing: str) -> subprocess.CompletedProcess[str]:
    """Run a build tool. Raises ToolError with the tool's first error line; `doing` says where ("linking x.elf")."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ToolError(f"{doing}: cannot run {words[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise ToolError(f"{doing} failed: {_first_error(done.stderr) or f'exit code {done.returncode}'}")
    return done


def _first_error(text: str) -> str:
    """Find the line that says what is wrong: the first with "error" or an undefined reference in it, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "undefined reference" in line or "overflowed" in line]
    return (telling or lines or [""])[0]


def compile_all(compiler: Compiler, sources: Sequence[Path], build_dir: Path) -> Objects:
    """Compile each source into `build_dir`, or a micro-kernel into the user's cache, under a name that holds a hash of
    all that the object depends on."""
    missing = [str(source) for source in sources if not Path(source).is_file()]
    if missing:
        raise ToolError(f"source file {missing[0]} does not exist: emit the model again")
    build_dir.mkdir(parents=True, exist_ok=True)
    paths = [Path(source).resolve() for source in sources]
    shared = _shared_objects(build_dir) if any(path.parent.name == _SHARED for path in paths) else build_dir
    folders = [shared if path.parent.name == _SHARED else build_dir for path in paths]
    with ThreadPoolExecutor(_JOBS) as pool:
        files = tuple(pool.map(lambda path, folder: _compile(compiler, path, folder), paths, folders))
    logs = [file.with_suffix(".log") for file in files]
    warnings = tuple(line for log in logs for line in log.read_text().splitlines() if "warning:" in line)
    callgraphs = tuple(graph for file in files if (graph := file.with_suffix(".ci")).exists())
    return Objects(files, callgraphs, warnings)


def user_cache() -> Path:
    """Return the user's own cache folder: what is taken from it was built by the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcutrain"


def _shared_objects(otherwise: Path) -> Path:
    folder = user_cache() / _SHARED
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return otherwise
    return folder if os.access(folder, os.W_OK) else otherwise


def _compile(compiler: Compiler, source: Path, build_dir: Path) -> Path:
    """Return the object of one source, compiled where it is not there. The hash is over the preprocessed text, so that
    a changed header counts."""
    doing = f"compiling {source.name}"
    preprocessed = run_tool([*compiler.arguments, "-E", "-P", source], doing).stdout  # without the folders' names
    version = run_tool([compiler.path, "-dumpfullversion"], doing).stdout
    key = "\0".join([str(compiler.path), version, *compiler.flags, preprocessed])
    target = build_dir / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.o"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=build_dir) as folder:
        made = Path(folder) / target.name
        log = run_tool([*compiler.arguments, "-c", source, "-o", made], doing).stderr
        made.with_suffix(".log").write_text(log)
        for suffix in (".log", ".ci", ".o"):  # the object last: where it is, the others are
            if made.with_suffix(suffix).exists():
                made.with_suffix(suffix).replace(target.with_suffix(suffix))
    return target
