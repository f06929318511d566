"""The files of cores agree with what the compiler says of itself, and the machines have the memory of the boards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcutrain.firmware import emulator, toolchain
from mcutrain.firmware.compiling import Compiler, compile_all, find_compiler, run_tool
from mcutrain.profiling.cycle_model import CORES as PRICED
from mcutrain.targets.board import BOARDS
from mcutrain.targets.core import CORES, Core

# Cores that are none of the files': float registers without the DSP extension, and the other way round.
VARIANTS = {
    "-mcpu=cortex-m33+nodsp -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard": "MCU_HAS_FMA=1",
    "-mcpu=cortex-m33+nofp -mthumb -mfloat-abi=soft": "MCU_HAS_FMA=0",
    "-mcpu=cortex-m33+nodsp+nofp -mthumb -mfloat-abi=soft": "MCU_HAS_FMA=0",
    "-mcpu=cortex-m55+nomve -mthumb -mfloat-abi=hard": "MCU_HAS_FMA=1",
    "-mcpu=cortex-m23 -mthumb -mfloat-abi=soft": "MCU_HAS_FMA=0",
}


def macros(core: Core) -> dict[str, str]:
    command = [find_compiler(), *core.flags, "-dM", "-E", "-x", "c", "/dev/null"]
    return dict(re.findall(r"#define (\w+) (.*)", run_tool(command, "asking for macros").stdout))


def disassembled(folder: Path, flags: tuple[str, ...], define: str) -> str:
    compiler = Compiler(find_compiler(), (*toolchain.COMMON_FLAGS, "-O2", *flags), (toolchain.INCLUDE,), (define,))
    sources = [s for s in toolchain.KERNEL_SOURCES if s.stem in ("mcu_columns", "mcu_conv", "mcu_conv_full")]
    objects = compile_all(compiler, sources, folder)
    assert objects.warnings == ()
    return run_tool([compiler.tool("objdump"), "-d", *objects.files], "disassembling").stdout


@pytest.mark.parametrize("name", CORES)
def test_the_compiler_says_the_same(name: str) -> None:
    core, known = CORES[name], macros(CORES[name])
    single = int(known.get("__ARM_FP", "0"), 0) & 4 != 0
    assert (core.has_fpu, core.has_fma) == (single, single and "__ARM_FEATURE_FMA" in known)
    assert (core.has_dsp, core.has_mve) == ("__ARM_FEATURE_DSP" in known, "__ARM_FEATURE_MVE" in known)
    profile = {"6": "Armv6-M", "7": "Armv7", "8": "Armv8"}[known["__ARM_ARCH"]]
    assert core.isa.startswith(profile) and known["__ARM_ARCH_PROFILE"] == "77"  # M
    assert (core.machine.mpu == "PMSAv8") == (profile == "Armv8")


def test_every_core_has_a_board_counts_and_cycles() -> None:
    assert {board.core.name for board in BOARDS.values()} == set(CORES)
    assert {core.counts for core in CORES.values()} <= set(CORES)
    assert {core.cycles for core in CORES.values()} - {None} == set(PRICED)


def test_the_machines_hold_the_boards() -> None:
    """The emulator knows them, and their flash and (half of) their RAM suffice for what a board compiles by default."""
    known = run_tool([emulator.find_emulator(), "-M", "help"], "asking for machines").stdout
    for board in BOARDS.values():
        machine = board.core.machine
        assert re.search(rf"^{machine.name} ", known, re.MULTILINE)
        assert board.flash_bytes <= machine.flash_bytes and board.budget_bytes < machine.ram_bytes // 2


def test_the_m33_takes_the_dsp_variants(tmp_path: Path) -> None:
    code = {
        name: disassembled(tmp_path / name, CORES[name].flags, "MCU_HAS_FMA=1") for name in ("Cortex-M4F", "Cortex-M33")
    }
    assert len({text.count("\tsmlad\t") for text in code.values()}) == 1 and "\tsmlad\t" in code["Cortex-M33"]


@pytest.mark.parametrize("flags", VARIANTS)
def test_a_core_without_one_of_them_falls_to_plain_c(flags: str, tmp_path: Path) -> None:
    """Two units are used together or not at all; whatever a core lacks is not asked for."""
    code = disassembled(tmp_path, tuple(flags.split()), VARIANTS[flags])
    is_whole = "nodsp" not in flags and "hard" in flags
    assert ("\tsmlad\t" in code) == is_whole
