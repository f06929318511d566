"""Every gradient rule in one chain: finite differences of the straight-through network in float64, all parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mcutrain import frontends
from mcutrain.planner.errors import ModelError
from mcutrain.planner.policy import Policy, Update, named
from mcutrain.tvm_ext.dialect import OPS, call
from mcutrain.tvm_ext.function import FunctionBuilder
from mcutrain.tvm_ext.lower.graph import Lowered, lower
from mcutrain.tvm_ext.train.rules import require_rules
from mcutrain.tvm_ext.train.training import LABEL, train
from tests.tiny_network import CLASSES, LAYERS, SIZE, random_image, tiny_network, write_network
from tests.tvm_ext.support.run_step import execute
from tests.tvm_ext.train.straight_through import Network, directional_derivative

LABEL_VALUE = 2
SLICES = Policy(
    "slices",
    (
        Update("first_conv", weight_ratio=0.67),
        Update("blocks.0.pointwise1", weight_ratio=0.5),
        Update("blocks.0.depthwise", weight_ratio=0.25),
        Update("blocks.0.pointwise2", bias=False, weight_ratio=0.3, select="first"),
        Update("blocks.1.depthwise", weight_ratio=0.5),
        Update("blocks.2.pointwise1", weight_ratio=0.5),
        Update("blocks.2.pointwise2", weight_ratio=1.0),
    ),
)


@dataclass(frozen=True)
class Case:
    """A training step that has run, its gradients by parameter, and the float64 network at the same point."""

    lowered: Lowered
    tensors: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    network: Network
    logits: np.ndarray


@pytest.fixture(scope="module", params=["float head, everything trains", "int8 head, slices"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    pickled = tiny_network(3)
    path = write_network(pickled, tmp_path_factory.mktemp("gradients") / "tiny.pkl")
    is_float = request.param.startswith("float")
    given = {"x": random_image(4)[None], LABEL: np.array([LABEL_VALUE], np.int32)}
    if is_float:
        model = frontends.load(path, SIZE, CLASSES)
        rng = np.random.default_rng(0)
        head = rng.normal(0, 0.3, (CLASSES, 12)).astype(np.float32), rng.normal(0, 0.1, CLASSES).astype(np.float32)
        given |= {"classifier.weight": head[0], "classifier.bias": head[1]}
        lowered = lower(train(model, named("full", model.layers)))
    else:
        head = CLASSES
        lowered = lower(train(frontends.load(path, SIZE, CLASSES, "int8-slice", "dequantized"), SLICES))
    step = lowered.train_step
    tensors = execute(lowered, step, given)
    names = [c.gradient_of for c in step.calls if c.gradient_of]
    found = {p.name: tensors[n] for p, n in zip(lowered.training.parameters, names, strict=True)}
    network = Network(pickled, head, raw_logits=False)
    return Case(lowered, tensors, found, network, network.at(given["x"]))


def test_forward_and_loss_are_those_of_the_reference(case: Case) -> None:
    step, model = case.lowered.train_step, case.lowered.training.model
    q = case.tensors[step.logits].reshape(-1).astype(np.float64)
    np.testing.assert_allclose((q - model.logits_zero) * model.logits_scale, case.logits, rtol=1e-6, atol=1e-6)
    loss = case.network.loss({}, LABEL_VALUE)
    np.testing.assert_allclose(case.tensors[step.loss], loss, rtol=1e-6)
    shut = {name for name, values in case.network.base.items() if name != "mean" and np.any(values[2] == 0)}
    assert shut >= {layer for layer in LAYERS if not layer.endswith("pointwise2")} | {"blocks.0.residual"}


def test_every_parameter_has_the_gradient_of_finite_differences(case: Case) -> None:
    """Six elements and two random directions a tensor, to 2e-5 of the tensor's largest gradient."""
    checked = 0
    for parameter in case.lowered.training.parameters:
        g = case.gradients[parameter.name].astype(np.float64)
        assert np.abs(g).max() > 0, parameter.name
        rng = np.random.default_rng(len(parameter.name))
        directions = [rng.normal(size=g.shape) for _ in range(2)]
        for element in [int(np.abs(g).argmax()), *rng.integers(0, g.size, 5)]:
            directions.append(np.zeros(g.shape))
            directions[-1].reshape(-1)[element] = 1
        for direction in directions:
            whole = spread(case.lowered, parameter, direction)
            expected = directional_derivative(case.network, parameter.name, whole, LABEL_VALUE)
            ours = float((g * direction).sum())
            tolerance = 2e-5 * np.abs(g).max() * np.abs(direction).sum() ** 0.5
            assert abs(ours - expected) <= tolerance, (parameter.name, ours, expected)
            checked += 1
    assert checked == 8 * len(case.gradients)


