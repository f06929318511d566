"""tvm.ir.save_json files of Relay modules and functions -> AST; the metadata section of Relay text is one, too."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.ast import About, Call, Constant, Expr, Function, Module, Type, Var
from mcutrain.tvm_ext.importers.relay.operators.table import OPERATORS, complete
from mcutrain.tvm_ext.importers.relay.read.json_graph import JsonGraph

# What each kind of expression is made of: attributes that refer to expressions, and attributes that list them.
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "relay.Var": ((), ()),
    "relay.Constant": ((), ()),
    "GlobalVar": ((), ()),
    "relay.Call": (("op",), ("args",)),
    "relay.Tuple": ((), ("fields",)),
    "relay.TupleGetItem": (("tuple_value",), ()),
    "relay.If": (("cond", "true_branch", "false_branch"), ()),
    "relay.Let": (("body",), ()),
    "relay.Function": (("body",), ("params",)),
}


def parse(text: str, source: str) -> Module:
    """Read a module, or a function as its "main". Raises ModelError with the node's number."""
    graph = JsonGraph(text, source)
    reader = _Reader(graph)
    kind = graph.kind(graph.root)
    if kind == "relay.Function":
        return Module({"main": reader.function(graph.root, "main")}, source)
    if kind != "IRModule":
        raise graph.error(graph.root, f"the root is a {kind}, expected an IRModule or a relay.Function")
    functions: dict[str, Function] = {}
    for key, value in graph.pairs(graph.ref(graph.root, "functions")):
        holder = graph.index(key, graph.root)
        name = graph.string(graph.ref(holder, "name_hint"))
        functions[name] = reader.function(value, name)
    if not functions:
        raise graph.error(graph.root, "the module has no function")
    return Module(functions, source)


def metadata_constants(text: str, source: str) -> list[np.ndarray]:
    """Read the constants of a metadata section, in order: meta[relay.Constant][i] stands for the one at i."""
    graph = JsonGraph(text, source)
    for key, value in graph.pairs(graph.root):
        if key == "relay.Constant":
            return [graph.array(graph.attr(i, "data"), i) for i in graph.items(value, "the constants")]
    return []


