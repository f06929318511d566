"""`mcutrain profile`: tables, picture, page and files of a tiny artifact; what is missing or malformed is said."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import xml.etree.ElementTree as xml
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from mcutrain.artifact.metadata import read_metadata
from mcutrain.cli.console import output_console
from mcutrain.firmware.instructions import MIX
from mcutrain.profiling import cycle_model
from mcutrain.profiling.run import profile
from mcutrain.report.files import ReportError, report_from
from mcutrain.report.profile import figures as profile_view
from mcutrain.report.profile.picture import render_svg
from mcutrain.report.profile.text import render_profile
from mcutrain.schema.profile import Profile
from mcutrain.schema.reading import plain, typed
from tests.mcutrain import tiny
from tests.mcutrain.report.report_samples import HOSTILE, html_of, make_report
from tests.mcutrain.report.test_report import Page

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.compile_tiny(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def profiled(out: Path) -> tuple[dict, dict]:
    """(what `profile` returned, the report that it left): later tests write the folder's report anew."""
    return plain(profile(out)), json.loads((out / "report.json").read_text())


@pytest.fixture(scope="module")
def found(profiled: tuple[dict, dict]) -> dict:
    return profiled[0]


def text_of(found: dict, width: int = 80, top: int = 5) -> str:
    console = Console(file=io.StringIO(), width=width)
    render_profile(as_profile(found), "tiny", console, top)
    return console.file.getvalue()


def as_profile(found: dict) -> Profile:
    return typed(found, Profile, "profile")


def small(names: tuple[str, str] = ("first", "last"), cycles: int | None = 300) -> dict:
    """A profile of four ops on two layers, worked out by hand."""
    mix = dict.fromkeys(MIX, 0) | {"loads": 150, "other": 50}
    first, last = names
    kernel = f"tvmgen_tiny_{first}"
    ops = [
        {"name": name, "op": op, "phase": phase, "instructions": count, "macs": macs, "visits": 1,
         "cycles": cycles and count, "mix": mix, "kernel": kernel}
        for name, op, phase, count, macs in (
            (first, "qconv2d", "forward", 100, 40), (last, "dense", "forward", 50, 10),
            (last, "dense_weight_grad", "backward", 30, 10), (f"{last}.weight", "sgd", "update", 20, 0),
        )
    ]  # fmt: skip
    figures = {"instructions": 200, "cycles": cycles, "mix": mix}
    function = {"name": kernel, "kind": "model", "calls": 3, "nbytes": 64, **figures}
    call = {"what": "train_step", "ops": ops, "functions": [function], **figures}
    model = None if cycles is None else {"source": "a manual", "assumes": cycle_model.ASSUMES}
    return {"schema": 1, "board": "nrf52840", "core": "Cortex-M4F", "method": "plugin", "step": 1, "why": None,
            "cycles": model, "calls": [call]}  # fmt: skip


def test_figures_add_up(out: Path, profiled: tuple[dict, dict]) -> None:
    meta, (found, report) = read_metadata(out), profiled
    assert [call["what"] for call in found["calls"]] == ["infer", "train_step"]
    assert (found["method"], found["step"], found["core"]) == ("plugin", 1, "Cortex-M7")
    for call, ops in zip(found["calls"], (meta.infer_ops, meta.train.ops), strict=True):
        assert len(call["ops"]) == ops and all(op["visits"] >= 1 and op["kernel"] for op in call["ops"])
        for rows in (call["ops"], call["functions"]):
            assert sum(row["instructions"] for row in rows) == call["instructions"] > 10_000
            for group in MIX:
                assert sum(row["mix"][group] for row in rows) == call["mix"][group]
        assert sum(call["mix"].values()) == call["instructions"]
        assert sum(op["cycles"] for op in call["ops"]) == call["cycles"]
        assert 0.4 * call["instructions"] < call["cycles"] < 2 * call["instructions"]
    keys = ("name", "op", "phase", "macs")
    step = found["calls"][1]["ops"]
    assert [[op[k] for k in keys] for op in step] == [[op[k] for k in keys] for op in report["ops"]]
    assert report["profile"] == found


