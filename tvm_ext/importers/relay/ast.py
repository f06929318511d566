"""The Relay AST: every reader of Relay files gives it, and both routes take it.

Nodes compare by identity: a value that is used twice is one node with two users, as in the file. Let bindings are
flattened (the bound name stays on the node as `name`), since Relay without references has no side effects. Every node
carries `at`, its place in the file as messages print it: "line 12" in text, "node 136" in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

LARGEST_DIM = 2**31 - 1  # of a tensor


@dataclass(frozen=True)
class TensorType:
    """shape: one int a dimension, None where the file leaves it open (`?`); () is a scalar. dtype: numpy's name."""

    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"Tensor[({dims}), {self.dtype}]" if self.shape else self.dtype


@dataclass(frozen=True)
class TupleType:
    fields: tuple[Type, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.fields))})"


@dataclass(frozen=True)
class FuncType:
    params: tuple[Type, ...]
    ret: Type

    def __str__(self) -> str:
        return f"fn ({', '.join(map(str, self.params))}) -> {self.ret}"


Type = TensorType | TupleType | FuncType


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """at: place in the file. type: what the file says that the value is (declared, or inferred by its writer), or None.
    span: the `span=` text or "". name: a let-bound name, a parameter's name for a bound constant, else ""."""

    at: str = ""
    type: Type | None = None
    span: str = ""
    name: str = ""


class About(TypedDict):
    """The facts that a reader knows of any node, by the names of Node's fields."""

    at: str
    type: Type | None
    span: str


@dataclass(frozen=True, eq=False)
class Var(Node):
    """A function parameter, named `name` (without the %); names are unique inside one function's parameters."""


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """value: any shape, dtype one of read.arrays.DTYPES. is_literal: written in decimal, good for six digits only."""

    value: np.ndarray
    is_literal: bool = False


@dataclass(frozen=True, eq=False)
class GlobalVar(Node):
    """A function of the module, called by `name`."""


@dataclass(frozen=True, eq=False)
class Call(Node):
    """op: an operator's name ("nn.conv2d"), or the Function, GlobalVar or other value that is called.

    attrs: the operator's attributes as plain Python: int, float, bool, str, None, lists of these, and dtype names
    ("int8"; None for "as the input"). For an operator with a record every attribute is there, defaults filled in, of
    the kind that the record says; padding, strides and the like are lists as long as the file has them. For any other
    operator: what the file has, unconverted."""

    op: str | Expr
    args: tuple[Expr, ...]
    attrs: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tuple(Node):
    fields: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class TupleGetItem(Node):
    value: Expr
    index: int


@dataclass(frozen=True, eq=False)
class If(Node):
    """cond is a bool scalar; only the branch that is taken runs."""

    cond: Expr
    then: Expr
    orelse: Expr


@dataclass(frozen=True, eq=False)
class Function(Node):
    """ret: the declared type of the result, or None. attrs: plain Python values, as in Call."""

    params: tuple[Var, ...]
    body: Expr
    ret: Type | None = None
    attrs: dict[str, object] = field(default_factory=dict)


Expr = Var | Constant | GlobalVar | Call | Tuple | TupleGetItem | If | Function


@dataclass(frozen=True)
class Module:
    """functions by name without the @; the entry is "main". source: the file, for messages. warnings: lines for the
    user about what the file cannot say exactly."""

    functions: dict[str, Function]
    source: str = ""
    warnings: tuple[str, ...] = ()


def children(node: Expr) -> tuple[Expr, ...]:
    """Return the nodes that this one uses directly, in order of evaluation; for a Function its body."""
    match node:
        case Call():
            return node.args if isinstance(node.op, str) else (node.op, *node.args)
        case Tuple():
            return node.fields
        case TupleGetItem():
            return (node.value,)
        case If():
            return (node.cond, node.then, node.orelse)
        case Function():
            return (node.body,)
    return ()


def postorder(root: Expr) -> Iterator[Expr]:
    """Yield each node under root once, users after what they use. Nothing recurses: graphs are as deep as networks."""
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(children(node)) if id(child) not in seen)


def substitute(root: Expr, pairs: Iterable[tuple[Expr, Expr]]) -> Expr:
    """Replace variables and constants: the first of each pair by the second. What does not change stays shared."""
    values = {id(old): new for old, new in pairs}
    new: dict[int, Expr] = {}
    for node in postorder(root):
        old = children(node)
        kids = tuple(new[id(c)] for c in old)
        if isinstance(node, Var | Constant):
            new[id(node)] = values.get(id(node), node)
        elif all(a is b for a, b in zip(old, kids, strict=True)):
            new[id(node)] = node
        else:
            new[id(node)] = _with_children(node, kids)
    return new[id(root)]


def _with_children(node: Expr, kids: tuple[Expr, ...]) -> Expr:
    match node:
        case Call():
            return replace(node, args=kids) if isinstance(node.op, str) else replace(node, op=kids[0], args=kids[1:])
        case Tuple():
            return replace(node, fields=kids)
        case TupleGetItem():
            return replace(node, value=kids[0])
        case If():
            return replace(node, cond=kids[0], then=kids[1], orelse=kids[2])
        case Function():
            return replace(node, body=kids[0])
    return node
