"""What the network importer builds: layers, layouts, heads, and biases that cannot wrap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcutrain import frontends
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import attrs_of, op_name, shape_of
from mcutrain.tvm_ext.function import calls_of
from mcutrain.tvm_ext.importers.base.conv_params import read_conv, safe_bias
from mcutrain.tvm_ext.model import NETWORK, from_oihw, to_oihw
from tests.tiny_network import CLASSES, LAYERS, SIZE, tiny_network, write_network
from tests.tvm_ext.support import reference


@pytest.mark.parametrize("head", ["float", "int8-slice"])
def test_the_tiny_network(tiny_path: Path, head: str) -> None:
    network, model = tiny_network(), frontends.load(tiny_path, SIZE, CLASSES, head)
    assert [layer.name for layer in model.layers] == [*LAYERS, "classifier"]
    assert [layer.is_head for layer in model.layers] == [False] * len(LAYERS) + [True]
    assert model.input_shape == (1, SIZE, SIZE, 3) and model.classes == CLASSES
    ops = [(op_name(c), attrs_of(c)["layer"]) for c in calls_of(model.module[NETWORK])]
    last = "dense" if head == "float" else "qconv2d"
    assert ops == [
        *(("qconv2d", n) for n in LAYERS[:4]),
        ("qadd", "blocks.0.residual"),
        *(("qconv2d", n) for n in LAYERS[4:]),
        ("qadd", "blocks.2.residual"),
        ("qmean", "global_pool"),
        (last, "classifier"),
    ]
    p = network["blocks"][1]["depthwise"]["params"]
    np.testing.assert_array_equal(model.params["blocks.1.depthwise.weight"], p["weight"][:, 0])
    np.testing.assert_array_equal(model.params["blocks.1.depthwise.bias"], p["bias"])
    expected = (np.float64(p["x_scale"]) * p["w_scales"].astype(np.float64) / p["y_scale"]).astype(np.float32)
    np.testing.assert_array_equal(model.params["blocks.1.depthwise.scale"], expected)
    depthwise = calls_of(model.module[NETWORK])[6]
    assert shape_of(depthwise) == [1, 4, 4, 16] and attrs_of(depthwise)["padding"] == [2] * 4


def test_heads(tiny_path: Path) -> None:
    network = tiny_network()
    sliced = frontends.load(tiny_path, SIZE, 3, "int8-slice")
    weight = network["classifier"]["params"]["weight"]
    np.testing.assert_array_equal(sliced.params["classifier.weight"][:, 0, 0], weight[:3, :, 0, 0])
    assert not sliced.params["classifier.bias"].any() and (sliced.logits_scale, sliced.logits_zero) == (1.0, 0)
    p = network["classifier"]["params"]
    scaled = frontends.load(tiny_path, SIZE, 3, "int8-slice", "dequantized")
    assert (scaled.logits_scale, scaled.logits_zero) == (p["y_scale"], p["y_zero"])
    fresh = frontends.load(tiny_path, SIZE, 200, "float")
    assert fresh.params["classifier.weight"].shape == (200, 12) and not fresh.params["classifier.weight"].any()


def test_layouts_are_inverses() -> None:
    rng = np.random.default_rng(0)
    dense, depthwise = rng.integers(-9, 9, (4, 3, 5, 5)), rng.integers(-9, 9, (4, 1, 3, 3))
    np.testing.assert_array_equal(to_oihw(from_oihw(dense, False)), dense)
    np.testing.assert_array_equal(to_oihw(from_oihw(depthwise, True)), depthwise)
    assert from_oihw(dense, False).shape == (4, 5, 5, 3) and from_oihw(depthwise, True).shape == (4, 3, 3)


def test_minus_128_stays_as_it_is(tmp_path: Path) -> None:
    """Weights are symmetric by rule, but a file that breaks it computes what it says."""
    network = tiny_network()
    network["first_conv"]["params"]["weight"][0, 0, 0, 0] = -128
    model = frontends.load(write_network(network, tmp_path / "x.pkl"), SIZE, CLASSES)
    assert model.params["first_conv.weight"].min() == -128


# --------------------------------------------------------------------------- dead channels
def dead_channel(bias: int, scale: float, y_zero: int = -100) -> dict:
    """first_conv of the tiny network whose channel 2 is dead: a scale near zero and a bias at the end of int32."""
    entry = tiny_network()["first_conv"]
    entry["params"]["bias"][2] = bias
    entry["params"]["w_scales"][2] = scale
    entry["params"]["y_zero"] = y_zero
    return entry


@pytest.mark.parametrize("bias", [2**31 - 1, -(2**31), 2**31 - 1000])
def test_the_bias_of_a_dead_channel_cannot_wrap(bias: int) -> None:
    """Pulled in so far that no sum leaves int32, with the outputs of the float32 rule at both ends of the range."""
    conv = read_conv(dead_channel(bias, 4e-12), "first_conv")
    pulled = safe_bias(conv, -128, 127, "first_conv")
    reach = np.full(len(pulled), 128 * conv.weight[0].size * max(127 - conv.x_zero, conv.x_zero + 128))
    assert (np.abs(pulled.astype(np.int64)) + reach < 2**31).all()
    assert pulled[2] != bias and np.array_equal(np.delete(pulled, 2), np.delete(conv.bias, 2))
    attrs = {"out_zero": conv.y_zero, "lo": -128, "hi": 127}
    for acc in (-reach[2], 0, reach[2]):
        true = np.clip(np.rint((np.float32(acc) + np.float32(bias)) * conv.requantise[2]) + conv.y_zero, -128, 127)
        ours = reference.requantise(np.array([acc + int(pulled[2])]), conv.requantise[2:3], attrs)
        assert reference.clamp(ours, attrs)[0] == true


def test_a_living_channel_whose_bias_wraps_is_refused(tmp_path: Path) -> None:
    """bias * scale lies on a half: the products decide the output, and no bias inside int32 keeps all of them."""
    network = tiny_network()
    params = network["first_conv"]["params"]
    params["bias"][2] = 2**31 - 1
    params["w_scales"][2] = 200.5 / 2**31 * params["y_scale"] / params["x_scale"]
    with pytest.raises(ModelError, match="first_conv: channel 2: bias 2147483647 leaves int32"):
        frontends.load(write_network(network, tmp_path / "x.pkl"), SIZE, CLASSES)