def test_inference_ops_are_named_as_in_the_step(found: dict) -> None:
    """The same layers, MACs and order as in the step's forward pass."""
    inference, step = (call["ops"] for call in found["calls"])
    wanted = [(op["name"], op["macs"]) for op in step if op["phase"] == "forward" and op["macs"] > 0]
    assert [(op["name"], op["macs"]) for op in inference if op["macs"] > 0] == wanted
    assert {op["op"].removesuffix("_with_mask") for op in inference} <= {
        op["op"].removesuffix("_with_mask") for op in step
    }


def test_a_kernels_calls_are_the_visits_of_its_ops(found: dict) -> None:
    for call in found["calls"]:
        visits: dict[str, int] = {}
        for op in call["ops"]:
            visits[op["kernel"]] = visits.get(op["kernel"], 0) + op["visits"]
        calls = {f["name"]: f["calls"] for f in call["functions"]}
        assert len(visits) > 5 and {name: calls[name] for name in visits} == visits


def test_an_artifact_that_only_infers(tmp_path: Path) -> None:
    out = tiny.compile_tiny(tmp_path, "inference", "int8-slice")
    found, report = plain(profile(out)), json.loads((out / "report.json").read_text())
    assert [call["what"] for call in found["calls"]] == ["infer"]
    assert [op["name"] for op in found["calls"][0]["ops"]] == [op["name"] for op in report["ops"]]
    assert {op["phase"] for op in found["calls"][0]["ops"]} == {"forward"}


def test_text_of_a_small_profile() -> None:
    lines = [line.rstrip() for line in text_of(small(), 160, 2).splitlines() if line.strip()]
    cells = [line.split() for line in lines]
    assert lines[0] == "One training step: 200 instructions, about 300 cycles (estimate)"
    assert cells[1] == ["at", "layer", "instructions", "share", "MACs", "/MAC", "est.", "cycles", "op", "kernel"]
    assert cells[3] == ["0", "first", "100", "50.0%", "40", "2.50", "100", "qconv2d", "first"]
    assert cells[4] == ["1", "last", "50", "25.0%", "10", "5.00", "50", "dense", "first"]
    assert cells[5] == ["2", "smaller", "50", "25.0%", "10", "5.00", "50"]
    assert cells[6] == ["all", "4", "ops", "200", "100.0%", "60", "3.33", "200"]
    assert ["first", "3", "200", "100.0%", "64"] in cells
    said = " ".join(lines[-3:])
    assert "loads 75.0%, stores 0.0%" in said and "an estimate: it leaves out wait states of flash" in said
    assert "Cortex-M4F: a manual" in said


def test_text_fits_the_terminal(found: dict) -> None:
    for width in (80, 160):
        assert max(cell_len(line) for line in text_of(found, width).splitlines()) <= width
    hostile = text_of(small((HOSTILE[5], HOSTILE[6])))
    assert "[bold red]markup[/]" in hostile and "\x1b" not in hostile


def test_without_a_table_of_cycles_none_are_shown() -> None:
    said = text_of(small(cycles=None))
    assert "There is no table of cycles for Cortex-M4F." in said and "est. cycles" not in said and "about" not in said
    assert "cycles, estimate" not in html_of({**make_report(), "profile": small(cycles=None)})


def test_picture_has_a_bar_a_layer(found: dict) -> None:
    root = xml.fromstring(render_svg(as_profile(small())))
    assert root.find(f"{SVG}title").text == "Instructions of one training step by layer on Cortex-M4F"
    assert root.find(f"{SVG}desc").text.endswith("The most are of first: 100.")
    said = [group.find(f"{SVG}title").text for group in root.iter(f"{SVG}g")]
    assert said == ["first: 100 instructions (forward 100)",
                    "last: 100 instructions (forward 50, backward 30, update 20)"]  # fmt: skip
    heights = [[float(r.get("height")) for r in g.iter(f"{SVG}rect")] for g in root.iter(f"{SVG}g")]
    assert heights[1] == pytest.approx([heights[0][0] * share for share in (0.5, 0.3, 0.2)], abs=0.02)
    call = profile_view.main_call(as_profile(found))
    assert sum(bar.total for bar in profile_view.bars(call)) == call.instructions
    assert [bar.layer for bar in profile_view.bars(call)][:2] == ["first_conv", "blocks.0.pointwise1"]
    names = [HOSTILE[0], HOSTILE[8]]
    attacked = xml.fromstring(render_svg(as_profile(small((names[0], names[1])))))
    assert not list(attacked.iter(f"{SVG}script"))
    shown = [text.text for text in attacked.iter(f"{SVG}text") if text.get("class") == "prof-name"]
    assert shown == [f"…{HOSTILE[0][-19:]}", "\\ud800lone"]  # as text, its end; what cannot be written is spelt out
    titles = [group.find(f"{SVG}title").text for group in attacked.iter(f"{SVG}g")]
    assert titles[0] == f"{HOSTILE[0]}: 100 instructions (forward 100)" and titles[1].startswith("\\ud800lone: 100 ")