class _Reader:
    """Makes expressions of nodes, each once; the walk keeps its own stack, since networks are deep."""

    def __init__(self, graph: JsonGraph) -> None:
        self.graph = graph
        self.made: dict[int, Expr] = {}
        self.bound: dict[int, int] = {}  # the variable of a let -> the node of its value
        self.names: dict[int, str] = {}  # parameters that share a name with an earlier one of their function
        for i in range(len(graph.nodes)):
            kind = graph.kind(i)
            if kind == "relay.Let":
                variable = graph.ref(i, "var")
                if variable in self.bound:
                    raise graph.error(i, f"binds the variable of node {variable} a second time")
                self.bound[variable] = graph.ref(i, "value")
            elif kind == "relay.Function":
                self._name_parameters(i)

    def _name_parameters(self, function: int) -> None:
        """Tell parameters of one name apart: x, x becomes x, x1, as the text printer does it."""
        seen: Counter[str] = Counter()
        taken: set[str] = set()
        for i in self.graph.items(self.graph.ref(function, "params")):
            hint = name = self._hint(i)
            while name in taken:
                seen[hint] += 1
                name = f"{hint}{seen[hint]}"
            taken.add(name)
            self.names[i] = name

    def _hint(self, index: int) -> str:
        graph = self.graph
        return graph.string(graph.ref(graph.ref(index, "vid"), "name_hint"))

    def function(self, index: int, name: str) -> Function:
        found = self.expr(index)
        if not isinstance(found, Function):
            raise self.graph.error(index, f"@{name} is a {self.graph.kind(index)}, expected a relay.Function")
        return replace(found, name=name)

    def expr(self, root: int) -> Expr:
        stack, open_nodes = [(root, False)], set()
        while stack:
            index, is_ready = stack.pop()
            if index in self.made:
                continue
            if is_ready:
                self.made[index] = self._make(index)
                open_nodes.discard(index)
                continue
            open_nodes.add(index)
            stack.append((index, True))
            for part in reversed(self._parts(index)):
                if part in open_nodes:
                    raise self.graph.error(
                        part, "is part of itself: the references are cyclic (recursion is not supported)"
                    )
                stack.append((part, False))
        return self.made[root]

    def _parts(self, index: int) -> list[int]:
        graph, kind = self.graph, self.graph.kind(index)
        if kind not in _PARTS:
            raise graph.error(
                index, f"{kind or 'None'} is not supported as a value; tensors, tuples, functions, if are"
            )
        if kind == "relay.Var":
            return [self.bound[index]] if index in self.bound else []
        single, listed = _PARTS[kind]
        parts = [graph.ref(index, key) for key in single]
        if kind == "relay.Call" and graph.kind(parts[0]) == "Op":
            parts = []
        return parts + [i for key in listed for i in graph.items(graph.ref(index, key))]

    def _make(self, index: int) -> Expr:
        graph, made = self.graph, self.made
        about: About = {"at": f"node {index}", "type": self._checked_type(index), "span": self._span(index)}
        match graph.kind(index):
            case "relay.Var":
                return self._var(index, about)
            case "relay.Constant":
                return Constant(graph.array(graph.attr(index, "data"), index), **about)
            case "GlobalVar":
                return ast.GlobalVar(name=graph.string(graph.ref(index, "name_hint")), at=about["at"])
            case "relay.Call":
                return self._call(index, about)
            case "relay.Tuple":
                return ast.Tuple(tuple(made[i] for i in graph.items(graph.ref(index, "fields"))), **about)
            case "relay.TupleGetItem":
                position = graph.integer(graph.attr(index, "index"), index, "index")
                return ast.TupleGetItem(made[graph.ref(index, "tuple_value")], position, **about)
            case "relay.If":
                cond, then, orelse = (made[graph.ref(index, k)] for k in _PARTS["relay.If"][0])
                return ast.If(cond, then, orelse, **about)
            case "relay.Let":
                return made[graph.ref(index, "body")]
        return self._function(index, about)

    def _var(self, index: int, about: About) -> Expr:
        if index not in self.bound:
            about["type"] = self.graph.type(self.graph.ref(index, "type_annotation")) or about["type"]
            return Var(**about, name=self.names.get(index) or self._hint(index))
        value = self.made[self.bound[index]]
        is_alias = self.graph.kind(self.bound[index]) in ("relay.Var", "relay.Let")
        return value if is_alias else replace(value, name=self._hint(index))

    def _call(self, index: int, about: About) -> Call:
        graph = self.graph
        callee = graph.ref(index, "op")
        args = tuple(self.made[i] for i in graph.items(graph.ref(index, "args")))
        if graph.kind(callee) != "Op":
            return Call(self.made[callee], args, **about)
        op, holder = graph.string(callee), graph.ref(index, "attrs")
        attrs = {} if graph.kind(holder) == "" else self._attrs(op, holder)
        return Call(op, args, complete(op, attrs, f"{graph.source}, node {index}"), **about)

    def _attrs(self, op: str, holder: int) -> dict[str, object]:
        """Read the attributes as the op's fields say; of an unknown op, the strings of the file."""
        graph, found = self.graph, dict[str, object]()
        fields = OPERATORS[op].attributes if op in OPERATORS else {}
        for key, value in graph.attrs(holder).items():
            field, what = fields.get(key), f"attribute '{key}'"
            if field is not None and field.is_reference:
                found[key] = graph.value(graph.index(value, holder))
            elif field is not None and field.kind in ("int", "bool"):
                found[key] = graph.integer(value, holder, what)
            elif field is not None and field.kind == "float":
                found[key] = graph.number(value, holder, what)
            else:
                found[key] = value
        return found

    def _function(self, index: int, about: About) -> Function:
        graph, made = self.graph, self.made
        parts = [made[i] for i in graph.items(graph.ref(index, "params"))]
        params = tuple(p for p in parts if isinstance(p, Var))
        if len(params) != len(parts):
            raise graph.error(index, "a parameter is no free variable")
        holder = graph.ref(index, "attrs")
        attrs = graph.value(graph.ref(holder, "__dict__")) if graph.kind(holder) == "DictAttrs" else {}
        ret = graph.type(graph.ref(index, "ret_type"))
        return Function(params, made[graph.ref(index, "body")], ret, attrs if isinstance(attrs, dict) else {}, **about)

    def _checked_type(self, index: int) -> Type | None:
        attrs = self.graph.attrs(index)
        return self.graph.type(self.graph.ref(index, "_checked_type_")) if "_checked_type_" in attrs else None

    def _span(self, index: int) -> str:
        """Write name:line:column, as the text printer does."""
        graph, attrs = self.graph, self.graph.attrs(index)
        span = graph.ref(index, "span") if "span" in attrs else 0
        if graph.kind(span) not in ("Span", "relay.Span"):
            return ""
        name = graph.string(graph.ref(span, "source_name"))
        return f"{name}:{str(graph.attr(span, 'line'))[:9]}:{str(graph.attr(span, 'column'))[:9]}"
