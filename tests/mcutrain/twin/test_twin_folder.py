"""The folder behind a twin: not writable, changed, damaged; each refusal names the folder and the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import DeviceError, OutputError
from tests.mcutrain import tiny


def test_a_folder_that_cannot_be_written_still_gives_a_twin(
    compiled: mcutrain.Artifact, twin: mcutrain.Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compiled.directory, out, ignore=shutil.ignore_patterns("build"))
    (out / "build").write_text("no folder: nothing can be made below it, not even by root")
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    np.testing.assert_array_equal(mcutrain.host(out).infer(tiny.image(0)), twin.infer(tiny.image(0)))
    assert len(list(cache.glob("mcutrain/libtwin-*.so"))) == 1
    shutil.rmtree(cache)
    cache.write_text("no folder either")
    with pytest.raises(OutputError, match=r"neither its build folder nor .* can be written"):
        mcutrain.host(out)


def test_a_changed_source_is_built_again(compiled: mcutrain.Artifact, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(compiled.directory, out, ignore=shutil.ignore_patterns("build"))
    first = mcutrain.host(out).train_step(tiny.image(0), 0)
    lib0 = out / "codegen/host/src/tiny_lib0.c"
    text = lib0.read_text()
    changed = text.replace("label >= 4", "label >= 3")
    assert changed != text
    lib0.write_text(changed)
    again = mcutrain.host(out)
    assert again.train_step(tiny.image(0), 0) == first
    with pytest.raises(DeviceError, match="mcu_twin_train returned status -2"):
        again.train_step(tiny.image(0), 3)
    assert len(list((out / "build/host").glob("libtwin-*.so"))) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda own: own.pop("train"), r"mcutrain\.train is missing"),
        (lambda own: own.pop("defines"), r"mcutrain\.defines is missing"),
        (lambda own: own.update(schema=0), "was not made by this version of mcutrain"),
        (lambda own: own.update(arena_bytes="many"), r"mcutrain\.arena_bytes is 'many', not a whole number"),
        (lambda own: own["input"].update(offset=1 << 20), r"mcutrain\.input lies outside the arena of \d+ bytes"),
        (lambda own: own["input"].update(offset=-4), r"mcutrain\.input lies outside the arena"),
        (
            lambda own: own["state"][0].update(dtype="object"),
            r"mcutrain\.state\[0\]\.dtype is 'object', not one of int8, ",
        ),
        (lambda own: own["state"].pop(0), r"mcutrain\.parameters\[\d+\] names '.*', which is not in the state"),
        (lambda own: own["train"].pop("label"), r"mcutrain\.train\.label is missing"),
        (
            lambda own: own["train"].update(label=None),
            r"mcutrain\.train\.label is null, and the loss cross_entropy needs",
        ),
        (
            lambda own: own["input"].update(shape=[1, -8, 8, 3]),
            r"mcutrain\.input\.shape\[1\] is -8, not a whole number of 0",
        ),
        (lambda own: own["parameters"][0].pop("variable"), r"mcutrain\.parameters\[0\]\.variable is missing"),
    ],
)
def test_damaged_metadata(damage: object, message: str, compiled: mcutrain.Artifact, tmp_path: Path) -> None:
    shutil.copytree(compiled.directory, tmp_path / "out")
    file = tmp_path / "out/metadata.json"
    meta = json.loads(file.read_text())
    damage(meta["mcutrain"])
    file.write_text(json.dumps(meta))
    with pytest.raises(OutputError, match=message) as error:
        mcutrain.host(tmp_path / "out")
    assert str(tmp_path) in str(error.value) and "compile the model again" in str(error.value)


def test_damaged_parameters(compiled: mcutrain.Artifact, tmp_path: Path) -> None:
    shutil.copytree(compiled.directory, tmp_path / "out")
    file = tmp_path / "out/parameters/tiny.params"
    file.write_bytes(b"not parameters")
    with pytest.raises(OutputError, match=r"tiny\.params: does not hold TVM parameters; compile the model again"):
        mcutrain.host(tmp_path / "out").state()
    file.unlink()
    with pytest.raises(OutputError, match=r"tiny\.params: cannot be read: No such file"):
        mcutrain.host(tmp_path / "out").state()
