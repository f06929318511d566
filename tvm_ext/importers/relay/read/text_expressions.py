"""The expressions of Relay text: blocks with their bindings, calls, functions, if, literals; recursive descent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Expr, Function, TupleGetItem, Type, Var
from mcutrain.tvm_ext.importers.relay.operators.table import complete
from mcutrain.tvm_ext.importers.relay.read import text_types
from mcutrain.tvm_ext.importers.relay.read.cursor import Cursor
from mcutrain.tvm_ext.importers.relay.read.lexer import unquote
from mcutrain.tvm_ext.importers.relay.read.text_types import attribute_value, parse_type

_REFUSED = ("match", "ref", "ref_read", "ref_write", "type", "extern")


@dataclass
class State:
    """scopes: variable name -> value, innermost last. bound: values that have a name already, by identity. notes: what
    comments say. free: the variables of free_var lines."""

    c: Cursor
    scopes: list[dict[str, Expr]] = field(default_factory=lambda: [{}])
    bound: dict[int, Expr] = field(default_factory=dict)
    notes: dict[str, tuple[Type | None, str]] = field(default_factory=dict)
    free: list[Var] = field(default_factory=list)

    def bind(self, name: str, value: Expr) -> None:
        self.scopes[-1][name] = value
        self.bound[id(value)] = value

    def lookup(self, name: str) -> Expr | None:
        return next((scope[name] for scope in reversed(self.scopes) if name in scope), None)

    def note(self) -> tuple[Type | None, str]:
        """Return (type, span) of the comment behind the last token."""
        c, note = self.c, self.c.note()
        if not note:
            return None, ""
        if note not in self.notes:
            self.notes[note] = text_types.read_note(note, c.source, c.all.line(c.token.pos))
        return self.notes[note]

    def about(self, at: str) -> ast.About:
        """Join the place with the type and span that the comment behind the last token gives."""
        found, span = self.note()
        return {"at": at, "type": found, "span": span}


def function(s: State) -> Function:
    """Read (params, attributes) -> T { body }, behind `def @name` or `fn`."""
    c, at = s.c, s.c.at
    if c.sees("["):
        raise c.error("functions with type parameters are not supported; specialise the function before export")
    c.expect("(", "before the parameters")
    s.scopes.append({})
    params: list[Var] = []
    attrs: dict[str, object] = {}
    while not c.accept(")"):
        if c.token.kind == "var":
            params.append(parameter(s, params))
        elif c.token.kind in ("name", "string"):
            name = c.next()
            c.expect("=", "after the attribute's name")
            attrs[unquote(name.text) if name.kind == "string" else name.text] = attribute_value(c)
        else:
            raise c.error(f"expected a parameter %x or an attribute, found {c.shown()}")
        if not c.accept(","):
            c.expect(")", "after the parameters")
            break
    ret = parse_type(c) if c.accept("->") else None
    body = _block(s)
    s.scopes.pop()
    return Function(tuple(params), body, ret, attrs, **s.about(at))


def parameter(s: State, before: list[Var]) -> Var:
    """Read %x: T, of a function or a free_var line."""
    c, at, name = s.c, s.c.at, s.c.next().text
    declared = parse_type(c) if c.accept(":") else None
    noted, span = s.note()
    if any(v.name == name for v in before):
        raise c.error(f"the parameter %{name} occurs twice")
    var = Var(at=at, type=declared or noted, span=span, name=name)
    s.bind(name, var)
    return var


def _block(s: State) -> Expr:
    """Read { bindings; value } in a scope of its own."""
    s.c.expect("{", "before a body")
    s.c.enter()
    s.scopes.append({})
    value = block_body(s)
    s.scopes.pop()
    s.c.leave()
    s.c.expect("}", "after a body")
    return value


def block_body(s: State) -> Expr:
    """Read bindings; value."""
    c = s.c
    while True:
        if c.accept("let"):
            _binding(s, is_let=True)
        elif c.accept("free_var"):
            if c.token.kind != "var":
                raise c.error(f"expected a variable after free_var, found {c.shown()}")
            s.free.append(parameter(s, s.free))
            c.expect(";", "after free_var")
        elif c.token.kind == "var" and c.sees("=", ahead=1):
            _binding(s, is_let=False)
        else:
            return _expr(s)


def _binding(s: State, is_let: bool) -> None:
    """Read %x: T = value; a let's name goes to the node that it makes. %0 of the graph form names nothing."""
    c = s.c
    if c.token.kind != "var":
        raise c.error(f"expected a variable after let, found {c.shown()}")
    name = c.next().text
    declared = parse_type(c) if c.accept(":") else None
    noted, _ = s.note()
    c.expect("=", f"after %{name}")
    value = _expr(s)
    c.expect(";", f"after the value of %{name}")
    if id(value) not in s.bound and (is_let or declared or noted):
        value = replace(value, name=name if is_let else value.name, type=declared or value.type or noted)
    s.bind(name, value)


