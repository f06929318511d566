"""The training graph's shape: what a policy leaves of the backward pass, as graphs before and after."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

from mcutrain.planner.policy import Layer, Policy, Update, named
from mcutrain.tvm_ext.dialect import attrs_of, call, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, calls_of, flatten
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.train.training import Training, inference, train
from tests.tiny_network import LAYERS

WINDOW = {"kernel": [1, 1], "stride": [1, 1], "padding": [0] * 4, "depthwise": False, "trained_channels": []}
CONV = {**WINDOW, "layer": "conv", "in_zero": 3, "out_zero": -5, "lo": -128, "hi": 127, "in_scale": 0.5}
CONV |= {"out_scale": 0.25, "slots": ""}
DENSE = {"in_scale": 0.25, "in_zero": -5, "layer": "classifier"}
LOSS = {"scale": 1.0, "zero": 0, "dtype": "float32", "layer": "loss"}
SGD = {"momentum": 0.0, "every": 1, "channels": []}


def before() -> Model:
    """A 1x1 convolution 3 -> 4 on 2x2 pixels, mean, float head of 2 classes."""
    b = FunctionBuilder()
    values = {"conv.weight": np.ones((4, 1, 1, 3), np.int8), "conv.bias": np.zeros(4, np.int32)}
    values |= {"conv.scale": np.full(4, 0.125, np.float32)}
    values |= {"classifier.weight": np.zeros((2, 4), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    x = b.param("x", [1, 2, 2, 3], "int8")
    p = {n: b.param(n, v.shape, str(v.dtype)) for n, v in values.items()}
    y = b.emit(call("qconv2d", [x, p["conv.weight"], p["conv.bias"], p["conv.scale"]], **CONV), "conv")
    pooled = b.emit(call("qmean", [y], layer="pool"), "pool")
    logits = b.emit(call("dense", [pooled, p["classifier.weight"], p["classifier.bias"]], **DENSE), "classifier")
    module = tvm.IRModule({NETWORK: b.finish(NETWORK, [logits], list(b.params.values()))})
    layers = (
        Layer("conv", values["conv.weight"].transpose(0, 3, 1, 2), False),
        Layer("classifier", np.zeros((2, 4, 1, 1), np.float32), False, True),
    )
    return Model("small", module, values, layers, (1, 2, 2, 3), 0.5, 3, 2, "float", 1.0, 0)


def expected_bias_only() -> relax.Function:
    """What `bias_only` must make of it: one mask, no weight gradient, no gradient of x, updates in place."""
    b = FunctionBuilder()
    x, label = b.param("x", [1, 2, 2, 3], "int8"), b.param("label", [1], "int32")
    shapes = {"weight": ([4, 1, 1, 3], "int8"), "bias": ([4], "int32"), "scale": ([4], "float32")}
    w, bias, scale = (b.param(f"conv.{n}", *s) for n, s in shapes.items())
    head, head_bias = b.param("classifier.weight", [2, 4], "float32"), b.param("classifier.bias", [2], "float32")
    rates, counter = b.param("learning_rate", [2], "float32"), b.param("counter", [2], "uint32")
    settings = b.param("conv.bias.update", [3], "uint32")
    both = b.emit(call("qconv2d_with_mask", [x, w, bias, scale], **CONV), "both")
    mask = b.emit(relax.TupleGetItem(both, 1), "mask")
    y = b.emit(relax.TupleGetItem(both, 0), "y")
    pooled = b.emit(call("qmean", [y], layer="pool"), "pool")
    logits = b.emit(call("dense", [pooled, head, head_bias], **DENSE), "logits")
    loss = b.emit(call("cross_entropy", [logits, label], **LOSS), "loss")
    g_logits = b.emit(call("cross_entropy_grad", [logits, label], **LOSS), "g_logits")
    g_pooled = b.emit(call("dense_input_grad", [g_logits, head], shape=[1, 1, 1, 4], **DENSE), "g_pooled")
    g_head = b.emit(call("dense_weight_grad", [pooled, g_logits], shape=[2, 4], **DENSE), "g_head")
    g_y = b.emit(call("spread", [g_pooled], shape=[1, 2, 2, 4], layer="pool"), "g_y")
    g_acc = b.emit(call("mask_scale", [g_y, mask, scale], layer="conv"), "g_acc")
    g_bias = b.emit(call("conv2d_bias_grad", [g_acc], layer="conv"), "g_bias")
    new = [
        b.emit(call("sgd", [bias, g_bias, scale, settings, rates, counter], **SGD, **UPDATES["conv.bias"]), "n0"),
        b.emit(call("sgd", [head, g_head, rates, counter], **SGD, **UPDATES["classifier.weight"]), "n1"),
        b.emit(call("sgd", [head_bias, g_logits, rates, counter], **SGD, **UPDATES["classifier.bias"]), "n2"),
        b.emit(call("next_step", [counter], layer="counter"), "n3"),
    ]
    params = [x, label, w, bias, scale, head, head_bias, rates, counter, settings]
    return b.finish("train_step", [loss, logits, *new], params)


UPDATES = {
    "conv.bias": {"layer": "conv.bias", "dtype": "int32", "rate": 0},
    "classifier.weight": {"layer": "classifier.weight", "dtype": "float32", "rate": 1},
    "classifier.bias": {"layer": "classifier.bias", "dtype": "float32", "rate": 1},
}


def listing(function: relax.Function) -> Counter:
    """(op, layer, layers or parameters that it reads) of every call: the graph without its order."""
    origin = {p: p.name for p in function.params}
    lines = Counter()
    for block in function.body.blocks:
        for binding in block.bindings:
            value = binding.value
            if isinstance(value, relax.Call):
                attrs = {k: str(v) for k, v in attrs_of(value).items()}
                reads = tuple(origin[a] for a in value.args)
                origin[binding.var] = f"{op_name(value)} of {attrs.get('layer')}"
                lines[op_name(value), tuple(sorted(attrs.items())), reads] += 1
            elif isinstance(value, relax.TupleGetItem):
                origin[binding.var] = f"{origin[value.tuple_value]}[{value.index}]"
            elif isinstance(value, relax.Var):
                origin[binding.var] = origin[value]
    lines["results", tuple(origin[v] for v in flatten(function.body.body))] += 1
    return lines


def test_bias_only_before_and_expected() -> None:
    model = before()
    ours = train(model, named("bias_only", model.layers)).module["train_step"]
    expected = expected_bias_only()
    assert listing(ours) == listing(expected)
    assert [p.name for p in ours.params] == [p.name for p in expected.params]
    assert [shape_of(p) for p in ours.params] == [shape_of(p) for p in expected.params]


def test_inference_is_the_model_itself() -> None:
    model = before()
    training = inference(model)
    assert [v.name_hint for v in training.module.functions] == ["infer"]
    assert listing(training.module["infer"]) == listing(model.module[NETWORK])
    assert training.parameters == () and dict(training.values) == dict(model.params)


# --------------------------------------------------------------------------- the tiny network under every policy
BACKWARD = ("mask_scale", "mask_scale_by", "take_channels", "conv2d_bias_grad", "conv2d_weight_grad")
BACKWARD += ("conv2d_input_grad", "spread", "relax.add")


def calls(training: Training, *kinds: str) -> list[relax.Call]:
    return [c for c in calls_of(training.module["train_step"]) if not kinds or op_name(c) in kinds]


def layers_of(training: Training, *kinds: str) -> list[str]:
    return [attrs_of(c)["layer"] for c in calls(training, *kinds)]


def trained(model: Model, scheme: str | Policy, **options) -> Training:
    return train(model, named(scheme, model.layers) if isinstance(scheme, str) else scheme, **options)


def test_head_only_has_no_backward_in_the_network(tiny_model: Model) -> None:
    training = trained(tiny_model, "head_only")
    assert not calls(training, *BACKWARD, "dense_input_grad", "qconv2d_with_mask", "qadd_with_mask")
    assert [p.name for p in training.parameters] == ["classifier.weight", "classifier.bias"]
    assert len(calls(training, "sgd")) == 2


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9, 10])
def test_nothing_upstream_of_the_first_trained_layer(tiny_model: Model, k: int) -> None:
    """The first trained layer has gradients of its parameters, and no gradient of its input."""
    training = trained(tiny_model, f"last_k={k}")
    names = list(LAYERS[-k:])
    assert [p.name for p in training.parameters if p.name.endswith(".bias")] == [
        *(f"{n}.bias" for n in names),
        "classifier.bias",
    ]
    assert sorted(layers_of(training, "conv2d_weight_grad")) == sorted(names)
    assert sorted(layers_of(training, "mask_scale")) == sorted(names)
    assert sorted(layers_of(training, "conv2d_input_grad")) == sorted(names[1:])
    masked = layers_of(training, "qconv2d_with_mask")
    assert sorted(masked) == sorted(names) and len(masked) == len(set(masked))
    assert sorted(layers_of(training, "qconv2d")) == sorted(set(LAYERS) - set(names))
    residuals = {"blocks.2.residual"} if k < 8 else {"blocks.0.residual", "blocks.2.residual"}
    assert set(layers_of(training, "qadd_with_mask")) == residuals
    assert set(layers_of(training, "qadd")) == {"blocks.0.residual", "blocks.2.residual"} - residuals


def test_adjoints_are_summed_where_branches_met(tiny_model: Model) -> None:
    """Two residual blocks: two sums when both branches train, none when the shortcut has nothing behind it."""
    full = trained(tiny_model, "full")
    assert len(calls(full, "relax.add")) == 2
    assert sorted(layers_of(full, "mask_scale_by")) == sorted(["blocks.0.residual", "blocks.2.residual"] * 2)
    # the block's own three layers train: the shortcut's adjoint has no reader
    last = trained(tiny_model, "last_k=3")
    assert not calls(last, "relax.add") and layers_of(last, "mask_scale_by") == ["blocks.2.residual"]
    # one layer before the block: now both branches lead there
    assert len(calls(trained(tiny_model, "last_k=4"), "relax.add")) == 1


def test_bias_only_has_no_weight_gradient(tiny_model: Model) -> None:
    training = trained(tiny_model, "bias_only")
    assert not calls(training, "conv2d_weight_grad", "take_channels")
    assert sorted(layers_of(training, "conv2d_bias_grad")) == sorted(LAYERS)
    assert len(layers_of(training, "conv2d_input_grad")) == len(LAYERS) - 1


@pytest.mark.parametrize("scheme", ["full", "bias_only", "last_k=2", "head_only"])
def test_slots_are_gone_and_ops_are_whole(tiny_model: Model, scheme: str) -> None:
    training = trained(tiny_model, scheme)
    for name in ("infer", "train_step"):
        function = training.module[name]
        assert not [p.name for p in function.params if "slot" in p.name]
        assert {p.name for p in function.params} - {"x", "label"} <= set(training.values)
        kinds = {op_name(c) for c in calls_of(function)}
        assert not kinds & {"qconv2d_mask", "qadd_mask"}
        assert all(not attrs_of(c)["slots"] for c in calls_of(function) if "slots" in attrs_of(c))
    forward = [c for c in calls_of(training.module["infer"]) if op_name(c).startswith("q")]
    assert len(forward) == len(LAYERS) + 3
    results = flatten(training.module["train_step"].body.body)
    assert len(results) == 2 + len(training.parameters) + 1


def test_unused_slices_exist_nowhere(tiny_model: Model) -> None:
    """A sliced weight: frozen and trained part, the slice of x kept, a gradient of the slice's shape alone."""
    name = "blocks.2.pointwise1"  # 12 -> 24
    policy = Policy("slice", (Update(name, bias=False, weight_ratio=0.25),))
    training = trained(tiny_model, policy)
    (parameter, *_) = training.parameters
    layer = next(x for x in tiny_model.layers if x.name == name)
    norms = [sum(int(v) ** 2 for v in layer.weight[:, c].reshape(-1)) for c in range(12)]
    largest = tuple(sorted(sorted(range(12), key=lambda c: -norms[c])[:3]))
    assert parameter.channels == largest and parameter.variable == f"{name}.weight.trained"
    whole = np.ascontiguousarray(layer.weight.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(training.values[f"{name}.weight.trained"], whole[..., largest])
    rest = [c for c in range(12) if c not in largest]
    np.testing.assert_array_equal(training.values[f"{name}.weight.frozen"], whole[..., rest])
    assert f"{name}.weight" not in training.values
    (taken,) = calls(training, "take_channels")
    assert attrs_of(taken)["channels"] == list(largest)
    (gradient,) = calls(training, "conv2d_weight_grad")
    assert shape_of(gradient) == [24, 1, 1, 3]
    assert not calls(training, "conv2d_bias_grad")
    assert layers_of(training, "conv2d_input_grad") == ["blocks.2.pointwise2", "blocks.2.depthwise"]


def test_a_depthwise_slice_keeps_the_weight_whole(tiny_model: Model) -> None:
    name = "blocks.1.depthwise"
    training = trained(tiny_model, Policy("slice", (Update(name, weight_ratio=0.5, select="first"),)))
    (parameter,) = (p for p in training.parameters if p.name == f"{name}.weight")
    assert parameter.channels == tuple(range(8)) and parameter.variable == f"{name}.weight"
    assert training.values[f"{name}.weight"].shape == (16, 5, 5)
    (gradient,) = calls(training, "conv2d_weight_grad")
    assert shape_of(gradient) == [8, 5, 5]
    update = next(c for c in calls(training, "sgd") if attrs_of(c)["layer"] == f"{name}.weight")
    assert attrs_of(update)["channels"] == list(range(8))


def test_layers_by_index_are_layers_by_name(tiny_model: Model, tmp_path: Path) -> None:
    by_index, by_name = tmp_path / "index.json", tmp_path / "name.json"
    by_index.write_text(json.dumps([{"layer": 9, "weight": 1}, {"layer": "4", "bias": False, "weight": 0.5}]))
    entries = [{"layer": LAYERS[9], "weight": 1.0}, {"layer": LAYERS[4], "bias": False, "weight": 0.5}]
    by_name.write_text(json.dumps(entries))
    first, second = (trained(tiny_model, str(p)) for p in (by_index, by_name))
    assert listing(first.module["train_step"]) == listing(second.module["train_step"])
    assert first.parameters == second.parameters
    names = [p.name for p in first.parameters]
    trunk = [f"{LAYERS[4]}.weight", f"{LAYERS[9]}.bias", f"{LAYERS[9]}.weight"]
    assert names == [*trunk, "classifier.weight", "classifier.bias"]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_optimiser_state_is_of_the_gradient_shape(tiny_model: Model, momentum: float, accumulate: int) -> None:
    policy = Policy("slice", (Update("blocks.2.pointwise1", weight_ratio=0.25),))
    training = trained(tiny_model, policy, momentum=momentum, accumulate=accumulate, seed=2**32 + 5)
    added = {n for n in training.values if n.endswith((".velocity", ".accumulator"))}
    wanted = [".velocity"] * bool(momentum) + [".accumulator"] * (accumulate > 1)
    assert added == {p.name + kind for p in training.parameters for kind in wanted}
    for name in added & {"blocks.2.pointwise1.weight.velocity", "blocks.2.pointwise1.weight.accumulator"}:
        assert training.values[name].shape == (24, 1, 1, 3) and training.values[name].dtype == np.float32
    assert training.values["counter"].tolist() == [5, 0]
