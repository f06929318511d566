"""Relax text (TVMScript) as an IRModule. TVM reads it by running it: what is more than a module never gets that far."""

from __future__ import annotations

import ast
from pathlib import Path

import tvm

from mcutrain.planner.errors import ModelError

LARGEST = 8 << 20  # bytes of text
GRAMMAR = frozenset(
    ("I.ir_module", "I.module_attrs", "R.function", "R.dataflow", "R.output", "R.Tensor", "R.Tuple", "R.Shape",
     "R.shape", "R.Object", "R.Prim", "R.Callable", "R.const", "R.tuple", "R.str", "R.prim_value", "R.dtype",
     "R.func_attr",
     "R.func_name", "R.func_ret_value", "R.emit", "R.match_cast", "R.TupleGetItem", "R.null_value", "R.add", "R.concat",
     "T.int64", "T.int32", "T.float32", "T.float64", "T.bool", "T.uint8", "T.int8")
)  # fmt: skip
NAMES = {"I", "R", "T", "Module", "True", "False", "None"}
NODES = (
    ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.With, ast.withitem, ast.Assign,
    ast.AnnAssign, ast.Expr, ast.Call, ast.keyword, ast.Attribute, ast.Name, ast.Load, ast.Store, ast.Constant,
    ast.List, ast.Tuple, ast.Dict, ast.Subscript, ast.UnaryOp, ast.USub, ast.ImportFrom, ast.alias, ast.Pass,
)  # fmt: skip


def read_text(path: Path) -> tvm.IRModule:
    """Raises ModelError with the line."""
    try:
        if path.stat().st_size > LARGEST:
            raise ModelError(f"{path}: more than {LARGEST >> 20} MB of Relax text; bind the parameters apart from it")
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        _check(tree, path)
        module = tvm.script.from_source(text, check_well_formed=True)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a Relax text") from None
    except Exception as error:  # TVM's parser raises whatever it meets
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: is no Relax text that TVM reads: {line}") from None
    if not isinstance(module, tvm.IRModule):
        raise ModelError(f"{path}: holds no module; put its functions into a class under @I.ir_module")
    return module


def _check(tree: ast.Module, path: Path) -> None:
    """Only what a printed module is made of: calls of I, R and T, and names that it binds itself."""
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)} | {"cls"}
    operators = frozenset(str(name) for name in tvm.ir.Op.list_op_names())
    inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}  # R.nn of R.nn.conv2d
    for node in ast.walk(tree):
        wrong = None
        if not isinstance(node, NODES):
            wrong = f"{type(node).__name__.lower()} has no place in a module"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "tvm":
            wrong = f"imports {node.module}"
        elif isinstance(node, ast.Attribute) and id(node) not in inner and not _is_allowed(_chain(node), operators):
            wrong = f"reaches for {_chain(node) or node.attr}"
        elif isinstance(node, ast.Name) and node.id not in NAMES | bound:
            wrong = f"speaks of {node.id}, which it does not bind"
        elif isinstance(node, ast.Call) and not isinstance(node.func, ast.Attribute):
            wrong = "calls something else than an operator"
        if wrong:
            raise ModelError(f"{path}, line {getattr(node, 'lineno', 1)}: {wrong}; give the text that TVM prints")


def _chain(expression: ast.expr) -> str:
    """`R.nn.conv2d` of such an expression, "" of any other."""
    names: list[str] = []
    while isinstance(expression, ast.Attribute):
        names.append(expression.attr)
        expression = expression.value
    return ".".join([expression.id, *reversed(names)]) if isinstance(expression, ast.Name) else ""


def _is_allowed(chain: str, operators: frozenset[str]) -> bool:
    """Tell whether a dotted name stands for an operator of Relax or for a part of the text's grammar, and nothing else:
    TVM runs what it reads, and its modules lead on to Python's own."""
    return chain in GRAMMAR or (chain.startswith("R.") and f"relax.{chain[2:]}" in operators)
