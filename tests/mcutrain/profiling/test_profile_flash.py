"""Flash by function and layer: what nm lists adds up to what the sections hold; shown after `mcutrain verify`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import mcutrain
from mcutrain.artifact.metadata import read_metadata
from mcutrain.firmware import flash_map
from mcutrain.firmware.flash_map import OTHER_CONSTANTS, flash_parts, function_kind, functions_of
from mcutrain.firmware.linked import Symbol
from mcutrain.planner.errors import OutputError
from mcutrain.planner.policy import Policy
from mcutrain.profiling.run import profile
from mcutrain.report.files import ReportError, report_from
from mcutrain.schema.reading import plain, typed
from mcutrain.schema.report import FlashParts
from mcutrain.verification import verify
from tests.mcutrain import tiny
from tests.mcutrain.report.report_samples import html_of, make_report, text_of
from tests.mcutrain.report.test_report import Page
from tests.tvm_ext.emit.test_codegen import renamed

BOARD = "mps2-an385"
# C takes none of them as it stands; two are one name to it
STRANGE = {"first_conv": "conv é", "blocks.0.depthwise": "1x", "blocks.0.pointwise1": "a.b",
           "blocks.1.depthwise": "a_b", "blocks.1.pointwise1": "stage 1: b", "blocks.2.pointwise2": "网"}  # fmt: skip
PARTS = {
    "functions": [{"name": "tvmgen_tiny_conv_k0", "kind": "model", "nbytes": 300},
                  {"name": "__addsf3", "kind": "library", "nbytes": 60}],
    "constants": [{"layer": "stage0/conv1", "nbytes": 500}, {"layer": OTHER_CONSTANTS, "nbytes": 100}],
    "other": 40,
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tiny.compile_tiny(tmp_path_factory.mktemp("flash"), board=BOARD)
    verify(out, 1)
    return out


def forward_layers(report: dict) -> set[str]:
    return {op["name"] for op in report["ops"] if op["phase"] == "forward"}


def constants_of(out: Path) -> dict[str, int]:
    """Layer -> bytes of its constants in the profile build, which `verify` and `profile` both leave."""
    parts = flash_parts(out / "build/profile.elf", read_metadata(out).symbols, 10**6)
    return {row.layer: row.nbytes for row in parts.constants}


def test_parts_add_up_to_the_sections(out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    parts, flash = report["flash_parts"], report["flash"]
    code = sum(f["nbytes"] for f in parts["functions"])
    constants = sum(c["nbytes"] for c in parts["constants"])
    assert code + constants + parts["other"] == flash["total"]
    assert 0.95 * flash["text"] < code <= flash["text"] and 0.8 * flash["rodata"] < constants <= flash["rodata"]
    assert {f["kind"] for f in parts["functions"]} == {"model", "runtime", "library"}  # this core's floats are libgcc's
    assert {"main", "memset", "__aeabi_fmul"} <= {f["name"] for f in parts["functions"]}
    again = flash_parts(out / "build/firmware.elf", read_metadata(out).symbols, flash["total"])
    assert again == typed(parts, FlashParts, "parts")


def test_constants_are_their_layers(out: Path) -> None:
    """The depthwise of a block: frozen int8 weights, int32 bias, multiplier and shift of each channel lie in flash."""
    report = json.loads((out / "report.json").read_text())
    nbytes = {c["layer"]: c["nbytes"] for c in report["flash_parts"]["constants"]}
    assert nbytes.keys() - {OTHER_CONSTANTS} <= forward_layers(report)
    frozen = next(op for op in report["ops"] if op["name"] == "blocks.0.depthwise")
    channels = int(frozen["out_shape"].split("x")[-1])
    assert nbytes["blocks.0.depthwise"] >= channels * (9 + 4 + 4)
    assert nbytes["blocks.0.depthwise"] <= channels * (9 + 4 + 8 + 4)


def test_layers_of_any_name_keep_their_ops_and_constants(out: Path, tmp_path: Path) -> None:
    """The same network under names that C does not take: as many bytes a layer, and each op of an inference named."""
    policy = Policy("mixed", tuple(replace(u, layer=STRANGE.get(u.layer, u.layer)) for u in tiny.MIXED.updates))
    model = renamed(tiny.load(tmp_path), STRANGE)
    strange = mcutrain.compile(model, policy, BOARD, out=tmp_path / "out").directory
    inference = profile(strange, infer_only=True).calls[0]
    plain = json.loads((out / "report.json").read_text())["infer_ops"]
    wanted = [(STRANGE.get(op["name"], op["name"]), op["op"], op["macs"]) for op in plain]
    assert [(op.name, op.op, op.macs) for op in inference.ops] == wanted
    assert constants_of(strange) == {STRANGE.get(layer, layer): n for layer, n in constants_of(out).items()}
    assert set(STRANGE.values()) <= constants_of(strange).keys()


def test_a_copy_of_the_compiler_is_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Symbol("p_a_b", 0, 10, "r"), Symbol("p_a_b_2.isra.0", 16, 20, "r"), Symbol("table", 40, 4, "R")]
    monkeypatch.setattr(flash_map, "symbols", lambda _: found)
    parts = flash_parts(Path("x.elf"), {"p_a_b": "a.b", "p_a_b_2": "a_b"}, 40)
    rows = [{"layer": "a_b", "nbytes": 20}, {"layer": "a.b", "nbytes": 10}, {"layer": OTHER_CONSTANTS, "nbytes": 4}]
    assert plain(parts) == {"functions": [], "constants": rows, "other": 6}


def test_an_older_artifact_has_no_table(out: Path, tmp_path: Path) -> None:
    """Whose constants are which is not known of it; all else is verified."""
    old = tmp_path / "old"
    shutil.copytree(out, old)
    meta = json.loads((old / "metadata.json").read_text())
    del meta["mcutrain"]["symbols"]
    (old / "metadata.json").write_text(json.dumps(meta))
    report = json.loads((old / "report.json").read_text())
    del report["flash_parts"]
    (old / "report.json").write_text(json.dumps(report))
    assert verify(old, 1).host_equals_device
    assert "flash_parts" not in json.loads((old / "report.json").read_text())
    meta["mcutrain"]["symbols"] = {"p_x": 3}
    (old / "metadata.json").write_text(json.dumps(meta))
    with pytest.raises(OutputError, match=r"mcutrain\.symbols\['p_x'\] is 3, not a string; compile the model again"):
        verify(old, 1)


def test_aliases_and_marks_of_the_linker_count_once() -> None:
    found = [Symbol("mcu_flash_start", 0, 0, "T"), Symbol("__aeabi_fadd", 0x100, 96, "T"),
             Symbol("__addsf3", 0x100, 96, "T"), Symbol("__aeabi_f2", 0x110, 16, "T"), Symbol("main", 0x160, 8, "T"),
             Symbol("p_x", 0x168, 4, "r")]  # fmt: skip
    # an entry inside a function takes the rest of it
    wanted = [("__addsf3", 0x10), ("__aeabi_f2", 0x50), ("main", 8)]
    assert [(s.name, s.nbytes) for s in functions_of(found)] == wanted
    assert [function_kind(n) for n in ("tvmgen_a_run", "memcpy", "__addsf3")] == ["model", "runtime", "library"]


def test_text_and_page_end_with_what_the_constants_need() -> None:
    report = {**make_report(), "name": "tiny", "flash_parts": PARTS}
    text = [line.split() for line in text_of(report).partition("Flash by function")[2].splitlines()]
    assert ["conv_k0", "300", "30.0%", "model", "function"] in text
    assert ["stage0/conv1", "500", "50.0%", "constants"] in text
    assert ["bound:", "the", "constants", "alone", "600"] in text and ["overhead", "(66.7%)", "400"] in text
    rows = Page(html_of(report)).rows
    assert ["__addsf3", "60", "6.0 %", "library function"] in rows
    assert [row[:2] for row in rows if row and "flash in all" in row[0]] == [["actual: flash in all", "1,000"]]


def test_many_functions_are_summed_up(command: Callable, out: Path) -> None:
    ran = command("report", out)
    lines = ran.out.partition("Flash by function and layer")[2].splitlines()
    assert ran.status == 0 and any("smaller" in line and "functions" in line for line in lines)


def test_malformed_parts_are_said() -> None:
    for broken in ({**PARTS, "other": "x"}, {"functions": [], "other": 0}):
        with pytest.raises(ReportError, match=r"report\.flash_parts\.(other is 'x', not a whole|constants is missing)"):
            report_from({**make_report(), "flash_parts": broken})
