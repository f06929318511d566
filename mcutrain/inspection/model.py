"""Tells what is in a model, layer by layer, and what training it would cost: values without text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from mcutrain.frontends import as_model, format_of
from mcutrain.inspection.costs import LayerCost, Progress, layer_costs
from mcutrain.planner.errors import ModelError
from mcutrain.schema.inspection import Inspection, LargestActivation, LayerRow
from mcutrain.schema.words import Loss

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `--help` without it
    from mcutrain.tvm_ext.lower.graph import Call, Step
    from mcutrain.tvm_ext.model import Model, Source

INPUT = "input"  # what the network's input is called among the activations
PARAMETERS = (".weight", ".bias")  # what can train of a layer's constants; the others are tables of scales


def inspect(model: Model | Source, *, costs: bool = True, progress: Progress | None = None) -> Inspection:
    """Tell what is in a model, layer by layer, and what training it would cost, before a scheme is chosen.

    model: a loaded one, or what load() reads with its defaults. costs: also plan the training of each layer, alone and
    with all behind it, which takes seconds a layer. progress(done, total): called after each plan.
    Raises what load() raises, and ModelError for an op without a kernel."""
    loaded = as_model(model)
    told = None if loaded is model else format_of(cast("Source", model))[0]
    return inspect_model(loaded, told, costs=costs, progress=progress)


def inspect_model(
    model: Model,
    frontend: str | None = None,
    *,
    costs: bool = True,
    progress: Progress | None = None,
) -> Inspection:
    """Do what inspect() does. frontend: what the model was read from, a key of frontends.FORMATS."""
    from mcutrain.tvm_ext.lower.graph import lower
    from mcutrain.tvm_ext.train.training import inference

    step = lower(inference(model)).infer
    obstacles = _obstacles(model)
    trainable = [name for name, why_not in obstacles.items() if why_not is None]
    found = layer_costs(model, trainable, progress) if costs and trainable else {}
    heads = {layer.name for layer in model.layers if layer.is_head}
    rows = tuple(_row(call, step, obstacles, heads, found.get(call.layer)) for call in step.calls)
    sizes = [(INPUT, step.values["x"].tensor.nbytes), *((row.name, row.output_bytes) for row in rows)]
    is_float = model.input_dtype == "float32"
    layer, nbytes = max(sizes, key=lambda size: size[1])
    return Inspection(
        schema=1,
        name=model.name,
        frontend=frontend,
        input_shape=tuple(model.input_shape),
        input_dtype=model.input_dtype,
        input_scale=None if is_float else model.input_scale,
        input_zero=None if is_float else model.input_zero,
        classes=model.classes,
        output_dtype=step.values[step.logits].dtype,
        loss=cast(Loss, model.loss),
        head=model.head,
        parameters=sum(row.parameters for row in rows),
        weight_bytes=sum(row.weight_bytes for row in rows),
        table_bytes=sum(row.table_bytes for row in rows),
        macs=sum(row.macs for row in rows),
        largest_activation=LargestActivation(layer=layer, nbytes=nbytes),
        layers=rows,
    )


def _obstacles(model: Model) -> dict[str, str | None]:
    """Tell for each layer with a weight what keeps a gradient from it, None where nothing does."""
    from mcutrain.tvm_ext.model import NETWORK
    from mcutrain.tvm_ext.train.rules import require_rules

    main = model.module[NETWORK]
    found: dict[str, str | None] = {}
    for layer in model.layers:
        try:
            require_rules(main, [p for p in main.params if p.name == f"{layer.name}.weight"])
            found[layer.name] = None
        except ModelError as error:
            found[layer.name] = str(error)
    return found


def _row(
    call: Call, step: Step, obstacles: Mapping[str, str | None], heads: set[str], cost: LayerCost | None
) -> LayerRow:
    constants = [step.values[name] for name in call.op.inputs if step.values[name].tensor.kind == "constant"]
    trains = [value for value in constants if value.tensor.name.endswith(PARAMETERS)]
    weight_bytes = sum(value.tensor.nbytes for value in trains)
    return LayerRow(
        name=call.layer,
        op=op_in_words(call),
        output_shape=tuple(call.out_shape),
        output_bytes=sum(step.values[name].tensor.nbytes for name in call.op.outputs),
        parameters=sum(int(np.prod(value.shape)) for value in trains),
        weight_bytes=weight_bytes,
        table_bytes=sum(value.tensor.nbytes for value in constants) - weight_bytes,
        macs=call.macs,
        is_head=call.layer in heads,
        is_trainable=call.layer in obstacles and obstacles[call.layer] is None,
        why_not=obstacles.get(call.layer),
        alone=cost.alone if cost else None,
        last_k=cost.last_k if cost else None,
    )


def op_in_words(call: Call) -> str:
    """Name an op: `conv 3x3 s2`, `depthwise 5x5`, `dense`, `add`; a dialect op without a word of its own by its
    name."""
    attrs, what = call.attrs, call.record.words or call.kind
    if "kernel" not in attrs:
        return what
    kernel, padding, stride = (cast("Sequence[int]", attrs[key]) for key in ("kernel", "padding", "stride"))
    # one window over the whole input: a fully connected layer, or a pool over all positions
    is_whole = list(call.shapes[0][1:3]) == list(kernel) and not any(padding)
    if "depthwise" not in attrs:
        if is_whole:
            return f"global {what}"
    elif attrs["depthwise"]:
        what = "depthwise"
    elif is_whole:
        return "dense"
    vertical, horizontal = stride
    step = f" s{vertical}" if vertical == horizontal else f" s{vertical}x{horizontal}"
    return f"{what} {'x'.join(map(str, kernel))}{step if vertical * horizontal > 1 else ''}"
