"""Builds firmware (cross compiler) and the host twin (the host's compiler): compile, bound the stack, link, measure.

The firmware is linked twice. The first link has unlimited memory and shows which library code comes in; with it the
worst-case stack is known. The second link has exactly the budget and exactly that stack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from mcutrain.firmware.callgraph import StackPath, add_library, parse_callgraph, worst_stack
from mcutrain.firmware.compiling import Compiler, Objects, compile_all, find_compiler, run_tool
from mcutrain.firmware.linked import Symbol, disassemble, symbols
from mcutrain.planner.errors import BudgetError
from mcutrain.targets.board import Board

RUNTIME = Path(__file__).resolve().parents[1] / "runtime_c"  # a link in the checkout, a folder when installed
INCLUDE = RUNTIME / "include"
VERIFY_MAIN = RUNTIME / "src" / "verify_main.c"
KERNEL_SOURCES = tuple(sorted((RUNTIME / "kernels").glob("*.c")))  # what the emitted kernels call
_RUNTIME = ("startup", "stack", "mpu", "semihost", "timer", "memory")
RUNTIME_SOURCES = tuple(RUNTIME / "src" / f"{name}.c" for name in _RUNTIME)

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror=double-promotion")
COMMON_FLAGS = ("-std=c11", "-ffp-contract=off", *WARNINGS)
SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections", "-fcallgraph-info=su")
ARENA_ALIGN = 16  # bytes: the largest alignment of anything in RAM
GUARD_GRAIN = 32  # bytes: the memory guard's smallest step
MEASURE_BYTES = 64 << 10
BASIC_FRAME = 32 + 4  # bytes: exception frame of 8 words, and the word that may align it
FPU_FRAME = 104 + 4  # with 18 words of floating-point registers
_UNLIMITED = 0x08000000
_ARENA = re.compile(r"^tvmgen_\w+_arena$")


@dataclass(frozen=True)
class Image:
    """Describes a linked firmware; sizes in bytes. `bss` is without the arena, `text` without the constants.

    stack_bound: worst-case stack from reset, the exception frame of a fault included; so much is reserved.
    stack_path: the chain of calls that needs it. sections: every section of the ELF file.
    warnings: the compiler's lines, empty for clean sources."""

    elf: Path
    board: Board
    budget: int
    text: int
    rodata: int
    data: int
    bss: int
    arena: int
    stack_bound: int
    stack_path: tuple[tuple[str, int], ...]
    sections: dict[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def ram(self) -> int:
        """Add up what counts against the budget: stack, data, bss and arena, padding between them included."""
        return self.stack_bound + self.data + self.bss + self.arena

    @property
    def flash(self) -> int:
        return self.text + self.rodata + self.data


def build_firmware(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    board: Board,
    budget: int | None,
    out_elf: Path,
    defines: Sequence[str] = (),
    optimise: str = "-O2",
    build_dir: Path | None = None,
) -> Image:
    """Compile `sources` (which define main, see VERIFY_MAIN) and the runtime into `out_elf` for `board`.

    budget: bytes of RAM for everything, rounded down to a multiple of 32; None is the board's own.
    defines: macros ("NAME" or "NAME=VALUE"), beside the board's. build_dir keeps the objects of earlier builds.
    Raises ToolError (compiler missing, a source does not compile, no static stack bound) and BudgetError."""
    budget = (board.budget_bytes if budget is None else budget) // GUARD_GRAIN * GUARD_GRAIN
    _check_budget(budget, board)
    compiler = Compiler(
        find_compiler(),
        (*COMMON_FLAGS, *SECTION_FLAGS, optimise, *board.core.flags),
        (*include_dirs, INCLUDE, RUNTIME / "src"),
        (*board.defines, *board.core.machine.defines, *defines),
    )
    out_elf.parent.mkdir(parents=True, exist_ok=True)
    objects = compile_all(compiler, (*sources, *RUNTIME_SOURCES), build_dir or out_elf.parent / "build")
    trial = out_elf.with_suffix(".trial.elf")
    try:
        _link(compiler, objects, board, trial, _UNLIMITED, 0)
        reset, reserve = _bound_stack(objects, trial, board)
        _check_fit(compiler, trial, board, budget, reserve)
    finally:
        trial.unlink(missing_ok=True)
        trial.with_suffix(".ld").unlink(missing_ok=True)
    _link(compiler, objects, board, out_elf, budget, reserve)
    return _measure(compiler, out_elf, board, budget, reserve, reset, objects.warnings)


def _measure_offset(board: Board) -> int:
    """Count the bytes from the start of RAM to the measurement memory, behind every budget."""
    return board.core.machine.ram_bytes // 2


def _guarded(flash_bytes: int) -> int:
    """Count what the memory guard lets the core read of flash: as many eighths of a power of two as one region takes,
    since the budget may need all the others. Nobody is hurt by what is read behind flash."""
    grain = (1 << (flash_bytes - 1).bit_length()) // 8
    return -(-flash_bytes // grain) * grain


def _check_budget(budget: int, board: Board) -> None:
    if not 1024 <= budget <= _measure_offset(board) - GUARD_GRAIN:
        most = _measure_offset(board) // 1024
        raise BudgetError(f"the memory budget is {budget} bytes: choose one from 1024 bytes to just below {most} KiB")


def _link(compiler: Compiler, objects: Objects, board: Board, elf: Path, budget: int, stack_bytes: int) -> None:
    """Link against a linker script of its own, kept beside the ELF file as <name>.ld."""
    unlimited = budget == _UNLIMITED
    script, machine = elf.with_suffix(".ld"), board.core.machine
    values = {
        "vectors_base": machine.reset_vectors,
        "flash_base": machine.flash_base,
        "flash_bytes": _UNLIMITED if unlimited else board.flash_bytes,
        "flash_guarded": _guarded(board.flash_bytes),
        "ram_base": machine.ram_base,
        "budget": budget,
        "measure_base": machine.ram_base + (_UNLIMITED if unlimited else _measure_offset(board)),
        "measure_bytes": MEASURE_BYTES,
        "measure_align": 4096,
        "stack_bytes": stack_bytes,
    }
    texts = {name: f"{value:#x}" for name, value in values.items()}
    texts["boot"] = "" if machine.reset_vectors == machine.flash_base else "KEEP(*(.vectors))"
    script.write_text(Template((RUNTIME / "link.ld.in").read_text()).substitute(texts))
    flags = ("-nostdlib", f"-Wl,-T,{script}", "-Wl,--gc-sections", "-Wl,--fatal-warnings", "-Wl,--no-warn-rwx-segments")
    command: list[str | Path] = [compiler.path, *compiler.flags, *flags, *objects.files, "-lgcc", "-o", elf]
    run_tool(command, f"linking {elf.name}")


def _bound_stack(objects: Objects, elf: Path, board: Board) -> tuple[StackPath, int]:
    """Find the deepest chain from reset, and the bytes to reserve: that chain with the exception frame of a fault on
    top, or the fault handler's own chain (it starts again at the top), rounded up so that no padding follows the stack:
    the sections behind it lie as they did in the trial link, which reserved none."""
    graph = parse_callgraph(objects.callgraphs)
    add_library(graph, disassemble(elf), {symbol.name: symbol.address for symbol in symbols(elf)})
    reset = worst_stack(graph, "Reset_Handler")
    frame = FPU_FRAME if board.core.has_fpu else BASIC_FRAME
    nbytes = max(reset.nbytes + frame, worst_stack(graph, "mcu_fault_report").nbytes)
    return reset, (nbytes + ARENA_ALIGN - 1) // ARENA_ALIGN * ARENA_ALIGN


def _check_fit(compiler: Compiler, elf: Path, board: Board, budget: int, stack_bytes: int) -> None:
    sections, found, machine = _sections(compiler, elf), symbols(elf), board.core.machine
    arena = _arena_bytes(found)
    ram = next(s.address for s in found if s.name == "mcu_bss_end") - machine.ram_base + stack_bytes
    flash = sum(sections.get(name, 0) for name in (".boot", ".text", ".rodata", ".ARM.exidx", ".data"))
    if ram > budget:
        raise BudgetError(
            f"{board.name}: the firmware needs {ram} bytes of RAM (arena {arena}, stack {stack_bytes}, data and bss "
            f"{ram - arena - stack_bytes}), {ram - budget} more than the budget of {budget}: "
            f"raise the budget to {ram}, or train less",
            ram,
        )
    flashes = {"the flash": board.flash_bytes, f"the emulated {machine.name}'s flash": machine.flash_bytes}
    for whose, nbytes in flashes.items():
        if flash > nbytes:
            raise BudgetError(
                f"{board.name}: code and constants need {flash} bytes, {flash - nbytes} more than {whose} of {nbytes}: "
                "choose a smaller model or a board with more flash"
            )


def _measure(
    compiler: Compiler, elf: Path, board: Board, budget: int, stack: int, path: StackPath, warnings: tuple[str, ...]
) -> Image:
    sections = _sections(compiler, elf)
    arena = _arena_bytes(symbols(elf))
    return Image(
        elf=elf,
        board=board,
        budget=budget,
        text=sum(sections.get(name, 0) for name in (".boot", ".text", ".ARM.exidx")),
        rodata=sections.get(".rodata", 0),
        data=sections.get(".data", 0),
        bss=sections.get(".bss", 0) - arena,
        arena=arena,
        stack_bound=stack,
        stack_path=path.frames,
        sections=sections,
        warnings=warnings,
    )


def _sections(compiler: Compiler, elf: Path) -> dict[str, int]:
    """Map each section's name to its bytes."""
    listing = run_tool([compiler.tool("size"), "-A", elf], f"measuring {elf.name}").stdout
    rows = [line.split() for line in listing.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".")}


def _arena_bytes(found: Sequence[Symbol]) -> int:
    return sum(s.nbytes for s in found if _ARENA.match(s.name) and s.letter in "bB")


def build_host(
    sources: Sequence[Path],
    include_dirs: Sequence[Path],
    out_so: Path,
    defines: Sequence[str] = (),
    build_dir: Path | None = None,
) -> tuple[str, ...]:
    """Compile the same sources into a shared library of the host; the compiler's warnings are returned.

    Pass the board's `defines` too, or the twin may round otherwise. Raises ToolError."""
    compiler = Compiler(find_compiler("gcc"), host_flags(), (*include_dirs, INCLUDE), tuple(defines))
    out_so.parent.mkdir(parents=True, exist_ok=True)
    objects = compile_all(compiler, sources, build_dir or out_so.parent / "build")
    run_tool([compiler.path, "-shared", *objects.files, "-lm", "-o", out_so], f"linking {out_so.name}")
    return objects.warnings


def host_flags() -> tuple[str, ...]:
    """Choose the flags of the host's compiler. A host that multiplies and adds in one instruction is asked for it;
    without it fmaf comes, slower and equal, from libm. GCC 12 vectorises conditional loads wrongly for AVX-512 (the
    tests hold an example), so that goes unused."""
    try:
        processor = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    except OSError:
        processor = set()
    native = ("-march=native",) if processor & {"fma", "asimd"} else ()
    without = ("-mno-avx512f",) if native and "avx512f" in processor else ()
    return (*COMMON_FLAGS, "-O3", "-fPIC", *native, *without)


__all__ = [
    "INCLUDE", "KERNEL_SOURCES", "RUNTIME", "RUNTIME_SOURCES", "VERIFY_MAIN", "Image", "build_firmware", "build_host",
    "find_compiler", "host_flags", "parse_callgraph",
]  # fmt: skip