def test_page_shows_the_profile() -> None:
    page = Page(html_of({**make_report(), "name": "tiny", "profile": small()}))
    row = next(row for row in page.rows if row[:3] == ["3", "last.weight", "sgd"])
    assert row == ["3", "last.weight", "sgd", "20", "10.0 %", "0", "–", "20", "first"]
    assert ["first", "model", "3", "200", "100.0 %", "300", "64"] in page.rows
    assert [a["class"] for t, a in page.tags if t == "svg"] == ["prof"]
    assert not [t for t, a in page.tags if t in ("img", "link") or "src" in a or "href" in a]
    hostile = Page(html_of({**make_report(), "profile": small((HOSTILE[0], HOSTILE[1]))}))
    assert [a.get("type") for t, a in hostile.tags if t == "script"] == ["application/json", None]
    assert not [t for t, _ in hostile.tags if t == "img"]


def test_a_malformed_profile_is_said() -> None:
    report = {**make_report(), "profile": small()}
    wrong = [(("method",), "guess", "method is 'guess', not one of plugin, timer"),
             (("calls", 0, "what"), "nap", "what is 'nap'"),
             (("calls", 0, "ops", 1, "macs"), None, "macs is null, not a whole number"),
             (("calls", 0, "ops", 0, "phase"), "x", "phase is 'x'"), (("calls", 0, "mix"), {}, "mix.loads is missing"),
             (("cycles",), {}, "cycles.source is missing")]  # fmt: skip
    for path, value, message in wrong:
        broken = copy.deepcopy(report)
        at = broken["profile"]
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        with pytest.raises(ReportError, match=message):
            report_from(broken)


def test_the_command(out: Path, command: Callable) -> None:
    ran = command("profile", out, "--infer", "--top", 3)
    assert ran.status == 0 and ran.errors == [] and "One inference: " in ran.out
    assert "training step" not in ran.out and "est. cycles" in ran.out and "cycles (estimate)" in ran.out
    assert "one inference" in (out / "profile.svg").read_text()
    assert 'id="profile-title"' in (out / "report.html").read_text()
    ran = command("profile", out, "--json")
    assert ran.status == 0 and ran.err == ""
    assert [call["what"] for call in json.loads(ran.out)["calls"]] == ["infer", "train_step"]
    assert json.loads((out / "report.json").read_text())["profile"] == json.loads(ran.out)
    assert "training step by layer" in (out / "profile.svg").read_text()
    ran = command("report", out)
    assert ran.status == 0


