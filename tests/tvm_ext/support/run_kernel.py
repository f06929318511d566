"""Runs kernels as users get them: printed to C, compiled by the host's compiler, called through ctypes.

Every array lies between guard bytes of its own, so that a kernel that writes outside its buffers fails its test."""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from mcutrain.firmware.toolchain import KERNEL_SOURCES, build_host
from mcutrain.tvm_ext.emit.codegen import c_functions
from mcutrain.tvm_ext.ops.kernel import Kernel

GUARD, GUARD_BYTES = 0xA5, 64
_CACHE = tempfile.TemporaryDirectory(prefix="mcutrain-kernels-")
_LOADED: dict[int, tuple[Kernel, ctypes._CFuncPtr]] = {}


def prepare(kernels: Iterable[Kernel]) -> None:
    """Compile every kernel that is not compiled yet, all in one library: one call of the compiler costs most."""
    fresh = [k for k in kernels if id(k) not in _LOADED]
    if not fresh:
        return
    names = [f"kernel{i}" for i in range(len(fresh))]
    functions = c_functions(fresh, names, ["under test"] * len(fresh))
    headers = '#include "mcu_kernels.h"\n#include "mcu_math.h"\n'
    text = headers + "\n".join(f"{f.prototype}\n{f.definition}" for f in functions)
    library = Path(_CACHE.name) / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.so"
    if not library.exists():
        source = library.with_suffix(".c")
        source.write_text(text)
        warnings = build_host([source, *KERNEL_SOURCES], [], library, ["MCU_HAS_FMA=1"], Path(_CACHE.name) / "objects")
        assert not warnings, warnings
    loaded = ctypes.CDLL(str(library))
    for kernel, name in zip(fresh, names, strict=True):
        _LOADED[id(kernel)] = (kernel, getattr(loaded, name))


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
) -> None:
    """Call over all rows, or over `rows`. `outputs`, and the inputs whose numbers stand in `mutates`, are written in
    place; every other input must come out as it went in."""
    assert len(inputs) == kernel.inputs and len(outputs) == kernel.outputs
    prepare([kernel])
    scratch = [np.full(kernel.scratch, 0x5A, np.uint8)] if kernel.scratch else []
    arrays = [Guarded(a) for a in (*inputs, *kernel.tables, *outputs, *scratch)]
    limits = () if kernel.rows is None else (rows or (0, kernel.rows))
    _LOADED[id(kernel)][1](*(a.address for a in arrays), *limits)
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
    _LOADED[id(kernel)][1](*addresses, *(() if kernel.rows is None else (0, kernel.rows)))
    for number, guarded in enumerate([*arrays, shared]):
        guarded.check(f"argument {number}")
    for guarded in arrays[len(inputs) + len(kernel.tables) :]:
        guarded.write_back()
    result = shared.inside[start_out : start_out + outputs[target].nbytes]
    outputs[target][...] = result.view(outputs[target].dtype).reshape(outputs[target].shape)
