"""Forward graph + policy -> training step: split weights, loss, TVM's Gradient, masks on the way, updates in place.

    main(x, weights...)  --tapped-->  loss(x, label, weights..., slots...)  --Gradient-->  adjoints of the slots
                         --finished-->  train_step(x, label, weights..., rates, counter) -> (loss, logits, new state...)

Integer weights have no gradient of their own for TVM's pass: each trained tensor gets a float32 "slot" of the shape of
its trained part as an extra operand, and the gradient is taken with respect to the slot (docs/DESIGN.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from mcutrain.planner.errors import PolicyError
from mcutrain.planner.policy import Layer, Policy, Trained, resolve
from mcutrain.tvm_ext.dialect import attrs_of, call, conv_operands, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, calls_of, copy, live, well_formed
from mcutrain.tvm_ext.gradients import require_rules
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.train.updates import COUNTER, RATES, Parameter, Updater

LABEL, SOFTMAX = "label", "softmax"
CONVOLUTIONS = ("qconv2d", "fconv2d")
COMPANIONS = ("_mask", "_index")  # what a forward op keeps for its gradient
# loss -> shape and dtype of the label; an autoencoder's is its input
LABELS: dict[str, Callable[[Model], tuple[list[int], str]]] = {
    "cross_entropy": lambda model: ([1], "int32"),
    "binary_cross_entropy": lambda model: ([model.classes], "int32"),
    "mse": lambda model: ([model.classes], "float32"),
}
MAX_ACCUMULATE = 1 << 16  # samples; a float32 sum of more would lose the small gradients


@dataclass(frozen=True)
class Training:
    """module: `infer` and, unless nothing trains, `train_step`. values: initial value of every parameter of both."""

    model: Model
    policy: Policy
    module: tvm.IRModule
    values: Mapping[str, np.ndarray]
    parameters: tuple[Parameter, ...]
    trained: Mapping[str, Trained]


def train(model: Model, policy: Policy, momentum: float = 0.0, accumulate: int = 1, seed: int = 1) -> Training:
    """Extend the model by the backward pass that `policy` asks for, with QAS + SGD updates in place.

    momentum in [0, 1); accumulate: samples whose gradients are averaged before an update; seed: of stochastic rounding.
    Raises PolicyError."""
    if not 0.0 <= momentum < 1.0:
        raise PolicyError(f"momentum {momentum} is not in [0, 1)")
    if not 1 <= accumulate <= MAX_ACCUMULATE:
        raise PolicyError(f"accumulate {accumulate}: average over 1 to {MAX_ACCUMULATE} samples")
    trained = resolve(policy, model.layers)
    tapped, values, parameters = _tap(model, trained)
    adjoints = _differentiate(tapped, parameters)
    options = {"momentum": float(momentum), "every": int(accumulate)}
    train_step, added = _finish(adjoints, values, parameters, model, options)
    values = {
        **values,
        **added,
        RATES: np.array([0.001, 0.01], np.float32),
        COUNTER: np.array([seed & 0xFFFFFFFF, 0], np.uint32),
    }
    module = well_formed(tvm.IRModule({"infer": _infer(tapped.function, model), "train_step": train_step}))
    used = {p.name for f in module.functions.values() for p in f.params}
    return Training(model, policy, module, {n: v for n, v in values.items() if n in used}, parameters, trained)


def inference(model: Model) -> Training:
    """The model as it is, `infer` alone."""
    function = _infer(model.module[NETWORK], model)
    values = {p.name: model.params[p.name] for p in function.params if p.name != "x"}
    return Training(model, Policy("inference", ()), tvm.IRModule({"infer": function}), values, (), {})


@dataclass(frozen=True)
class _Tapped:
    """`main` with split weights, slots and loss, and the slot of each trained tensor's variable."""

    function: relax.Function
    slots: dict[str, relax.Var]


