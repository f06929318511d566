"""verify on a tiny artifact: the measurement is the firmware's, differences and overruns are found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import BudgetError, ModelError, OutputError, Twin
from mcutrain.schema.reading import plain
from mcutrain.targets import board as boards
from mcutrain.verification import Samples, verify
from tests.mcutrain import tiny

CONTRACT = {
    "board", "budget_bytes", "sram_total_bytes", "data_bytes", "bss_bytes", "arena_bytes", "arena_bound_bytes",
    "plan_status", "stack_peak_bytes", "stack_bound_bytes", "flash_bytes", "instructions", "losses",
    "host_equals_device", "fits",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact with a budget that it fits closely; verified once, so that its objects are compiled."""
    folder = tmp_path_factory.mktemp("verify")
    out = tiny.compile_tiny(folder, "head_only", budget=5120)
    verify(out, 1)
    return out


def sections(elf: Path) -> dict[str, int]:
    listing = subprocess.run(["arm-none-eabi-size", "-A", elf], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[1].isdigit()}


def test_json_keeps_the_contract(out: Path, command: Callable) -> None:
    ran = command("verify", out, "--steps", 3, "--json")
    assert ran.status == 0 and ran.err == "" and ran.out.count("\n") == 1
    found = json.loads(ran.out)
    assert found.keys() >= CONTRACT and found["instructions"].keys() == {"infer", "train_step"}
    assert found["host_equals_device"] is True and found["fits"] is True
    assert (found["board"], found["budget_bytes"]) == ("stm32f746", 5120)
    assert len(found["losses"]) == 3 and found["losses"][0] == pytest.approx(np.log(4), rel=1e-6)
    assert found["instructions"]["train_step"] > found["instructions"]["infer"] > 10_000
    meta = json.loads((out / "metadata.json").read_text())["mcutrain"]
    assert found["arena_bytes"] == meta["arena_bytes"] >= found["arena_bound_bytes"] == meta["plan"]["bound"]
    assert found["plan_status"] == meta["plan"]["status"]
    assert 0 < found["stack_peak_bytes"] <= found["stack_bound_bytes"]
    total = found["data_bytes"] + found["bss_bytes"] + found["arena_bytes"] + found["stack_bound_bytes"]
    assert found["sram_total_bytes"] == total <= 5120


def test_figures_are_those_of_the_linked_image(out: Path) -> None:
    found = plain(verify(out, 1))
    image = sections(out / "build/firmware.elf")
    assert found["flash_bytes"] == sum(image.get(name, 0) for name in (".text", ".rodata", ".data", ".ARM.exidx"))
    assert found["data_bytes"] == image.get(".data", 0)
    assert found["bss_bytes"] + found["arena_bytes"] == image[".bss"]


def test_report_is_completed(out: Path, command: Callable) -> None:
    found = plain(verify(out, 2))
    report = json.loads((out / "report.json").read_text())
    assert report["sram"]["total"] == found["sram_total_bytes"] and report["losses"] == found["losses"]
    assert report["instructions"] == found["instructions"] and report["host_equals_device"] is True
    by_op = sum(op["instructions"] for op in report["ops"])
    # the ops are nearly all of a step; the timer rounds each down to steps of 40
    assert 0.8 * found["instructions"]["train_step"] < by_op <= 1.02 * found["instructions"]["train_step"]
    assert f"{found['flash_bytes']:,}" in (out / "report.html").read_text()
    ran = command("report", out)
    assert ran.status == 0 and f"{found['sram_total_bytes']:,}" in ran.out
    assert json.loads(command("report", out, "--json").out) == report


def test_given_samples_and_rates_reach_the_device(out: Path) -> None:
    images, labels = tiny.separable(4, 0)
    found = plain(verify(out, 4, samples=Samples(images, labels), learning_rate=(0.0, 0.5)))
    twin = mcutrain.host(out)
    twin.learning_rate = (0.0, 0.5)
    losses = [twin.train_step(x, int(y)) for x, y in zip(images, labels, strict=True)]
    assert found["losses"] == losses and found["host_equals_device"]


def test_a_difference_in_one_bit_is_found(out: Path, monkeypatch: pytest.MonkeyPatch, command: Callable) -> None:
    def last_bit(twin: Twin) -> tuple[bytes, ...]:
        pieces = Twin.state_bytes(twin)
        return (*pieces[:-1], bytes([pieces[-1][0] ^ 1]) + pieces[-1][1:])

    class Wrong(Twin):
        state_bytes = last_bit

    monkeypatch.setattr("mcutrain.verification.host", Wrong)
    ran = command("verify", out, "--json")
    assert json.loads(ran.out)["host_equals_device"] is False and ran.status == 1


