"""What stands at the end of an imported network: its own output layer, or a fresh float32 classifier in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.planner.policy import Layer
from mcutrain.tvm_ext.dialect import attrs_of, call, op_name

if TYPE_CHECKING:
    from mcutrain.tvm_ext.importers.base.network import NetworkBuilder, Value

LAYERS = ("qconv2d", "fconv2d")
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Head:
    """kind: "model", the network's own output layer, or "float", a fresh float32 one from zero. classes: outputs of a
    fresh one. loss: what is trained for. raw_logits: the loss takes int8 logits as they stand."""

    kind: Literal["model", "float"] = "model"
    classes: int | None = None
    loss: str = "cross_entropy"
    raw_logits: bool = False


def with_head(network: NetworkBuilder, output: Value, head: Head) -> tuple[relax.Var, float, int]:
    """The variable that holds the logits, and their scale and zero point for the loss."""
    last = _producer(network, output)
    if head.kind == "float":
        features = output
        if last is not None:  # the fresh layer reads what the network's own read
            name = attrs_of(last)["layer"]
            network.layers = [layer for layer in network.layers if layer.name != name]
            features = _input_of(last, output)
        return _fresh(network, features, head.classes or 0), 1.0, 0
    if last is not None:
        name = attrs_of(last)["layer"]
        network.layers = [replace(layer, is_head=layer.name == name) for layer in network.layers]
    quantisation = output.quantisation
    if quantisation is None or head.raw_logits:
        return output.var, 1.0, 0
    return output.var, quantisation.scale, quantisation.zero


def _producer(network: NetworkBuilder, output: Value) -> relax.Call | None:
    """The layer that made `output`, where it was one with a weight."""
    made = dict(network.builder.emitted())
    last = made.get(output.var)
    return last if op_name(last) in LAYERS else None


def _input_of(layer: relax.Call, output: Value) -> Value:
    attrs = attrs_of(layer)
    if output.quantisation is None:
        return replace(output, var=layer.args[0])
    quantisation = replace(output.quantisation, scale=attrs["in_scale"], zero=attrs["in_zero"])
    return replace(output, var=layer.args[0], quantisation=quantisation)


def _fresh(network: NetworkBuilder, features: Value, classes: int) -> relax.Var:
    """A float32 layer from zero over the (dequantised) features."""
    if classes < 1:
        raise ModelError("a float head needs the number of its classes")
    count = features.features
    weight, name = np.zeros((classes, count), np.float32), network.unique(CLASSIFIER)
    network.layers.append(Layer(name, weight[:, :, None, None], False, True))
    args = [network.param(f"{name}.{n}", v) for n, v in (("weight", weight), ("bias", weight[:, 0]))]
    own = features.quantisation
    attrs = {"in_scale": own.scale if own else 1.0, "in_zero": own.zero if own else 0, "layer": name}
    attrs["dtype"] = "int8" if own else "float32"
    return network.builder.emit(call("dense", [features.var, *args], **attrs), name)
