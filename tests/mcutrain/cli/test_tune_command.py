"""`mcutrain tune` and its table: what is measured, kept, refused, skipped and said; no emulator runs here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import mcutrain
from mcutrain.errors import DeviceError
from mcutrain.firmware import emulator
from mcutrain.firmware import measure_variants as tuning
from mcutrain.pipeline import lowered_step
from mcutrain.planner.errors import ModelError, OutputError
from mcutrain.targets import board as boards
from mcutrain.tvm_ext.lower import variants
from mcutrain.tvm_ext.lower.graph import Lowered
from mcutrain.tvm_ext.model import Model
from mcutrain.tvm_ext.ops.table import build
from tests.mcutrain.conftest import Ran
from tests.mcutrain.tiny import OPTIONS


@pytest.fixture(scope="module")
def lowered(tiny_model: Model) -> Lowered:
    return lowered_step(tiny_model, "last_k=1")


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that are measured, without an emulator: every kernel counts 1,000 and 1."""
    layers: list[str] = []

    def measured(call, board) -> dict[str, int]:
        layers.append(call.layer)
        return {variants.NARROW: 1000, variants.WIDENED: 1}

    monkeypatch.setattr(tuning, "measure_variants", measured)
    return layers


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "Expecting property name"),
        ("[]", "table is a list, not an object"),
        ("3", "table is 3, not an object"),
        ('{"Cortex-M7": []}', "table['Cortex-M7'] is a list, not an object"),
        ('{"Cortex-M7": 3}', "table['Cortex-M7'] is 3, not an object"),
        ('{"Cortex-M4F": null}', "table['Cortex-M4F'] is null, not an object"),
        ('{"Cortex-M7": {"k": 3}}', "table['Cortex-M7']['k'] is 3, not an object"),
        ('{"Cortex-M7": {"k": {"f": "3"}}}', "table['Cortex-M7']['k']['f'] is '3', not a whole number of 0 or more"),
        ('{"Cortex-M7": {"k": {"f": true}}}', "table['Cortex-M7']['k']['f'] is true, not a whole number of 0 or more"),
        ('{"Cortex-M7": {"k": {"f": -1}}}', "table['Cortex-M7']['k']['f'] is -1, not a whole number of 0 or more"),
        ('{"Cortex-M7": {"k": {"f": 2.5}}}', "table['Cortex-M7']['k']['f'] is 2.5, not a whole number of 0 or more"),
        ('{"a":' * 100_000, "recursion"),
        ("\udcff", "codec can't decode"),
    ],
)
def test_a_damaged_table_is_named(text: str, what: str, tiny_model: Model, lowered: Lowered, tmp_path: Path) -> None:
    """Whoever reads it: a compile, a tune, and a tune that adds to it."""
    path = tmp_path / "tuned.json"
    path.write_text(text, errors="surrogateescape")
    for reads in (
        lambda: variants.read_counts("Cortex-M7", path),
        lambda: mcutrain.compile(tiny_model, out=tmp_path / "out", table=str(path)),
        lambda: tuning.tune(lowered, "stm32f746", path),
        lambda: tuning.write(path, "Cortex-M7", {}),
    ):
        with pytest.raises(ModelError) as error:
            reads()
        message = str(error.value)
        assert message.startswith(f"{path}: no table of instruction counts (") and what in message
        assert message.endswith("; remove it, and tune again")


def test_a_table_that_is_not_there_is_named(tiny_model: Model, tmp_path: Path) -> None:
    """But the installed one may be missing: then nothing is known."""
    with pytest.raises(ModelError, match=r"none.json: there is no such file; `mcutrain tune --table .*` makes it"):
        mcutrain.compile(tiny_model, out=tmp_path / "out", table=tmp_path / "none.json")
    with pytest.raises(ModelError, match="the instruction counts cannot be read: Is a directory; name a file"):
        mcutrain.compile(tiny_model, out=tmp_path / "out", table=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "TUNED", tmp_path / "none.json")
        assert variants.read_counts("Cortex-M7") == {}


