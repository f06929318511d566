"""Decides on sparse updates: which layers train their bias, which part of their weight, and which channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from mcutrain.planner.errors import PolicyError
from mcutrain.schema.policy import PolicyEntry, Select
from mcutrain.schema.reading import SchemaError, load_json, typed
from mcutrain.schema.words import Loss

LOSSES: tuple[Loss, ...] = get_args(Loss)  # what a training step can minimise


@dataclass(frozen=True)
class Layer:
    """Holds what a policy must know of a trainable layer, in network order.

    weight: the stored weight as OIHW (depthwise [C, 1, kh, kw]); its integer values decide the magnitude rule."""

    name: str
    weight: NDArray[np.generic]
    depthwise: bool
    is_head: bool = False

    @property
    def channels(self) -> int:
        """Counts the channels that a ratio is of: input channels, or the channels of a depthwise convolution."""
        return int(self.weight.shape[0 if self.depthwise else 1])


@dataclass(frozen=True)
class Update:
    """An update is one layer's part of a policy. weight_ratio: fraction of the channels whose weights train, 0 none, 1
    all."""

    layer: str
    bias: bool = True
    weight_ratio: float = 0.0
    select: Select = "magnitude"


@dataclass(frozen=True, repr=False)
class Policy:
    """A policy is an explicit sparse update; the head need not be listed, it always trains whole."""

    name: str
    updates: tuple[Update, ...]

    def __repr__(self) -> str:
        biases = sum(update.bias for update in self.updates)
        weights = sum(update.weight_ratio > 0 for update in self.updates)
        return f"<Policy {self.name}: {biases} biases and {weights} weights train, and the head>"


@dataclass(frozen=True)
class Trained:
    """Holds a policy as applied to a layer. channels: the trained ones in ascending order; None is all, () is no
    weight."""

    layer: str
    bias: bool
    channels: tuple[int, ...] | None


# Published schemes of "On-Device Training Under 256KB Memory" (Lin et al., NeurIPS 2022), per network, told by its
# number of convolutions without the head: scheme -> (last n biases, {conv index: ratio of input channels}).
SCHEMES: dict[int, tuple[str, dict[str, tuple[int, dict[int, float]]]]] = {
    42: (
        "mcunet-5fps",
        {
            "49kb": (20, {23: 0, 24: 0.25, 27: 0.5, 30: 0.5, 33: 0, 39: 0}),
            "74kb": (21, {21: 1, 23: 0, 24: 1, 26: 0, 27: 0.5, 30: 1}),
            "99kb": (22, {21: 1, 24: 1, 27: 1, 30: 1, 36: 0.125, 39: 0.25}),
            "124kb": (24, {21: 0.25, 24: 1, 27: 1, 30: 1, 33: 0.5, 39: 0.5}),
            "148kb": (23, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1, 39: 0.5}),
        },
    ),
    51: (
        "mbv2-w0.35",
        {
            "49kb": (16, {36: 1, 39: 1, 40: 0, 41: 0.25, 42: 0.125, 45: 0.125, 48: 0.125, 49: 0.125}),
            "73kb": (20, {32: 0.125, 33: 0.5, 36: 0.5, 39: 1, 41: 0.25, 42: 0.125, 45: 0.125, 48: 1}),
            "99kb": (25, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 0.125, 45: 0.5, 48: 1}),
            "123kb": (31, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 0.5, 45: 1, 48: 1}),
            "138kb": (34, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1, 45: 1, 48: 1}),
        },
    ),
    60: (
        "proxyless-w0.3",
        {
            "49kb": (21, {39: 0.25, 42: 1, 44: 0, 45: 1, 50: 0, 51: 0.125, 54: 0.25, 57: 0.25}),
            "74kb": (28, {33: 0.5, 36: 0.25, 39: 1, 42: 1, 45: 1, 51: 0.5, 54: 0.25, 57: 0.5}),
            "98kb": (25, {36: 1, 39: 0.5, 42: 1, 45: 1, 48: 0.25, 51: 0.5, 54: 1, 57: 1}),
            "120kb": (32, {36: 1, 39: 1, 42: 1, 45: 1, 48: 0.5, 51: 1, 54: 1, 57: 1}),
            "148kb": (45, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1, 51: 1, 54: 1, 57: 1}),
        },
    ),
}
GENERAL = "full, bias_only, head_only, last_k=K, inference, or a policy file ending in .json"


def named(scheme: str, layers: Sequence[Layer]) -> Policy:
    """Returns the policy that `scheme` means for these layers (head included): a published name, `full`, `bias_only`,
    `head_only`, `last_k=K`, or the path of a policy file.

    Raises PolicyError that lists what there is."""
    body = [layer.name for layer in layers if not layer.is_head]
    if scheme.endswith(".json"):
        return read(scheme)
    if scheme == "full":
        return Policy(scheme, tuple(Update(name, True, 1.0) for name in body))
    if scheme == "bias_only":
        return Policy(scheme, tuple(Update(name) for name in body))
    if scheme == "head_only":
        return Policy(scheme, ())
    if scheme.startswith("last_k="):
        return _last_k(scheme, body)
    network, published = SCHEMES.get(len(body), ("", {}))
    if scheme not in published:
        known = f"{', '.join(published)} ({network}), " if published else ""
        before = f"{len(body)} layers before its head"
        raise PolicyError(f"unknown scheme '{scheme}' for a network of {before}; use {known}{GENERAL}")
    n_bias, ratios = published[scheme]
    first_bias = len(body) - n_bias
    updates = [
        Update(name, index >= first_bias, float(ratios.get(index, 0)))
        for index, name in enumerate(body)
        if index >= first_bias or ratios.get(index, 0) > 0
    ]
    return Policy(scheme, tuple(updates))


def default(layers: Sequence[Layer]) -> str:
    """Returns the scheme of a network for which none was named: the smallest published one, else the last two
    layers."""
    body = sum(not layer.is_head for layer in layers)
    return next(iter(SCHEMES[body][1])) if body in SCHEMES else f"last_k={min(2, body)}"


def smaller(scheme: str, layers: Sequence[Layer]) -> list[str]:
    """Returns the published schemes of the network below `scheme` (all of them below `full`), the largest first."""
    _, published = SCHEMES.get(sum(not layer.is_head for layer in layers), ("", {}))
    names = sorted(published, key=_kilobytes, reverse=True)
    if scheme in published:
        return [name for name in names if _kilobytes(name) < _kilobytes(scheme)]
    return names if scheme == "full" else []


def _kilobytes(scheme: str) -> int:
    return int(scheme.removesuffix("kb"))


def _last_k(scheme: str, body: list[str]) -> Policy:
    count = scheme.removeprefix("last_k=")
    if not re.fullmatch(r"[0-9]{1,6}", count) or not 0 <= int(count) <= len(body):
        raise PolicyError(f"scheme '{scheme}': K must be a number from 0 to {len(body)}, the layers before the head")
    return Policy(scheme, tuple(Update(name, True, 1.0) for name in body[len(body) - int(count) :]))


def read(path: str | Path) -> Policy:
    """Reads a policy file: a JSON list of {"layer": name or index, "bias": bool, "weight": ratio, "select": rule}.

    Raises PolicyError naming the entry."""
    try:
        entries = load_json(Path(path))
    except OSError as error:
        raise PolicyError(f"policy file {path}: {error.strerror}; give the path of a readable JSON file") from None
    except ValueError as error:
        raise PolicyError(f"policy file {path}: not JSON ({error})") from None
    if not isinstance(entries, list):
        raise PolicyError(f"policy file {path}: must be a list of objects, one a layer")
    return Policy(Path(path).stem, tuple(_update(path, n, entry) for n, entry in enumerate(entries, 1)))


def _update(path: str | Path, number: int, content: object) -> Update:
    """Makes an update of one entry of a policy file; `number` counts from 1."""
    where = f"policy file {path}, entry {number}"
    if isinstance(content, dict) and "layer" in content:
        where += f" (layer {str(content['layer'])[:60]})"
    try:
        entry = typed(content, PolicyEntry, "")
    except SchemaError as error:
        raise PolicyError(f"{where}: {error}; use {', '.join(PolicyEntry.__struct_fields__)}") from None
    return Update(str(entry.layer), entry.bias, entry.weight, entry.select)


def resolve(policy: Policy, layers: Sequence[Layer]) -> dict[str, Trained]:
    """Maps layer names to what trains there, in network order; the head trains whole. A layer may be named or numbered
    (0-based).

    Raises PolicyError: an unknown layer, the head, an index or a ratio out of range, an unknown rule, a repetition."""
    body = {layer.name: layer for layer in layers if not layer.is_head}
    names, head = list(body), [layer.name for layer in layers if layer.is_head]
    chosen: dict[str, Trained] = {}
    for update in policy.updates:
        if update.layer in head:
            raise PolicyError(f"policy '{policy.name}': {update.layer} is the head, which always trains; leave it out")
        name = _layer_name(update.layer, names)
        if name in chosen:
            raise PolicyError(f"policy '{policy.name}': layer {name} appears twice; merge its entries")
        channels = select_channels(body[name], update)
        if update.bias or channels != ():
            chosen[name] = Trained(name, update.bias, channels)
    heads = {layer.name: Trained(layer.name, True, None) for layer in layers if layer.is_head}
    return {**{name: chosen[name] for name in names if name in chosen}, **heads}


def _layer_name(layer: str, names: list[str]) -> str:
    if layer in names:
        return layer
    if not names:
        raise PolicyError(f"no layer is called '{layer}': the network has none before its head; use head_only")
    if re.fullmatch(r"-?[0-9]{1,6}", layer):
        if not 0 <= int(layer) < len(names):
            raise PolicyError(
                f"layer index {layer} is out of range; the layers before the head are numbered 0 to {len(names) - 1}"
            )
        return names[int(layer)]
    shown = names if len(names) <= 4 else [*names[:3], f"... {names[-1]}"]
    raise PolicyError(f"no layer is called '{layer}'; the layers before the head are {', '.join(shown)}")


def select_channels(layer: Layer, update: Update) -> tuple[int, ...] | None:
    """Chooses int(ratio * C) channels: those of the largest L2 norm of the integer weight ("magnitude+"), or the first
    ones."""
    if not 0.0 <= update.weight_ratio <= 1.0:
        raise PolicyError(f"layer {layer.name}: weight ratio {update.weight_ratio} is not between 0 and 1")
    if update.select not in ("magnitude", "first"):
        raise PolicyError(f"layer {layer.name}: selection rule '{update.select}' is unknown; use magnitude or first")
    count = int(update.weight_ratio * layer.channels)
    if count == layer.channels:
        return None
    if update.select == "first":
        return tuple(range(count))
    axes = (1, 2, 3) if layer.depthwise else (0, 2, 3)
    norms = np.sqrt(np.sum(layer.weight.astype(np.float64) ** 2, axis=axes))
    return tuple(sorted(int(c) for c in np.argsort(-norms, kind="stable")[:count]))
