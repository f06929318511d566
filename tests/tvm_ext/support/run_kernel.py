"""Runs kernels as users get them: printed to C, compiled by the host's compiler, called through ctypes.

Every array lies between guard bytes of its own, so that a kernel that writes outside its buffers fails its test. A
kernel is compiled once, however often it is built, and many at a time; the micro-kernels that they call lie in a
library of their own."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from mcutrain.firmware.compiling import find_compiler, run_tool
from mcutrain.firmware.toolchain import INCLUDE, KERNEL_SOURCES, build_host, host_flags
from mcutrain.tvm_ext.emit.codegen import c_functions
from tests.tvm_ext.support.product_ops import Kernel

GUARD, GUARD_BYTES = 0xA5, 64
HEADERS = '#include "mcu_kernels.h"\n#include "mcu_math.h"\n'
_CACHE = tempfile.TemporaryDirectory(prefix="mcutrain-kernels-")
_TEXTS: dict[int, tuple[Kernel, str, str]] = {}  # by id: the kernel, its name in C, its C
_OBJECTS: dict[str, Path] = {}  # by symbol: the object that holds it
_LOADED: dict[tuple[str, bool], ctypes._CFuncPtr] = {}  # by its name in C, and whether sums are fused


def prepare(kernels: Iterable[Kernel], fused: bool = True) -> None:
    """Compiles what is not compiled yet, all in one object: a call of the compiler costs most. fused: whether the core
    multiplies and adds in one step, as the board's macro MCU_HAS_FMA says; a kernel that does not do so itself, but
    calls micro-kernels, is compiled once for both."""
    texts = dict(map(c_text, kernels))
    fresh = {name: text for name, text in texts.items() if (name, fused) not in _LOADED}
    if not fresh:
        return
    symbols = {name: name if fused or "mcu_fma(" not in text else f"{name}_unfused" for name, text in fresh.items()}
    missing = {symbols[n]: t.replace(n, symbols[n]) for n, t in fresh.items() if symbols[n] not in _OBJECTS}
    if missing:
        _OBJECTS.update(dict.fromkeys(missing, _compile(HEADERS + "\n".join(missing.values()), fused)))
    objects = sorted({_OBJECTS[symbol] for symbol in symbols.values()})
    library = Path(_CACHE.name) / f"library{len(_LOADED)}.so"
    run_tool([find_compiler("gcc"), "-shared", *objects, _micro_kernels(fused), "-lm", "-o", library], "linking")
    loaded = ctypes.CDLL(str(library))
    _LOADED.update({(name, fused): getattr(loaded, symbol) for name, symbol in symbols.items()})


def _compile(text: str, fused: bool) -> Path:
    source = Path(_CACHE.name) / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.c"
    source.write_text(text)
    flags, made = [*host_flags(), f"-DMCU_HAS_FMA={int(fused)}", f"-I{INCLUDE}"], source.with_suffix(".o")
    said = run_tool([find_compiler("gcc"), *flags, "-c", source, "-o", made], "compiling kernels under test").stderr
    assert "warning:" not in said, said
    return made


def c_text(kernel: Kernel) -> tuple[str, str]:
    """The name of the kernel in C, which tells it from all others, and its prototype and definition."""
    if id(kernel) not in _TEXTS:
        (function,) = c_functions([kernel], ["kernel"], ["under test"])
        text = f"{function.prototype}\n{function.definition}"
        name = f"kernel_{hashlib.sha256(text.encode()).hexdigest()[:20]}"
        _TEXTS[id(kernel)] = (kernel, name, re.sub(r"\bvoid kernel\(", f"void {name}(", text))
    return _TEXTS[id(kernel)][1:]


@functools.cache
def _micro_kernels(fused: bool) -> Path:
    library = Path(_CACHE.name) / f"micro_kernels_{int(fused)}.so"
    warnings = build_host(KERNEL_SOURCES, [], library, [f"MCU_HAS_FMA={int(fused)}"], Path(_CACHE.name) / "objects")
    assert not warnings, warnings
    return library


class Guarded:
    """A copy of an array in memory of its own, guard bytes on both sides."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.block = np.full(array.nbytes + 2 * GUARD_BYTES, GUARD, np.uint8)
        self.inside = self.block[GUARD_BYTES : GUARD_BYTES + array.nbytes]
        self.inside[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    @property
    def address(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.inside.ctypes.data)

    def write_back(self) -> None:
        self.array[...] = self.inside.view(self.array.dtype).reshape(self.array.shape)

    def check(self, what: str) -> None:
        ends = np.concatenate([self.block[:GUARD_BYTES], self.block[-GUARD_BYTES:]])
        assert (ends == GUARD).all(), f"the kernel wrote outside {what}"


def run(
    kernel: Kernel,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray] = (),
    rows: tuple[int, int] | None = None,
    mutates: Collection[int] = (),
    fused: bool = True,
) -> None:
    """Call over all rows, or over `rows`. `outputs`, and the inputs whose numbers stand in `mutates`, are written in
    place; every other input must come out as it went in."""
    assert len(inputs) == kernel.inputs and len(outputs) == kernel.outputs
    prepare([kernel], fused)
    scratch = [np.full(kernel.scratch, 0x5A, np.uint8)] if kernel.scratch else []
    arrays = [Guarded(a) for a in (*inputs, *kernel.tables, *outputs, *scratch)]
    limits = () if kernel.rows is None else (rows or (0, kernel.rows))
    _LOADED[c_text(kernel)[0], fused](*(a.address for a in arrays), *limits)
    for number, guarded in enumerate(arrays):
        guarded.check(f"argument {number}")
        if number in mutates or len(inputs) + len(kernel.tables) <= number:
            guarded.write_back()
        elif guarded.array.size:
            np.testing.assert_array_equal(guarded.inside.view(guarded.array.dtype), guarded.array.reshape(-1))


def run_overlapped(
    kernel: Kernel, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], source: int, target: int, distance: int
) -> None:
    """Call with outputs[target] lying over inputs[source] at offset(input) - offset(output) == distance."""
    prepare([kernel])
    start_in, start_out = max(0, distance), max(0, -distance)
    size = max(start_in + inputs[source].nbytes, start_out + outputs[target].nbytes)
    shared = Guarded(np.zeros(size, np.uint8))
    view = shared.inside[start_in : start_in + inputs[source].nbytes]
    view[:] = np.ascontiguousarray(inputs[source]).reshape(-1).view(np.uint8)
    scratch = [np.full(kernel.scratch, 0x5A, np.uint8)] if kernel.scratch else []
    arrays = [Guarded(a) for a in (*inputs, *kernel.tables, *outputs, *scratch)]
    addresses = [a.address for a in arrays]
    addresses[source] = ctypes.c_void_p(shared.inside.ctypes.data + start_in)
    place = len(inputs) + len(kernel.tables) + target
    addresses[place] = ctypes.c_void_p(shared.inside.ctypes.data + start_out)
    _LOADED[c_text(kernel)[0], True](*addresses, *(() if kernel.rows is None else (0, kernel.rows)))
    for number, guarded in enumerate([*arrays, shared]):
        guarded.check(f"argument {number}")
    for guarded in arrays[len(inputs) + len(kernel.tables) :]:
        guarded.write_back()
    result = shared.inside[start_out : start_out + outputs[target].nbytes]
    outputs[target][...] = result.view(outputs[target].dtype).reshape(outputs[target].shape)