def _expr(s: State) -> Expr:
    c = s.c
    c.enter()
    value = _primary(s)
    while True:
        if c.sees("(") and not isinstance(value, Constant | ast.Tuple):
            value = _call(s, value, c.at)
        elif c.token.kind == "projection":
            at = c.at
            value = TupleGetItem(value, int(c.next().text[1:10]), **s.about(at))
        else:
            c.leave()
            return value


def _primary(s: State) -> Expr:
    c, token, at = s.c, s.c.token, s.c.at
    if token.kind == "var":
        return _variable(s)
    if token.kind == "number":
        value, dtype = text_types.number(c)
        return Constant(text_types.scalar(value, dtype), is_literal=True, **s.about(at))
    if token.kind == "global":
        c.next()
        return ast.GlobalVar(name=token.text, at=at)
    if c.accept("("):
        return _parenthesis(s, at)
    if c.sees("{"):
        return _block(s)
    if token.kind != "name":
        raise c.error(f"expected an expression, found {c.shown()}")
    return _word(s, at)


def _word(s: State, at: str) -> Expr:
    """Read an expression that begins with a word: True, False, meta, fn, if, or an operator's call."""
    c, word = s.c, s.c.token.text
    if word == "meta":
        return Constant(text_types.meta_constant(c, *text_types.meta_reference(c)), **s.about(at))
    if word in _REFUSED:
        raise c.error(f"'{word}' is not supported: only tensors, tuples, functions and if are")
    c.next()
    if word in ("True", "False"):
        return Constant(text_types.scalar(word == "True", "bool"), is_literal=True, **s.about(at))
    if word == "fn":
        return function(s)
    if word == "if":
        return _if(s, at)
    if not c.sees("("):
        raise c.error(f"expected '(' after the operator {word}, found {c.shown()}")
    return _call(s, word, at)


def _if(s: State, at: str) -> ast.If:
    s.c.expect("(", "after if")
    cond = _expr(s)
    s.c.expect(")", "after the condition")
    then = _block(s)
    s.c.expect("else", "after the first branch of if")
    return ast.If(cond, then, _block(s), **s.about(at))


def _variable(s: State) -> Expr:
    """Read %x, or %x.0 where no variable has that whole name."""
    token = s.c.next()
    base = token.text
    fields: list[int] = []
    while (value := s.lookup(base)) is None and base.rpartition(".")[2].isdecimal() and "." in base:
        base, _, field = base.rpartition(".")
        fields.insert(0, int(field[:9]))
    if value is None:
        raise s.c.error(f"%{token.text} is not defined before it is used", token)
    for index in fields[:-1]:
        value = TupleGetItem(value, index, at=s.c.place(token))
    return TupleGetItem(value, fields[-1], **s.about(s.c.place(token))) if fields else value


def _parenthesis(s: State, at: str) -> Expr:
    """Read (), (a,), (a, b), or (a), which is a; the printer also puts lets into parentheses."""
    c = s.c
    fields: list[Expr] = []
    while not c.accept(")"):
        fields.append(block_body(s))
        if not c.accept(","):
            c.expect(")", "after the fields")
            if len(fields) == 1:
                return fields[0]
            break
    return ast.Tuple(tuple(fields), **s.about(at))


def _call(s: State, op: str | Expr, at: str) -> Call:
    c = s.c
    c.expect("(", "before the arguments")
    args: list[Expr] = []
    attrs: dict[str, object] = {}
    while not c.accept(")"):
        if c.token.kind == "name" and c.sees("=", ahead=1):
            name = c.next().text
            c.next()
            attrs[name] = attribute_value(c)
        else:
            args.append(_expr(s))
        if not c.accept(","):
            c.expect(")", f"after the arguments of {op}" if isinstance(op, str) else "after the arguments")
            break
    if isinstance(op, str):
        attrs = complete(op, attrs, f"{c.source}, {at}")
    elif attrs:
        raise c.error(f"the attribute '{next(iter(attrs))}' on the call of a function; only operators take attributes")
    return Call(op, tuple(args), attrs, **s.about(at))
