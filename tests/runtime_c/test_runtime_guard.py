"""The memory guard: all of the budget can be used, one byte more is a fault that says so."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mcutrain.errors import DeviceError
from mcutrain.firmware import emulator
from mcutrain.planner.errors import BudgetError
from mcutrain.targets import board as boards
from tests.cores import BOARDS

BUDGETS = [262144, 200000, 120000, 262144 - 32, 100 * 1024 + 32, 327680, 65536 + 96]
PLACES = [
    ("mcu_ram_end", "0"), ("mcu_ram_start", "-1"), ("mcu_flash_start", "64"), ("mcu_flash_end", "0"),
    ("MCU_TIMER_BASE", "MCU_TIMER_BYTES"), ("MCU_TIMER_BASE", "-1"),
]  # fmt: skip
UNALIGNED = 1 << 24  # in CFSR


def fault(name: str) -> str:
    return re.escape(f"FAULT {name}")


@pytest.mark.parametrize(
    ("board", "budget"),
    [("stm32f746", n) for n in BUDGETS]
    + [(b, n) for b in ("rp2040", "mps2-an505", "mps3-an547") for n in BUDGETS[1:4:2]],
)
def test_one_byte_past_the_budget_faults(board: str, budget: int, build: Callable, execute: Callable) -> None:
    past = build(board, "poke_main.c", budget=budget, defines=("POKE_BASE=mcu_ram_end", "POKE_OFFSET=0"))
    with pytest.raises(DeviceError, match=fault("memory guard")) as error:
        execute(past)
    assert f"MMFAR={past.board.core.machine.ram_base + budget:#010x}" in str(error.value)
    assert f"exit code {emulator.EXIT_GUARD}" in str(error.value)
    inside = build(board, "poke_main.c", budget=budget, defines=("POKE_BASE=mcu_ram_end", "POKE_OFFSET=-1"))
    assert execute(inside) == ("swept",)


@pytest.mark.parametrize("board", BOARDS)
def test_every_core_is_guarded(board: str, build: Callable, execute: Callable) -> None:
    for base, offset in PLACES:
        image = build(board, "poke_main.c", budget=50016, defines=(f"POKE_BASE={base}", f"POKE_OFFSET={offset}"))
        with pytest.raises(DeviceError, match=fault("memory guard")):
            execute(image)
    reads = build(board, "poke_main.c", budget=50016, defines=("READ_BASE=mcu_ram_end", "POKE_OFFSET=4096"))
    with pytest.raises(DeviceError, match=fault("memory guard")):
        execute(reads)


@pytest.mark.parametrize("board", BOARDS)
def test_ram_is_not_executable_and_other_faults_differ(board: str, build: Callable, execute: Callable) -> None:
    with pytest.raises(DeviceError, match=fault("memory guard")):
        execute(build(board, "poke_main.c", defines=("CALL_RAM",)))
    with pytest.raises(DeviceError, match=fault("fault, PC=") + f".*exit code {emulator.EXIT_FAULT}"):
        execute(build(board, "poke_main.c", defines=("UNDEFINED_INSTRUCTION",)))


@pytest.mark.parametrize("board", BOARDS)
def test_unaligned_words_fault_where_the_core_has_none(board: str, build: Callable, execute: Callable) -> None:
    """Armv6-M has no unaligned access; the M3 that stands in for it would forgive one."""
    image = build(board, "poke_main.c", defines=("UNALIGNED",))
    if boards.get(board).core.isa != "Armv6-M":
        assert execute(image) == ("swept",)
        return
    with pytest.raises(DeviceError, match=fault("fault, PC=") + f".*CFSR={UNALIGNED:#010x}"):
        execute(image)


@pytest.mark.parametrize("board", BOARDS)
def test_stack_overflow_faults(board: str, build: Callable, execute: Callable) -> None:
    with pytest.raises(DeviceError, match=fault("stack overflow") + f".*exit code {emulator.EXIT_STACK}"):
        execute(build(board, "poke_main.c", defines=("PUSH_FOREVER",)))


@pytest.mark.parametrize("board", BOARDS)
def test_painted_peak_lies_below_the_static_bound(board: str, build: Callable, execute: Callable) -> None:
    image = build(board, "poke_main.c", defines=("USE_STACK=1000",))
    peak = int(execute(image)[-1].removeprefix("peak "))
    assert 1000 <= peak <= image.stack_bound <= 1000 + 400
    assert ("main", image.stack_path[1][1]) == image.stack_path[1] and image.stack_path[1][1] >= 1000


@pytest.mark.parametrize("board", BOARDS)
def test_the_timer_counts_instructions(board: str, build: Callable, execute: Callable) -> None:
    """A reading is late by less than a tick of it and one of the clock that drives it."""
    tick = boards.get(board).core.machine.instructions_per_tick
    for loops in (1, 1000, 3_000_000):
        counted = int(execute(build(board, "timer_main.c", defines=(f"LOOPS={loops}",)))[0])
        assert counted % tick == 0 and abs(counted - 2 * loops) <= 2 * tick


def test_verify_program_overruns_on_request(build: Callable, execute: Callable) -> None:
    with pytest.raises(DeviceError, match=fault("memory guard")):
        execute(build("stm32f746", budget=40000, defines=("MCU_TEST_OVERRUN=0",)))
    with pytest.raises(DeviceError, match=r"ERROR cannot open samples\.bin"):
        execute(build("stm32f746", budget=40000, defines=("MCU_TEST_OVERRUN=-1",)))


def test_budget_is_rounded_down_and_too_much_is_refused(build: Callable) -> None:
    assert build("nrf52840", budget=4127).budget == 4096
    with pytest.raises(BudgetError, match=r"needs (\d+) bytes of RAM \(arena 2048.*more than the budget of 2048"):
        build("nrf52840", budget=2048)
    needed = build("nrf52840").ram
    tight = (needed + 31) // 32 * 32
    assert build("nrf52840", budget=tight).budget == tight
    with pytest.raises(BudgetError, match=rf"needs {needed} bytes .* {needed - tight + 32} more than"):
        build("nrf52840", budget=tight - 32)
    with pytest.raises(BudgetError, match="choose one"):
        build("nrf52840", budget=100)


def test_flash_is_a_budget_too(build: Callable, tmp_path: Path) -> None:
    text = "const char big[1 << 20] = {1}; volatile int i; int main(void) { return big[i]; }\n"
    (tmp_path / "main.c").write_text(text)
    with pytest.raises(BudgetError, match=r"code and constants need \d+ bytes, \d+ more than the flash of 1048576"):
        build("nrf52840", str(tmp_path / "main.c"))
    assert not list(tmp_path.glob("*.elf"))
    roomy = replace(boards.get("mps3-an547"), name="roomy", flash_bytes=8 << 20)
    (tmp_path / "main.c").write_text(text.replace("1 << 20", "3 << 20"))
    with pytest.raises(BudgetError, match=r"\d+ more than the emulated mps3-an547's flash of 2097152"):
        build(roomy, str(tmp_path / "main.c"))


@pytest.mark.parametrize("flash_kb", [100, 768, 1000])
def test_a_flash_of_any_size_leaves_the_budget_its_regions(flash_kb: int, build: Callable, execute: Callable) -> None:
    board = replace(boards.get("stm32f746"), name="odd", flash_bytes=flash_kb << 10)
    assert execute(build(board, "poke_main.c", budget=262144 - 32)) == ("swept",)


def test_a_machine_without_an_mpu_is_not_guarded(build: Callable, execute: Callable) -> None:
    known = boards.get("mps2-an385")
    core = msgspec.structs.replace(known.core, machine=msgspec.structs.replace(known.core.machine, mpu="none"))
    past = ("POKE_BASE=mcu_ram_end", "POKE_OFFSET=0")
    assert execute(build(replace(known, name="bare", core=core), "poke_main.c", budget=4096, defines=past)) == (
        "swept",
    )
