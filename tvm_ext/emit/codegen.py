"""Kernels -> C text through TVM's `c` target, without the packed API: plain functions over raw pointers.

What TVM prints is kept; the preamble goes, `const` comes to what is only read, and a comment says what it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import s_tir, tirx
from tvm.ir import PointerType, PrimType

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.ops.kernel import Kernel

PASSES = tvm.transform.Sequential(
    [
        s_tir.transform.CanonicalizeLoop(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.RemoveNoOp(),
    ]
)
C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "float32": "float",
}


class PrinterError(AssertionError):
    """TVM's C is not the text that this module takes apart: a defect of ours, or another TVM."""


@dataclass(frozen=True)
class CFunction:
    """name, and the whole definition as C text; `prototype` ends in a semicolon."""

    name: str
    prototype: str
    definition: str


def c_functions(kernels: list[Kernel], names: list[str], comments: list[str]) -> list[CFunction]:
    """Print every kernel. Deterministic: the text depends on the kernels alone."""
    return [_function(*one) for one in zip(kernels, names, comments, strict=True)]


def _function(kernel: Kernel, name: str, comment: str) -> CFunction:
    lowered = PASSES(tvm.IRModule({name: kernel.func.with_attr("global_symbol", name)}))[name]
    declared = [s for s in lowered.body.seq if isinstance(s, tirx.DeclBuffer)]
    statements = [s for s in lowered.body.seq if not isinstance(s, tirx.DeclBuffer)]
    used = {v.name for v in tirx.analysis.undefined_vars(_sequence(statements), [])}
    arrays = {s.buffer.name for s in statements if isinstance(s, tirx.AllocBuffer)}
    parameters = [_Parameter(p.name, _dtype(p), isinstance(p.ty, tirx.BufferType)) for p in lowered.params]
    body = _printed_body(_raw_pointers(lowered, declared, statements, parameters), name, parameters, arrays)
    read = kernel.inputs + len(kernel.tables)
    written = {p.name for i, p in enumerate(parameters) if i >= read or i in kernel.mutates}
    head = f"void {name}({', '.join(p.declaration(p.name in written) for p in parameters)})"
    unread = "".join(f"\n  (void){p.name};" for p in parameters if p.name not in used)
    return CFunction(name, f"{head};", f"/* {comment} */\n{head} {{{unread}{body}\n}}\n")


@dataclass(frozen=True)
class _Parameter:
    """A parameter of a kernel in C: an array, or a number."""

    name: str
    dtype: str
    is_array: bool

    def declaration(self, is_written: bool) -> str:
        """C of the parameter; a kernel sees as const what it only reads."""
        ctype = f"{C_TYPES[self.dtype]}*" if self.is_array else C_TYPES[self.dtype]
        return f"{ctype} {self.name}" if is_written or not self.is_array else f"const {ctype} {self.name}"


def _sequence(statements: list[tirx.Stmt]) -> tirx.Stmt:
    return tirx.SeqStmt(statements) if len(statements) > 1 else statements[0]


def _dtype(param: tirx.Var) -> str:
    return str(getattr(param.ty.dtype, "dtype", param.ty.dtype))


def _raw_pointers(
    func: tirx.PrimFunc, declared: list[tirx.Stmt], statements: list[tirx.Stmt], parameters: list[_Parameter]
) -> tirx.PrimFunc:
    """The function over pointer parameters in the place of buffers; each flattened buffer is declared over its
    pointer."""
    params = [
        tirx.Var(p.name, PointerType(PrimType(p.dtype), "global")) if p.is_array else of
        for p, of in zip(parameters, func.params, strict=True)
    ]
    pointers = {p.name: p for p in params}
    over = [tirx.DeclBuffer(s.buffer, data=pointers[s.data.args[0].name]) for s in declared]
    return tirx.PrimFunc(params, _sequence([*over, *statements])).with_attr(
        "global_symbol", func.attrs["global_symbol"]
    )


def _printed_body(func: tirx.PrimFunc, name: str, parameters: list[_Parameter], arrays: set[str]) -> str:
    """The text that TVM prints between the braces of the function. arrays: names of its local arrays.

    TVM hands out C as text alone: a module with its preamble, a prototype and the definition, in which a local array
    has `_ptr` behind its name. All that is taken for granted of this text stands here, and anything else is an
    error."""
    source = tvm.get_global_func("target.build.c")(tvm.IRModule({name: func}), tvm.target.Target("c")).inspect_source()
    signature = f"TVM_DLL void {name}({', '.join(p.declaration(is_written=True) for p in parameters)})"
    before, opening, body = source.partition(f"{signature} {{")
    text = body.rstrip()
    if not opening or f"{signature};" not in before or not text.endswith("\n}") or "\n}" in text[:-2]:
        raise PrinterError(f"{name}: TVM's C is no module of one function `{signature}`:\n{source}")
    text = text[:-2].rstrip()
    for array in arrays:
        text = re.sub(rf"\b{array}_ptr\b", array, text)
    if "_ptr" in text:
        raise PrinterError(f"{name}: TVM's C has a local array beside {sorted(arrays)}:\n{source}")
    return text


def comment(text: str) -> str:
    """Text that can neither end a C comment nor seem to open another; one line of printable ASCII."""
    shown = "".join(c if c.isascii() and c.isprintable() else " " if c.isspace() else "?" for c in text)
    return shown.replace("*/", "* /").replace("/*", "/ *")


def c_array(name: str, value: np.ndarray, comment: str, per_line: int = 16) -> str:
    """`static const` array whose floats read back to the same bits (hexadecimal floating literals).

    Raises ModelError for an infinity or NaN, for which C has no literal."""
    flat = value.reshape(-1)
    if value.dtype == np.float32:
        if not np.all(np.isfinite(flat)):
            raise ModelError(f"constant {name}: holds a value that is not finite; check the model's scales")
        items = [_c_float(v) for v in flat]
        per_line = 6
    else:
        items = [_c_int(int(v), str(value.dtype)) for v in flat]
    lines = [", ".join(items[i : i + per_line]) for i in range(0, len(items), per_line)]
    ctype = C_TYPES[str(value.dtype)]
    return f"/* {comment} */\nstatic const {ctype} {name}[{len(flat)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _c_float(value: np.float32) -> str:
    return f"{float(value).hex()}f"


def _c_int(value: int, dtype: str) -> str:
    if dtype == "uint32":
        return f"{value}u"
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
