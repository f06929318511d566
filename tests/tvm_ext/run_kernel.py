"""Runs one kernel as users get it: printed to C, compiled by the host's compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from pathlib import Path

import numpy as np

from mcutrain.toolchain import build_host
from tvm_ext.codegen import c_functions
from tvm_ext.kernels.build import Kernel

_CACHE = Path(tempfile.mkdtemp(prefix="mcutrain-kernels-"))


def compiled(kernel: Kernel) -> ctypes._CFuncPtr:
    """The kernel as a function of raw addresses (and y0, y1)."""
    (function,) = c_functions([kernel], ["kernel"], ["under test"])
    text = f'#include "mcu_math.h"\n{function.prototype}\n{function.definition}'
    library = _CACHE / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.so"
    if not library.exists():
        source = library.with_suffix(".c")
        source.write_text(text)
        warnings = build_host([source], [], library, ["MCU_HAS_FMA=1"], _CACHE / "objects" / library.stem)
        assert not warnings, warnings
    return ctypes.CDLL(str(library)).kernel


def run(kernel: Kernel, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """Call over all rows; `outputs` (and inputs that the kernel mutates) are written in place."""
    scratch = [np.full(max(1, kernel.scratch), 0x5A, np.uint8)] if kernel.scratch else []
    arrays = [*inputs, *kernel.tables, *outputs, *scratch]
    assert all(a.flags["C_CONTIGUOUS"] for a in arrays)
    rows = [] if kernel.rows is None else [0, kernel.rows]
    compiled(kernel)(*(ctypes.c_void_p(a.ctypes.data) for a in arrays), *rows)
