"""Describes `metadata.json`: Model Library Format 7 as microTVM wrote it, and what training adds under the key
`mcutrain`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from mcutrain.schema.words import Dtype, Loss, Status, Version, doc

ITEM_BYTES = {"int8": 1, "uint8": 1, "int32": 4, "uint32": 4, "float32": 4}
Size = Annotated[int, Meta(ge=0)]


class Place(Struct, frozen=True, kw_only=True):
    """A tensor's place in the arena."""

    offset: Annotated[int, doc("bytes from the start of the arena")]
    shape: Annotated[tuple[Size, ...], doc("elements along each axis")]
    dtype: Annotated[Dtype, doc("of an element")]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return ITEM_BYTES[self.dtype] * math.prod(self.shape)


class QuantizedPlace(Place, frozen=True, kw_only=True):
    """A place whose values stand for real numbers: real = (q - zero) * scale. Of float32 both mean nothing."""

    scale: Annotated[float, doc("real = (q - zero) * scale")]
    zero: Annotated[int, doc("what stands for 0")]


class StatePiece(Place, frozen=True, kw_only=True):
    """One piece of the trained state."""

    name: Annotated[str, doc("also the step counter, the rates, and the optimiser's tensors")]


class TrainEntry(Struct, frozen=True, kw_only=True):
    """The entry point of a training step."""

    ops: Annotated[int, doc("calls of a step")]
    logits_offset: Annotated[int, doc("of the logits before the update, shaped as `logits`")]
    loss_offset: Annotated[int, doc("of the loss, one float32")]
    label: Annotated[Place | None, doc("null for an autoencoder")]
    learning_rate: Annotated[Place, doc("[0] network, [1] head")]


class ParameterEntry(Struct, frozen=True, kw_only=True):
    """One parameter that trains."""

    name: Annotated[str, doc("the model's")]
    variable: Annotated[str, doc("its piece of state; `....trained` for a part of a weight")]
    channels: Annotated[tuple[int, ...] | None, doc("trained ones, null for all")]
    depthwise: Annotated[bool, doc("whether it belongs to a depthwise layer")]
    is_weight: Annotated[bool, doc("or a bias")]
    gradient: Annotated[int, doc("number in `MCU_GRADIENT`")]
    gradient_shape: Annotated[tuple[int, ...], doc("elements along each axis")]


