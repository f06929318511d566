"""The counting plugin: exact on a program whose counts are known, and equal to the emulator's timer on a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcutrain.artifact.metadata import read_metadata
from mcutrain.errors import DeviceError, ToolError
from mcutrain.firmware import emulator, toolchain
from mcutrain.firmware.linked import disassemble, symbols
from mcutrain.profiling import counting
from mcutrain.profiling.counting import count
from mcutrain.schema.reading import plain
from mcutrain.targets import board as boards
from mcutrain.verification import ROUND_RATES, build, layout, random_samples, verify, write_samples
from tests.mcutrain import tiny

LOOP = """
#include <stdint.h>
int main(void);
int main(void) {
    uint32_t n = 1000, odd = 0;
    __asm__ volatile(".syntax unified\\n.global loop_begins\\nloop_begins:\\n\\tlsrs r3, %0, #1\\n\\tbcc 1f\\n"
                     ".global odd_only\\nodd_only:\\n\\tadds %1, %1, #1\\n"
                     "1:\\n\\tsubs %0, %0, #1\\n\\tbne loop_begins\\n"
                     ".global once\\nonce:\\n\\tnop"
                     : "+l"(n), "+l"(odd) : : "r3", "cc");
    volatile int32_t negative = -35; /* a remainder takes one of the M55's conditional selections */
    return odd == 500u && negative % 16 == -3 ? 0 : 1;
}
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny artifact with streamed ops and a training step of many kinds of ops."""
    return tiny.compile_tiny(tmp_path_factory.mktemp("counts"), board="nrf52840")


@pytest.mark.parametrize("board", ["stm32f746", "mps2-an385", "rp2040", "mps3-an547"])
def test_a_loop_is_counted_exactly(board: str, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(LOOP)
    known = boards.get(board)
    image = toolchain.build_firmware([tmp_path / "main.c"], [], known, 8192, tmp_path / "loop.elf")
    counts = count(image.elf, known, tmp_path)
    place = {s.name: s.address for s in symbols(image.elf)}
    assert counts[place["main"]] == 1 and counts[place["once"]] == 1
    assert counts[place["loop_begins"]] == counts[place["loop_begins"] + 2] == 1000
    assert counts[place["odd_only"]] == 500
    assert counts.keys() <= {i.address for i in disassemble(image.elf)}
    (tmp_path / "a, b").mkdir()  # a comma ends an argument of QEMU
    assert count(image.elf, known, tmp_path / "a, b") == counts


def test_each_op_agrees_with_the_timer(out: Path) -> None:
    """The timer steps by 40 and is read inside the hook, whose instructions it therefore also counts."""
    meta = read_metadata(out)
    board, sizes = boards.get(meta.board), layout(meta)
    image = build(out, board, meta.budget_bytes, "profile", ("MCU_PROFILE",))
    samples = random_samples(meta, 1)
    work = write_samples(image, meta, samples.images, samples, np.asarray(ROUND_RATES, np.float32))
    emulator.run(image.elf, board, work, 60)
    timed = emulator.decode_results((work / emulator.RESULTS).read_bytes(), sizes)
    counted = counting.count_ops(image.elf, board, work, sizes.infer_ops + sizes.train_ops)
    exact = np.array([sum(op.values()) for op in counted.by_op])
    visits = np.array(counted.visits)
    timer = np.concatenate([timed.infer_op_instructions, timed.train_op_instructions]).astype(np.int64)
    hook = sum(i.function == "mcu_profile_op" for i in disassemble(image.elf))
    assert (visits >= 1).all() and visits.max() > 1 and 10 < hook < 40
    assert (timer > exact - 40 * visits).all() and (timer < exact + (40 + hook) * visits).all()
    # the firmware without the hook: its own timer around the whole call
    whole = plain(verify(out, 1).instructions)
    for name, ops in (("infer", slice(0, sizes.infer_ops)), ("train_step", slice(sizes.infer_ops, None))):
        marks = 4 * visits[ops].sum()  # at most: the call of the hook, its number, what it made the compiler keep
        assert whole[name] - 80 <= exact[ops].sum() <= whole[name] + marks + 80


def test_all_that_runs_is_counted_once(out: Path) -> None:
    """By op and outside ops together are the plain histogram of the same run."""
    meta = read_metadata(out)
    board, sizes = boards.get(meta.board), layout(meta)
    image = build(out, board, meta.budget_bytes, "profile", ("MCU_PROFILE",))
    samples = random_samples(meta, 1)
    work = write_samples(image, meta, samples.images, samples, np.asarray(ROUND_RATES, np.float32))
    counted = counting.count_ops(image.elf, board, work, sizes.infer_ops + sizes.train_ops)
    sums: dict[int, int] = {}
    for scope in (*counted.by_op, counted.outside):
        for address, times in scope.items():
            sums[address] = sums.get(address, 0) + times
    assert sums == count(image.elf, board, work)


def test_what_cannot_be_counted_is_said(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = read_metadata(out)
    board = boards.get(meta.board)
    firmware = build(out, board, meta.budget_bytes, "firmware", ())
    with pytest.raises(ToolError, match=r"firmware\.elf is no profile build: it has no mcu_profile_op"):
        counting.count_ops(firmware.elf, board, tmp_path, 3)
    with pytest.raises(DeviceError, match=r"cannot open samples\.bin"):
        count(firmware.elf, board, tmp_path)
    monkeypatch.setattr(counting, "PLUGIN", broken := tmp_path / "broken.c")
    broken.write_text("int x = ;\n")
    with pytest.raises(
        counting.PluginError, match=r"cannot be built: compiling broken\.c failed: .*expected expression"
    ):
        count(firmware.elf, board, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(counting, "_plugin_api", lambda: 99)
    with pytest.raises(counting.PluginError, match=r"does not take the counting plugin .*requires API version 99"):
        count(firmware.elf, board, tmp_path)
