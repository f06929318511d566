"""Integer Relay networks (`qnn.*`) -> dialect: the walk over the graph. quantised_ops.py says what each operator is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.heads import Head, finish
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder, Value
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Expr, Function, Module, Tuple, Var, children, postorder
from mcutrain.tvm_ext.importers.relay.integer.ops import RULES, Known, Sums, Wide, quantisation
from mcutrain.tvm_ext.model import Model

MISSHAPEN = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class _Step:
    """A call as `walk` takes it; its value is known by the identity of the node."""

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    call: Call


def build(module: Module, name: str, where: object, classes: int | None, head: str, logits: str | None,
          loss: str | None) -> Model:  # fmt: skip
    """Raises one ModelError that lists every operator that cannot be expressed, with its line."""
    function = module.functions.get("main")
    if function is None:
        raise ModelError(f"{where}: has no function main")
    try:
        reader = Reader(function)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    except MISSHAPEN as error:
        what = " ".join(str(error).split())[:100] or type(error).__name__
        raise ModelError(f"{where}: no integer network that can be read ({what}); save the model anew") from None
    walk(reader.steps, reader.values, {op: reader.bound(rule) for op, rule in RULES.items()}, where)
    try:
        output = reader.result(function.body)
        final = Head(head, classes, loss or _loss(function.body), logits == "raw")
        return finish(reader.network, name, output, final)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


class Reader:
    def __init__(self, function: Function) -> None:
        nodes, self.body = list(postorder(function.body)), function.body
        self.users = Counter(id(c) for node in nodes for c in children(node))
        self.values: dict[int, Known] = {id(n): n.value for n in nodes if isinstance(n, Constant)}
        self.is_nhwc = _layout(nodes) == "NHWC"
        self.network = self._begin(function, nodes)
        self.names: dict[int, str] = {}
        self.steps = [self._step(n) for n in nodes if isinstance(n, Call)]
        for node in nodes:
            if not isinstance(node, Call | Constant | Var | Tuple):
                raise ModelError(f"{node.at}: a {type(node).__name__} has no place in an integer network")

    def _begin(self, function: Function, nodes: list[Expr]) -> NetworkBuilder:
        """The input: what the one free parameter is, and how the first operator behind it quantises it."""
        if len(function.params) != 1:
            names = ", ".join(p.name for p in function.params) or "none"
            raise ModelError(f"free parameters: {names}; a network has one input, give the others by --params")
        (x,) = function.params
        if x.type is None or len(getattr(x.type, "shape", ())) not in (2, 4) or None in x.type.shape:
            raise ModelError(f"the input {x.name} is {x.type}; needs a known shape of 2 or 4 dimensions")
        first = next((n for n in nodes if isinstance(n, Call) and any(a is x for a in n.args)), None)
        at = {"qnn.quantize": (1, 2), "qnn.conv2d": (4, 2), "qnn.dense": (4, 2), "qnn.requantize": (1, 2)}
        places = at.get(first.op if first is not None and isinstance(first.op, str) else "")
        if places is None:
            raise ModelError(f"the input {x.name} is read by {first.op if first else 'nothing'}, not by qnn.quantize")
        own = quantisation(first, *places)
        shape = list(x.type.shape)
        shape = [shape[i] for i in (0, 2, 3, 1)] if len(shape) == 4 and not self.is_nhwc else shape
        network = NetworkBuilder([1, 1, 1, shape[1]] if len(shape) == 2 else shape, own)
        if shape[0] != 1:
            raise ModelError(f"the input {x.name} has a batch of {shape[0]}; training takes one sample at a time")
        self.values[id(x)] = network.input
        return network

    def _step(self, call: Call) -> _Step:
        op = call.op if isinstance(call.op, str) else "a call of a function"
        inputs = tuple(id(leaf) for a in call.args for leaf in (a.fields if isinstance(a, Tuple) else (a,)))
        return _Step(op, f"{self._name(call)} ({call.at})", inputs, (id(call),), call)

    def _name(self, call: Call) -> str:
        """By its weight, if that has a name; else by its own; else by the operator."""
        weight = call.args[1].name if len(call.args) > 1 and isinstance(call.args[1], Constant) else ""
        for end in ("_weight", ".weight", "_kernel"):
            if call.op in ("qnn.conv2d", "qnn.dense") and weight.endswith(end):
                return weight.removesuffix(end)
        return call.name or str(call.op).split(".")[-1]

    def bound(self, rule: Callable) -> Callable[[_Step], list[Known]]:
        """The rule as `walk` takes it. A file can give an operator any attributes and any number of operands."""

        def run(step: _Step) -> list[Known]:
            try:
                return [rule(self, self._name(step.call), step.call)]
            except MISSHAPEN as error:
                what = " ".join(str(error).split())[:100] or type(error).__name__
                raise ModelError(f"operands or attributes that it cannot have ({what}); save the model anew") from None

        return run

    # ------------------------------------------------------------------ operands
    def known(self, expr: Expr) -> Known:
        if isinstance(expr, Tuple):
            return tuple(self.known(f) for f in expr.fields)
        return self.values[id(expr)]

    def result(self, expr: Expr) -> Value:
        """An activation as int8; what waits for a clip waits no more."""
        known = self.known(expr)
        if isinstance(known, Sums) and known.is_requantised:
            known = self.values[id(expr)] = self.made(known)
        if isinstance(known, Wide) and (not known.is_real or expr is self.body):
            known = known.value
        elif isinstance(known, Wide):
            raise ModelError("works on real numbers inside an integer network; quantise them again before it")
        if not isinstance(known, Value):
            raise ModelError("an int32 result is used as int8; requantise it first")
        return known

    def made(self, sums: Sums) -> Value:
        make = self.network.dense if sums.layer.weight.ndim == 2 else self.network.conv2d
        return make(self.names[id(sums.layer.weight)], sums.x, sums.layer)

    def is_only_user(self, expr: Expr) -> bool:
        return self.users[id(expr)] == 1


def _loss(body: Expr) -> str:
    """Behind a sigmoid the one that holds it."""
    is_binary = isinstance(body, Call) and body.op == "sigmoid"
    return "binary_cross_entropy" if is_binary else "cross_entropy"


def _layout(nodes: list[Expr]) -> str:
    keys = ("data_layout", "layout")
    found = {str(n.attrs[k]) for n in nodes if isinstance(n, Call) for k in keys if n.attrs.get(k)}
    if len(found) > 1 or not found <= {"NCHW", "NHWC"}:
        raise ModelError(f"layouts {', '.join(sorted(found))}; use NCHW or NHWC, and one of them throughout")
    return found.pop() if found else "NCHW"
