"""`mcutrain inspect` as people and programs see it: tables at 80 columns and wider, JSON, problems, progress."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import typer
from msgspec import structs
from onnx import helper
from rich.console import Console
from typer.testing import CliRunner

from mcutrain.cli import inspect as cli_inspect
from mcutrain.cli.console import counting
from mcutrain.inspection.model import inspect_model
from mcutrain.inspection.text import render_problems
from mcutrain.planner.errors import ModelError, Unsupported, UnsupportedError
from mcutrain.schema.inspection import Inspection
from mcutrain.schema.reading import plain
from mcutrain.tvm_ext.model import Model
from tests.mcutrain import tiny
from tests.mcutrain.inspection.inspections import rendered


@pytest.fixture(scope="module")
def inspected(tiny_model: Model) -> Inspection:
    return inspect_model(tiny_model, "pickle")


# ---------------------------------------------------------------------- on the terminal
def test_80_columns_hold_every_name_and_figure(inspected: Inspection) -> None:
    text = rendered(inspected, 80)
    assert max(map(len, text.splitlines())) <= 80 and "\x1b" not in text
    layers, costs = text.split("What training a layer would cost")
    for row in inspected.layers:
        (line,) = (line.split() for line in layers.splitlines() if line.startswith(f"{row.name} "))
        assert ("yes" in line, "head" in line) == (row.is_trainable and not row.is_head, row.is_head)
        assert row.macs == 0 or f"{row.macs:,}" in line
        if row.alone is not None:
            (line,) = (line.split() for line in costs.splitlines() if line.startswith(f"{row.name} "))
            alone, behind = row.alone, row.last_k
            scheme = "head_only" if row.is_head else f"last_k={behind.k}"
            assert line[1:] == [f"{alone.sram_bytes:,}", f"{alone.macs:,}", scheme, f"{behind.sram_bytes:,}"]
    assert "Quick plans; `plan` may find less." in costs


def test_a_wide_terminal_shows_one_table(inspected: Inspection) -> None:
    text = rendered(inspected, 160)
    assert "What training a layer would cost" not in text
    row = inspected.layers[1]
    (line,) = (line.split() for line in text.splitlines() if line.startswith(f"{row.name} "))
    figures = (row.output_bytes, row.weight_bytes, row.macs, row.alone.sram_bytes, row.last_k.sram_bytes)
    assert all(f"{figure:,}" in line for figure in figures)


def test_names_of_files_are_shown_and_not_obeyed(tiny_model: Model) -> None:
    named = replace(tiny_model, name="[bold]\x1b[2J\u00e9")
    text = rendered(inspect_model(named, "pickle", costs=False), 80, "ascii")
    assert r"[bold]\x1b[2J\xe9" in text


def test_a_format_is_told_in_a_word(tiny_model: Model) -> None:
    assert "tiny (Relay)\n" in rendered(inspect_model(tiny_model, "relay", costs=False), 80)


def test_an_autoencoder_under_the_default_loss_gets_a_hint(tiny_model: Model) -> None:
    found = inspect_model(tiny_model, costs=False)
    square = structs.replace(found, classes=8 * 8 * 3)
    hint = "as many outputs as inputs (192): for an autoencoder use --loss autoencoder"
    assert hint in " ".join(rendered(square, 100).split())
    assert "autoencoder" not in rendered(found, 100)
    assert "autoencoder" not in rendered(structs.replace(square, loss="mse"), 100)


# ---------------------------------------------------------------------- the command
PROBLEMS = (
    Unsupported("EINSUM", "encoder/attention", "the operator is not supported", "build the model without it"),
    Unsupported("RFFT2D", "[red]rfft[/red]", "complex numbers", "compute features outside of the network"),
)


@pytest.fixture
def command() -> Callable:
    app = typer.Typer()
    app.command()(cli_inspect.inspect)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


def test_json_has_the_same_numbers(command: Callable, pickle_file: Path, inspected: Inspection) -> None:
    ran = command(pickle_file, *tiny.OPTIONS, "--json")
    assert ran.exit_code == 0 and ran.stderr == ""
    found = json.loads(ran.stdout)
    assert found == json.loads(json.dumps(plain(inspected)))
    first, add = found["layers"][0], found["layers"][4]
    row = inspected.layers[0]
    assert first["alone"] == {"sram_bytes": row.alone.sram_bytes, "macs": row.alone.macs}
    assert first["last_k"] == {"k": 10, "sram_bytes": row.last_k.sram_bytes, "macs": row.last_k.macs}
    assert (add["alone"], add["last_k"]) == (None, None)
    assert found["largest_activation"] == {"layer": "blocks.0.pointwise1", "nbytes": 1024}


def test_every_key_is_documented(inspected: Inspection) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs/FORMATS.md").read_text(encoding="utf-8")
    section = text.split("### `mcutrain inspect --json`")[1].split("\n### ")[0]
    found = plain(inspected)
    first = found["layers"][0]
    keys = [*found, *(f"largest_activation.{key}" for key in found["largest_activation"])]
    keys += [f"layers[].{key}" for key in first]
    keys += [f"layers[].{part}.{key}" for part in ("alone", "last_k") for key in first[part]]
    assert len(keys) > 30 and [key for key in keys if f"| `{key}` |" not in section] == []


def test_the_command_without_costs(command: Callable, pickle_file: Path) -> None:
    ran = command(pickle_file, *tiny.OPTIONS, "--no-costs")
    assert ran.exit_code == 0 and ran.stderr == ""
    assert "tiny (int8 network pickle)" in ran.stdout and "8x8x3 int8, scale 0.02, zero point -3" in ran.stdout


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with counting(quiet=False, what="planning") as progress:
        for done in range(1, 31):
            progress(done, 30)
    said = capsys.readouterr()
    assert said.out == "" and said.err.splitlines() == [f"... planning {n}/30" for n in range(3, 31, 3)]


def refuse(*_: object, **__: object) -> Model:
    lines = ["net.tflite: 2 problems in the network", "  EINSUM encoder/attention: ...", "  RFFT2D rfft: ..."]
    raise UnsupportedError("\n".join(lines), PROBLEMS)


def test_a_model_that_cannot_be_imported_gives_a_table_of_problems(
    command: Callable, pickle_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_inspect, "load", refuse)
    ran = command(pickle_file)
    assert ran.exit_code == 2 and ran.stderr == "mcutrain: net.tflite: 2 problems in the network\n"
    assert "EINSUM" in ran.stdout and "[red]rfft" in ran.stdout and "way out" in ran.stdout
    ran = command(pickle_file, "--json")
    assert ran.exit_code == 2
    assert json.loads(ran.stdout)["problems"] == [vars(problem) for problem in PROBLEMS]


def test_problems_of_a_real_file(command: Callable, tmp_path: Path) -> None:
    """Two operators side by side that nobody can train."""
    x, sum_ = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("x", "sum"))
    nodes = [helper.make_node("Cos", ["x"], ["y"], "first"), helper.make_node("Sin", ["x"], ["z"], "second")]
    nodes.append(helper.make_node("Add", ["y", "z"], ["sum"], "third"))
    model = helper.make_model(helper.make_graph(nodes, "bad", [x], [sum_]))
    (tmp_path / "bad.onnx").write_bytes(model.SerializeToString())
    ran = command(tmp_path / "bad.onnx", "--json")
    assert ran.exit_code == 2, ran.output
    assert [(p["layer"], p["op"]) for p in json.loads(ran.stdout)["problems"]] == [("first", "Cos"), ("second", "Sin")]


def test_problems_fold_within_80_columns() -> None:
    file = io.StringIO()
    render_problems(PROBLEMS, Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(file.getvalue().split())
    assert all(problem.op in words and problem.layer in words for problem in PROBLEMS)


def test_another_error_is_left_to_the_command_line(command: Callable, tmp_path: Path) -> None:
    missing = command(tmp_path / "nothing.pkl")
    assert isinstance(missing.exception, ModelError) and "nothing.pkl" in str(missing.exception)
    assert missing.stdout == "" and missing.exit_code != 0
