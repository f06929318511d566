"""Relay AST -> a Relax module with one function "main" of ordinary Relax operators, every type inferred and checked."""

from __future__ import annotations

import keyword
import re
from collections import Counter

import tvm
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.ast import Call, Expr, Module, TensorType, TupleType, Type, Var, postorder
from mcutrain.tvm_ext.importers.relay.operators.table import OPERATORS, way_out
from mcutrain.tvm_ext.importers.relay.real.evaluate import Evaluator, reason


def to_relax(module: Module, where: str | None = None) -> tvm.IRModule:
    """Make one Relax function, "main", that computes what @main of the module does; calls of others are inlined.

    Its parameters are those of @main, in order, and parameters of the file that no array was bound to stay; the
    attribute "relay_names" maps each Relax name to the name in the file. Values are called as the file calls them (let
    names, then the layer of the span), else by operator and number. Integers are computed exactly. Of an `if`,
    both branches are computed and one is selected. where: the file and function, for messages about the whole of it;
    the module's source where it is None.

    Raises ModelError with the line: unsupported operators (all of them in one message), types that do not fit what the
    file says, and what Relax refuses."""
    where = where or module.source
    main = module.functions.get("main")
    if main is None:
        raise ModelError(f"{where}: no function @main; it has {', '.join('@' + n for n in module.functions)}")
    nodes = [n for f in module.functions.values() for n in postorder(f)]
    _refuse_unsupported(where, nodes)
    names = _Names()
    params = {p: relax.Var(names.unique(p.name), _type(p, module.source)) for p in main.params}
    builder = relax.BlockBuilder()
    evaluator = Evaluator(module, builder, names.unique)
    try:
        with builder.function("main", list(params.values())):
            with builder.dataflow():
                result = builder.emit_output(evaluator.run(main, params))
            builder.emit_func_output(result)
    except Exception as error:
        builder._end_block()  # the builder warns of blocks that are left open
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{where}: Relax refuses the function: {reason(error)}") from None
    renamed = {v.name: p.name for p, v in params.items()}
    return tvm.IRModule({"main": builder.get()["main"].with_attr("relay_names", renamed)})


def _refuse_unsupported(where: str, nodes: list[Expr]) -> None:
    calls = [(n.op, n.at) for n in nodes if isinstance(n, Call) and isinstance(n.op, str) and n.op not in OPERATORS]
    if not calls:
        return
    count = Counter(name for name, _ in calls)
    first = dict(reversed(calls))
    more = {name: f" and {n - 1} more" if n > 1 else "" for name, n in count.items()}
    shown = {name: " ".join(name.split())[:80] for name in count}
    lines = [f"{shown[name]} ({first[name]}{more[name]}): {way_out(name)}" for name in count]
    what = "an operator that is" if len(lines) == 1 else f"{len(lines)} operators that are"
    raise ModelError(f"{where}: uses {what} not supported: {'; '.join(lines)}")


def _type(param: Var, source: str) -> relax.Type:
    if param.type is None:
        raise ModelError(
            f"{source}, {param.at}: %{param.name} has no type; write %{param.name}: Tensor[(...), float32]"
        )
    return _relax_type(param.type, f"{source}, {param.at}: %{param.name}")


def _relax_type(found: Type, where: str) -> relax.Type:
    if isinstance(found, TupleType):
        return relax.TupleType([_relax_type(f, where) for f in found.fields])
    if not isinstance(found, TensorType):
        raise ModelError(f"{where} is a function; inline it before export")
    if None in found.shape:
        raise ModelError(f"{where} is {found}: every dimension must be a number; fix the shapes before export")
    return relax.TensorType(found.shape, found.dtype)


class _Names:
    """Gives valid Relax names, each once."""

    def __init__(self) -> None:
        self.used: Counter[str] = Counter()

    def unique(self, wanted: str) -> str:
        base = re.sub(r"\W", "_", wanted, flags=re.ASCII)[:100]
        if not base or base[0].isdigit() or keyword.iskeyword(base):
            base = f"v_{base}"
        name = base
        while name in self.used:
            self.used[base] += 1
            name = f"{base}_{self.used[base]}"
        self.used[name] = 0
        return name