@pytest.mark.parametrize("method", ["train_step", "infer", "last_logits"])
def test_a_difference_in_what_comes_back_is_found(method: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one_bit(self: Twin, *arguments: object) -> object:
        value = getattr(Twin, method)(self, *arguments)
        return np.nextafter(np.float32(value), np.float32(9))

    monkeypatch.setattr("mcutrain.verification.host", type("Wrong", (Twin,), {method: off_by_one_bit}))
    assert verify(out, 2).host_equals_device is False


def test_over_budget_at_link_time(out: Path, tmp_path: Path, command: Callable) -> None:
    """The arena alone fits the budget; with stack and data it does not."""
    shutil.copytree(out, tmp_path / "out")
    file = tmp_path / "out/metadata.json"
    meta = json.loads(file.read_text())
    needed = verify(out, 1).sram_total_bytes
    tight = (needed - 1) // 32 * 32
    assert meta["mcutrain"]["arena_bytes"] <= tight < needed
    meta["mcutrain"]["budget_bytes"] = tight
    file.write_text(json.dumps(meta))
    with pytest.raises(BudgetError, match=rf"needs {needed} bytes of RAM \(arena .* more than the budget of {tight}"):
        verify(tmp_path / "out", 1)
    ran = command("verify", tmp_path / "out", "--json")
    assert ran.status == 1 and ran.out == "" and len(ran.err.splitlines()) == 1


def test_a_budget_beyond_the_chip(tmp_path: Path, command: Callable) -> None:
    """Firmware stays inside the chip's memory whatever the budget; compile says so, and the twin runs all the same."""
    model = tiny.network.tiny_file(tmp_path)
    arguments = (model, "--scheme", "head_only", *tiny.OPTIONS, "--budget", "1MB", "-o", tmp_path / "out")
    roomy = command("compile", *arguments, "--board", "nrf52840")
    promised = "the budget of 1,048,576 B is more than the 262,144 B of SRAM that nrf52840 has: "
    assert roomy.status == 0 and [line.count(promised) for line in roomy.errors] == [1]
    assert roomy.err.index(promised) < roomy.err.index("reading the model") and "verify" in roomy.out.splitlines()[-1]
    verified = command("verify", tmp_path / "out", "--steps", 1, "--json")
    assert verified.status == 0 and promised in verified.err
    fitting = verify(tmp_path / "out", 1)
    assert fitting.fits and fitting.budget_bytes == 1 << 20
    ram = fitting.sram_total_bytes // 32 * 32 - 32
    small = replace(boards.get("nrf52840"), name="small", ram_bytes=ram, budget_bytes=ram)
    (tmp_path / "small.toml").write_text(small.to_toml())
    ran = command("compile", *arguments, "--board", tmp_path / "small.toml")
    expected = f"more than the {small.ram_bytes:,} B of SRAM that small has: choose another board or train less"
    assert ran.status == 0 and expected in ran.err and "this plan's " in ran.err and "next: mcutrain train " in ran.out
    with pytest.raises(BudgetError, match=f"the firmware's {fitting.sram_total_bytes:,} B are {expected}"):
        verify(tmp_path / "out", 1)
    assert mcutrain.host(tmp_path / "out").infer(tiny.image(0)).size == 4


def test_wrong_samples(out: Path) -> None:
    images, labels = tiny.separable(2, 0)
    with pytest.raises(ModelError, match="3 steps need as many samples, only 2 were given"):
        verify(out, 3, samples=Samples(images, labels))
    with pytest.raises(ModelError, match="the model takes 192"):
        verify(out, 2, samples=Samples(images[:, :4], labels))
    with pytest.raises(ModelError, match=r"label [4-7] is outside 0 \.\. 3"):
        verify(out, 2, samples=Samples(images, labels + 4))


def test_missing_tools_are_named_at_once(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable
) -> None:
    for missing, package in (("qemu-system-arm", "qemu-system-arm"), ("arm-none-eabi-gcc", "gcc-arm-none-eabi")):
        folder = tmp_path / missing
        folder.mkdir()
        for tool in {"gcc", "qemu-system-arm", "arm-none-eabi-gcc"} - {missing}:
            (folder / tool).symlink_to(shutil.which(tool, path=os.environ["PATH"]))
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(folder))
            ran = command("verify", out, "--json")
        assert ran.status == 2 and ran.out == ""
        assert ran.err.startswith(f"mcutrain: {missing} is not on the PATH: install it with `apt install {package}")
        assert len(ran.err.splitlines()) == 1


def test_a_build_folder_that_cannot_be_written(out: Path, tmp_path: Path) -> None:
    for blocked in ("build", "build/objects"):
        shutil.copytree(out, tmp_path / "out", ignore=shutil.ignore_patterns("build"))
        (tmp_path / "out" / blocked).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / blocked).write_text("no folder")
        with pytest.raises(OutputError, match=r"build: cannot be written: .*; make room and the folder writable"):
            verify(tmp_path / "out", 1)
        shutil.rmtree(tmp_path / "out")
