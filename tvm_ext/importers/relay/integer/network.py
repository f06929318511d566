"""Integer Relay networks (`qnn.*`) -> dialect: the walk over the graph. operators/ says what each operator is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.heads import Head, finish
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.operators import handlers, ways_out
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.relay.ast import (
    Call,
    Constant,
    Expr,
    Function,
    Module,
    TensorType,
    Tuple,
    Var,
    children,
    postorder,
)
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, quantisation_at
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Rule
from mcutrain.tvm_ext.importers.relay.operators.table import OPERATORS
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


def build(
    module: Module,
    name: str,
    where: object,
    classes: int | None,
    head: Literal["model", "float"],
    logits: str | None,
    loss: str | None,
) -> Model:
    """Build the network of @main. Raises one ModelError that lists every operator that cannot be expressed, with its
    line."""
    function = module.functions.get("main")
    if function is None:
        raise ModelError(f"{where}: has no function main")
    try:
        reader, steps = _begin(function)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    except MISSHAPEN as error:
        raise ModelError(
            f"{where}: no integer network that can be read ({_what(error)})", "save the model anew"
        ) from None
    walk(steps, reader.values, handlers(OPERATORS, partial(_bound, reader)), where, ways_out(OPERATORS))
    try:
        output = reader.result(function.body)
        final = Head(head, classes, loss or _loss(function.body), logits == "raw")
        return finish(reader.network, name, output, final)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _begin(function: Function) -> tuple[Reader, list[_Step]]:
    """Return the reader, which knows the input and the constants, and the calls in their order."""
    nodes = list(postorder(function.body))
    is_nhwc = _layout(nodes) == "NHWC"
    x, network = _input(function, nodes, is_nhwc)
    values: dict[Hashable, Known] = {id(n): n.value for n in nodes if isinstance(n, Constant)}
    values[id(x)] = network.input
    users = Counter(id(c) for node in nodes for c in children(node))
    steps = [_step(n) for n in nodes if isinstance(n, Call)]
    for node in nodes:
        if not isinstance(node, Call | Constant | Var | Tuple):
            raise ModelError(f"{node.at}: a {type(node).__name__} has no place in an integer network")
    return Reader(network, function.body, is_nhwc, users, values), steps


def _input(function: Function, nodes: list[Expr], is_nhwc: bool) -> tuple[Var, NetworkBuilder]:
    """The one free parameter is the input; the first operator behind it says how it is quantised."""
    if len(function.params) != 1:
        names = ", ".join(p.name for p in function.params) or "none"
        raise ModelError(f"free parameters: {names}", "a network has one input, give the others by --params")
    (x,) = function.params
    dims = x.type.shape if isinstance(x.type, TensorType) else ()
    shape = [d for d in dims if d is not None]
    if len(dims) not in (2, 4) or len(shape) != len(dims):
        raise ModelError(f"the input {x.name} is {x.type}", "needs a known shape of 2 or 4 dimensions")
    first = next((n for n in nodes if isinstance(n, Call) and any(a is x for a in n.args)), None)
    operator = OPERATORS.get(first.op) if first is not None and isinstance(first.op, str) else None
    if first is None or operator is None or operator.input_quantisation is None:
        raise ModelError(f"the input {x.name} is read by {first.op if first else 'nothing'}, not by qnn.quantize")
    own = quantisation_at(first, *operator.input_quantisation)
    shape = [shape[i] for i in (0, 2, 3, 1)] if len(shape) == 4 and not is_nhwc else shape
    network = NetworkBuilder([1, 1, 1, shape[1]] if len(shape) == 2 else shape, own)
    if shape[0] != 1:
        raise ModelError(f"the input {x.name} has a batch of {shape[0]}", "training takes one sample at a time")
    return x, network


def _step(call: Call) -> _Step:
    op = call.op if isinstance(call.op, str) else "a call of a function"
    inputs = tuple(id(leaf) for a in call.args for leaf in (a.fields if isinstance(a, Tuple) else (a,)))
    return _Step(op, f"{_name(call)} ({call.at})", inputs, (id(call),), call)


def _name(call: Call) -> str:
    """Name the layer by its weight, if that has a name; else by its own; else by the operator."""
    operator = OPERATORS.get(call.op) if isinstance(call.op, str) else None
    weight = call.args[1].name if len(call.args) > 1 and isinstance(call.args[1], Constant) else ""
    for end in ("_weight", ".weight", "_kernel"):
        if operator is not None and operator.has_weight and weight.endswith(end):
            return weight.removesuffix(end)
    return call.name or str(call.op).split(".")[-1]


def _bound(reader: Reader, rule: Rule) -> Callable[[_Step], list[Known]]:
    """Return the rule as `walk` takes it. A file can give an operator any attributes and any number of operands."""

    def run(step: _Step) -> list[Known]:
        try:
            return [rule(reader, _name(step.call), step.call, **step.call.attrs)]
        except MISSHAPEN as error:
            what = f"operands or attributes that it cannot have ({_what(error)})"
            raise ModelError(what, "save the model anew") from None

    return run


def _what(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__


def _loss(body: Expr) -> str:
    """Behind a sigmoid the loss is the one that holds it."""
    is_binary = isinstance(body, Call) and body.op == "sigmoid"
    return "binary_cross_entropy" if is_binary else "cross_entropy"


def _layout(nodes: list[Expr]) -> str:
    """Return the one layout that all operators have."""
    keys = ("data_layout", "layout")
    found = {str(n.attrs[k]) for n in nodes if isinstance(n, Call) for k in keys if n.attrs.get(k)}
    if len(found) > 1 or not found <= {"NCHW", "NHWC"}:
        raise ModelError(f"layouts {', '.join(sorted(found))}", "use NCHW or NHWC, and one of them throughout")
    return found.pop() if found else "NCHW"
