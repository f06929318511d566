"""Writing output folders whole or not at all, and reading them back."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcutrain.planner.errors import OutputError
from mcutrain.schema.reading import load_json, plain

METADATA, REPORT_JSON, REPORT_HTML, PLAN = "metadata.json", "report.json", "report.html", "plan.csv"


def c_sources(out: Path) -> list[Path]:
    """List what an application compiles: the emitted C, and the micro-kernels of the time when it was emitted."""
    return [path for folder in ("codegen/host/src", "runtime/kernels") for path in sorted((out / folder).glob("*.c"))]


def include_folders(out: Path) -> list[Path]:
    return [out / folder for folder in ("codegen/host/include", "codegen/host/src", "runtime/include")]


def write_folder(target: str | Path, files: Mapping[str, str | bytes], with_tar: bool = False) -> Path:
    """Write `files` (relative path -> content) as the folder `target`, replacing an earlier artifact there;
    with_tar: and as `target`.tar beside it.

    All is written beside it first and renamed at the end: after an error nothing has changed.
    Raises OutputError naming the folder and the cause."""
    target = Path(target).absolute()
    check_replaceable(target)
    staging = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        staging.chmod(0o755)
        tar = target.with_name(f"{target.name}.tar")
        if with_tar:
            staged_tar = staging.with_name(f"{staging.name}.tar")
            staged_tar.write_bytes(tar_bytes({f"./{name}": content for name, content in files.items()}))
        _swap(staging, target)
        if with_tar:
            staged_tar.replace(tar)
    except OSError as error:
        message = f"{target}: cannot write the output folder: {error.strerror or error}"
        raise OutputError(f"{message}; choose a place with room that can be written") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
            staging.with_name(f"{staging.name}.tar").unlink(missing_ok=True)
    return target


def check_replaceable(target: Path) -> None:
    """Raises OutputError where `target` is something else than nothing, an empty folder or an earlier artifact."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise OutputError(f"{target}: is not a folder; choose another output folder")
    try:
        is_empty = not any(target.iterdir())
    except OSError as error:
        raise OutputError(f"{target}: cannot be read: {error.strerror}") from None
    if not is_empty and not (target / METADATA).is_file():
        raise OutputError(f"{target}: holds other files and no {METADATA}; choose a new folder, or empty this one")


def _swap(staging: Path, target: Path) -> None:
    """Put `staging` in the place of `target`; the old folder goes only when the new one stands."""
    old = staging.with_name(staging.name + ".old")
    had_old = target.exists()
    if had_old:
        target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        if had_old:
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def replace_file(path: Path, content: str | bytes) -> None:
    """Write one file whole or not at all. Raises OutputError."""
    data = content.encode() if isinstance(content, str) else content
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staging.write_bytes(data)
        staging.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where the folder is none, the file never was
            staging.unlink()
        message = f"{path}: cannot be written: {error.strerror or error}; choose a place with room that can be written"
        raise OutputError(message) from None


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object. Raises OutputError that says how to make the file."""
    try:
        content = load_json(path)
    except FileNotFoundError:
        raise OutputError(f"{path.parent}: has no {path.name}; give a folder made by `mcutrain compile`") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: {what} cannot be read ({error}); compile again") from None
    if not isinstance(content, dict):
        raise OutputError(f"{path}: {what} is not a JSON object; compile again")
    return content


def to_json(value: object) -> str:
    """Write a typed value, or one of dicts and lists, as indented JSON in ASCII with sorted keys; NaN and infinities
    are null."""
    return json.dumps(plain(value), indent=1, sort_keys=True) + "\n"


def tar_bytes(files: Mapping[str, str | bytes]) -> bytes:
    """Make an uncompressed tar of `files`, equal for equal content: no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            content = files[name]
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
