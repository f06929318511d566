"""Model Library Format, version 7 layout: what stands in metadata.json, parameters/ and src/ of an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, cast

import numpy as np
import tvm

from mcutrain.planner.model import Plan
from mcutrain.schema.metadata import (
    Functions,
    Io,
    MainFunction,
    Memory,
    Metadata,
    MetadataFile,
    Module,
    ParameterEntry,
    Place,
    PlanSummary,
    QuantizedPlace,
    StatePiece,
    TrainEntry,
)
from mcutrain.schema.words import Dtype, Loss
from mcutrain.tvm_ext.emit.placement import Placement
from mcutrain.tvm_ext.emit.sources import Source
from mcutrain.tvm_ext.lower.graph import Lowered
from mcutrain.tvm_ext.train.training import LABEL
from mcutrain.tvm_ext.train.updates import RATES, Parameter

VERSION = 7


def parameters_bytes(lowered: Lowered) -> bytes:
    """Every parameter in TVM's own format (`tvm.runtime.save_param_dict`): frozen ones, and the initial state."""
    values = {**lowered.constants, **lowered.state}
    return tvm.runtime.save_param_dict({n: tvm.runtime.tensor(np.ascontiguousarray(values[n])) for n in sorted(values)})


def read_parameters(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of parameters_bytes."""
    return {str(n): v.numpy() for n, v in tvm.runtime.load_param_dict(data).items()}


def relax_text(lowered: Lowered) -> str:
    """The training graph as Relax text."""
    return lowered.training.module.script(show_meta=False) + "\n"


@dataclass(frozen=True)
class About:
    """What a compile was asked for. name: C name of the model. defines: macros that fix the numerics of the board."""

    name: str
    board: str
    budget_bytes: int
    defines: tuple[str, ...]


def metadata(lowered: Lowered, plan: Plan, source: Source, about: About) -> MetadataFile:
    """metadata.json: the keys that microTVM's readers know, and training's own under `mcutrain` (docs/FORMATS.md)."""
    infer = source.infer
    given, made = _io(infer, "x"), _io(infer, infer.step.logits)
    main = MainFunction(
        constants_size_bytes=sum(v.nbytes for v in lowered.constants.values()),
        device=1,
        inputs={"x": given},
        io_size_bytes=given.size + made.size,
        outputs={"output": made},
        workspace_size_bytes=plan.height,
    )
    module = Module(
        executors=("aot",),
        export_datetime="1970-01-01 00:00:00Z",  # the same input gives the same bytes
        external_dependencies=(),
        memory=Memory(functions=Functions(main=(main,), operator_functions=())),
        model_name=about.name,
        style="full-model",
        target=("c",),
    )
    return MetadataFile(modules={about.name: module}, version=VERSION, mcutrain=_own(lowered, plan, source, about))


def _io(placement: Placement, tensor: str) -> Io:
    value = placement.step.values[tensor]
    return Io(dtype=value.dtype, size=value.tensor.nbytes, shape=tuple(value.shape))


def _own(lowered: Lowered, plan: Plan, source: Source, about: About) -> Metadata:
    model, infer = lowered.training.model, source.infer
    return Metadata(
        schema=1,
        name=about.name,
        model=model.name,
        scheme=lowered.training.policy.name,
        head=model.head,
        classes=model.classes,
        loss=cast(Loss, model.loss),
        softmax=model.softmax,
        board=about.board,
        budget_bytes=about.budget_bytes,
        defines=about.defines,
        plan=PlanSummary(height=plan.height, bound=plan.bound, status=plan.status),
        symbols=dict(source.symbols),
        arena_bytes=plan.height,
        input=_quantized(infer, "x", model.input_scale, model.input_zero),
        logits=_quantized(infer, infer.step.logits, model.logits_scale, model.logits_zero),
        infer_ops=len(infer.calls),
        **_training(lowered, source.train),
    )


class _Training(TypedDict):
    """The keys of Metadata that a training step adds."""

    train: TrainEntry | None
    state: tuple[StatePiece, ...]
    parameters: tuple[ParameterEntry, ...]


def _training(lowered: Lowered, train: Placement | None) -> _Training:
    if train is None:
        return _Training(train=None, state=(), parameters=())
    gradients = [c.gradient_of for c in train.step.calls if c.gradient_of]
    entry = TrainEntry(
        ops=len(train.calls),
        logits_offset=train.offsets[train.step.logits],
        loss_offset=train.loss_offset,
        label=Place(**_place(train, LABEL)) if LABEL in train.offsets else None,
        learning_rate=Place(**_place(train, RATES)),
    )
    parameters = enumerate(zip(lowered.training.parameters, gradients, strict=True))
    return _Training(
        train=entry,
        state=tuple(StatePiece(name=n, **_place(train, n)) for n in lowered.state),
        parameters=tuple(_parameter(p, i, train, gradient) for i, (p, gradient) in parameters),
    )


class _Place(TypedDict):
    """The fields of Place."""

    offset: int
    shape: tuple[int, ...]
    dtype: Dtype


def _place(placement: Placement, tensor: str) -> _Place:
    value = placement.step.values[tensor]
    return _Place(offset=placement.offsets[tensor], shape=tuple(value.shape), dtype=cast(Dtype, value.dtype))


def _quantized(placement: Placement, tensor: str, scale: float, zero: int) -> QuantizedPlace:
    return QuantizedPlace(**_place(placement, tensor), scale=scale, zero=zero)


def _parameter(parameter: Parameter, index: int, train: Placement, gradient: str) -> ParameterEntry:
    """index: its number in MCU_GRADIENT."""
    return ParameterEntry(
        name=parameter.name,
        variable=parameter.variable,
        channels=None if parameter.channels is None else tuple(parameter.channels),
        depthwise=parameter.depthwise,
        is_weight=parameter.is_weight,
        gradient=index,
        gradient_shape=tuple(train.step.values[gradient].shape),
    )