def _tap(model: Model, trained: Mapping[str, Trained]) -> tuple[_Tapped, dict, tuple[Parameter, ...]]:
    main = model.module[NETWORK]
    builder, values, parameters = FunctionBuilder(), {}, []
    slots: dict[str, relax.Var] = {}
    x = builder.param("x", model.input_shape, model.input_dtype)
    label = builder.param(LABEL, *LABELS[model.loss](model)) if model.loss in LABELS else x
    layers = {layer.name: layer for layer in model.layers}

    def param(name: str, value: np.ndarray) -> relax.Var:
        values[name] = np.ascontiguousarray(value)
        return builder.param(name, value.shape, str(value.dtype))

    def slot(parameter: Parameter, shape: list[int]) -> relax.Var:
        parameters.append(parameter)
        slots[parameter.variable] = builder.param(f"{parameter.variable}.slot", shape, "float32")
        return slots[parameter.variable]

    def rewrite(_: str, old: relax.Call, args: list) -> relax.Expr | None:
        attrs = attrs_of(old)
        chosen = trained.get(attrs.get("layer"))
        if chosen is None:
            return None
        if op_name(old) == "dense":
            for part, var in zip(("weight", "bias"), args[1:], strict=True):
                name = f"{chosen.layer}.{part}"
                parameters.append(Parameter(name, name, None, False, part == "weight", True))
                slots[name] = var
            return None
        if op_name(old) not in CONVOLUTIONS:
            return None
        return _tap_conv(op_name(old), args, attrs, chosen, layers[chosen.layer], values, param, slot)

    known = {p: x if p.name == "x" else param(p.name, model.params[p.name]) for p in main.params}
    (logits,) = copy(main, builder, known, rewrite)
    loss = builder.emit(_loss(model, logits, label), "loss")
    for name in set(values) - {v.name for v in _used(builder)}:
        del values[name]  # a weight that was split: its two parts stand for it
    params = [v for n, v in builder.params.items() if n in ("x", LABEL) or n in values or v in slots.values()]
    function = builder.finish("loss", [loss, logits], params)
    return _Tapped(function, slots), values, tuple(parameters)


def _loss(model: Model, logits: relax.Var, label: relax.Var) -> relax.Call:
    attrs = {"scale": model.logits_scale, "zero": model.logits_zero, "dtype": dtype_of(logits), "layer": "loss"}
    if model.loss in ("cross_entropy", "binary_cross_entropy"):
        return call(model.loss, [logits, label], **attrs)
    of_label = (model.input_scale, model.input_zero) if model.loss == "autoencoder" else (1.0, 0)
    attrs |= {"label_scale": of_label[0], "label_zero": of_label[1], "label_dtype": dtype_of(label)}
    return call("mse", [logits, label], **attrs)


def _used(builder: FunctionBuilder) -> set[relax.Var]:
    return {a for _, value in builder.emitted() if isinstance(value, relax.Call) for a in value.args}


def _tap_conv(op: str, args: list, attrs: dict, chosen: Trained, layer: Layer, values, param, slot) -> relax.Call:
    """A convolution that trains: the weight split into its frozen and trained channels, a slot for what trains."""
    name, (x, weight, bias, *tables) = chosen.layer, args
    weights, new_slots, kinds, channels = [weight], [], "", []
    if chosen.bias:
        bias_name = f"{name}.bias"
        new_slots.append(slot(Parameter(bias_name, bias_name, None, False, False, layer.is_head), shape_of(bias)))
        kinds += "b"
    if chosen.channels != ():
        variable, shape = f"{name}.weight", shape_of(weight)
        if chosen.channels is not None:
            channels = list(chosen.channels)
            if layer.depthwise:
                shape = [len(channels), *shape[1:]]
            else:
                rest = sorted(set(range(shape[3])) - set(channels))
                whole, variable = values[f"{name}.weight"], f"{name}.weight.trained"
                weights = [param(f"{name}.weight.frozen", whole[..., rest]), param(variable, whole[..., channels])]
                shape = [*shape[:3], len(channels)]
        parameter = Parameter(f"{name}.weight", variable, chosen.channels, layer.depthwise, True, layer.is_head)
        new_slots.append(slot(parameter, shape))
        kinds += "w"
    attrs = {**attrs, "trained_channels": channels, "slots": kinds}
    return call(op, [x, *weights, bias, *tables, *new_slots], **attrs)


