"""The Relax frontend: an IRModule, or its text, float32 or with R.quantize and R.dequantize around its layers.

What a Relax module computes on its own constants is computed here; the rest becomes an operator graph, in which tensors
of four dimensions are NCHW, however the module lays them out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import tvm
from tvm import relax

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.function import bindings_of, flatten
from mcutrain.tvm_ext.importers.base.heads import Head, Kind
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.graph.graph import OpGraph, Tensor
from mcutrain.tvm_ext.importers.graph.translate import build
from mcutrain.tvm_ext.importers.relax.nodes import Given, Nodes
from mcutrain.tvm_ext.importers.relax.operators import OPERATORS
from mcutrain.tvm_ext.importers.relax.text import read_text
from mcutrain.tvm_ext.model import Model

BOUND = "="  # a variable, a tuple or a part of one, bound to another name
LAYOUTS = ("data_layout", "layout")


def load(
    source: tvm.IRModule | str | Path,
    classes: int | None = None,
    head: str = "model",
    logits: str | None = None,
    loss: str | None = None,
    params: Mapping[str, np.ndarray] | None = None,
    name: str | None = None,
    where: str | None = None,
    remedy: str = "give the others' values (relax.transform.BindParams)",
) -> Model:
    """Read a Relax module of one function, or its only public one, with one input. params: values of its other
    parameters by name, where they are not constants in it; remedy: what to do where values are missing. where: the
    source, for messages. Raises ModelError naming the variable."""
    wanted = Head(cast(Kind, head), classes, raw_logits=logits == "raw")
    is_text = not isinstance(source, tvm.IRModule)
    module = read_text(Path(source)) if is_text else source
    name = name or (Path(source).stem if is_text else "relax_model")
    told = where or (source if is_text else name)
    try:
        reader = _Reader(entry(module), params or {}, remedy)
    except ModelError as error:
        raise ModelError(f"{told}: {error}") from None
    graph, own_loss = reader.graph(told)
    return build(graph, name, told, wanted, loss or own_loss)


def entry(module: tvm.IRModule) -> relax.Function:
    """`main`, or the only function there is."""
    functions = {v.name_hint: f for v, f in module.functions_items() if isinstance(f, relax.Function)}
    if "main" in functions:
        return functions["main"]
    if len(functions) != 1:
        raise ModelError(
            f"the module has the functions {', '.join(sorted(functions)) or 'none'}", "call one of them main"
        )
    return next(iter(functions.values()))


@dataclass(frozen=True)
class _Step:
    """A binding as `walk` takes it; tensors are known by their variables."""

    op: str
    name: str
    inputs: tuple[relax.Var, ...]
    outputs: tuple[relax.Var, ...]
    value: relax.Expr


class _Reader:
    """known: what each variable is, a constant's value or the name of a tensor."""

    def __init__(self, function: relax.Function, params: Mapping[str, np.ndarray], remedy: str) -> None:
        self.function = function
        self.known: dict[relax.Var, Given] = {}
        self.loss: str | None = None
        self.inputs = self._parameters(params, remedy)
        self.made = Nodes(is_nhwc=self._layout() == "NHWC")

    def graph(self, where: object) -> tuple[OpGraph, str | None]:
        steps = [_Step(_op(v) or BOUND, var.name, _variables(v), (var,), v) for var, v in bindings_of(self.function)]
        handlers = dict.fromkeys((*OPERATORS, BOUND), self._ruled)
        walk(steps, self.known, handlers, where, stand_in=lambda step: [Given(f"{step.name}:0")])
        (output, *_more) = [self._given(leaf) for leaf in flatten(self.function.body.body)]
        if output.name is None or _more:
            raise ModelError(f"{where}: a network has one result that depends on its input")
        inputs = tuple(Tensor(p.name, self._outer(_shape(p)), _dtype(p)) for p in self.inputs)
        return OpGraph(tuple(self.made.nodes), self.made.constants, inputs, (output.name,), self._shapes), self.loss

    # ------------------------------------------------------------------ what comes in
    def _parameters(self, params: Mapping[str, np.ndarray], remedy: str) -> list[relax.Var]:
        names = {p.name for p in self.function.params}
        stray = sorted(set(params) - names)
        if stray:
            raise ModelError(f"the parameter '{stray[0]}' is none of the function's: {', '.join(sorted(names))}")
        free = [p for p in self.function.params if p.name not in params]
        for p in self.function.params:
            if p.name in params:
                self.known[p] = self._parameter(p, np.asarray(params[p.name]))
        labels = {a for _, c in bindings_of(self.function) if _loss(c) for a in c.args[1:]}
        inputs = [p for p in free if p not in labels]
        if len(inputs) != 1:
            found = ", ".join(p.name for p in inputs) or "none"
            raise ModelError("a network has one input", f"this one's free parameters are {found}: {remedy}")
        self.known[inputs[0]] = Given(inputs[0].name)
        for label in labels:
            self.known[label] = Given("")
        return inputs

    def _parameter(self, p: relax.Var, value: np.ndarray) -> Given:
        if list(value.shape) != list(_shape(p)) or str(value.dtype) != _dtype(p):
            expected = f"{_dtype(p)} {tuple(_shape(p))}"
            raise ModelError(f"parameter {p.name} is {value.dtype} {value.shape}, the function takes {expected}")
        return Given(p.name, value)

    def _layout(self) -> str:
        """The layout of all tensors of four dimensions: what the convolutions and pools say."""
        found = {str(c.attrs[n]) for _, c in bindings_of(self.function) for n in LAYOUTS if _has(c, n)}
        if not found <= {"NCHW", "NHWC"} or len(found) > 1:
            raise ModelError(f"layouts {', '.join(sorted(found))}: use NCHW or NHWC, and one of them throughout")
        return found.pop() if found else "NCHW"

    def _outer(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[i] for i in (0, 3, 1, 2)) if self.made.is_nhwc and len(shape) == 4 else tuple(shape)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of all tensors whose every dimension is a number, by their names in the graph."""
        found = {}
        for var, _ in bindings_of(self.function):
            with suppress(ModelError):
                found[f"{var.name}:0"] = self._outer(_shape(var))
        return found

    # ------------------------------------------------------------------ one binding
    def _ruled(self, step: _Step) -> list[Given]:
        if step.op == BOUND:
            return [self._given(step.value)]
        args = [self._given(a) for a in step.value.args if not isinstance(a, relax.ShapeExpr)]
        record = OPERATORS[step.op]
        self.loss = record.loss or self.loss
        try:
            return [] if record.read is None else [record.read(self.made, step.name, step.value, args)]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            what = " ".join(str(error).split())[:100]
            raise LayerError(step.name, f"{step.op} with operands that no network has ({what})") from None

    def _given(self, expr: relax.Expr) -> Given:
        if isinstance(expr, tvm.ir.Constant):
            return Given(None, expr.value.numpy() if hasattr(expr.value, "numpy") else np.asarray(expr.value))
        if isinstance(expr, relax.Tuple):
            return Given(None, fields=tuple(self._given(f) for f in expr.fields))
        if isinstance(expr, relax.TupleGetItem):
            of = self._given(expr.tuple_value)
            return of.fields[expr.index] if of.fields else of  # the first result of a batch norm or a dropout
        if expr not in self.known:
            raise ModelError(f"{expr}: is bound to nothing")
        return self.known[expr]


def _op(expr: relax.Expr) -> str | None:
    return expr.op.name if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op) else None


def _loss(expr: relax.Expr) -> str:
    op = _op(expr)
    return OPERATORS[op].loss if op in OPERATORS else ""


def _has(expr: relax.Expr, attr: str) -> bool:
    return isinstance(expr, relax.Call) and expr.attrs is not None and hasattr(expr.attrs, attr)


def _shape(var: relax.Var) -> tuple[int, ...]:
    shape = getattr(var.ty, "shape", None)
    if shape is None or not all(isinstance(v, tvm.tirx.IntImm) for v in shape.values):
        raise LayerError(var.name, "its shape is not known", "give every dimension a number")
    return tuple(int(v) for v in shape.values)


def _dtype(var: relax.Var) -> str:
    return str(getattr(var.ty.dtype, "dtype", var.ty.dtype))


def _variables(value: relax.Expr) -> tuple[relax.Var, ...]:
    """The variables that a binding's value is made from."""
    if isinstance(value, relax.Var):
        return (value,)
    if isinstance(value, relax.TupleGetItem):
        return _variables(value.tuple_value)
    parts = value.args if isinstance(value, relax.Call) else value.fields if isinstance(value, relax.Tuple) else ()
    return tuple(v for part in parts for v in _variables(part))
