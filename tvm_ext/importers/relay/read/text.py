"""Relay text 0.0.5 -> AST: the functions of a file, its version line and its metadata section."""

from __future__ import annotations

from dataclasses import replace

from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Function, Module, postorder
from mcutrain.tvm_ext.importers.relay.read.cursor import Cursor, printable
from mcutrain.tvm_ext.importers.relay.read.lexer import tokenize
from mcutrain.tvm_ext.importers.relay.read.saved_json import metadata_constants
from mcutrain.tvm_ext.importers.relay.read.text_expressions import State, block_body, function

VERSION = "0.0.5"


def parse(text: str, source: str) -> Module:
    """Read the functions of a text in graph form or let form; a bare `fn (...) {...}`, or an expression of free
    variables, is "main". Raises ModelError with the line."""
    tokens = tokenize(text, source)
    constants = None
    if tokens.metadata is not None:
        constants = metadata_constants(
            tokens.metadata, f"{source}, metadata at line {tokens.line(tokens.tokens[-1].pos)}"
        )
    functions = _functions(State(Cursor(tokens, source, constants)))
    return Module(functions, source, _warnings(functions))


def _functions(s: State) -> dict[str, Function]:
    c = s.c
    if c.token.kind == "hash":
        _version(c)
    functions: dict[str, Function] = {}
    while c.token.kind != "end":
        if not functions and not c.sees("def"):
            return {"main": _bare(s)}
        c.expect("def", "or the end of the file")
        if c.token.kind != "global":
            raise c.error(f"expected a function's name such as @main after def, found {c.shown()}")
        if c.token.text in functions:
            raise c.error(f"the function @{c.token.text} is defined twice")
        name = c.next().text
        functions[name] = replace(function(s), name=name)
    if not functions:
        raise c.error(f"no function: expected def @main(...), found {c.shown()}")
    return functions


def _version(c: Cursor) -> None:
    key, _, version = c.token.text[2:-1].partition("=")
    if key.strip() != "version" or version.strip() != f'"{VERSION}"':
        raise c.error(f'{printable(c.token.text)} is not supported; expected #[version = "{VERSION}"]')
    c.next()


def _bare(s: State) -> Function:
    """Read an expression without def: a function, or a value of free variables, which become the parameters."""
    at, body = s.c.at, block_body(s)
    if s.c.token.kind != "end":
        raise s.c.error(f"expected the end of the file, found {s.c.shown()}")
    if isinstance(body, Function) and not s.free:
        return replace(body, name="main")
    return Function(tuple(s.free), body, at=at, name="main")


def _warnings(functions: dict[str, Function]) -> tuple[str, ...]:
    """Warn that text keeps six digits of a scale: what is requantised with it may differ from the model's by one."""
    nodes = [n for f in functions.values() for n in postorder(f)]
    calls = [n for n in nodes if isinstance(n, Call) and isinstance(n.op, str) and n.op.startswith("qnn.")]
    scales = [
        a for c in calls for a in c.args if isinstance(a, Constant) and a.is_literal and a.value.dtype.kind == "f"
    ]
    if not scales:
        return ()
    return (
        f"{len(scales)} quantisation scales (the first at {scales[0].at}) are written with at most six digits: outputs "
        "can be off by one from the model's. Files of tvm.ir.save_json keep scales exact.",
    )
