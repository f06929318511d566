"""Every field of a bad network file is refused in one line that names the file, the place and the key."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain import frontends
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.conv_params import read_conv
from tests.tiny_network import CLASSES, SIZE, tiny_network, write_network

CONVS = ("first_conv", "pointwise1", "depthwise", "pointwise2", "classifier")


def entry_of(network: dict, kind: str) -> dict:
    return network[kind] if kind in network else network["blocks"][1][kind]


def place_of(kind: str) -> str:
    return kind if kind in ("first_conv", "classifier") else f"blocks.1.{kind}"


def refusal(network: object, folder: Path, *words: str, **options: object) -> str:
    """The network is refused in one line with the file and every one of `words`."""
    path = write_network(network, folder / "bad.pkl")
    with pytest.raises(ModelError) as refused:
        frontends.load(path, **{"input_size": SIZE, "classes": CLASSES, "head": "int8-slice", **options})
    message = str(refused.value)
    assert "\n" not in message and len(message) < 400 and str(path) in message, message
    assert all(word in message for word in words), (words, message)
    return message


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("key", ["params", "kernel_size", "stride", "groups", "in_channel", "out_channel"])
def test_a_missing_key_of_a_layer(kind: str, key: str, tmp_path: Path) -> None:
    network = tiny_network()
    del entry_of(network, kind)[key]
    refusal(network, tmp_path, place_of(kind), key)


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("key", ["weight", "bias", "x_scale", "x_zero", "y_scale", "y_zero", "w_scales"])
def test_a_missing_parameter(kind: str, key: str, tmp_path: Path) -> None:
    network = tiny_network()
    del entry_of(network, kind)["params"][key]
    refusal(network, tmp_path, place_of(kind), key, "missing")


@pytest.mark.parametrize("key", ["first_conv", "blocks", "classifier"])
@pytest.mark.parametrize("value", ["absent", None, 3, [1], "text"])
def test_a_bad_top_level(key: str, value: object, tmp_path: Path) -> None:
    network = tiny_network()
    network[key] = value
    if value == "absent":
        del network[key]
    refusal(network, tmp_path, key if value != [1] or key != "blocks" else "blocks.0")


@pytest.mark.parametrize("key", ["x_scale", "x_zero", "y_scale", "y_zero"])
def test_a_missing_parameter_of_a_residual(key: str, tmp_path: Path) -> None:
    network = tiny_network()
    del network["blocks"][2]["residual"]["params"][key]
    refusal(network, tmp_path, "blocks.2.residual", key, "missing")


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


SCALES = [0, 0.0, -1.0, float("nan"), float("inf"), 1e-60, 1e60, "1", True, None, np.zeros(3), [1.0], 10**5000]
ZEROS = [-129, 128, 1.5, "3", True, None, np.zeros((9, 9)), 10**5000, nested(3000), 2**70]


@pytest.mark.parametrize("value", SCALES, ids=lambda v: str(type(v).__name__))
@pytest.mark.parametrize("key", ["x_scale", "y_scale"])
def test_a_bad_scale(key: str, value: object, tmp_path: Path) -> None:
    for kind in ("first_conv", "depthwise"):
        network = tiny_network()
        entry_of(network, kind)["params"][key] = value
        refusal(network, tmp_path, place_of(kind), key)
    network = tiny_network()
    network["blocks"][0]["residual"]["params"][key] = value
    refusal(network, tmp_path, "blocks.0.residual", key)


@pytest.mark.parametrize("value", ZEROS, ids=lambda v: str(type(v).__name__))
@pytest.mark.parametrize("key", ["x_zero", "y_zero"])
def test_a_bad_zero_point(key: str, value: object, tmp_path: Path) -> None:
    network = copy.deepcopy(tiny_network()) if not isinstance(value, list) else tiny_network()
    entry_of(network, "pointwise2")["params"][key] = value
    if isinstance(value, list):  # too deep for the pickler; for the field reader it is as good
        with pytest.raises(ModelError, match=f"^pw: '{key}' is a list"):
            read_conv(entry_of(network, "pointwise2"), "pw")
        return
    refusal(network, tmp_path, place_of("pointwise2"), key)


@pytest.mark.parametrize("value", [0.0, -0.5, np.nan, np.inf, -np.inf])
def test_a_bad_weight_scale(value: float, tmp_path: Path) -> None:
    network = tiny_network()
    network["first_conv"]["params"]["w_scales"][3] = value
    refusal(network, tmp_path, "first_conv", "w_scales", "positive and finite")


def test_scales_whose_quotient_leaves_float32(tmp_path: Path) -> None:
    """Each scale is a good number; s_x * s_w / s_y is not."""
    network = tiny_network()
    network["first_conv"]["params"]["w_scales"][2] = 1e38
    network["first_conv"]["params"]["y_scale"] = 1e-6
    refusal(network, tmp_path, "first_conv", "scale")


DTYPES = [
    ("weight", np.float32),
    ("weight", np.uint8),
    ("weight", np.int16),
    ("bias", np.int64),
    ("bias", np.float32),
    ("w_scales", np.float64),
    ("w_scales", np.int32),
]


@pytest.mark.parametrize(("key", "dtype"), DTYPES)
@pytest.mark.parametrize("kind", ["first_conv", "depthwise", "classifier"])
def test_a_wrong_dtype(kind: str, key: str, dtype: type, tmp_path: Path) -> None:
    network = tiny_network()
    params = entry_of(network, kind)["params"]
    params[key] = params[key].astype(dtype)
    refusal(network, tmp_path, place_of(kind), key, np.dtype(dtype).name)


def change(kind: str, key: str, function: Callable) -> Callable:
    """A damage of params[key], or of the entry's own key."""

    def damage(network: dict) -> None:
        entry = entry_of(network, kind)
        mapping = entry["params"] if key in entry["params"] else entry
        mapping[key] = function(mapping[key])

    return damage


