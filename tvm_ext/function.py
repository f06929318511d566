"""Building and walking Relax functions of one dataflow block, the only shape that a network has here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import tvm
from tvm import relax
from tvm.relax import TensorType


class FunctionBuilder:
    """Collects parameters and calls in any order; `finish` makes the function. Every call is type-inferred at once."""

    def __init__(self) -> None:
        self.params: dict[str, relax.Var] = {}
        self._bindings: list[relax.VarBinding] = []
        self._infer = relax.BlockBuilder()

    def param(self, name: str, shape: Sequence[int], dtype: str) -> relax.Var:
        """A function parameter; asked for twice, it is the same one."""
        if name not in self.params:
            self.params[name] = relax.Var(name, TensorType(list(shape), dtype))
        return self.params[name]

    def emit(self, expr: relax.Expr, name: str) -> relax.Var:
        expr = self._infer.normalize(expr)
        var = relax.DataflowVar(name, expr.ty)
        self._bindings.append(relax.VarBinding(var, expr))
        return var

    def emitted(self) -> list[tuple[relax.Var, relax.Expr]]:
        """(variable, value) of what has been emitted so far."""
        return [(b.var, b.value) for b in self._bindings]

    def finish(self, symbol: str, outputs: Sequence[relax.Var], params: Sequence[relax.Var]) -> relax.Function:
        """symbol(params) -> outputs, a tuple also where there is one output."""
        named = [relax.Var(f"out{i}", v.ty) for i, v in enumerate(outputs)]
        bindings = [*self._bindings, *(relax.VarBinding(n, v) for n, v in zip(named, outputs, strict=True))]
        result = self._infer.normalize(relax.Tuple(named))
        body = self._infer.normalize(relax.SeqExpr([relax.DataflowBlock(bindings)], result))
        return relax.Function(list(params), body, result.ty).with_attr("global_symbol", symbol)


def bindings_of(function: relax.Function) -> Iterator[tuple[relax.Var, relax.Expr]]:
    """(variable, value) in order."""
    for block in function.body.blocks:
        for binding in block.bindings:
            yield binding.var, binding.value


def calls_of(function: relax.Function) -> list[relax.Call]:
    """The calls of the body, in order."""
    return [value for _, value in bindings_of(function) if isinstance(value, relax.Call)]


def flatten(expr: relax.Expr) -> list[relax.Expr]:
    """The leaves of nested tuples, in order."""
    return [leaf for f in expr.fields for leaf in flatten(f)] if isinstance(expr, relax.Tuple) else [expr]


def copy(
    function: relax.Function,
    builder: FunctionBuilder,
    known: dict[relax.Var, relax.Expr],
    rewrite: Callable[[str, relax.Call, list[relax.Expr]], relax.Expr | None],
) -> list[relax.Expr]:
    """Re-emit the body of `function` into `builder` and return its outputs there.

    known: what stands for each parameter. rewrite(name, call, new args) returns the expression to emit in the place of
    a call, a variable to use without emitting, or None for the call as it is."""
    new = dict(known)

    def swap(expr: relax.Expr) -> relax.Expr:
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([swap(f) for f in expr.fields])
        return new[expr] if isinstance(expr, relax.Var) else expr

    for var, value in bindings_of(function):
        if isinstance(value, relax.Call):
            args = [swap(a) for a in value.args]
            replaced = rewrite(var.name, value, args)
            value = relax.Call(value.op, args, value.attrs) if replaced is None else replaced
        else:
            value = swap(value)
        new[var] = value if isinstance(value, relax.Var) else builder.emit(value, var.name)
    return [new[v] for v in flatten(function.body.body)]


def well_formed(module: tvm.IRModule) -> tvm.IRModule:
    """Relax's own checker, after every stage; it raises, since a broken module is our defect and not the user's."""
    relax.analysis.well_formed(module)
    return module


def live(name: str, function: relax.Function) -> relax.Function:
    """The function without what nobody reads; of its parameters, the first stays in any case."""
    module = tvm.IRModule({name: function.with_attr("global_symbol", name)})
    body = relax.transform.DeadCodeElimination([name])(module)[name]
    used = {arg for c in calls_of(body) for arg in c.args}
    params = [body.params[0], *(p for p in body.params[1:] if p in used)]
    whole = relax.Function(params, body.body, body.ret_ty).with_attr("global_symbol", name)
    return well_formed(tvm.IRModule({name: whole}))[name]
