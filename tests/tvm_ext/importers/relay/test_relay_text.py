"""Relay text: every literal, odd names, both forms, scopes, comments; and each malformed text with its message."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.read.arrays import ARRAY_MAGIC
from mcutrain.tvm_ext.importers.relay.read.text import parse
from tests.tvm_ext.importers.relay.run_relay import described, main

HEAD = '#[version = "0.0.5"]\n'


def body(text: str, params: str = "%x: Tensor[(2, 3), float32]") -> ast.Expr:
    return main(text, params).functions["main"].body


@pytest.mark.parametrize(
    ("literal", "dtype", "value"),
    [
        ("2.5f", "float32", 2.5),
        ("0.333333f", "float32", np.float32(0.333333)),
        ("1e-07f", "float32", np.float32(1e-7)),
        ("3e+38f", "float32", np.float32(3e38)),
        ("-0f", "float32", -0.0),
        ("1.5f16", "float16", 1.5),
        ("2f64", "float64", 2.0),
        ("2.25", "float32", 2.25),
        ("7", "int32", 7),
        ("-5i64", "int64", -5),
        ("3000000000", "int64", 3000000000),
        ("-128i8", "int8", -128),
        ("200u8", "uint8", 200),
        ("True", "bool", True),
        ("False", "bool", False),
        ("inff", "float32", np.inf),
        ("-inff", "float32", -np.inf),
        ("inff64", "float64", np.inf),
        ("nanf", "float32", np.nan),
    ],
)
def test_literals(literal: str, dtype: str, value: float) -> None:
    found = body(f"{literal} /* ty={dtype} */")
    assert isinstance(found, ast.Constant) and found.is_literal and found.type == ast.TensorType((), dtype)
    assert found.value.dtype == dtype and found.value.shape == ()
    np.testing.assert_equal(found.value.item(), value)


@pytest.mark.parametrize(
    "name",
    ["x:0", "a/b/BiasAdd:0", "a.b-c", "onnx::Conv_12", "0", "layers.0.weight", "serving_default_x:0", "x.1", "Größe"],
)
def test_odd_names(name: str) -> None:
    function = main(f"nn.relu(%{name})", f"%{name}: Tensor[(2, 3), float32]").functions["main"]
    assert [p.name for p in function.params] == [name]
    assert function.body.args == function.params


def test_a_type_may_touch_the_colon() -> None:
    function = main("add(%a, %b)", "%a:Tensor[(2), float32],%b:float32").functions["main"]
    assert [(p.name, str(p.type)) for p in function.params] == [("a", "Tensor[(2), float32]"), ("b", "float32")]


def test_a_dot_is_a_field_unless_the_name_has_it() -> None:
    pair = "%t: (float32, float32), %t.1: float32"
    found = body("add(%t.0, %t.1)", pair)
    assert isinstance(found.args[0], ast.TupleGetItem) and found.args[0].index == 0
    assert isinstance(found.args[1], ast.Var) and found.args[1].name == "t.1"
    nested = body("%0 = ((%x, %x), %x); %0.0.1")
    assert (nested.index, nested.value.index) == (1, 0)


def test_let_form_equals_graph_form() -> None:
    graph = main("%0 = exp(%x); %1 = add(%0, %0); nn.relu(%1)")
    let = main("let %a = exp(%x); let %b: Tensor[(2, 3), float32] = add(%a, %a); let %c = nn.relu(%b); %c")
    inline = main("let %a = exp(%x); nn.relu(add(%a, (%a)))")
    assert described(graph) == described(let) == described(inline)
    relu = graph.functions["main"].body
    assert relu.args[0].args[0] is relu.args[0].args[1]
    assert [n.name for n in ast.postorder(let.functions["main"].body)] == ["x", "a", "b", "c"]


def test_an_alias_names_nothing_anew() -> None:
    found = body("let %a = exp(%x); let %b = %a; let %c = (%b); let %d = { let %e = %c; %e }; add(%a, %d)")
    assert found.args[0] is found.args[1] and found.args[0].name == "a"


def test_inner_bindings_stay_inside() -> None:
    found = body("let %a = exp(%x); let %b = { let %a = log(%x); %a }; add(%a, %b)")
    assert [a.op for a in found.args] == ["exp", "log"]
    with pytest.raises(ModelError, match="line 1: %a is not defined before it is used"):
        main("let %b = { let %a = log(%x); %a }; %a")


def test_tuples_and_parentheses() -> None:
    assert body("()").fields == () and len(body("(%x,)").fields) == 1 and len(body("(%x, %x)").fields) == 2
    assert isinstance(body("(%x)"), ast.Var)
    assert isinstance(body("add(%x, (let %a = exp(%x); %a))").args[1], ast.Call)


def test_calls_of_functions_and_closures() -> None:
    text = HEAD + (
        "def @main(%x: float32) -> float32 { let %f = fn (%y: float32) -> float32 { add(%y, %x) }; %f(@twice(%x)) }\n"
        'def @twice(%x: float32, Primitive=1, name="a b", list=["p", 1, None]) -> float32 { add(%x, %x) }'
    )
    module = parse(text, "t")
    assert list(module.functions) == ["main", "twice"]
    assert module.functions["twice"].attrs == {"Primitive": 1, "name": "a b", "list": ["p", 1, None]}
    call = module.functions["main"].body
    assert isinstance(call.op, ast.Function) and isinstance(call.args[0].op, ast.GlobalVar)
    assert call.op.body.args[1] is module.functions["main"].params[0]


def test_a_bare_function_and_free_variables_are_main() -> None:
    assert [p.name for p in parse("fn (%x: float32) { exp(%x) }", "t").functions["main"].params] == ["x"]
    free = parse("free_var %a: float32;\n%0 = exp(%a);\nfree_var %b: float32;\nadd(%0, %b)", "t").functions["main"]
    assert [p.name for p in free.params] == ["a", "b"] and free.body.op == "add"


def test_comments() -> None:
    text = (
        "// to the end\n/* one /* inside */ still */ exp(%x) /* ty=float32 span=conv1/Relu:0:0 */ /* more */ // end\n"
    )
    found = body(text, "%x: float32 /* ty=float32 span=in:0:0 */")
    assert (str(found.type), found.span, found.at) == ("float32", "conv1/Relu:0:0", "line 2")
    assert body("exp(%x /* a note */)", "%x: float32").args[0].span == ""


def test_strings() -> None:
    text = r'def @main(%x: float32, a="quote \" and \\ back", b="", c="/* no comment */ %x") { %x }'
    attrs = parse(text, "t").functions["main"].attrs
    assert attrs == {"a": 'quote " and \\ back', "b": "", "c": "/* no comment */ %x"}


def test_attributes_are_complete_and_of_their_kind() -> None:
    found = body("nn.conv2d(%x, %x, padding=[1, 1], kernel_size=[3, 3])").attrs
    assert found["strides"] == [1, 1] and found["padding"] == [1, 1] and found["groups"] == 1
    assert found["data_layout"] == "NCHW" and found["channels"] is None and found["out_dtype"] is None
    assert body("clip(%x, a_min=2, a_max=inff)").attrs == {"a_min": 2.0, "a_max": np.inf}
    assert body("sum(%x, axis=1)").attrs == {"axis": [1], "keepdims": False, "exclude": False}
    assert body("my.op(%x, n=[[1, 2], (3, 4)], s=None)").attrs == {"n": [[1, 2], [3, 4]], "s": None}


def test_types() -> None:
    types = "(Tensor[(1, ?), int8], (float32, bool), Tensor[(), int64], fn (float32) -> bool, ())"
    (param,) = main("%x", f"%x: {types}").functions["main"].params
    assert str(param.type) == "(Tensor[(1, ?), int8], (float32, bool), int64, fn (float32) -> bool, ())"


def test_metadata_constants() -> None:
    text = "def @main() { (meta[relay.Constant][0], meta[relay.Constant][0] /* ty=int8 */) }\n#[metadata]\n" + METADATA
    fields = parse(text, "t").functions["main"].body.fields
    assert [f.value.tolist() for f in fields] == [3, 3] and not fields[0].is_literal


METADATA = """{"root": 1, "nodes": [{"type_key": ""}, {"type_key": "Map", "keys": ["relay.Constant"], "data": [2]},
{"type_key": "Array", "data": [3]}, {"type_key": "relay.Constant", "attrs": {"data": "0"}}],
"b64ndarrays": ["P6G0lvBAXt0AAAAAAAAAAAEAAAAAAAAAAAAAAAAIAQABAAAAAAAAAAM="]}"""
assert f"{ARRAY_MAGIC:x}" == "dd5e40f096b4a13f"  # the first bytes of that array, backwards

X = "def @main(%x: Tensor[(2, 3), float32]) {\n"
DEEP = "add(" * 150 + "%x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no function: expected def @main"),
        (HEAD, "line 2: no function"),
        ('#[version = "0.0.4"]\n' + X + "%x }", 'line 1: #.version = "0.0.4". is not supported; expected .*0.0.5'),
        (X + "exp(%x)", "line 2: expected '}' after a body, found the end of the text: truncated"),
        (X + "exp(%x", r"line 2: expected '\)' after the arguments of exp, found the end of the text"),
        (X + "exp(%x) } }", "line 2: expected 'def' or the end of the file, found '}'"),
        (X + "%0 = exp(%x) %0 }", "line 2: expected ';' after the value of %0, found '0'"),
        (X + "exp(%y) }", "line 2: %y is not defined before it is used"),
        (X + "exp(%x.0.y) }", "line 2: %x.0.y is not defined"),
        (X + "let %a add(%x, %x); %a }", "line 2: expected '=' after %a, found 'add'"),
        (X + "let a = %x; %x }", "line 2: expected a variable after let, found 'a'"),
        (X + '"text" }', "line 2: expected an expression, found"),
        (X + 'exp "a\n  b" }', r"line 2: expected '\(' after the operator exp, found '\"a b\"'$"),
        (X + "relu }", r"line 2: expected '\(' after the operator relu"),
        (X + "%x + %x }", r"line 2: infix operator '\+' is not supported; write the call"),
        (X + "match (%x) { } }", "line 2: 'match' is not supported: only tensors"),
        (X + "ref(%x) }", "line 2: 'ref' is not supported"),
        (X + "3abc }", "line 2: '3abc' is no number of Relay"),
        (X + "1.5i32 }", "line 2: '1.5i32' is a fraction with an integer's suffix"),
        (X + "300i8 }", "line 2: 300i8 is outside int8"),
        (X + "1" * 40 + " }", "line 2: 1{40} is outside int64"),
        (X + 'cast(%x, dtype="int8) }', "line 2: the string is not closed: truncated"),
        (X + "exp(%x) /* ty=Tensor[(2", "line 2: the comment is not closed: truncated"),
        (X + "exp(%x) /* ty=Tensor[(2, 3), float99] */ }", "line 2: expected a dtype .*found 'float99'"),
        (X + "exp(%x) /* ty=float32 float32 */ }", "line 2: the type comment goes on with 'float32'"),
        (X + "$ }", r"line 2: unexpected '\$'"),
        (X + "meta[relay.Constant][0] }", r"line 2: meta.relay.Constant..0., but the file has no #.metadata. section"),
        (X + "meta[relay.Constant][1] }\n#[metadata]\n" + METADATA, "line 2: .* the metadata section has 1 constants"),
        (X + "meta[Target][0] }\n#[metadata]\n" + METADATA, "line 2: meta.Target..0. is no constant"),
        (X + "meta[relay.Constant][-1] }", "line 2: expected an index of metadata, found '-1'"),
        (X + "%x }\n#[metadata]\n{", "metadata at line 3: not JSON"),
        (X + "%x }\n" + X + "%x }", "line 3: the function @main is defined twice"),
        ("def main() { 1 }", "line 1: expected a function's name such as @main after def, found 'main'"),
        ("def @f[A](%x: A) { %x }", "line 1: functions with type parameters are not supported"),
        ("def @main(%x: float32, %x: float32) { %x }", "line 1: the parameter %x occurs twice"),
        (
            "def @main(%x: Tensor[(2, -3), int8]) { %x }",
            "line 1: expected a dimension from 0 to 2147483647, found '-3'",
        ),
        ("def @main(%x: Tensor[(99999999999), int8]) { %x }", "line 1: expected a dimension from 0"),
        ("def @main(%x: List[int8]) { %x }", "line 1: expected a type .*found 'List'"),
        ("def @main(%x: Tensor[2, int8]) { %x }", r"line 1: expected '\(' before the shape, found '2'"),
        ("def @main(%x: float32, 5) { %x }", "line 1: expected a parameter %x or an attribute, found '5'"),
        (X + "nn.dense(%x, %x, unit=3) }", "line 2: nn.dense has no attribute 'unit'; its attributes are units, out_"),
        (X + "exp(%x, axis=3) }", "line 2: exp has no attribute 'axis'; it has none"),
        (X + "cast(%x) }", "line 2: cast needs the attribute 'dtype'"),
        (X + "nn.softmax(%x, axis=1.5f) }", "line 2: nn.softmax: attribute 'axis' is 1.5, expected an integer"),
        (X + "nn.softmax(%x, axis=[1]) }", "line 2: nn.softmax: attribute 'axis' is .1., expected an integer"),
        (X + "nn.softmax(%x, axis=) }", r"line 2: expected an attribute's value, found '\)'"),
        (X + "%0 = fn (%y: float32) { %y }; %0(%x, a=1) }", "line 2: the attribute 'a' on the call of a function"),
        (X + DEEP, "line 2: nested more than 100 deep"),
        ("def @main(%x: " + "(" * 150, "line 1: nested more than 100 deep"),
        (X + "my.op(%x, a=" + "[" * 150, "line 2: nested more than 100 deep"),
        (X + "{" * 150, "line 2: nested more than 100 deep"),
    ],
)
def test_malformed_texts(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=r"t\.relay, " + message):
        parse(text, "t.relay")


def test_a_long_chain_is_no_deep_nesting() -> None:
    lines = [f"%{i + 1} = exp(%{i});\n" for i in range(20_000)]
    function = parse("def @main(%0: float32) {\n" + "".join(lines) + "%20000 }", "t").functions["main"]
    assert function.body.at == "line 20001" and sum(1 for _ in ast.postorder(function)) == 20_002