def test_a_row_of_a_piped_table_is_one_line(found: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the longest names that a table takes, and figures of a large network."""
    profile = copy.deepcopy(found)
    for call in profile["calls"]:
        for key in ("instructions", "cycles"):
            call[key] *= 1000
        for op in call["ops"]:
            op.update(name=f"blocks.13.{op['name']}", instructions=op["instructions"] * 1000, cycles=10**9)
    monkeypatch.delenv("COLUMNS", raising=False)
    with (tmp_path / "piped").open("w+", encoding="utf-8") as file:
        monkeypatch.setattr("sys.stdout", file)
        console = output_console()
        assert (console.width, console.is_terminal) == (120, False)
        render_profile(as_profile(profile), "tiny", console, 999)
        file.seek(0)
        tables = file.read().split("One ")[1:]
        monkeypatch.setenv("COLUMNS", "90")
        assert output_console().width == 90
    assert len(tables) == 2
    for table, call in zip(tables, profile["calls"], strict=True):
        rows = [line.split() for line in table.partition("By function")[0].splitlines()[1:] if line.strip("─ \n")]
        assert rows[0][:2] == ["at", "layer"] and len(rows) == len(call["ops"]) + 2
        assert sorted(int(row[0]) for row in rows[1:-1]) == list(range(len(call["ops"])))


def test_bad_input_is_one_line(out: Path, tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = command("profile", tmp_path / "nowhere")
    assert ran.status == 2 and "has no metadata.json; give a folder made by `mcutrain compile`" in ran.errors[0]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "metadata.json").write_text("{}")
    ran = command("profile", tmp_path / "plain")
    assert ran.status == 2 and "was not made by this version of mcutrain" in ran.errors[0]
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in ("gcc", "arm-none-eabi-gcc"):
        (folder / tool).symlink_to(shutil.which(tool, path=os.environ["PATH"]))
    monkeypatch.setenv("PATH", str(folder))
    ran = command("profile", out)
    assert ran.status == 2 and len(ran.errors) == 1
    assert ran.errors[0].startswith("mcutrain: qemu-system-arm is not on the PATH: install it with `apt install")


def test_without_the_hosts_compiler_the_timer_counts(
    out: Path, found: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable
) -> None:
    for tool in Path(shutil.which("arm-none-eabi-gcc")).parent.glob("arm-none-eabi-*"):
        (tmp_path / tool.name).symlink_to(tool)
    for tool in ("qemu-system-arm", "sh"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = command("profile", out, "--infer")
    assert ran.status == 0 and ran.errors == [] and "in steps of 40 instructions" in ran.out
    # said before the firmware is built
    reason = "the counting plugin cannot be built: gcc is not on the PATH: install it with `apt install gcc libc6-dev`"
    assert ran.progress[:2] == [f"... counting with the timer: {reason}", "... building the profile firmware"]
    timed = json.loads((out / "report.json").read_text())["profile"]
    assert (timed["method"], timed["step"], timed["why"]) == ("timer", 40, reason)
    (call,) = timed["calls"]
    for op, known in zip(call["ops"], found["calls"][0]["ops"], strict=True):
        assert abs(op["instructions"] - known["instructions"]) <= 80 * known["visits"]


def test_a_report_of_an_older_version_is_refused(out: Path, tmp_path: Path, command: Callable) -> None:
    old = tmp_path / "old"
    shutil.copytree(out, old, ignore=shutil.ignore_patterns("build"))
    report = json.loads((old / "report.json").read_text())
    ops = report.pop("infer_ops")
    for kept, message in (
        ({}, "did not name the ops of an inference; compile again"),
        ({"infer_ops": ops[1:]}, f"infer_ops are not the {len(ops)} ops; compile again"),
        ({"infer_ops": [{**ops[0], "macs": None}, *ops[1:]]}, "report.infer_ops[0].macs is null, not a whole number"),
    ):
        (old / "report.json").write_text(json.dumps({**report, **kept}))
        ran = command("profile", old)
        assert ran.status == 2 and len(ran.errors) == 1 and message in ran.errors[0]
        assert not (old / "build").exists()


def test_an_emulator_without_plugins_falls_back_to_the_timer(
    out: Path, found: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("qemu-system-arm")
    refusing = '"-plugin") echo "qemu-system-arm: -plugin: invalid option" >&2; exit 1;;'
    script = f'#!/bin/sh\nfor a in "$@"; do case "$a" in {refusing} esac; done\nexec {real} "$@"\n'
    (tmp_path / "qemu-system-arm").write_text(script)
    (tmp_path / "qemu-system-arm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    timed = plain(profile(out))
    assert (timed["method"], timed["step"]) == ("timer", 40) and "-plugin: invalid option" in timed["why"]
    for call, exact in zip(timed["calls"], found["calls"], strict=True):
        assert call["functions"] == [] and call["cycles"] is None and call["mix"] is None
        for op, known in zip(call["ops"], exact["ops"], strict=True):
            assert op["name"] == known["name"] and op["instructions"] % 40 == 0
            assert abs(op["instructions"] - known["instructions"]) <= 80 * known["visits"]
    said = text_of(timed)
    assert "in steps of 40 instructions" in said and "By function" not in said and "cycles" not in said
    xml.fromstring((out / "profile.svg").read_text())
