"""Output is written whole or not at all: full disks, paths below files, folders of other people."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mcutrain import OutputError
from mcutrain.artifact.folder import read_json, replace_file, write_folder
from tests.mcutrain import tiny

REPO = Path(__file__).resolve().parents[3]
FILES = {"metadata.json": "{}", "a/b/c.bin": b"\x00\x01", "d.txt": "äö"}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, name: str, code: int) -> None:
    """Path.`method` fails as the system would, on the file called `name`, half of it written."""
    real = getattr(Path, method)

    def failing(self: Path, *arguments: object) -> object:
        if self.name.startswith(name):
            if method == "write_bytes":
                real(self, arguments[0][:1])
            raise OSError(code, "No space left on device" if code == errno.ENOSPC else "Device or resource busy")
        return real(self, *arguments)

    monkeypatch.setattr(Path, method, failing)


def test_writes_all_and_replaces_an_artifact(tmp_path: Path) -> None:
    out = write_folder(tmp_path / "deep/out", FILES)
    assert content(out) == {"metadata.json": b"{}", "a/b/c.bin": b"\x00\x01", "d.txt": "äö".encode()}
    write_folder(out, {"metadata.json": "[]"})
    assert content(out) == {"metadata.json": b"[]"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert out.stat().st_mode & 0o777 == 0o755


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, "write_bytes", "c.bin", errno.ENOSPC)
    with pytest.raises(OutputError, match="cannot write the output folder: No space left on device; choose a place"):
        write_folder(tmp_path / "out", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_folder(tmp_path / "out", {"metadata.json": "old"})
    fail_at(monkeypatch, "write_bytes", "c.bin", errno.ENOSPC)
    with pytest.raises(OutputError, match="No space left"):
        write_folder(out, FILES)
    assert content(tmp_path) == {"out/metadata.json": b"old"}


def test_a_failing_rename_brings_the_old_artifact_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = write_folder(tmp_path / "out", {"metadata.json": "old"})
    real = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == out and not self.name.endswith(".old"):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Device or resource busy"):
        write_folder(out, FILES)
    assert content(tmp_path) == {"out/metadata.json": b"old"}


@pytest.mark.parametrize("place", ["file/out", "file/deeper/out"])
def test_a_path_below_a_file(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=rf"{place}: cannot .*; choose a place with room that can be written"):
        write_folder(tmp_path / place, FILES)
    assert content(tmp_path) == {"file": b"x"}


def test_a_file_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo").write_text("y")
    with pytest.raises(OutputError, match="file: is not a folder; choose another output folder"):
        write_folder(tmp_path / "file", FILES)
    with pytest.raises(OutputError, match=r"mine: holds other files and no metadata\.json"):
        write_folder(tmp_path / "mine", FILES)
    assert content(tmp_path) == {"file": b"x", "mine/photo": b"y"}
    (tmp_path / "empty").mkdir()
    assert "d.txt" in content(write_folder(tmp_path / "empty", FILES))


def test_one_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.json"
    replace_file(file, "old")
    with pytest.raises(OutputError, match=r"x\.html: cannot be written: Not a directory"):
        replace_file(file / "x.html", "new")
    fail_at(monkeypatch, "write_bytes", ".report.json", errno.ENOSPC)
    with pytest.raises(OutputError, match=r"report\.json: cannot be written: No space left on device"):
        replace_file(file, "new")
    assert content(tmp_path) == {"report.json": b"old"}


def test_read_json(tmp_path: Path) -> None:
    file = tmp_path / "metadata.json"
    with pytest.raises(OutputError, match=r"has no metadata\.json; give a folder made by `mcutrain compile`"):
        read_json(file, "the description")
    for text, message in (("{", "cannot be read"), ("[1]", "is not a JSON object"), ("\udcff", "cannot be read")):
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(OutputError, match=rf"metadata\.json: the description {message}.*compile again"):
            read_json(file, "the description")


def test_compile_on_a_real_short_disk(tmp_path: Path, pickle_file: Path) -> None:
    """The system itself refuses to write more than 20,000 bytes to a file: nothing is left, one line says why."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    arguments = ["compile", pickle_file, "--scheme", "head_only", *tiny.OPTIONS, "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "mcutrain", *map(str, arguments)], cwd=REPO, preexec_fn=limit, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("... ")]
    assert line.startswith(f"mcutrain: {tmp_path / 'out'}: cannot write the output folder: File too large")
    assert list(tmp_path.iterdir()) == []
