"""Policies and options that do not fit: refused in one line that says what, where, and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcutrain.planner.errors import PolicyError
from mcutrain.planner.policy import Policy, Update, named
from mcutrain.tvm_ext.model import Model
from mcutrain.tvm_ext.train.training import train


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ([Update("blocks.7.pointwise1")], ["blocks.7.pointwise1", "first_conv"]),
        ([Update("10")], ["10", "0 to 9"]),
        ([Update("-1")], ["-1", "0 to 9"]),
        ([Update("classifier")], ["classifier"]),
        ([Update("first_conv", weight_ratio=1.01)], ["first_conv", "1.01", "between 0 and 1"]),
        ([Update("first_conv", weight_ratio=-0.1)], ["first_conv", "-0.1"]),
        ([Update("first_conv", weight_ratio=float("nan"))], ["first_conv", "nan"]),
        ([Update("first_conv", select="best")], ["first_conv", "best", "magnitude or first"]),
        ([Update("first_conv"), Update("0")], ["first_conv", "twice", "merge"]),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(tiny_model: Model, updates: list[Update], words: list[str]) -> None:
    with pytest.raises(PolicyError) as refused:
        train(tiny_model, Policy("mine", tuple(updates)))
    message = str(refused.value)
    assert all(w in message for w in words) and "\n" not in message, message


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("49kb", ["49kb", "10 layers before its head", "bias_only", "last_k=K", "inference"]),
        ("last_k=11", ["last_k=11", "0 to 10"]),
        ("last_k=x", ["last_k=x", "number"]),
        ("last_k=", ["last_k=", "number"]),
        ("last_k=-1", ["last_k=-1"]),
        ("nowhere.json", ["nowhere.json", "readable JSON"]),
    ],
)
def test_an_unknown_scheme_tells_what_there_is(tiny_model: Model, scheme: str, words: list[str]) -> None:
    with pytest.raises(PolicyError) as refused:
        named(scheme, tiny_model.layers)
    message = str(refused.value)
    assert all(w in message for w in words) and "\n" not in message, message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["not JSON"]),
        ("{}", ["list of objects"]),
        ("[3]", ["entry 1: it is 3, not an object", "use layer, bias, weight, select"]),
        ('[{"layer": 0}, {"bias": true}]', ["entry 2: layer is missing"]),
        ('[{"layer": null}]', ["entry 1 (layer None): layer is null, not a string or a whole number"]),
        ('[{"layer": 0, "wight": 1}]', ["entry 1 (layer 0): wight is unknown", "layer, bias, weight, select"]),
        ('[{"layer": 0, "bias": 1}]', ["entry 1 (layer 0): bias is 1, not true or false"]),
        ('[{"layer": 0, "weight": "all"}]', ["entry 1", "weight is 'all', not a number from 0 to 1"]),
        ('[{"layer": 0, "weight": true}]', ["entry 1", "weight is true, not a number from 0 to 1"]),
        ('[{"layer": 0, "weight": NaN}]', ["entry 1", "weight is NaN, not a number from 0 to 1"]),
        ('[{"layer": 0, "select": "best"}]', ["entry 1", "select is 'best', not one of magnitude, first"]),
    ],
)
def test_a_policy_file_is_refused_by_entry(tiny_model: Model, tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(PolicyError) as refused:
        named(str(path), tiny_model.layers)
    message = str(refused.value)
    assert str(path) in message and all(w in message for w in words) and "\n" not in message, message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"momentum": 1.0}, ["momentum 1.0", "[0, 1)"]),
        ({"momentum": -0.1}, ["momentum -0.1"]),
        ({"momentum": float("nan")}, ["momentum nan"]),
        ({"accumulate": 0}, ["accumulate 0", "1 "]),
    ],
)
def test_optimiser_options_are_checked(tiny_model: Model, options: dict, words: list[str]) -> None:
    with pytest.raises(PolicyError) as refused:
        train(tiny_model, named("head_only", tiny_model.layers), **options)
    assert all(w in str(refused.value) for w in words)