def spread(lowered: Lowered, parameter, direction: np.ndarray) -> np.ndarray:
    """A direction of the trained slice as one of the whole tensor, as the reference stores it."""
    if parameter.channels is None or not parameter.is_weight:
        return direction
    layers = {layer.name: layer for layer in lowered.training.model.layers}
    oihw = layers[parameter.name.removesuffix(".weight")].weight
    channels = list(parameter.channels)
    if parameter.depthwise:
        whole = np.zeros(oihw[:, 0].shape)
        whole[channels] = direction
        return whole
    whole = np.zeros(oihw.transpose(0, 2, 3, 1).shape)
    whole[..., channels] = direction
    return whole


def test_the_chain_holds_every_rule(case: Case) -> None:
    """Every rule that this network needs went through the finite differences above."""
    kinds = {c.kind.removesuffix("_with_mask") for c in case.lowered.train_step.calls}
    assert {"qconv2d", "qadd", "qmean", "cross_entropy"} <= kinds
    assert ("dense" in kinds) == (case.lowered.training.model.head == "float")
    assert {c.layer for c in case.lowered.train_step.calls} >= {*LAYERS, "classifier", "loss", "global_pool"}


@pytest.mark.parametrize("kind", ["take_channels", "conv2d_bias_grad", "spread"])
def test_an_op_without_a_rule_names_the_layer(kind: str) -> None:
    """What trains upstream of it is refused with the layer, the op, and what to do."""
    assert OPS[kind].gradient is None
    builder = FunctionBuilder()
    weight, bias, scale = (
        builder.param(n, s, d)
        for n, s, d in (("weight", [4, 1, 1], "int8"), ("bias", [4], "int32"), ("scale", [4], "float32"))
    )
    x, slot = builder.param("x", [1, 1, 1, 4], "int8"), builder.param("slot", [4], "float32")
    w, b = builder.param("w", [3, 4], "float32"), builder.param("b", [3], "float32")
    label = builder.param("label", [1], "int32")
    window = {
        "kernel": [1, 1],
        "stride": [1, 1],
        "padding": [0] * 4,
        "depthwise": True,
        "trained_channels": [],
        "slots": "b",
    }
    attrs = {"in_zero": 0, "out_zero": 0, "lo": -128, "hi": 127, "in_scale": 1.0, "out_scale": 1.0, "layer": "conv"}
    y = builder.emit(call("qconv2d", [x, weight, bias, scale, slot], **window, **attrs), "y")
    extra = {"channels": [0, 1, 2, 3], "shape": [1, 1, 1, 4]}
    strange = builder.emit(call(kind, [y], layer="stage.7 strange", **extra), "strange")
    logits = builder.emit(call("dense", [strange, w, b], in_scale=1.0, in_zero=0, layer="head"), "logits")
    loss_attrs = {"scale": 1.0, "zero": 0, "dtype": "float32", "layer": "loss"}
    loss = builder.emit(call("cross_entropy", [logits, label], **loss_attrs), "loss")
    function = builder.finish("loss", [loss], list(builder.params.values()))
    require_rules(function, [w, b])  # behind the strange op: nothing is missing
    with pytest.raises(ModelError) as refused:
        require_rules(function, [slot])
    message = str(refused.value)
    assert "stage.7 strange" in message and kind in message and "last_k" in message and "\n" not in message
