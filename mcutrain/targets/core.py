"""The cores that are known: what the compiler is told of each, and the emulator's machine that stands in for it.

Each is a file of the folder `cores`. What a core is (its instructions) stands at the top of its file, what the firmware
meets where it is run for a measurement (memory map, MPU, timer) in the file's table `machine`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

Mpu = Literal["PMSAv7", "PMSAv8", "none"]
Timer = Literal["CMSDK", "SSE counter"]


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describes a machine of QEMU: the same core, or one whose instructions hold this one's. Addresses and sizes are
    bytes.

    flash_base, ram_base: where code and data lie; so many bytes from there on are memory.
    vectors_base: where the core looks for its vectors at reset; by default where flash begins.
    mpu: the model by which the memory guard is programmed; none: nothing watches over the budget while a run lasts.
    timer, timer_base: the counter that instructions are counted with, and its registers.
    instructions_per_tick: of the counter, under -icount shift=0, where an instruction lasts a nanosecond."""

    name: str
    flash_base: int
    flash_bytes: int
    ram_base: int
    ram_bytes: int
    mpu: Mpu
    timer: Timer
    timer_base: int
    instructions_per_tick: int
    vectors_base: int | None = None

    @property
    def reset_vectors(self) -> int:
        """Return the address of the vectors."""
        return self.flash_base if self.vectors_base is None else self.vectors_base

    @property
    def defines(self) -> tuple[str, ...]:
        """Name the macros of the firmware's own files (runtime_c/src/mcu_device.h); kernels and models see none of
        them."""
        return (
            f"MCU_PMSA={({'PMSAv7': 7, 'PMSAv8': 8, 'none': 0})[self.mpu]}",
            f"MCU_TIMER_IS_SSE_COUNTER={int(self.timer == 'SSE counter')}",
            f"MCU_TIMER_BASE={self.timer_base:#x}u",
            f"MCU_INSTRUCTIONS_PER_TICK={self.instructions_per_tick}u",
        )


class Core(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describes one kind of core.

    isa: the architecture, for people. flags: of GCC.
    has_fpu: float32 in hardware; without it the forward pass is turned into integers alone. has_fma: ... with a fused
    multiply-add, which the kernels then use. has_dsp: two products of 16 bits in an instruction. has_mve: Helium.
    What the compiler knows by itself from the flags, the kernels ask its macros; a test holds these fields to them.
    counts: whose instruction counts of kernels are its own in the tables of `mcutrain tune`.
    cycles: whose cycles an instruction is priced with in a profile (mcutrain/profiling/cycle_model.py); None: nobody's.
    """

    name: str
    isa: str
    flags: tuple[str, ...]
    has_fpu: bool
    has_fma: bool
    has_dsp: bool
    has_mve: bool
    counts: str
    machine: Machine
    cycles: str | None = None

    @property
    def defines(self) -> tuple[str, ...]:
        """Name the macros that fix the numerics on this core; the host twin must be built with the same ones."""
        return (f"MCU_HAS_FMA={int(self.has_fma)}",)

    def __repr__(self) -> str:
        units = [name for name in ("fpu", "fma", "dsp", "mve") if getattr(self, f"has_{name}")]
        return f"Core({self.name!r}, {self.isa}, {'+'.join(units) or 'integers alone'}, on {self.machine.name})"


def _read_all() -> Mapping[str, Core]:
    files = sorted(Path(__file__).with_name("cores").glob("*.toml"))
    cores = [msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Core) for file in files]
    return MappingProxyType({core.name: core for core in cores})


CORES = _read_all()  # by name, in the order of the files
