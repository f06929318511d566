"""The boards that are known, as data: core, memory, compiler flags, and the emulator machine that stands in."""

from __future__ import annotations

from dataclasses import dataclass

from mcutrain.planner.errors import McutrainError

KIB = 1024


@dataclass(frozen=True)
class Board:
    """One target. Sizes and addresses are bytes; the addresses are those of the emulator machine.

    sram_bytes: the default memory budget (stack, data, bss and arena together), at most ram_bytes.
    ram_bytes: the chip's data memory without a gap, all of it (STM32F746: DTCM, SRAM1 and SRAM2, RM0385 table 3;
    RP2040: SRAM0 to SRAM5, datasheet 2.6.2; MPS boards: the SRAM of the emulator machine).
    has_fpu: float32 in hardware. has_fma: ... with a fused multiply-add, which the kernels then use.
    machine: QEMU machine that stands in: the same core, or one whose instructions hold this one's. Flash and RAM are
    those of the machine; where flash does not begin at address 0, the vectors alone lie there."""

    name: str
    description: str
    core: str
    cpu_flags: tuple[str, ...]
    has_fpu: bool
    has_fma: bool
    sram_bytes: int
    ram_bytes: int
    flash_bytes: int
    machine: str
    flash_base: int = 0x00000000
    ram_base: int = 0x20000000

    @property
    def defines(self) -> tuple[str, ...]:
        """Macros that fix the numerics of this board; the host twin must be built with the same ones."""
        return (f"MCU_HAS_FMA={int(self.has_fma)}",)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="stm32f746",
            description="STM32F746, Cortex-M7 with FPU; 256 KiB of its 320 KiB SRAM, 1 MiB flash",
            core="Cortex-M7",
            cpu_flags=("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
            has_fpu=True,
            has_fma=True,
            sram_bytes=256 * KIB,
            ram_bytes=320 * KIB,
            flash_bytes=1024 * KIB,
            machine="mps2-an500",
        ),
        Board(
            name="nrf52840",
            description="nRF52840, Cortex-M4 with FPU; 256 KiB SRAM, 1 MiB flash",
            core="Cortex-M4F",
            cpu_flags=("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            has_fpu=True,
            has_fma=True,
            sram_bytes=256 * KIB,
            ram_bytes=256 * KIB,
            flash_bytes=1024 * KIB,
            machine="mps2-an386",
        ),
        Board(
            name="mps2-an385",
            description="Arm MPS2 with Cortex-M3, no FPU; 256 KiB of its 4 MiB SRAM, 4 MiB flash",
            core="Cortex-M3",
            cpu_flags=("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft"),
            has_fpu=False,
            has_fma=False,
            sram_bytes=256 * KIB,
            ram_bytes=4096 * KIB,
            flash_bytes=4096 * KIB,
            machine="mps2-an385",
        ),
        Board(
            name="rp2040",
            description="RP2040, Cortex-M0+, no FPU; 256 KiB of its 264 KiB SRAM, 2 MiB flash; emulated on an M3",
            core="Cortex-M0+",
            cpu_flags=("-mcpu=cortex-m0plus", "-mthumb", "-mfloat-abi=soft"),
            has_fpu=False,
            has_fma=False,
            sram_bytes=256 * KIB,
            ram_bytes=264 * KIB,
            flash_bytes=2048 * KIB,
            machine="mps2-an385",
        ),
        Board(
            name="mps3-an547",
            description="Arm MPS3 (Corstone-300), Cortex-M55 with FPU, Helium; 256 KiB of its 4 MiB SRAM, 2 MiB flash",
            core="Cortex-M55",
            cpu_flags=("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
            has_fpu=True,
            has_fma=True,
            sram_bytes=256 * KIB,
            ram_bytes=4096 * KIB,
            flash_bytes=2048 * KIB,
            machine="mps3-an547",
            flash_base=0x11000000,
            ram_base=0x31000000,
        ),
    )
}


def get(name: str) -> Board:
    """The board of this name. Raises McutrainError with the known names."""
    if name not in BOARDS:
        raise McutrainError(f"board {name!r} is not known: choose one of {', '.join(sorted(BOARDS))}")
    return BOARDS[name]


def shortage(board: Board, nbytes: int) -> str:
    """What to say of a budget or plan of so many bytes; "" where the chip has them."""
    if nbytes <= board.ram_bytes:
        return ""
    return (
        f"{nbytes:,} B are more than the {board.ram_bytes:,} B of SRAM that {board.name} has: choose another board or "
        "train less; the host twin (mcutrain train, mcutrain.host) runs it all the same"
    )