def _differentiate(tapped: _Tapped, parameters: tuple[Parameter, ...]) -> relax.Function:
    """TVM's reverse mode: returns ((loss, logits), adjoint of each slot). It computes nothing that no slot needs."""
    wanted = [tapped.slots[p.variable] for p in parameters]
    require_rules(tapped.function, wanted)
    module = relax.transform.Gradient("loss", wanted)(tvm.IRModule({"loss": tapped.function}))
    (adjoint,) = (f for v, f in module.functions_items() if v.name_hint != "loss")
    return live("adjoint", adjoint)


def _strip(old: relax.Call, args: list) -> relax.Call:
    """A tapped convolution without its slots, and without the float scales where it has integer multipliers: what is
    really computed."""
    attrs = attrs_of(old)
    weights, bias, tables, _ = conv_operands(args, attrs)
    return call(op_name(old), [args[0], *weights, bias, *tables[-1:]], **{**attrs, "slots": ""})


def _same_params(builder: FunctionBuilder, function: relax.Function) -> dict[relax.Var, relax.Var]:
    return {p: builder.param(p.name, shape_of(p), dtype_of(p)) for p in function.params}


def _real_params(builder: FunctionBuilder) -> list[relax.Var]:
    return [v for n, v in builder.params.items() if not n.endswith(".slot")]


def _infer(forward: relax.Function, model: Model) -> relax.Function:
    """The same forward pass without slots and loss, with a softmax where the model has it: it runs on the state that
    train_step trains."""
    builder = FunctionBuilder()

    def rewrite(_: str, old: relax.Call, args: list) -> relax.Expr | None:
        return _strip(old, args) if op_name(old) in CONVOLUTIONS else None

    *_, output = copy(forward, builder, _same_params(builder, forward), rewrite)
    if model.softmax:
        attrs = {"in_scale": model.logits_scale, "out_scale": 1 / 256, "out_zero": -128, "layer": SOFTMAX}
        output = builder.emit(call("qsoftmax", [output], **attrs), SOFTMAX)
    params = [v for v in _real_params(builder) if v.name != LABEL]
    return live("infer", builder.finish("infer", [output], params))


def _finish(
    adjoints: relax.Function, values: dict, parameters: tuple[Parameter, ...], model: Model, options: dict
) -> tuple[relax.Function, dict[str, np.ndarray]]:
    """Drop the slots, compute each mask inside its forward op, and put the updates behind the gradients."""
    builder = FunctionBuilder()
    wanted = {(op_name(v), attrs_of(v).get("layer")) for v in calls_of(adjoints)}
    kept: dict[str, relax.Var] = {}  # by layer: its mask, or its indices

    def rewrite(name: str, old: relax.Call, args: list) -> relax.Expr | None:
        op, layer = op_name(old), attrs_of(old).get("layer")
        if op.endswith(COMPANIONS):
            return kept[layer]
        plain = _strip(old, args) if op in CONVOLUTIONS else None
        for companion in COMPANIONS:
            if (op + companion, layer) in wanted:
                plain = call(op, args, **attrs_of(old)) if plain is None else plain
                with_it = call(f"{op}_with{companion}", list(plain.args), **attrs_of(plain))
                both = builder.emit(with_it, f"{name}.both")
                kept[layer] = builder.emit(relax.TupleGetItem(both, 1), name + companion.replace("_", "."))
                return builder.emit(relax.TupleGetItem(both, 0), name)
        return plain

    loss, logits, *grads = copy(adjoints, builder, _same_params(builder, adjoints), rewrite)
    updater = Updater(builder, values, model, options)
    states = [updater.update(p, g) for p, g in zip(parameters, grads, strict=True)]
    states.append(builder.emit(call("next_step", [updater.counter], layer=COUNTER), "counter.next"))
    step = builder.finish("train_step", [loss, logits, *states], _real_params(builder))
    return live("train_step", step), updater.added
