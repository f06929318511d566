"""Saved JSON graphs: functions, lets, sharing, spans; and each malformed graph with the number of its node."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.read.saved_json import parse
from tests.tvm_ext.importers.relay.run_relay import described


@pytest.fixture(scope="module")
def graph(request: pytest.FixtureRequest) -> Callable[[str], dict]:
    """graph(name) gives a fresh copy of a saved graph of the data folder."""
    folder: Path = request.getfixturevalue("data") / "relay/tvm/syntax"
    loaded: dict[str, dict] = {}

    def fresh(name: str) -> dict:
        loaded.setdefault(name, json.loads((folder / f"{name}.json").read_text()))
        return copy.deepcopy(loaded[name])

    return fresh


def of_kind(data: dict, kind: str) -> int:
    """Return the first node of a kind."""
    return next(i for i, n in enumerate(data["nodes"]) if n["type_key"] == kind)


def test_a_function_is_a_main(graph) -> None:
    data = graph("odd_var_names")
    module = parse(json.dumps(data), "t")
    data["root"] = of_kind(data, "relay.Function")
    assert described(parse(json.dumps(data), "t")) == described(module)


def test_names_places_and_sharing(graph) -> None:
    module = parse(json.dumps(graph("anf")), "t")
    body = module.functions["main"].body
    names = [n.name for n in ast.postorder(body) if isinstance(n, ast.Call)]
    assert names == [f"x_{i}" for i in range(36, 54)]
    assert body.at.startswith("node ") and str(body.type) == "Tensor[(1, 10), float32]"
    function = parse(json.dumps(graph("func_attrs")), "t").functions["main"]
    assert [p.name for p in function.params] == ["x", "x1"]
    assert function.attrs["output_tensor_names"] == ["StatefulPartitionedCall:0"]


def test_spans(graph) -> None:
    data = graph("func_attrs")
    call, nodes = of_kind(data, "relay.Call"), data["nodes"]
    nodes[call]["attrs"]["span"] = str(len(nodes))
    nodes.append({"type_key": "Span", "attrs": {"source_name": str(len(nodes) + 1), "line": "0", "column": "0"}})
    nodes.append({"type_key": "SourceName", "repr_str": "model/dense"})
    assert parse(json.dumps(data), "t").functions["main"].body.span == "model/dense:0:0"


def test_open_dimensions_and_unknown_operators(graph) -> None:
    data = graph("func_attrs")
    tensor = of_kind(data, "relay.TensorType")
    shape = int(data["nodes"][tensor]["attrs"]["shape"])
    data["nodes"][data["nodes"][shape]["data"][0]] = {"type_key": "tir.Any", "attrs": {"dtype": "int32", "span": "0"}}
    data["nodes"][of_kind(data, "Op")]["repr_str"] = "my.op"
    function = parse(json.dumps(data), "t").functions["main"]
    assert function.params[0].type.shape == (None, 2)
    assert function.body.op == "my.op" and function.body.attrs == {"out_dtype": "", "units": "0"}


def node(kind: str, **attrs: object) -> Callable[[dict], None]:
    """Set attributes of the first node of a kind; None removes one."""

    def change(data: dict) -> None:
        found = data["nodes"][of_kind(data, kind)]["attrs"]
        found |= attrs
        for key in [k for k, v in found.items() if v is None]:
            del found[key]

    return change


def cyclic_array(data: dict) -> None:
    at = of_kind(data, "relay.attrs.ReshapeAttrs")
    shape = int(data["nodes"][at]["attrs"]["newshape"])
    data["nodes"][shape]["data"] = [shape, shape]


def cyclic_type(data: dict) -> None:
    at = of_kind(data, "TupleType")
    data["nodes"][int(data["nodes"][at]["attrs"]["fields"])]["data"] = [at, at]


def cyclic_call(data: dict) -> None:
    at = of_kind(data, "relay.Call")
    data["nodes"][int(data["nodes"][at]["attrs"]["args"])]["data"] = [at]


def wide_type(data: dict) -> None:
    """Make forty tuple types of two of the one before: 2**40 tensors on paper."""
    nodes = data["nodes"]
    at, inner = of_kind(data, "TupleType"), of_kind(data, "relay.TensorType")
    for _ in range(40):
        nodes.append({"type_key": "Array", "data": [inner, inner]})
        nodes.append({"type_key": "TupleType", "attrs": {"fields": str(len(nodes) - 1), "span": "0"}})
        inner = len(nodes) - 1
    nodes[int(nodes[at]["attrs"]["fields"])]["data"] = [inner]


def array(**change: object) -> Callable[[dict], None]:
    return lambda data: data.update(change)


def remove_functions(data: dict) -> None:
    data["nodes"][int(data["nodes"][1]["attrs"]["functions"])] = {"type_key": "Map"}


def second_let(data: dict) -> None:
    data["nodes"].append(copy.deepcopy(data["nodes"][of_kind(data, "relay.Let")]))


N = r"t\.json, node \d+: "
MANY, LET = "many_ops", "let_if_tuple"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (MANY, node("relay.Call", args="99999"), N + "refers to node 99999, the file has nodes 0 to 707"),
        (MANY, node("relay.Call", args="-1"), N + "refers to node -1"),
        (MANY, node("relay.Call", args="x"), N + "a reference is 'x', expected an integer"),
        (MANY, node("relay.Call", args="9" * 50), N + "a reference is '9{40}', expected an integer"),
        (MANY, node("relay.Call", args=None), N + "relay.Call lacks 'args'"),
        (MANY, node("relay.Call", op="0"), N + "None is not supported as a value"),
        (MANY, node("relay.Call", args="2"), N + "is a Map, expected a list .Array."),
        (MANY, node("relay.Constant", data="11"), N + "refers to array 11, the file has 11"),
        (MANY, node("relay.TensorType", dtype="float99"), N + "dtype 'float99' is none of bool, float16"),
        (MANY, node("IntImm", value="-3"), N + "dimension -3 is outside 0 to"),
        (MANY, node("relay.attrs.SoftmaxAttrs", axis="one"), N + "attribute 'axis' is 'one', expected an integer"),
        (MANY, node("relay.attrs.ClipAttrs", a_min="low"), N + "attribute 'a_min' is 'low', expected a number"),
        (MANY, node("relay.attrs.ClipAttrs", b="1"), N + "clip has no attribute 'b'; its attributes are a_min, a_max"),
        (MANY, node("relay.attrs.ClipAttrs", a_max=None), N + "clip needs the attribute 'a_max'"),
        (
            MANY,
            node("relay.attrs.ReshapeAttrs", newshape="0"),
            N + "reshape: attribute 'newshape' is None, expected a li",
        ),
        (MANY, node("relay.TupleGetItem", index="first"), N + "index is 'first', expected an integer"),
        (MANY, cyclic_array, N + "a value nested more than 50 deep, or too large"),
        (MANY, cyclic_type, N + "a type nested more than 50 deep, or in a cycle"),
        (MANY, cyclic_call, N + "is part of itself: the references are cyclic"),
        (MANY, wide_type, N + "a type of more than 1000000 parts"),
        (MANY, array(b64ndarrays=["AAAA"] * 11), r"b64ndarrays\[\d\]: an array's header needs 16 bytes"),
        (MANY, array(b64ndarrays=["!"] * 11), r"b64ndarrays\[\d\]: bad base64"),
        (MANY, array(b64ndarrays=5), "'b64ndarrays' is a int, expected a list"),
        (MANY, array(root=9999), "node 0: refers to node 9999"),
        (MANY, array(root=2), "node 2: the root is a Map, expected an IRModule or a relay.Function"),
        (MANY, array(nodes=5), "not a saved TVM graph: expected an object with 'root' and 'nodes'"),
        (MANY, array(nodes=[{}], root=0), "node 0: has no type_key"),
        (MANY, array(nodes=[7], root=0), "node 0: has no type_key"),
        (MANY, remove_functions, "node 1: the module has no function"),
        (LET, second_let, N + "binds the variable of node 27 a second time"),
        (LET, node("relay.Let", value="26"), N + "is part of itself: the references are cyclic"),
        (LET, node("relay.If", cond="35"), N + "Op is not supported as a value"),
        (LET, node("relay.Function", params="33"), N),
    ],
)
def test_malformed_graphs(graph, name: str, change: Callable[[dict], None], message: str) -> None:
    data = graph(name)
    change(data)
    with pytest.raises(ModelError, match=message) as caught:
        parse(json.dumps(data), "t.json")
    assert str(caught.value).startswith("t.json")


@pytest.mark.parametrize("text", ["{", '{"root": 1, "nodes": [' + "[" * 100_000, '{"root": 1}', '{"nodes": []}'])
def test_what_is_no_graph(text: str) -> None:
    with pytest.raises(ModelError, match=r"^t\.json: not (JSON|a saved TVM graph)"):
        parse(text, "t.json")
