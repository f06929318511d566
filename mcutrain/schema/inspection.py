"""Describes what `mcutrain inspect --json` prints: a model layer by layer, and what training it would cost."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct, field

from mcutrain.schema.words import Loss, Version, doc


class Cost(Struct, frozen=True, kw_only=True):
    """The needs of a training step (plain SGD, batch 1), by a quick plan with streaming."""

    sram_bytes: Annotated[int, doc("the arena and 1,024 B for the firmware; an upper bound")]
    macs: Annotated[int, doc("multiply-accumulates, forward and backward")]


class LastK(Cost, frozen=True, kw_only=True):
    """The cost of training a layer and all behind it."""

    k: Annotated[int, doc("the scheme is `last_k=k`; 0 is head_only")]


class LayerRow(Struct, frozen=True, kw_only=True):
    """A layer of the forward graph."""

    name: Annotated[str, doc("as the model's format calls it")]
    op: Annotated[str, doc("in words: conv 3x3 s2, depthwise 5x5, dense, add, ...")]
    output_shape: Annotated[tuple[int, ...], doc("(1, H, W, C), or (outputs,)")]
    output_bytes: Annotated[int, doc("of its output")]
    parameters: Annotated[int, doc("values of weight and bias")]
    weight_bytes: Annotated[int, doc("bytes of weight and bias")]
    table_bytes: Annotated[int, doc("bytes of scales and multipliers")]
    macs: Annotated[int, doc("multiply-accumulates of one inference")]
    is_head: Annotated[bool, doc("whether it is the head, which always trains")]
    is_trainable: Annotated[bool, doc("has a weight, and a gradient reaches it")]
    why_not: Annotated[str | None, doc("what keeps a gradient from its weight")]
    alone: Annotated[
        Cost | None,
        doc("where this layer (weight and bias) and the head train; null if it cannot, or with `--no-costs`"),
    ]
    last_k: Annotated[
        LastK | None,
        doc("where all layers from this one on train; null also where one of them cannot"),
    ]


class LargestActivation(Struct, frozen=True, kw_only=True):
    """The largest value between two layers."""

    layer: Annotated[str, doc("that makes it; `input`: the network's input")]
    nbytes: Annotated[int, doc("of it")]


class Inspection(Struct, frozen=True, kw_only=True):
    """A model. Scale and zero point: real = (q - zero) * scale; None of float32. The totals are sums over `layers`."""

    schema: Version
    name: Annotated[str, doc("of the model")]
    frontend: Annotated[
        str | None, doc("format of the model: pickle, tflite, onnx, relay, relax, torch; null if not known")
    ] = field(name="front_door")
    input_shape: Annotated[tuple[int, ...], doc("(1, H, W, C)")]
    input_dtype: Annotated[str, doc("int8 or float32")]
    input_scale: Annotated[float | None, doc("real = (q - zero) * scale; null of float32")]
    input_zero: Annotated[int | None, doc("zero point; null of float32")]
    classes: Annotated[int, doc("outputs")]
    output_dtype: Annotated[str, doc("of the logits")]
    loss: Annotated[Loss, doc("what a step would minimise")]
    head: Annotated[str, doc("model, float or int8-slice")]
    parameters: Annotated[int, doc("sum over `layers`")]
    weight_bytes: Annotated[int, doc("sum over `layers`")]
    table_bytes: Annotated[int, doc("sum over `layers`")]
    macs: Annotated[int, doc("sum over `layers`")]
    largest_activation: Annotated[LargestActivation, doc("what an inference needs at least, beside its input")]
    layers: Annotated[tuple[LayerRow, ...], doc("the forward graph in order, layers without a weight too")]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape[1:]))
        size = f"{len(self.layers)} layers, {self.parameters:,} parameters, {self.macs:,} MACs"
        return f"<Inspection {self.name}: {self.input_dtype} {shape} -> {self.classes} {self.output_dtype}, {size}>"