class PlanSummary(Struct, frozen=True, kw_only=True):
    """The plan in three figures."""

    height: Annotated[int, doc("bytes of the arena")]
    bound: Annotated[int, doc("lower bound for this order")]
    status: Annotated[Status, doc("of the allocation")]


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The description of an artifact. Raises ValueError where a tensor lies outside the arena, or where a parameter
    names a piece of state that is not there."""

    schema: Version
    name: Annotated[str, doc("C name of the model")]
    model: Annotated[str, doc("name of the model's file")]
    scheme: Annotated[str, doc("name of the sparse-update policy")]
    head: Annotated[str | None, doc("which head was asked for")] = None
    classes: Annotated[int, doc("outputs of the network")]
    loss: Annotated[Loss, doc("what a step minimises")]
    softmax: Annotated[
        bool | None,
        doc(
            "whether inference ends in a softmax: then `infer` gives int8 probabilities, (q + 128) / 256, "
            "where `logits` lie"
        ),
    ] = None
    board: Annotated[str, doc("name of the board")]
    budget_bytes: Annotated[int, doc("SRAM for everything")]
    defines: Annotated[tuple[str, ...], doc("macros that fix the numerics of the board")]
    plan: Annotated[PlanSummary, doc("the arena in short")]
    symbols: Annotated[
        dict[str, str] | None,
        doc(
            "emitted constant of `NAME_lib0.c` -> the first layer that reads it; what all updates read, and lists of "
            "channels, have none. Missing in artifacts of older versions"
        ),
    ] = None
    arena_bytes: Annotated[int, doc("size of the arena")]
    input: Annotated[QuantizedPlace, doc("of the network")]
    logits: Annotated[QuantizedPlace, doc("of an inference")]
    infer_ops: Annotated[int, doc("calls of an inference")]
    train: Annotated[TrainEntry | None, doc("null where nothing trains")]
    state: Annotated[tuple[StatePiece, ...], doc("pieces of the trained state in the order of the segments")]
    parameters: Annotated[tuple[ParameterEntry, ...], doc("what trains")]

    def __post_init__(self) -> None:
        for where, offset, nbytes in self._places():
            if not 0 <= offset <= self.arena_bytes - nbytes:
                raise ValueError(f"{where} lies outside the arena of {self.arena_bytes} bytes")
        if self.train is not None and self.train.label is None and self.loss != "autoencoder":
            raise ValueError(f"train.label is null, and the loss {self.loss} needs one")
        variables = {piece.name for piece in self.state}
        for i, parameter in enumerate(self.parameters):
            if parameter.variable not in variables:
                raise ValueError(f"parameters[{i}] names {parameter.variable!r}, which is not in the state")

    def _places(self) -> Iterator[tuple[str, int, int]]:
        """List (key, offset, bytes) of all that lies in the arena."""
        named: list[tuple[str, Place]] = [("input", self.input), ("logits", self.logits)]
        named += [(f"state[{i}]", piece) for i, piece in enumerate(self.state)]
        if self.train is not None:
            yield "train.loss_offset", self.train.loss_offset, ITEM_BYTES["float32"]
            yield "train.logits_offset", self.train.logits_offset, self.logits.nbytes
            named += [("train.learning_rate", self.train.learning_rate)]
            named += [("train.label", self.train.label)] if self.train.label is not None else []
        yield from ((where, place.offset, place.nbytes) for where, place in named)


class Io(Struct, frozen=True, kw_only=True):
    """An input or output as microTVM's readers know it."""

    dtype: Annotated[str, doc("of an element")]
    size: Annotated[int, doc("bytes")]
    shape: Annotated[tuple[int, ...], doc("elements along each axis")]


class MainFunction(Struct, frozen=True, kw_only=True):
    """Memory of the entry point `run`."""

    constants_size_bytes: Annotated[int, doc("of frozen parameters")]
    device: Annotated[int, doc("1, a CPU")]
    inputs: Annotated[dict[str, Io], doc("the input, `x`")]
    io_size_bytes: Annotated[int, doc("of input and output")]
    outputs: Annotated[dict[str, Io], doc("the logits, `output`")]
    workspace_size_bytes: Annotated[int, doc("the arena")]


class Functions(Struct, frozen=True, kw_only=True):
    """Functions of a module; those of operators share the workspace of the main one."""

    main: Annotated[tuple[MainFunction], doc("one")]
    operator_functions: Annotated[tuple[str, ...], doc("none")]


class Memory(Struct, frozen=True, kw_only=True):
    """The key `memory` of a module."""

    functions: Annotated[Functions, doc("by their kind")]


class Module(Struct, frozen=True, kw_only=True):
    """One model of the folder."""

    model_name: Annotated[str, doc("C name of the model")]
    style: Annotated[str, doc("full-model")]
    executors: Annotated[tuple[str, ...], doc("aot")]
    target: Annotated[tuple[str, ...], doc("c")]
    export_datetime: Annotated[str, doc("constant: the same input gives the same bytes")]
    external_dependencies: Annotated[tuple[str, ...], doc("none")]
    memory: Annotated[Memory, doc("what it takes")]


class MetadataFile(Struct, frozen=True, kw_only=True):
    """The whole file."""

    version: Annotated[int, doc("7, of Model Library Format")]
    modules: Annotated[dict[str, Module], doc("by model")]
    mcutrain: Annotated[Metadata, doc("training's own, see below")]
