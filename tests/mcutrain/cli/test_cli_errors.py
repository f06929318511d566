"""Bad input on the command line: one line that names what, where and what to do; status 2 (1 over budget); nothing
half-written."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from tests import tiny_network as network
from tests.mcutrain import tiny


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_refusal(ran: object, *expected: str, status: int = 2) -> None:
    """Exactly one line that is no progress, no result, the right status, and every expected word."""
    assert ran.status == status and ran.out == ""
    assert len(ran.errors) == 1 and ran.errors[0].startswith("mcutrain: "), ran.err
    for words in expected:
        assert words in ran.errors[0]


class Attack:
    """Unpickled by Python's own reader it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def cut_short(folder: Path) -> bytes:
    whole = network.tiny_file(folder).read_bytes()
    return whole[: len(whole) // 2]


def changed(folder: Path, change: Callable[[dict], object]) -> bytes:
    content = network.tiny_network()
    change(content)
    return network.write_network(content, folder / "changed.pkl").read_bytes()


FILES = {
    "empty": (lambda _: b"", "not a zip, or truncated"),
    "cut short": (cut_short, "not a zip, or truncated"),
    "no zip": (lambda _: pickle.dumps({"first_conv": None}), "not a zip, or truncated"),
    "missing key": (lambda f: changed(f, lambda n: n.pop("classifier")), "classifier"),
    "missing weight": (
        lambda f: changed(f, lambda n: n["blocks"][1]["depthwise"]["params"].pop("weight")), "blocks.1.depthwise",
    ),
    "NaN scale": (
        lambda f: changed(f, lambda n: n["first_conv"]["params"].update(y_scale=float("nan"))), "first_conv",
    ),
    "shape that does not fit": (
        lambda f: changed(f, lambda n: n["blocks"][2].update(pointwise1=n["blocks"][0]["pointwise1"])), "blocks.2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("verb", ["plan", "compile"])
def test_faulty_model_files(name: str, verb: str, tmp_path: Path, command: Callable) -> None:
    make, words = FILES[name]
    work = tmp_path / "work"
    work.mkdir()
    file = tmp_path / "model.pkl"
    file.write_bytes(make(work))
    out = ("-o", tmp_path / "result/out") if verb == "compile" else ()
    check_refusal(command(verb, file, "--scheme", "full", *tiny.OPTIONS, *out), str(file), words)
    assert not (tmp_path / "result").exists()


def test_malicious_pickle(tmp_path: Path, command: Callable) -> None:
    target = tmp_path / "attacked"
    file = network.write_network({"first_conv": Attack(target)}, tmp_path / "model.pkl")
    check_refusal(command("plan", file), str(file), "only numpy arrays are admitted")
    assert not target.exists()


def test_arrays_are_no_model(tmp_path: Path, command: Callable) -> None:
    check_refusal(command("plan", tiny.save_data(tmp_path / "d.npz")), "d.npz", "arrays are no model")


@pytest.mark.parametrize("name", ["none.pkl", "."])
def test_missing_model(name: str, tmp_path: Path, command: Callable) -> None:
    check_refusal(command("plan", tmp_path / name), str(tmp_path), "give ", "model file")


REFUSED = {
    "scheme": (("--scheme", "64kb"), "unknown scheme '64kb'", "use full", "inference"),
    "last_k": (("--scheme", "last_k=99"), "K must be a number from 0 to 10"),
    "policy file": (("--scheme", "/nowhere/p.json"), "/nowhere/p.json: No such file", "give the path"),
    "budget in words": (("--budget", "lots"), "byte count 'lots'", "write it as 256KB"),
    "negative budget": (("--budget", "-5KB"), "byte count '-5KB'", "write it as 256KB"),
    "half a byte": (("--budget", "0.3B"), "byte count '0.3B'"),
    "momentum": (("--momentum", "1.5"), "momentum 1.5 is not in [0, 1)"),
    "accumulate": (("--accumulate", "99999999999"), "accumulate 99999999999"),
    "head": (("--head", "double"), "unknown head 'double'", "model, float, int8-slice"),
    "logits": (("--logits", "double"), "unknown logits 'double'", "raw, dequantized"),
    "classes": (("--classes", "0"), "0 classes", "need 2 or more"),
    "input size": (("--input-size", "-8"), "input size -8", "1 or more"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_faulty_options(name: str, pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    options, *words = REFUSED[name]
    base = ("--scheme", "full", *tiny.OPTIONS)
    check_refusal(command("plan", pickle_file, *base, *options), *words)
    check_refusal(command("compile", pickle_file, *base, *options, "-o", tmp_path / "out"), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"layer": 10}]', "layer index 10 is out of range; the layers before the head are numbered 0 to 9"),
        ('[{"layer": "first_conv", "weight": 2}]', "entry 1 (layer first_conv): weight is 2, not a number from 0 to 1"),
        ('[{"layer": 1, "wieght": 1}]', "entry 1 (layer 1): wieght is unknown; use layer, bias, weight, select"),
        ('[{"layer": 1, "weight": true}]', "entry 1 (layer 1): weight is true, not a number from 0 to 1"),
        ('[{"layer": 1, "bias": 1}]', "entry 1 (layer 1): bias is 1, not true or false"),
        ('[{"bias": true}]', "entry 1: layer is missing; use layer, bias"),
        ('{"layer": 1}', "must be a list of objects"),
        ("[", "not JSON"),
    ],
)
def test_faulty_policy_files(text: str, words: str, pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    file = tmp_path / "policy.json"
    file.write_text(text)
    check_refusal(command("plan", pickle_file, *tiny.OPTIONS, "--scheme", file), words)


def test_over_budget_is_status_1_and_says_what_would_fit(pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    options = ("--scheme", "full", *tiny.OPTIONS, "--seconds", "1", "--budget", "4KB")
    ran = command("compile", pickle_file, *options, "-o", tmp_path / "out")
    at = next(i for i, line in enumerate(ran.errors) if line.startswith("what it would need otherwise"))
    refusal, rows = ran.errors[:at], ran.errors[at + 1 :]
    assert ran.status == 1 and ran.out == ""
    assert refusal[0].startswith("mcutrain: a budget of 4,096 B is too small: the best plan that was found needs ")
    assert "no plan for an arena of 3,072 B was found" in refusal[2] and "train fewer layers" in refusal[-1]
    assert [row.split()[0] for row in rows] == ["--scheme", "--recompute"]  # the network takes no smaller input
    assert [row.endswith("B  fits") for row in rows] == [True, False]
    ran = command("plan", pickle_file, *options, "--json")
    told = json.loads(ran.out)
    assert ran.status == 1 and not told["fits"]
    assert ran.errors == f"mcutrain: {told['error']}".splitlines()
    scheme = next(a for a in told["alternatives"] if a["fits"])
    assert scheme["option"].startswith("--scheme last_k=") and scheme["nbytes"] <= told["budget_bytes"] == 4096
    assert list(tmp_path.iterdir()) == []
    fitting = command("plan", pickle_file, *options, *scheme["option"].split(), "--json")
    assert fitting.status == 0 and json.loads(fitting.out)["sram"]["arena"] + 1024 <= scheme["nbytes"]


def test_report_over_budget_is_status_1(compiled: mcutrain.Artifact, tmp_path: Path, command: Callable) -> None:
    shutil.copytree(compiled.directory, tmp_path / "out")
    file = tmp_path / "out/report.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "fits": False}))
    assert command("report", tmp_path / "out").status == 1


def test_unknown_board(pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    ran = command("compile", pickle_file, *tiny.OPTIONS, "--board", "pdp11", "-o", tmp_path / "out")
    check_refusal(ran, "board 'pdp11' is not known", "stm32f746")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/out", "file", "mine", "/proc/nowhere/out"])
def test_places_that_cannot_be_written(place: str, pickle_file: Path, tmp_path: Path, command: Callable) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis").write_text("y")
    ran = command("compile", pickle_file, "--scheme", "head_only", *tiny.OPTIONS, "-o", tmp_path / place)
    check_refusal(ran, str(tmp_path / place), "choose")
    assert content(tmp_path) == {"file": b"x", "mine/thesis": b"y"}


def test_pages_and_parameters_that_cannot_be_written(
    compiled: mcutrain.Artifact, pickle_file: Path, tmp_path: Path, command: Callable
) -> None:
    (tmp_path / "file").write_text("x")
    page = tmp_path / "file/page.html"
    check_refusal(command("plan", pickle_file, "--scheme", "head_only", *tiny.OPTIONS, "--html", page), str(page))
    data = tiny.save_data(tmp_path / "d.npz")
    ran = command("train", compiled.directory, data, "--save", tmp_path / "no/where.npz")
    check_refusal(ran, str(tmp_path / "no/where.npz"), "choose another place")
    assert sorted(content(tmp_path)) == ["d.npz", "file"]


def test_full_disk(pickle_file: Path, tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = Path.write_bytes, []

    def write(self: Path, data: bytes) -> int:
        written.append(self)
        if len(written) > 5:
            real(self, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    ran = command("compile", pickle_file, "--scheme", "head_only", *tiny.OPTIONS, "-o", tmp_path / "out")
    check_refusal(ran, str(tmp_path / "out"), "No space left on device", "choose a place with room")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["verify", "report", "train"])
@pytest.mark.parametrize("place", ["empty", "missing", "file"])
def test_folders_that_are_no_artifact(verb: str, place: str, tmp_path: Path, command: Callable) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    data = (tiny.save_data(tmp_path / "d.npz"),) if verb == "train" else ()
    before = content(tmp_path)
    check_refusal(command(verb, tmp_path / place, *data), str(tmp_path / place), "compile")
    assert content(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"mcutrain": 3}', '{"mcutrain": {"schema": 1}}', "\x00"])
def test_damaged_metadata(text: str, compiled: mcutrain.Artifact, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    shutil.copytree(compiled.directory, out, ignore=shutil.ignore_patterns("build"))
    (out / "metadata.json").write_text(text)
    data = tiny.save_data(tmp_path / "d.npz")
    for arguments in (("verify", out), ("train", out, data)):
        check_refusal(command(*arguments), str(out), "metadata.json", "compile")
    assert not (out / "build").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fits": true}', '{"schema": 1, "fits": true}'])
def test_damaged_report(text: str, compiled: mcutrain.Artifact, tmp_path: Path, command: Callable) -> None:
    shutil.copytree(compiled.directory, tmp_path / "out", ignore=shutil.ignore_patterns("build"))
    (tmp_path / "out/report.json").write_text(text)
    check_refusal(command("report", tmp_path / "out"), "report")


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"y_train": None}, "has no array 'y_train'"),
        ({"x_test": np.zeros((24, 9, 9, 3), np.int8)}, "x_test is int8 (24, 9, 9, 3)"),
        ({"y_test": np.full(24, 9)}, "y_test goes from 9 to 9, the network has 4 classes"),
    ],
)
def test_faulty_data(
    replaced: dict, words: str, compiled: mcutrain.Artifact, tmp_path: Path, command: Callable
) -> None:
    path = tiny.save_data(tmp_path / "d.npz", **replaced)
    check_refusal(command("train", compiled.directory, path), str(path), words)
    check_refusal(command("train", compiled.directory, tmp_path / "none.npz"), "none.npz", "give an .npz file")


def test_unknown_schedule(compiled: mcutrain.Artifact, tmp_path: Path, command: Callable) -> None:
    ran = command("train", compiled.directory, tiny.save_data(tmp_path / "d.npz"), "--schedule", "steps")
    check_refusal(ran, "unknown schedule 'steps'; use cosine or constant")


def test_inference_only_cannot_train(tmp_path: Path, command: Callable) -> None:
    out = tiny.compile_tiny(tmp_path, "inference")
    ran = command("train", out, tiny.save_data(tmp_path / "d.npz"))
    check_refusal(ran, str(out), "compiled for inference only; compile with a training scheme")


def test_no_host_compiler(
    compiled: mcutrain.Artifact, tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(compiled.directory, tmp_path / "out", ignore=shutil.ignore_patterns("build"))
    data = tiny.save_data(tmp_path / "d.npz")
    monkeypatch.setenv("PATH", "/nonexistent")
    check_refusal(command("train", tmp_path / "out", data), "gcc is not on the PATH: install it with `apt install gcc")


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("plan",), ("plan", "x", "--nonsense"), ("verify", "x", "--steps", "-1")]
)
def test_faulty_command_lines(arguments: tuple, command: Callable) -> None:
    ran = command(*arguments)
    assert ran.status == 2 and "Traceback" not in ran.err and "Usage: mcutrain" in ran.err + ran.out
