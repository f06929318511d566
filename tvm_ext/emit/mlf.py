"""Model Library Format, version 7 layout: what stands in metadata.json, parameters/ and src/ of an artifact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm

from mcutrain.planner.model import Plan
from mcutrain.tvm_ext.emit.placement import Placement, placements
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


def metadata(lowered: Lowered, plan: Plan, name: str, extra: Mapping[str, object]) -> dict:
    """metadata.json: the keys that microTVM's readers know, and training's own under `mcutrain` (docs/FORMATS.md)."""
    infer, train = placements(lowered, plan)
    main = {
        "constants_size_bytes": sum(v.nbytes for v in lowered.constants.values()),
        "device": 1,
        "inputs": {"x": _io(infer, "x")},
        "io_size_bytes": _io(infer, "x")["size"] + _io(infer, infer.step.logits)["size"],
        "outputs": {"output": _io(infer, infer.step.logits)},
        "workspace_size_bytes": plan.height,
    }
    module = {
        "executors": ["aot"],
        "export_datetime": "1970-01-01 00:00:00Z",  # the same input gives the same bytes
        "external_dependencies": [],
        "memory": {"functions": {"main": [main], "operator_functions": []}},
        "model_name": name,
        "style": "full-model",
        "target": ["c"],
    }
    return {"modules": {name: module}, "version": VERSION, "mcutrain": _own(lowered, plan, name, infer, train, extra)}


def _io(placement: Placement, tensor: str) -> dict:
    value = placement.step.values[tensor]
    return {"dtype": value.dtype, "size": value.tensor.nbytes, "shape": list(value.shape)}


def _own(
    lowered: Lowered,
    plan: Plan,
    name: str,
    infer: Placement,
    train: Placement | None,
    extra: Mapping[str, object],
) -> dict:
    model = lowered.training.model
    own = {
        "schema": 1,
        "name": name,
        "model": model.name,
        "scheme": lowered.training.policy.name,
        "head": model.head,
        "classes": model.classes,
        "loss": model.loss,
        "softmax": model.softmax,
        **extra,
        "arena_bytes": plan.height,
        "input": {**_place(infer, "x"), "scale": model.input_scale, "zero": model.input_zero},
        "logits": {**_place(infer, infer.step.logits), "scale": model.logits_scale, "zero": model.logits_zero},
        "infer_ops": len(infer.calls),
        "train": None,
        "state": [],
        "parameters": [],
    }
    if train is not None:
        gradients = [c.gradient_of for c in train.step.calls if c.gradient_of]
        own["train"] = {
            "ops": len(train.calls),
            "logits_offset": train.offsets[train.step.logits],
            "loss_offset": train.loss_offset,
            "label": _place(train, LABEL) if LABEL in train.offsets else None,
            "learning_rate": _place(train, RATES),
        }
        own["state"] = [{"name": n, **_place(train, n)} for n in lowered.state]
        own["parameters"] = [_parameter(p, i, train, gradients[i]) for i, p in enumerate(lowered.training.parameters)]
    return own


def _place(placement: Placement, tensor: str) -> dict:
    value = placement.step.values[tensor]
    return {"offset": placement.offsets[tensor], "shape": list(value.shape), "dtype": value.dtype}


def _parameter(parameter: Parameter, index: int, train: Placement, gradient: str) -> dict:
    """gradient: its number in MCU_GRADIENT; channels: null for all."""
    return {
        "name": parameter.name,
        "variable": parameter.variable,
        "channels": None if parameter.channels is None else list(parameter.channels),
        "depthwise": parameter.depthwise,
        "is_weight": parameter.is_weight,
        "gradient": index,
        "gradient_shape": list(train.step.values[gradient].shape),
    }
