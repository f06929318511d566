"""Damaged files at every frontend: a clear error or a valid import, and nothing else happens. Fifty of each format
here, ten times as many in the benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mcutrain
from benchmarks.fuzz import run as fuzz
from benchmarks.fuzz.seeds import Seed, all_seeds, mutants
from mcutrain.planner.errors import ModelError
from tests.end_to_end import misbehaving

pytestmark = pytest.mark.slow
COUNT = 50
FORMATS = ("tflite", "onnx", "relay", "pickle", "relax")
FAILURES = {  # importers of misbehaving.py: what the worker must say
    "key_error": "KeyError: 'missing'",
    "recurse": "RecursionError",
    "leave": "SystemExit: wrong",
    "nameless": "does not name the file",
    "control_characters": r"holds the characters ['\x1b']",
    "lone_surrogate": r"holds the characters ['\udc80']",
    "nested_traceback": "holds a traceback",
    "endless_message": "characters",
    "warn": "prints instead of raising",
    "print_natively": "error: from C++",
    "write_and_remove": "touches what it should not",
    "write_natively": "leaves files behind",
    "change_the_model": "changes the file that it reads",
    "start_a_process": "subprocess.Popen",
    "crash": "dies of SIGSEGV",
    "work_for_ever": "s of CPU time",
    "wait_for_ever": "no end after",
    "take_memory": "of memory",
}


@pytest.fixture(scope="module")
def seeds(data: Path) -> dict[str, list[Seed]]:
    return all_seeds(data)


@pytest.fixture(scope="module")
def found(seeds: dict[str, list[Seed]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[fuzz.Verdict]]:
    return fuzz.fuzz(seeds, COUNT, tmp_path_factory.mktemp("kept"), lambda text: None)


@pytest.fixture(scope="module")
def misbehaved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The worker's verdict of each importer of misbehaving.py."""
    run = subprocess.run(
        [sys.executable, misbehaving.__file__, tmp_path_factory.mktemp("misbehaving")],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_undamaged_files_are_imported(found: dict[str, list[fuzz.Verdict]]) -> None:
    assert [(v.name, v.why) for v in found["seeds"] if v.outcome != "imported"] == []


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_imported_or_refused(kind: str, found: dict[str, list[fuzz.Verdict]]) -> None:
    """Both must happen: where all are refused, none has got beyond the parser."""
    counts = Counter(v.outcome for v in found[kind])
    assert [f"{v.name}: {v.why}" for v in found[kind] if v.outcome == "failed"] == []
    assert counts["imported"] >= 3 and counts["refused"] >= 20 and counts.total() == COUNT


def test_an_attribute_of_another_kind_is_refused(data: Path, tmp_path: Path) -> None:
    """Found by the benchmark: strides of a convolution that refer to no number, and padding that is nested."""
    content = (data / "relay/tvm/qnn_int8_nhwc/bound.json").read_text()
    for old, new in (("[329, 330]", "[0, 330]"), ("[246, 247]", "[246, 54]")):
        assert f'"data": {old}' in content
        path = tmp_path / "model.json"
        path.write_text(content.replace(f'"data": {old}', f'"data": {new}'))
        with pytest.raises(ModelError, match=r"qnn\.conv2d .*attributes that it cannot have .*save the model anew"):
            mcutrain.load(path)


def test_every_run_has_the_same_mutants(seeds: dict[str, list[Seed]], data: Path) -> None:
    for kind, again in all_seeds(data).items():
        one, other = ([(m.name, m.content) for m in mutants(group, 20)] for group in (seeds[kind], again))
        assert one == other and len({content for _, content in one}) > 15


@pytest.mark.parametrize("way", FAILURES)
def test_the_worker_sees_each_failure(way: str, misbehaved: dict[str, dict]) -> None:
    assert misbehaved[way]["outcome"] == "failed" and FAILURES[way] in misbehaved[way]["why"], misbehaved[way]


def test_the_worker_tells_a_clean_refusal_from_failures(misbehaved: dict[str, dict]) -> None:
    assert misbehaved["refuse"]["outcome"] == "refused" and misbehaved["refuse"]["why"].endswith("model.relay: damaged")
    assert set(misbehaved) == {"refuse", *FAILURES}


def test_what_fails_is_kept(seeds: dict[str, list[Seed]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its importer cannot name is refused under another name: here all of them fail."""
    failed = fuzz.Verdict("x", "failed", "dies of SIGSEGV", 0.0, 0, 0)
    monkeypatch.setattr(fuzz, "examine", lambda files: iter([failed] * len(files)))
    fuzz.fuzz({"relax": seeds["relax"]}, 2, tmp_path / "kept", lambda text: None)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    (mutant, _) = mutants(seeds["relax"], 2)
    assert kept[mutant.name] == mutant.content and kept[f"{mutant.name}.txt"] == b"dies of SIGSEGV\n"
    assert len(kept) == 2 * 2 + 2
