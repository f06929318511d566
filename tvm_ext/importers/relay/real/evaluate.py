"""The walk over a Relay function emits Relax: each value once, calls inlined, both branches of an if."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from tvm import relax
from tvm.ir import GenericConst

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.ast import Call, Expr, Function, GlobalVar, If, Module, Type
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.values import (
    Pack,
    Tensor,
    Value,
    constant,
    described,
    dtype_of,
    fits,
    is_integer,
    pack,
    same_type,
    shape_of,
    unpack,
)
from mcutrain.tvm_ext.importers.relay.operators.table import OPERATORS

MAX_DEPTH = 40  # calls in calls, tuples in tuples
SPARE_STEPS = 20_000  # inlining can multiply a small file
MAX_LEAVES = 10_000
_LAYER = re.compile(r"([^\s(),]+?):0:0")
_OP_DUMP = re.compile(r'ir\.Op\(.*?name="(?:relax\.)?([\w.]+)".*?support_level=\d+\)', re.DOTALL)

Scope: TypeAlias = dict[int, Value | Function]


class Evaluator:
    """scopes: values by the identity of their node; a called function adds one, and a closure sees those around it."""

    def __init__(self, module: Module, builder: relax.BlockBuilder, unique: Callable[[str], str]) -> None:
        self.module, self.builder, self.unique = module, builder, unique
        nodes = [n for f in module.functions.values() for n in ast.postorder(f)]
        self.has_if = any(isinstance(n, If) for n in nodes)
        self.limit = 4 * len(nodes) + SPARE_STEPS
        self.scopes: list[Scope] = []
        self.steps = 0

    def error(self, node: Expr, message: str) -> ModelError:
        return ModelError(f"{self.module.source}, {node.at}: {message}")

    def run(self, main: Function, params: dict[ast.Var, relax.Var]) -> relax.Expr:
        """Return the result of main as a Relax expression. params: what its parameters are."""
        self.scopes = [{id(p): unpack(self.builder, v) for p, v in params.items()}]
        value = self.evaluate(main.body)
        self.check(main, main.ret, value, "the function's result")
        return self.repack(value, main.body)

    def evaluate(self, root: Expr) -> Value | Function:
        """Evaluate root in the innermost scope. The stack is explicit: graphs are deep."""
        stack = [root]
        while stack:
            node = stack[-1]
            if self.find(node) is not None:
                stack.pop()
                continue
            waiting = [n for n in self.needs(node) if self.find(n) is None]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            self.steps += 1
            if self.steps > self.limit:
                raise self.error(node, f"the calls inline to more than {self.limit} operations")
            value = self.make(node)
            if not isinstance(node, Function):
                self.check(node, node.type, value, "this value")
            self.scopes[-1][id(node)] = value
            stack.pop()
        return self.find(root)

    def find(self, node: Expr) -> Value | Function | None:
        return next((s[id(node)] for s in reversed(self.scopes) if id(node) in s), None)

    def needs(self, node: Expr) -> tuple[Expr, ...]:
        """Return what must be evaluated before the node; the body of a function is not."""
        return () if isinstance(node, Function) else ast.children(node)

    def make(self, node: Expr) -> Value | Function:
        match node:
            case ast.Constant():
                return constant(node.value)
            case Function():
                return node
            case GlobalVar():
                if node.name not in self.module.functions:
                    raise self.error(node, f"the module has no function @{node.name}")
                return self.module.functions[node.name]
            case ast.Tuple():
                return self.tuple(node)
            case ast.TupleGetItem():
                return self.item(node)
            case If():
                return self.branch(node)
            case Call(op=op):
                return self.operator(node, op) if isinstance(op, str) else self.inline(node, op)
        raise self.error(node, f"%{node.name} is not defined here")

    def value(self, node: Expr) -> Value:
        """Return the value of an evaluated node, which must not be a function."""
        found = self.find(node)
        if isinstance(found, Function):
            raise self.error(node, "a function is used as a value; call it, or inline it before export")
        return found

    def tuple(self, node: ast.Tuple) -> Pack:
        made = pack([self.value(f) for f in node.fields])
        if made.depth > MAX_DEPTH or made.leaves > MAX_LEAVES:
            raise self.error(node, f"a tuple of {made.leaves} tensors in {made.depth} levels is too large")
        return made

    def item(self, node: ast.TupleGetItem) -> Value:
        whole = self.value(node.value)
        if not isinstance(whole, Pack) or not 0 <= node.index < len(whole.fields):
            kind = f"a tuple of {len(whole.fields)}" if isinstance(whole, Pack) else "no tuple"
            raise self.error(node, f"takes field {node.index} of what is {kind}")
        return whole.fields[node.index]

    def operator(self, node: Call, op: str) -> Value:
        """Bind the conversion's result under the call's name; whatever the conversion trips over names the call."""
        args, operator = [self.value(a) for a in node.args], OPERATORS[op]
        context = Context(self.builder, self.unique, f"{self.module.source}, {node.at}", op, self.unique(label(node)))
        if any(isinstance(a, Pack) for a in args) and not operator.takes_tuples:
            raise context.fail("an argument is a tuple, expected a tensor")
        try:
            operator.signature.bind(context, *args, **node.attrs)
        except TypeError as error:
            raise context.fail(f"{len(args)} arguments do not fit ({error})") from None
        if operator.divides:
            self.check_division(context, args[-1])
        try:
            made = operator.to_relax(context, *args, **node.attrs)
            made = pack(made) if isinstance(made, tuple) else made
            return made if isinstance(made, Pack | relax.Var | GenericConst) else self.bind(made, context.name)
        except ModelError:
            raise
        except Exception as error:  # Relax checks shapes and dtypes itself, in errors of many classes
            raise context.fail(f"Relax refuses it: {reason(error)}") from None

    def bind(self, expr: relax.Expr, name: str) -> Value:
        return unpack(self.builder, self.builder.emit(expr, name_hint=name), self.unique)

    def inline(self, node: Call, function: Expr) -> Value:
        callee, args = self.find(function), [self.value(a) for a in node.args]
        if not isinstance(callee, Function):
            raise self.error(node, "calls what is no function")
        if len(args) != len(callee.params):
            raise self.error(node, f"calls a function of {len(callee.params)} parameters with {len(args)} arguments")
        if len(self.scopes) > MAX_DEPTH:
            raise self.error(node, f"calls nest more than {MAX_DEPTH} deep; recursion is not supported")
        for param, arg in zip(callee.params, args, strict=True):
            self.check(node, param.type, arg, f"the argument for %{param.name}")
        outer = self.scopes
        # A function of the module sees nothing of its caller; a closure sees the values around it. Either way the
        # scopes count the depth.
        around = [{} for _ in outer] if isinstance(function, GlobalVar) else outer
        self.scopes = [*around, {id(p): a for p, a in zip(callee.params, args, strict=True)}]
        value = self.evaluate(callee.body)
        self.scopes = outer
        if isinstance(value, Function):
            raise self.error(node, "calls a function that gives a function; inline it before export")
        self.check(node, callee.ret, value, "the called function's result")
        return value

    def branch(self, node: If) -> Value:
        """Both branches are computed and one is selected: Relay has no side effects, and TVM's virtual machine loses
        memory that it plans inside the branches of an If."""
        cond, then, orelse = (self.value(n) for n in (node.cond, node.then, node.orelse))
        if isinstance(cond, Pack) or shape_of(cond) != () or dtype_of(cond) != "bool":
            raise self.error(node, f"the condition of if must be a bool scalar, it is {described(cond)}")
        if not same_type(then, orelse):
            raise self.error(node, f"the branches of if differ: {described(then)} and {described(orelse)}")
        return self.select(cond, then, orelse, node.name or "selected")

    def select(self, cond: Value, then: Value, orelse: Value, name: str) -> Value:
        if not isinstance(then, Pack):
            return self.builder.emit(relax.op.where(cond, then, orelse), name_hint=self.unique(name))
        pairs = zip(then.fields, orelse.fields, strict=True)
        return pack([self.select(cond, a, b, f"{name}_{i}") for i, (a, b) in enumerate(pairs)])

    def check_division(self, context: Context, divisor: Tensor) -> None:
        """Beside an if, a division by zero must not run where the branch that guards it is not taken."""
        is_safe = isinstance(divisor, GenericConst) and bool(divisor.value.numpy().all())
        if self.has_if and not is_safe and is_integer(divisor):
            raise context.fail("divides integers in a file with if, of which both branches are computed; divide floats")

    def repack(self, value: Value | Function, node: Expr) -> relax.Expr:
        if isinstance(value, Function):
            raise self.error(node, "the result is a function; only tensors and tuples can leave")
        return relax.Tuple([self.repack(f, node) for f in value.fields]) if isinstance(value, Pack) else value

    def check(self, node: Expr, said: Type | None, value: Value | Function, what: str) -> None:
        """Raise ModelError unless a value is what the file says about it."""
        if said is not None and not fits(said, value):
            raise self.error(node, f"{what} is {str(said)[:200]} in the file, but {described(value)} by its operands")


def label(node: Call) -> str:
    """Name the call's value: by its let name, its layer (a span without line and column), or its operator."""
    layer = _LAYER.search(node.span)
    return node.name or (layer[1] if layer else str(node.op).rpartition(".")[2])


def reason(error: Exception) -> str:
    """Return the last line of an error of Relax, without the operator's dump."""
    text = _OP_DUMP.sub(r"\1", str(error)).strip()
    return (text.splitlines() or [type(error).__name__])[-1].strip()[:300]
