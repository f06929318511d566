"""Shares out the flash of a linked firmware: bytes of each function, and of the constants of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mcutrain.firmware.linked import Symbol, symbols
from mcutrain.schema.report import FlashConstants, FlashFunction, FlashParts

KINDS = ("model", "runtime", "library")  # emitted, ours, the compiler's
OTHER_CONSTANTS = "tables that belong to no layer"


def flash_parts(elf: Path, layers: Mapping[str, str], total: int) -> FlashParts:
    """List functions and constants, the largest first; what of the `total` bytes has no name of its own (alignment,
    literal texts, initial values) is `other`.

    layers: emitted constant -> its layer, the `symbols` of metadata.json. Raises ToolError."""
    found = symbols(elf)
    functions = [FlashFunction(name=s.name, kind=function_kind(s.name), nbytes=s.nbytes) for s in functions_of(found)]
    constants: Counter[str] = Counter()
    for symbol in {s.address: s for s in found if s.letter in "rR" and s.nbytes}.values():
        # a compiler's copy or part of a constant has a dot and more behind its name
        constants[layers.get(symbol.name.partition(".")[0], OTHER_CONSTANTS)] += symbol.nbytes
    known = sum(f.nbytes for f in functions) + sum(constants.values())
    by_size = sorted(constants.items(), key=lambda item: (-item[1], item[0]))
    return FlashParts(
        functions=tuple(sorted(functions, key=lambda f: (-f.nbytes, f.name))),
        constants=tuple(FlashConstants(layer=layer, nbytes=nbytes) for layer, nbytes in by_size),
        other=total - known,
    )


def functions_of(found: list[Symbol]) -> list[Symbol]:
    """Keep one symbol a function: without aliases and the linker's marks of no size. A second entry inside a function
    (the assembler of libgcc has some) begins one of its own."""
    single: list[Symbol] = []
    for symbol in sorted(found, key=lambda s: (s.address, -s.nbytes, s.name)):
        if symbol.letter not in "tTwW" or not symbol.nbytes or (single and single[-1].address == symbol.address):
            continue
        if single and single[-1].end > symbol.address:
            outer = single.pop()
            single.append(replace(outer, nbytes=symbol.address - outer.address))
            symbol = replace(symbol, nbytes=max(outer.end, symbol.end) - symbol.address)
        single.append(symbol)
    return single


def function_kind(name: str) -> str:
    """Tell by its name whether a function is the model's, the runtime's or the library's: one of KINDS."""
    if name.startswith("tvmgen_"):
        return "model"
    return "library" if name.startswith("__") else "runtime"
