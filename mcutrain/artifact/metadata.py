"""Reads what an artifact says of itself: the key `mcutrain` of metadata.json, checked before anything relies on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mcutrain.artifact.folder import METADATA, read_json
from mcutrain.planner.errors import OutputError
from mcutrain.planner.policy import LOSSES

SCHEMA = 1
_DTYPES = ("int8", "int32", "uint8", "uint32", "float32")
_KEYS = {
    "name": str, "model": str, "scheme": str, "board": str, "budget_bytes": int, "classes": int, "loss": str,
    "defines": list,
    "plan": dict, "arena_bytes": int, "input": dict, "logits": dict, "infer_ops": int, "state": list,
    "parameters": list,
}  # fmt: skip
_TRAIN_KEYS = {"ops": int, "logits_offset": int, "loss_offset": int, "learning_rate": dict}
_PARAMETER_KEYS = {
    "name": str, "variable": str, "gradient": int, "gradient_shape": list, "is_weight": bool, "depthwise": bool,
}  # fmt: skip


def read_metadata(out: Path) -> dict[str, Any]:
    """The artifact's description (docs/FORMATS.md). Raises OutputError naming the folder and the first wrong key."""
    own = read_json(out / METADATA, "the artifact's description").get("mcutrain")
    if not isinstance(own, dict) or own.get("schema") != SCHEMA:
        raise OutputError(f"{out}: {METADATA} was not made by this version of mcutrain; compile the model again")
    wrong = next(_faults(own), None)
    if wrong is not None:
        raise OutputError(f"{out}: {METADATA}: {wrong}; compile the model again")
    return own


def _faults(own: dict) -> Iterator[str]:
    """What is wrong, lazily: a later check may rely on the earlier ones."""
    yield from _wrong_keys(own, _KEYS, "mcutrain")
    if own["loss"] not in LOSSES:
        yield f"mcutrain.loss is none of {', '.join(LOSSES)}"
    yield from _wrong_keys(own["plan"], {"height": int, "bound": int, "status": str}, "mcutrain.plan")
    symbols = own.get("symbols", {})
    if not isinstance(symbols, dict) or not all(isinstance(layer, str) for layer in symbols.values()):
        yield "mcutrain.symbols is no object of names"
    places = {"input": own["input"], "logits": own["logits"]}
    places |= {f"state[{i}]": place for i, place in enumerate(own["state"])}
    if "train" not in own:
        yield "mcutrain.train is missing"
    train = own["train"]
    if train is not None:
        yield from _wrong_keys(train, _TRAIN_KEYS, "mcutrain.train")
        loss = {"offset": train["loss_offset"], "shape": [1], "dtype": "float32"}
        logits = {**own["logits"], "offset": train["logits_offset"]}
        if own["loss"] != "autoencoder":
            places["train.label"] = train.get("label")
        places |= {"learning_rate": train["learning_rate"], "loss": loss, "output": logits}
    for name, place in places.items():
        yield from _wrong_place(place, own["arena_bytes"], f"mcutrain.{name}")
    variables = {place.get("name") for place in own["state"]}
    for i, parameter in enumerate(own["parameters"]):
        where = f"mcutrain.parameters[{i}]"
        yield from _wrong_keys(parameter, _PARAMETER_KEYS, where)
        if parameter["variable"] not in variables:
            yield f"{where} names {parameter['variable']!r}, which is not in the state"


def _wrong_keys(value: object, kinds: dict[str, type], where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where} is no object"
        return
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            yield f"{where}.{key} is missing or no {kind.__name__}"


def _wrong_place(place: object, arena_bytes: int, where: str) -> Iterator[str]:
    """A tensor's place must be of a known type and lie in the arena."""
    yield from _wrong_keys(place, {"offset": int, "shape": list, "dtype": str}, where)
    if place["dtype"] not in _DTYPES or not all(isinstance(n, int) and n >= 0 for n in place["shape"]):
        yield f"{where} has an unknown type or shape"
        return
    nbytes = np.dtype(place["dtype"]).itemsize * int(np.prod(place["shape"], dtype=np.int64))
    if not 0 <= place["offset"] <= arena_bytes - nbytes:
        yield f"{where} lies outside the arena of {arena_bytes} bytes"
