"""The end of an imported network: its own output layer, or a fresh float32 classifier in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import tvm
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.planner.policy import LOSSES, Layer
from mcutrain.tvm_ext.dialect import attrs_of, call, op_name, shape_of
from mcutrain.tvm_ext.function import live
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.model import NETWORK, Model

Kind = Literal["model", "float"]
KINDS, LOGITS = ("model", "float"), ("raw", "dequantized")
LAYERS = ("qconv2d", "fconv2d")
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Head:
    """kind: "model", the network's own output layer, or "float", a fresh float32 one from zero. classes: outputs of a
    fresh one. loss: what is trained for. raw_logits: the loss takes int8 logits as they stand."""

    kind: Kind = "model"
    classes: int | None = None
    loss: str = "cross_entropy"
    raw_logits: bool = False


def requested(kind: str, classes: int | None, logits: str | None, loss: str | None) -> Head:
    """The head that the options of a frontend ask for; its loss stands where `loss` is given.

    Raises ModelError for a word that is none of the option's."""
    for what, value, known in (("head", kind, KINDS), ("logits", logits, LOGITS), ("loss", loss, LOSSES)):
        if value not in known and (value is not None or what == "head"):
            raise ModelError(f"unknown {what} '{value}'; use {' or '.join(known)}")
    if kind == "float" and classes is None:
        raise ModelError("a float head needs the number of its classes")
    return Head(cast(Kind, kind), classes, loss or "cross_entropy", logits == "raw")


def finish(network: NetworkBuilder, name: str, output: Value, head: Head | None = None) -> Model:
    """The model whose output layer is what made `output`; `head` may put another in its place.

    Raises ModelError where head or loss do not fit the network."""
    head = head or Head()
    _check(network.input, output, head)
    var, logits_scale, logits_zero = _with_head(network, output, head)
    main = live(NETWORK, network.builder.finish(NETWORK, [var], list(network.builder.params.values())))
    quantisation = network.input.quantisation
    return Model(
        name=name,
        module=tvm.IRModule({NETWORK: main}),
        params={p.name: network.params[p.name] for p in main.params[1:]},
        layers=tuple(network.layers),
        input_shape=tuple(network.input.shape),
        input_scale=quantisation.scale if quantisation else 1.0,
        input_zero=quantisation.zero if quantisation else 0,
        classes=int(np.prod(shape_of(var))),
        head=head.kind,
        loss=head.loss,
        logits_scale=logits_scale,
        logits_zero=logits_zero,
    )


def _check(x: Value, output: Value, head: Head) -> None:
    if head.loss == "autoencoder" and (head.kind == "float" or x.features != output.features):
        raise ModelError(f"no autoencoder: {x.features} inputs, {output.features} outputs; use another loss")
    if head.raw_logits and head.loss in ("mse", "autoencoder"):
        raise ModelError(f"raw logits have no meaning for the loss {head.loss}; use dequantized ones")


def check_output(network: NetworkBuilder, output: Value, head: Head, image: str) -> None:
    """Raises ModelError where the network does not end in what the head and its loss need. image: the output's shape in
    the frontend's words."""
    if head.kind == "model":
        if not network.layers:
            raise ModelError("holds no layer that can train; use the float head")
        if head.classes not in (None, output.features):
            raise ModelError(f"has {output.features} outputs, not {head.classes}; the float head makes a new one")
        if head.loss == "cross_entropy" and output.order is None and output.shape[1] * output.shape[2] > 1:
            raise ModelError(f"its output is {image}; use the loss mse or autoencoder")
    if head.loss == "autoencoder" and (head.kind == "float" or output.features != network.input.features):
        raise ModelError(f"no autoencoder: {network.input.features} inputs, {output.features} outputs")


def _with_head(network: NetworkBuilder, output: Value, head: Head) -> tuple[relax.Var, float, int]:
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
    quantisation = Quantisation(cast(float, attrs["in_scale"]), cast(int, attrs["in_zero"]))
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
