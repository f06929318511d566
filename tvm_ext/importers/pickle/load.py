"""Network pickle -> dialect. The format is in docs/FORMATS.md: first_conv, blocks of (pointwise1, depthwise,
pointwise2, residual), global average pool, classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.conv_params import read_conv
from mcutrain.tvm_ext.importers.base.fields import Fields, integer, scale, take
from mcutrain.tvm_ext.importers.base.heads import CLASSIFIER, Head, finish
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value, expect
from mcutrain.tvm_ext.importers.pickle import unpickle as network_pickle
from mcutrain.tvm_ext.model import Model

HEADS = ("float", "int8-slice")


def load(
    path: str | Path,
    input_size: int = 128,
    classes: int = 10,
    head: str = "float",
    logits: str | None = None,
    loss: str | None = None,
) -> Model:
    """Read a network pickle for square images of `input_size` pixels.

    head: "float": a fresh float32 classifier, from zero, on the dequantised features; "int8-slice": the first `classes`
    rows of the published int8 classifier with zero bias. logits: "dequantized", or "raw" (softmax of the integers
    themselves, as the published reference trains its int8 head, and the default for that head).

    Raises ModelError that names the layer and the key."""
    if head not in HEADS:
        raise ModelError(f"unknown head '{head}'; use {' or '.join(HEADS)}")
    if input_size < 1:
        raise ModelError(f"input size {input_size}: need 1 or more")
    logits = logits or ("raw" if head == "int8-slice" else "dequantized")
    network = network_pickle.read(path)
    try:
        return _build(network, Path(path).stem, input_size, classes, head, logits, loss or "cross_entropy")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _build(network: Fields, name: str, input_size: int, classes: int, head: str, logits: str, loss: str) -> Model:
    first = read_conv(take(network, "first_conv", dict, "first_conv"), "first_conv")
    if network.get("feature_mix") is not None:
        raise ModelError("feature_mix: not supported; export the network without it")
    shape = [1, input_size, input_size, first.weight.shape[1]]
    builder = NetworkBuilder(shape, Quantisation(first.x_scale, first.x_zero))
    y = _conv(builder, builder.input, take(network, "first_conv", dict, "first_conv"), "first_conv")
    blocks: list[object] = take(network, "blocks", list, "blocks")
    for index, block in enumerate(blocks):
        y = _block(builder, y, block, f"blocks.{index}")
    y = builder.mean("global_pool", y)
    classifier = take(network, CLASSIFIER, dict, CLASSIFIER)
    if head == "float":
        return finish(builder, name, y, Head("float", classes, loss))
    published = read_conv(classifier, CLASSIFIER)
    if classes > len(published.bias):
        raise ModelError(f"classifier: has {len(published.bias)} classes, {classes} were asked for; use the float head")
    rows = replace(
        published,
        weight=published.weight[:classes],
        w_scales=published.w_scales[:classes],
        bias=np.zeros(classes, np.int32),
    )
    out = builder.conv2d(CLASSIFIER, y, rows)
    return replace(finish(builder, name, out, Head("model", loss=loss, raw_logits=logits == "raw")), head=head)


def _block(builder: NetworkBuilder, x: Value, block: object, where: str) -> Value:
    if not isinstance(block, dict):
        raise ModelError(f"{where}: is a {type(block).__name__}, expected a dict of layers")
    if block.get("se") is not None:
        raise ModelError(f"{where}.se: squeeze-and-excitation is not supported; export the network without it")
    y = x
    for part in ("pointwise1", "depthwise", "pointwise2"):
        if block.get(part) is not None:
            y = _conv(builder, y, take(block, part, dict, where), f"{where}.{part}")
    if y is x:
        raise ModelError(f"{where}: holds no layer; expected pointwise1, depthwise or pointwise2")
    if block.get("residual") is None:
        return y
    return _residual(builder, x, y, take(block, "residual", dict, where), f"{where}.residual")


def _residual(builder: NetworkBuilder, x: Value, y: Value, entry: Fields, where: str) -> Value:
    params = take(entry, "params", dict, where)
    if x.shape != y.shape:
        raise ModelError(f"{where}: adds {x.shape} and {y.shape}; the shapes must be equal")
    its = scale(params, "x_scale", where), integer(params, "x_zero", -128, 127, where)
    expect(*its, x.steps.scale, x.steps.zero, where)
    out = Quantisation(scale(params, "y_scale", where), integer(params, "y_zero", -128, 127, where))
    return builder.add(where, x, y, out)


def _conv(builder: NetworkBuilder, x: Value, entry: Fields, where: str) -> Value:
    conv = read_conv(entry, where)
    kernel = list(conv.weight.shape[2:])
    if kernel[0] != kernel[1]:
        raise ModelError(f"{where}: kernel {kernel}: only square kernels")
    return builder.conv2d(where, x, conv)
