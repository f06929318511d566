"""Every Relay file of the data folder: text equals JSON, and the Relax module computes what numpy computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay import ast
from mcutrain.tvm_ext.importers.relay.read.arrays import from_params
from mcutrain.tvm_ext.importers.relay.read.reader import read
from mcutrain.tvm_ext.importers.relay.real.to_relax import to_relax
from tests.tvm_ext.importers.relay.reference import numpy_relay
from tests.tvm_ext.importers.relay.run_relay import assert_same, described, execute, inputs_of

CALYX = (
    "correctness: avg_pool2d batch_flatten-same-dimensions batch_flatten batch_matmul bias_add broadcast clip "
    "concatenate constant-multiply-fixed-point constant-multiply conv2d conv2d_new_padding conv2d_padding dense "
    "global_avg_pool2d lrn max_pool2d negative relu reshape-no-infer reshape softmax sqrt tensor_add",
    "frontend: batch_flatten-same-dimensions batch_flatten batch_matmul bias_add broadcast constant-multiply conv2d "
    "dense duplicate-relay-call max_pool2d negative relu reshape softmax sqrt tensor_add",
)
SMALL = [f"calyx/tests_{g.split(':')[0]}_relay_{n}.relay" for g in CALYX for n in g.split(":")[1].split()]
SMALL += ["mlonmcu/2sort_test_cnn.relay", "mlonmcu/test_cnn_test_cnn.relay"]
PAIRS = [f"lenet_fp32/{n}" for n in ("bound", "unbound")] + ["lenet_fp32_training/forward_loss"]
PAIRS += [f"qnn_int8_nhwc/{n}" for n in ("bound", "unbound")]
SYNTAX = ("anf", "func_attrs", "let_if_tuple", "many_ops", "mlp_testing", "odd_var_names", "scalars")
PAIRS += [f"syntax/{n}" for n in (*SYNTAX, "string_attr_names")]
REFUSED = {
    "calyx/tests_correctness_relay_sqrt.relay": r"line 3: sqrt: .* requires the input tensor to have float dtype",
    "calyx/tests_frontend_relay_sqrt.relay": r"line 3: sqrt: .* requires the input tensor to have float dtype",
}


def test_no_file_is_left_out(data: Path) -> None:
    found = {str(p.relative_to(data / "relay")) for p in (data / "relay").rglob("*.relay")}
    assert found == {*SMALL, *(f"tvm/{p}.relay" for p in PAIRS), "mlf/qnn_int8_nhwc/src/default.relay"}
    saved = {str(p.relative_to(data / "relay/tvm"))[:-5] for p in (data / "relay/tvm").rglob("*.json")}
    assert {p for p in saved if not p.endswith(("types", "grad_order"))} == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_text_equals_json(data: Path, name: str) -> None:
    """Both give the same graph, with the same sharing, attributes and types; constants but scalars bit for bit."""
    text, saved = (read(data / f"relay/tvm/{name}.{end}") for end in ("relay", "json"))
    assert described(text, is_text=True) == described(saved, is_text=True)
    assert sum(len(f) for f in described(text).values()) > 3


@pytest.mark.parametrize("name", SMALL)
def test_what_people_wrote(data: Path, name: str) -> None:
    module = read(data / "relay" / name)
    if name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[name]):
            to_relax(module)
        return
    inputs, made = inputs_of(module), to_relax(module)
    assert_same(execute(made, inputs), numpy_relay.run(module, inputs))


@pytest.mark.parametrize("name", [p for p in PAIRS if p.startswith(("syntax", "lenet_fp32_t"))])
def test_what_tvm_wrote(data: Path, name: str) -> None:
    """Text is run; the JSON gives an equal module."""
    module = read(data / f"relay/tvm/{name}.relay")
    inputs = inputs_of(module)
    with np.errstate(over="ignore"):
        assert_same(execute(to_relax(module), inputs), numpy_relay.run(module, inputs), 2e-5)


@pytest.mark.parametrize("end", ["relay", "json"])
@pytest.mark.parametrize("state", ["bound", "unbound"])
@pytest.mark.parametrize("net", ["lenet_fp32", "qnn_int8_nhwc"])
def test_networks_give_the_reference_output(data: Path, net: str, state: str, end: str) -> None:
    folder = data / "relay/tvm" / net
    module = read(folder / f"{state}.{end}", folder / "params.bin" if state == "unbound" else None)
    assert [p.name for p in module.functions["main"].params] == ["data"]
    inputs = dict(np.load(folder / "inputs.npz"))
    found = execute(to_relax(module), inputs)
    assert_same(found, numpy_relay.run(module, inputs))
    np.testing.assert_allclose(found, np.load(folder / "ref_numpy.npy"), 1e-5, 1e-6)


def test_the_loss_equals_the_reference(data: Path) -> None:
    folder = data / "relay/tvm/lenet_fp32_training"
    found = execute(to_relax(read(folder / "forward_loss.json")), dict(np.load(folder / "inputs.npz")))
    np.testing.assert_allclose(found, np.load(folder / "ref_grads.npz")["loss"], 1e-5)


@pytest.mark.parametrize("net", ["lenet_fp32", "qnn_int8_nhwc"])
def test_types_are_those_that_tvm_inferred(data: Path, net: str) -> None:
    """types.json lists the nodes of the bound or unbound graph with what TVM inferred for each."""
    listed = json.loads((data / f"relay/tvm/{net}/types.json").read_text())
    wanted = {(n.get("op") or n.get("name"), tuple(n["type"]["shape"]), n["type"]["dtype"]) for n in listed}
    nodes = list(ast.postorder(read(data / f"relay/tvm/{net}/unbound.json").functions["main"].body))
    kept = [n for n in nodes if isinstance(n, ast.Call | ast.Var)]
    named = {(n.op if isinstance(n, ast.Call) else n.name, n.type.shape, n.type.dtype) for n in kept}
    assert named == {w for w in wanted if w[0]}


@pytest.mark.parametrize("net", ["lenet_fp32", "qnn_int8_nhwc"])
def test_bound_constants_equal_the_parameters(data: Path, net: str) -> None:
    folder = data / "relay/tvm" / net
    params = from_params((folder / "params.bin").read_bytes(), "params.bin")
    bound = [n for n in ast.postorder(read(folder / "bound.json").functions["main"]) if isinstance(n, ast.Constant)]
    found = {(c.value.shape, c.value.tobytes()) for c in bound}
    assert params and all((v.shape, v.tobytes()) in found for v in params.values())


def test_text_with_scales_warns_and_json_does_not(data: Path) -> None:
    (warning,) = read(data / "relay/tvm/qnn_int8_nhwc/unbound.relay").warnings
    assert "17 quantisation scales (the first at line 3)" in warning and "save_json" in warning
    assert read(data / "relay/tvm/qnn_int8_nhwc/unbound.json").warnings == ()
    assert read(data / "relay/tvm/lenet_fp32/bound.relay").warnings == ()


def test_the_library_without_its_constants_is_refused(data: Path) -> None:
    with pytest.raises(
        ModelError, match=r"src/default\.relay, line 3: meta\[relay\.Constant\]\[0\], but the file has no"
    ):
        read(data / "relay/mlf/qnn_int8_nhwc")
