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
from mcutrain.tvm_ext.kernels.build import Kernel

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


@dataclass(frozen=True)
class CFunction:
    """name, and the whole definition as C text; `prototype` ends in a semicolon."""

    name: str
    prototype: str
    definition: str


def c_functions(kernels: list[Kernel], names: list[str], comments: list[str]) -> list[CFunction]:
    """Print every kernel. Deterministic: the text depends on the kernels alone."""
    functions = []
    for kernel, name, comment in zip(kernels, names, comments, strict=True):
        text = _print(kernel.func.with_attr("global_symbol", name))
        functions.append(_finish(text, kernel, name, comment))
    return functions


def _print(func: tirx.PrimFunc) -> str:
    """The C of one PrimFunc, from its signature to its closing brace."""
    name = str(func.attrs["global_symbol"])
    lowered = PASSES(tvm.IRModule({name: func}))[name]
    module = tvm.IRModule({name: _raw_pointers(lowered)})
    source = tvm.get_global_func("target.build.c")(module, tvm.target.Target("c")).inspect_source()
    return source[source.index(f"TVM_DLL void {name}(", source.index(f"{name}(") + len(name)) :]


def _raw_pointers(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Turn buffer parameters into pointer parameters; each flattened buffer is declared over its pointer."""
    pointers, params = {}, []
    for param in func.params:
        if isinstance(param.ty, tirx.BufferType):
            dtype = str(getattr(param.ty.dtype, "dtype", param.ty.dtype))
            pointers[param.name] = tirx.Var(param.name, PointerType(PrimType(dtype), "global"))
            params.append(pointers[param.name])
        else:
            params.append(param)

    def redirect(stmt: tirx.Stmt) -> tirx.Stmt:
        if isinstance(stmt, tirx.DeclBuffer) and isinstance(stmt.data, tvm.ir.Call):
            return tirx.DeclBuffer(stmt.buffer, data=pointers[stmt.data.args[0].name])
        return stmt

    body = tirx.SeqStmt([redirect(s) for s in func.body.seq])
    return tirx.PrimFunc(params, body).with_attr("global_symbol", func.attrs["global_symbol"])


def _finish(text: str, kernel: Kernel, name: str, comment: str) -> CFunction:
    signature, body = text.split("{", 1)
    arguments = [a.strip() for a in signature[signature.index("(") + 1 : signature.rindex(")")].split(",")]
    written, read = set(_written(body)), kernel.inputs + len(kernel.tables)
    declared = []
    for number, argument in enumerate(arguments):
        ctype, variable = argument.rsplit(" ", 1)
        by_micro_kernel = number >= read or number in kernel.changed
        constant = ctype.endswith("*") and variable not in written and not by_micro_kernel
        declared.append(f"const {ctype} {variable}" if constant else f"{ctype} {variable}")
    head = f"void {name}({', '.join(declared)})"
    body = re.sub(r"\b(\w+)_ptr\b", r"\1", body)  # TVM's name for a local array
    body = body.rstrip().removesuffix("}").rstrip()
    unread = [a.split()[-1] for a in arguments if not re.search(rf"\b{a.split()[-1]}\b", body)]
    body = "".join(f"\n  (void){variable};" for variable in unread) + body
    return CFunction(name, f"{head};", f"/* {comment} */\n{head} {{{body}\n}}\n")


def _written(body: str) -> list[str]:
    """Names of the arrays that some statement of the body assigns to."""
    return re.findall(r"^\s*(\w+)\[.*?\] = ", body, flags=re.MULTILINE)


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
