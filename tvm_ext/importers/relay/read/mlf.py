"""microTVM's Model Library Format: Relay text and parameters out of a tar, or out of the folder that it unpacks to."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from mcutrain.planner.errors import ModelError

LARGEST_MEMBER = 256 << 20
MAX_MEMBERS = 100_000
# Given a member's name it returns the member's bytes, or None where there is no such member.
Reader = Callable[[str], bytes | None]


def read(path: Path, name: str | None = None) -> tuple[str, bytes | None, str]:
    """Return (Relay text, parameter file or None, what to call the text in messages) of model `name`; with one model in
    the library the name may be None. Nothing is written to disk. Raises ModelError."""
    return _pick(_folder(path), path, name) if path.is_dir() else _from_tar(path, name)


def _from_tar(path: Path, name: str | None) -> tuple[str, bytes | None, str]:
    try:
        with tarfile.open(path) as tar:
            members: dict[str, tarfile.TarInfo] = {}
            for member in tar:
                if len(members) >= MAX_MEMBERS:
                    raise ModelError(f"{path}: more than {MAX_MEMBERS} members")
                if member.isfile():
                    members[str(PurePosixPath(member.name))] = member

            def member_bytes(wanted: str) -> bytes | None:
                found = members.get(wanted)
                if found is None:
                    return None
                _check_size(found.size, path, wanted)
                file = tar.extractfile(found)
                return file.read() if file else None

            return _pick(member_bytes, path, name)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ModelError(f"{path}: not a readable tar: {error}") from None


def _folder(path: Path) -> Reader:
    def file_bytes(wanted: str) -> bytes | None:
        file = path / wanted
        try:
            if not file.is_file() or not file.resolve().is_relative_to(path.resolve()):
                return None
            _check_size(file.stat().st_size, path, wanted)
            return file.read_bytes()
        except OSError as error:
            raise ModelError(f"{file}: cannot be read: {error.strerror}") from None

    return file_bytes


def _check_size(size: int, path: Path, member: str) -> None:
    if size > LARGEST_MEMBER:
        raise ModelError(f"{path}: {member} has {size} bytes, more than {LARGEST_MEMBER}")


def _pick(member: Reader, path: Path, name: str | None) -> tuple[str, bytes | None, str]:
    raw = member("metadata.json")
    if raw is None:
        raise ModelError(f"{path}: no metadata.json: not a Model Library Format archive")
    try:
        metadata = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: metadata.json is not JSON: {str(error)[:100]}") from None
    names = _names(metadata, path)
    if name is None and len(names) > 1:
        raise ModelError(f"{path}: holds {len(names)} models; name one of {', '.join(names)}")
    if name is not None and name not in names:
        raise ModelError(f"{path}: has no model '{name}'; it holds {', '.join(names)}")
    chosen = name or names[0]
    for relay in (f"src/{chosen}.relay", "src/relay.txt"):
        text = member(relay)
        if text is not None:
            return _decode(text, path, relay), member(f"parameters/{chosen}.params"), f"{path}, {relay}"
    raise ModelError(f"{path}: no src/{chosen}.relay: the archive holds no Relay text of this model")


def _names(metadata: object, path: Path) -> list[str]:
    """List the models of a library: the keys of `modules`, or `model_name` in versions before there were several."""
    found = metadata if isinstance(metadata, dict) else {}
    listed = list(found["modules"]) if isinstance(found.get("modules"), dict) else [found.get("model_name")]
    names = [n for n in listed if isinstance(n, str) and n]
    if not names or len(names) != len(listed):
        raise ModelError(f"{path}: metadata.json has neither 'modules' nor 'model_name': not a Model Library Format")
    if bad := [n for n in names if "/" in n or "\0" in n or n in (".", "..")]:
        raise ModelError(f"{path}: metadata.json names a model {bad[0][:40]!r}, which is no file name")
    return names


def _decode(text: bytes, path: Path, member: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: {member} is not UTF-8 ({error.reason} at byte {error.start})") from None