SHAPES = {
    "weight of 2 dimensions": (change("first_conv", "weight", lambda w: w[:, :, 0, 0]), "first_conv"),
    "weight of no filters": (change("first_conv", "weight", lambda w: w[:0]), "data.pkl"),
    "fewer filters than biases": (change("first_conv", "weight", lambda w: w[:-1]), "first_conv"),
    "bias of 2 dimensions": (change("pointwise1", "bias", lambda b: b[None]), "blocks.1.pointwise1"),
    "scale for one filter": (change("pointwise1", "w_scales", lambda s: s[:1]), "blocks.1.pointwise1"),
    "even kernel": (change("first_conv", "weight", lambda w: w[:, :, :2, :2]), "first_conv"),
    "kernel that is not square": (change("first_conv", "weight", lambda w: w[:, :, :1]), "first_conv"),
    "kernel_size of another weight": (change("first_conv", "kernel_size", lambda _: (5, 5)), "first_conv"),
    "kernel_size of arrays": (change("first_conv", "kernel_size", lambda _: (np.zeros(3), 3)), "first_conv"),
    "kernel_size of long numbers": (change("first_conv", "kernel_size", lambda _: (10**5000, 3)), "first_conv"),
    "kernel_size as a list": (change("first_conv", "kernel_size", list), "first_conv"),
    "fewer input channels": (change("pointwise1", "weight", lambda w: w[:, :-1]), "blocks.1.pointwise1"),
    "other in_channel": (change("pointwise1", "in_channel", lambda n: n + 1), "blocks.1.pointwise1"),
    "other out_channel": (change("depthwise", "out_channel", lambda n: n + 1), "blocks.1.depthwise"),
    "two groups": (change("pointwise1", "groups", lambda _: 2), "blocks.1.pointwise1"),
    "no groups": (change("pointwise1", "groups", lambda _: 0), "blocks.1.pointwise1"),
    "stride 0": (change("depthwise", "stride", lambda _: 0), "blocks.1.depthwise"),
    "stride 17": (change("depthwise", "stride", lambda _: 17), "blocks.1.depthwise"),
    "stride of a pair": (change("depthwise", "stride", lambda _: (2, 2)), "blocks.1.depthwise"),
    "another scale than reaches it": (change("depthwise", "x_scale", lambda s: s * 1.01), "blocks.1.depthwise"),
    "another zero than reaches it": (change("depthwise", "x_zero", lambda z: z + 1), "blocks.1.depthwise"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parts_that_do_not_fit(name: str, tmp_path: Path) -> None:
    damage, where = SHAPES[name]
    network = tiny_network()
    damage(network)
    refusal(network, tmp_path, where)


def test_a_residual_that_does_not_fit(tmp_path: Path) -> None:
    network = tiny_network()
    network["blocks"][1]["residual"] = network["blocks"][0]["residual"]
    refusal(network, tmp_path, "blocks.1.residual", "shapes must be equal")
    network = tiny_network()
    network["blocks"][0]["residual"]["params"]["x_zero"] += 1
    refusal(network, tmp_path, "blocks.0.residual", "zero point")


@pytest.mark.parametrize(("key", "where"), [("feature_mix", "feature_mix"), ("se", "blocks.1.se")])
def test_what_is_not_supported_says_so(key: str, where: str, tmp_path: Path) -> None:
    network = tiny_network()
    (network if key == "feature_mix" else network["blocks"][1])[key] = {"params": {}}
    refusal(network, tmp_path, where, "not supported", "export")


def test_a_network_that_holds_itself(tmp_path: Path) -> None:
    network = tiny_network()
    network["blocks"][1] = network
    refusal(network, tmp_path, "blocks.1", "holds no layer")
    network = tiny_network()
    network["blocks"][1]["depthwise"] = network["blocks"][1]
    refusal(network, tmp_path, "blocks.1.depthwise", "params")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "other"}, ["head 'other'", "model, float, int8-slice"]),
        ({"logits": "other"}, ["logits 'other'", "raw, dequantized"]),
        ({"input_size": 0}, ["input size 0"]),
        ({"classes": 1}, ["1 classes"]),
    ],
)
def test_bad_options(options: dict, words: list[str], tiny_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        frontends.load(tiny_path, **options)
    message = str(refused.value)
    assert all(word in message for word in words) and "\n" not in message


def test_more_classes_than_the_file_has(tmp_path: Path) -> None:
    refusal(tiny_network(), tmp_path, "classifier", "6 classes", "float head", classes=7)
