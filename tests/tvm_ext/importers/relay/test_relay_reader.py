"""Picking a file by its content, binding parameters, and Model Library Format archives."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.read import mlf
from mcutrain.tvm_ext.importers.relay.read.reader import read
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from tests.tvm_ext.importers.relay.relay_files import params_blob
from tests.tvm_ext.importers.relay.run_relay import described, execute

TEXT = "def @main(%x: Tensor[(2), float32], %w: Tensor[(2), float32]) { multiply(%x, %w) }"
W = {"w": np.array([2.0, 3.0], np.float32)}


def params_of(module: ast.Module) -> list[str]:
    return [p.name for p in module.functions["main"].params]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.relay"
    path.write_text(TEXT)
    return path


def test_content_decides(data: Path, tmp_path: Path) -> None:
    folder = data / "relay/tvm/lenet_fp32"
    for end in ("relay", "json"):
        (tmp_path / f"{end}.bin").write_bytes((folder / f"unbound.{end}").read_bytes())
    text, saved = read(tmp_path / "relay.bin"), read(tmp_path / "json.bin")
    assert described(text) == described(saved) == described(read(str(folder / "unbound.relay")))


def test_parameters_beside_the_file_and_given_ones(net: Path, tmp_path: Path) -> None:
    assert params_of(read(net)) == ["x", "w"]
    (tmp_path / "given").write_bytes(params_blob({"w": np.zeros(2, np.float32)}))
    (tmp_path / "net.params").write_bytes(params_blob(W))
    module = read(net)
    constant = module.functions["main"].body.args[1]
    assert params_of(module) == ["x"] and isinstance(constant, ast.Constant) and constant.name == "w"
    x = np.array([5.0, 7.0], np.float32)
    assert execute(to_relax(module), {"x": x}).tolist() == [10, 21]
    assert read(net, tmp_path / "given").functions["main"].body.args[1].value.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"w": np.zeros(3, np.float32)},
            r"'w' is Tensor\[\(3\), float32\], the parameter at .*line 1 is Tensor\[\(2\)",
        ),
        ({"w": np.zeros((2, 1), np.float32)}, r"'w' is Tensor\[\(2, 1\), float32\], the parameter"),
        ({"w": np.zeros(2, np.float64)}, r"'w' is Tensor\[\(2\), float64\], the parameter"),
        ({**W, "v": W["w"], "u": W["w"]}, r"@main has no parameter 'v' \(nor 1 more\); its parameters are x, w"),
    ],
)
def test_parameters_that_do_not_fit(net: Path, values: dict, message: str) -> None:
    net.with_suffix(".params").write_bytes(params_blob(values))
    with pytest.raises(ModelError, match=r"net\.params: " + message):
        read(net)


def test_bound_parameters_are_refused_a_second_time(data: Path) -> None:
    folder = data / "relay/tvm/lenet_fp32"
    with pytest.raises(ModelError, match=r"has no parameter 'conv1_weight' .nor 9 more.; its parameters are data"):
        read(folder / "bound.json", folder / "params.bin")


def test_files_that_are_nothing(tmp_path: Path, net: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, message in [
        (tmp_path / "binary", "neither text, JSON nor a tar"),
        (tmp_path / "missing", "cannot be read: No such file"),
        (tmp_path, "no metadata.json: not a Model Library Format archive"),
    ]:
        with pytest.raises(ModelError, match=message):
            read(path)
    with pytest.raises(ModelError, match="missing: cannot be read: No such file"):
        read(net, tmp_path / "missing")
    with pytest.raises(ModelError, match=r"net\.relay: not a TVM parameter file"):
        read(net, net)


def library(path: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return path


META = json.dumps({"modules": {"default": {}}, "version": 7})
FILES = {"./metadata.json": META, "./src/default.relay": TEXT, "./parameters/default.params": params_blob(W)}


def test_a_library_and_its_folder(tmp_path: Path) -> None:
    tar = library(tmp_path / "m.tar", FILES)
    with tarfile.open(tar) as opened:
        opened.extractall(tmp_path / "folder", filter="data")
    before = sorted(tmp_path.rglob("*"))
    for path in (tar, tmp_path / "folder"):
        assert params_of(read(path)) == ["x"]
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "zero").write_bytes(params_blob({"w": np.zeros(2, np.float32)}))
    assert read(tar, tmp_path / "zero").functions["main"].body.args[1].value.tolist() == [0, 0]


def test_several_models_and_old_libraries(tmp_path: Path) -> None:
    two = json.dumps({"modules": {"a": {}, "b": {}}})
    tar = library(tmp_path / "two.tar", {"metadata.json": two, "src/a.relay": TEXT, "src/b.relay": "def @main() { 1 }"})
    assert params_of(read(tar, name="a")) == ["x", "w"] and params_of(read(tar, name="b")) == []
    with pytest.raises(ModelError, match="holds 2 models; name one of a, b"):
        read(tar)
    with pytest.raises(ModelError, match="has no model 'c'; it holds a, b"):
        read(tar, name="c")
    old = library(tmp_path / "old.tar", {"metadata.json": '{"model_name": "m"}', "src/relay.txt": TEXT})
    assert params_of(read(old)) == ["x", "w"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"other": "x"}, "no metadata.json"),
        ({"metadata.json": "{"}, "metadata.json is not JSON"),
        ({"metadata.json": "[1]"}, "metadata.json has neither 'modules' nor 'model_name'"),
        ({"metadata.json": '{"modules": {}}'}, "has neither 'modules' nor"),
        ({"metadata.json": '{"modules": {"../../x": {}}}'}, "names a model '../../x', which is no file name"),
        ({"metadata.json": META}, "no src/default.relay: the archive holds no Relay text"),
        (FILES | {"./src/default.relay": b"\xff"}, "src/default.relay is not UTF-8"),
        (FILES | {"./src/default.relay": "def"}, r"m\.tar, src/default\.relay, line 1: "),
        (FILES | {"./parameters/default.params": b"x"}, "m.tar, the parameters: the header needs 16 bytes"),
    ],
)
def test_broken_libraries(tmp_path: Path, files: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(library(tmp_path / "m.tar", files))


def test_truncated_and_oversized_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = library(tmp_path / "m.tar", FILES)
    (tmp_path / "cut.tar").write_bytes(tar.read_bytes()[:1100])
    with pytest.raises(ModelError, match=r"cut\.tar: "):
        read(tmp_path / "cut.tar")
    monkeypatch.setattr(mlf, "LARGEST_MEMBER", 60)
    with pytest.raises(ModelError, match=r"src/default\.relay has \d+ bytes, more than 60"):
        read(tar)
    monkeypatch.setattr(mlf, "MAX_MEMBERS", 2)
    with pytest.raises(ModelError, match="more than 2 members"):
        read(tar)


def test_links_out_of_a_library_are_not_followed(tmp_path: Path) -> None:
    """This holds in a folder and in a tar."""
    folder = tmp_path / "lib"
    (folder / "src").mkdir(parents=True)
    (folder / "metadata.json").write_text(META)
    (tmp_path / "secret").write_text(TEXT)
    (folder / "src/default.relay").symlink_to(tmp_path / "secret")
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        tar.add(folder, ".")
    for path in (folder, tmp_path / "m.tar"):
        with pytest.raises(ModelError, match=r"no src/default\.relay"):
            read(path)
