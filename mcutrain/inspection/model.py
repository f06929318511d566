"""What is in a model, layer by layer, and what training it would cost: values without text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mcutrain.frontends import as_model, format_of
from mcutrain.inspection.costs import LayerCost, Progress, layer_costs
from mcutrain.planner.errors import ModelError

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `--help` without it
    from mcutrain.tvm_ext.lower.graph import Call, Step
    from mcutrain.tvm_ext.model import Model, Source

INPUT = "input"  # what the network's input is called among the activations
PARAMETERS = (".weight", ".bias")  # what can train of a layer's constants; the others are tables of scales


@dataclass(frozen=True)
class LayerRow:
    """A layer of the forward graph. op: in words. output_shape: (1, H, W, C), or (O,). parameters: values of weight and
    bias, weight_bytes: their bytes; table_bytes: of scales and multipliers beside them. macs: of one inference.
    is_trainable: has a weight, and a gradient reaches it; why_not: what is in its way. cost: None unless asked for."""

    name: str
    op: str
    output_shape: tuple[int, ...]
    output_bytes: int
    parameters: int
    weight_bytes: int
    table_bytes: int
    macs: int
    is_head: bool
    is_trainable: bool
    why_not: str | None
    cost: LayerCost | None


@dataclass(frozen=True, repr=False)
class Inspection:
    """What is in a model.

    frontend: the format that it was read from, a key of frontends.FORMATS; None where it is not known. Scales and zero
    points: real = (q - zero) * scale; None of float32. largest_activation: (layer that makes it, bytes). The totals are
    sums over `layers`."""

    name: str
    frontend: str | None
    input_shape: tuple[int, ...]
    input_dtype: str
    input_scale: float | None
    input_zero: int | None
    classes: int
    output_dtype: str
    loss: str
    head: str
    parameters: int
    weight_bytes: int
    table_bytes: int
    macs: int
    largest_activation: tuple[str, int]
    layers: tuple[LayerRow, ...]

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape[1:]))
        size = f"{len(self.layers)} layers, {self.parameters:,} parameters, {self.macs:,} MACs"
        return f"<Inspection {self.name}: {self.input_dtype} {shape} -> {self.classes} {self.output_dtype}, {size}>"


def inspect(model: Model | Source, *, costs: bool = True, progress: Progress | None = None) -> Inspection:
    """What is in a model, layer by layer, and what training it would cost, before a scheme is chosen.

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
    """What inspect() does. frontend: what the model was read from, a key of frontends.FORMATS."""
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
    return Inspection(
        name=model.name,
        frontend=frontend,
        input_shape=tuple(model.input_shape),
        input_dtype=model.input_dtype,
        input_scale=None if is_float else model.input_scale,
        input_zero=None if is_float else model.input_zero,
        classes=model.classes,
        output_dtype=step.values[step.logits].dtype,
        loss=model.loss,
        head=model.head,
        parameters=sum(row.parameters for row in rows),
        weight_bytes=sum(row.weight_bytes for row in rows),
        table_bytes=sum(row.table_bytes for row in rows),
        macs=sum(row.macs for row in rows),
        largest_activation=max(sizes, key=lambda size: size[1]),
        layers=rows,
    )


def _obstacles(model: Model) -> dict[str, str | None]:
    """Layer with a weight -> what keeps a gradient from it, None where nothing does."""
    from mcutrain.tvm_ext.model import NETWORK
    from mcutrain.tvm_ext.train.rules import require_rules

    main, found = model.module[NETWORK], {}
    for layer in model.layers:
        try:
            require_rules(main, [p for p in main.params if p.name == f"{layer.name}.weight"])
            found[layer.name] = None
        except ModelError as error:
            found[layer.name] = str(error)
    return found


def _row(call: Call, step: Step, obstacles: dict[str, str | None], heads: set[str], cost: LayerCost | None) -> LayerRow:
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
        cost=cost,
    )


def op_in_words(call: Call) -> str:
    """`conv 3x3 s2`, `depthwise 5x5`, `dense`, `add`; a dialect op without a word of its own by its name."""
    attrs, what = call.attrs, call.record.words or call.kind
    if "kernel" not in attrs:
        return what
    # one window over the whole input: a fully connected layer, or a pool over all positions
    is_whole = list(call.shapes[0][1:3]) == list(attrs["kernel"]) and not any(attrs["padding"])
    if "depthwise" not in attrs:
        if is_whole:
            return f"global {what}"
    elif attrs["depthwise"]:
        what = "depthwise"
    elif is_whole:
        return "dense"
    vertical, horizontal = attrs["stride"]
    stride = f" s{vertical}" if vertical == horizontal else f" s{vertical}x{horizontal}"
    return f"{what} {'x'.join(map(str, attrs['kernel']))}{stride if vertical * horizontal > 1 else ''}"


def to_dict(found: Inspection) -> dict[str, Any]:
    """The object that `mcutrain inspect --json` prints (docs/FORMATS.md)."""
    layer, nbytes = found.largest_activation
    flat = asdict(found)
    flat["front_door"] = flat.pop("frontend")
    for row in flat["layers"]:
        cost = row.pop("cost")
        row["alone"] = cost and cost["alone"]
        row["last_k"] = cost and cost["from_here"] and {"k": cost["k"], **cost["from_here"]}
    return {"schema": 1, **flat, "largest_activation": {"layer": layer, "nbytes": nbytes}}
