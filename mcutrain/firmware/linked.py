"""Reads what is in a linked firmware: its symbols (nm) and its instructions (objdump)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mcutrain.firmware.compiling import Compiler, find_compiler, run_tool
from mcutrain.firmware.instructions import Instruction

# options of objdump. By the file alone, version 2.40 leaves out some of Armv8.1-M; the older architectures are subsets
_LISTING = ("-d", "--no-show-raw-insn", "-m", "armv8.1-m.main")
_LABEL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$", re.ASCII)
_LINE = re.compile(r"^\s*([0-9a-f]+):\t([^\s.]\S*)(?:\t([^@;]*))?", re.ASCII)
_TARGET = re.compile(r"\b([0-9a-f]+) <")


@dataclass(frozen=True)
class Symbol:
    """Holds a symbol of a linked firmware: address and size in bytes, nm's letter."""

    name: str
    address: int
    nbytes: int
    letter: str

    @property
    def end(self) -> int:
        return self.address + self.nbytes


def symbols(elf: Path) -> list[Symbol]:
    """List every symbol of a linked firmware, in the order of addresses. Raises ToolError."""
    nm = Compiler(find_compiler(), ()).tool("nm")
    listing = run_tool([nm, "-f", "posix", elf], f"reading the symbols of {elf.name}").stdout
    rows = [line.split() for line in listing.splitlines()]
    found = [Symbol(r[0], int(r[2], 16), int(r[3], 16) if len(r) > 3 else 0, r[1]) for r in rows if len(r) >= 3]
    return sorted(found, key=lambda s: (s.address, s.name))


def disassemble(elf: Path) -> list[Instruction]:
    """List the instructions of `elf` in the order of addresses, without the constants between. Raises ToolError."""
    objdump = Compiler(find_compiler(), ()).tool("objdump")
    return parse_listing(run_tool([objdump, *_LISTING, elf], f"disassembling {elf.name}").stdout)


def parse_listing(text: str) -> list[Instruction]:
    """Read the instructions of a disassembly as objdump prints it."""
    code, function = [], ""
    for line in text.splitlines():
        if label := _LABEL.match(line):
            function = label[1]
        elif found := _LINE.match(line):
            address, mnemonic, operands = int(found[1], 16), found[2], (found[3] or "").strip()
            target = _TARGET.search(operands) if mnemonic[0] in "bc" else None
            code.append(Instruction(address, function, mnemonic, operands, int(target[1], 16) if target else None))
    return sorted(code, key=lambda i: i.address)