def test_a_table_grows_sorted(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    tuning.write(path, "Cortex-M7", {"b": {"": 2}})
    tuning.write(path, "Cortex-M7", {"a": {"": 1}})
    tuning.write(path, "Cortex-M3", {"a": {"": 3}})
    assert json.loads(path.read_text()) == {"Cortex-M3": {"a": {"": 3}}, "Cortex-M7": {"a": {"": 1}, "b": {"": 2}}}
    assert variants.read_counts("Cortex-M7", path) == {"a": {"": 1}, "b": {"": 2}}
    assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n"


def test_what_was_measured_before_an_error_is_kept(
    lowered: Lowered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the layer whose kernel it was."""
    path, runs = tmp_path / "table.json", itertools.count()

    def run(*_arguments: object) -> tuple[str, ...]:
        if next(runs) == 2:
            raise DeviceError("measure.elf on stm32f746: no end within 120 s")
        return "instructions 80", "instructions 40"

    monkeypatch.setattr(tuning, "build_firmware", lambda *_: SimpleNamespace(elf=Path("measure.elf"), board=None))
    monkeypatch.setattr(emulator, "run", run)
    third = list(variants.candidates(lowered).values())[2][0].layer
    with pytest.raises(DeviceError, match=f"layer {third}: measure.elf .* no end within 120 s; kernels .* are kept"):
        tuning.tune(lowered, "stm32f746", path)
    kept = variants.read_counts("Cortex-M7", path)
    assert list(kept) == sorted(list(variants.candidates(lowered))[:2])
    assert all(counts == {variants.NARROW: 80, variants.WIDENED: 40} for counts in kept.values())


def test_a_place_that_cannot_be_written_is_noticed_before_anything_runs(
    lowered: Lowered, tmp_path: Path, measurements: list[str]
) -> None:
    path = tmp_path / "none" / "table.json"
    with pytest.raises(OutputError, match="No such file or directory; name another file with --table FILE, and give"):
        tuning.tune(lowered, "stm32f746", path)
    assert not measurements
    with pytest.raises(OutputError, match="cannot be written: is a folder; name another file with --table FILE"):
        tuning.check_place(tmp_path)
    tuning.check_place(tmp_path / "new.json")
    assert not list(tmp_path.iterdir())


def test_the_arrays_of_a_large_convolution_have_no_room() -> None:
    attrs = {"depthwise": False, "kernel": [1, 1], "stride": [1, 1], "padding": [0, 0, 0, 0], "trained_channels": []}
    attrs |= {"in_zero": 0, "out_zero": 0, "lo": -128, "hi": 127, "rounding": "even", "layer": "large"}
    kernel = build("qconv2d", [[1, 112, 112, 32], [64, 1, 1, 32], [64], [64]], attrs)
    arrays = 112 * 112 * 32 + 64 * 32 + 2 * 4 * 64 + 112 * 112 * 64
    assert tuning.array_bytes(kernel) == arrays + kernel.scratch > tuning.MEMORY


def tuned_by(command: Callable[..., Ran], model: Path, table: Path, *more: str) -> Ran:
    return command("tune", model, *OPTIONS, "--scheme", "last_k=1", "--table", table, *more)


def test_tune_says_what_ran_and_what_to_do_next(
    command: Callable[..., Ran], pickle_file: Path, lowered: Lowered, tmp_path: Path, measurements: list[str]
) -> None:
    table, kernels = tmp_path / "my table.json", len(variants.candidates(lowered))
    for more, ran, known in (((), kernels, 0), ((), 0, kernels), (("--again",), kernels, 0)):
        measurements.clear()
        done = tuned_by(command, pickle_file, table, *more)
        assert done.status == 0 and len(measurements) == ran
        assert f"{ran} measured, {known} known before, 0 too large" in done.out.splitlines()
        kept = f"counts are in {table}; compile takes wide weights where a byte of flash saves at least "
        assert any(line.startswith(kept) for line in done.out.splitlines()) == (ran > 0)
    line = done.out.splitlines()[-1]
    options = "--scheme last_k=1 --board stm32f746 --input-size 8 --classes 4"
    assert line == f"next: mcutrain compile {pickle_file} {options} --table '{table}'"
    arguments = [*OPTIONS, "--scheme", "last_k=1", "--table", table, "-o", tmp_path / "out", "--json"]
    compiled = command("compile", pickle_file, *arguments)
    assert compiled.status == 0 and not json.loads(compiled.out)["wide_weights"]  # 999 instructions are not worth it
    as_json = json.loads(tuned_by(command, pickle_file, table, "--json").out)
    assert as_json["measured"] == as_json["too_large"] == []
    assert as_json["kernels"] == variants.read_counts("Cortex-M7", table) and len(as_json["kernels"]) == kernels


def test_tune_skips_what_is_too_large_and_names_its_layers(
    command: Callable[..., Ran],
    pickle_file: Path,
    lowered: Lowered,
    tmp_path: Path,
    measurements: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = variants.candidates(lowered)
    sizes = {k: max(map(tuning.array_bytes, tuning._kernels(calls[0]))) for k, calls in kernels.items()}
    monkeypatch.setattr(tuning, "MEMORY", max(sizes.values()) - 1)
    large = [kernel for kernel, nbytes in sizes.items() if nbytes > tuning.MEMORY]
    done = tuned_by(command, pickle_file, tmp_path / "table.json")
    assert done.status == 0 and len(measurements) == len(kernels) - len(large)
    for kernel in large:
        layers = ", ".join(call.layer for call in kernels[kernel])
        said = f"not measured, and so left in its first variant: {layers} ({kernel}), whose arrays take"
        assert f"{said} {sizes[kernel]:,} B of the {tuning.MEMORY:,} B that a measurement has" in done.out
    assert f"{len(measurements)} measured, 0 known before, {len(large)} too large" in done.out
    assert set(variants.read_counts("Cortex-M7", tmp_path / "table.json")) == set(kernels) - set(large)


def test_tune_refuses_a_bad_table_and_a_bad_place(
    command: Callable[..., Ran], pickle_file: Path, tmp_path: Path, measurements: list[str]
) -> None:
    table = tmp_path / "table.json"
    table.write_text('{"Cortex-M7": {"k": 3}}')
    done = tuned_by(command, pickle_file, table)
    said = "no table of instruction counts (table['Cortex-M7']['k'] is 3, not an object); remove it, and tune again"
    assert (done.status, done.errors) == (2, [f"mcutrain: {table}: {said}"])
    done = tuned_by(command, pickle_file, tmp_path / "none" / "table.json")
    assert done.status == 2 and "name another file with --table FILE" in done.errors[0]
    assert not measurements and table.read_text() == '{"Cortex-M7": {"k": 3}}'


@pytest.mark.parametrize("board", ["rp2040", "mps2-an385"])
def test_without_an_fpu_nothing_is_to_choose(
    command: Callable[..., Ran],
    pickle_file: Path,
    tiny_model: Model,
    tmp_path: Path,
    measurements: list[str],
    board: str,
) -> None:
    """A tune sees the kernels that a compile for that board lowers: of integers alone."""
    table = tmp_path / "table.json"
    done = tuned_by(command, pickle_file, table, "--board", board)
    assert done.status == 0 and not measurements and json.loads(table.read_text()) == {}
    assert f"no kernel of this network has a choice on {boards.get(board).core.name}: nothing was measured" in done.out
    assert done.out.splitlines()[-1].endswith(f"--board {board} --input-size 8 --classes 4 --table {table}")
    seen = {
        call.attrs["rounding"] for call in lowered_step(tiny_model, board=board).infer.calls if "qconv" in call.kind
    }
    planned = mcutrain.compile(tiny_model, board=board, out=tmp_path / "out", table=table).planned.lowered
    assert seen == {call.attrs["rounding"] for call in planned.infer.calls if "qconv" in call.kind} == {"upward"}
