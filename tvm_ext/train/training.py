"""Forward graph + policy -> training step: split weights, loss, TVM's Gradient, masks on the way, updates in place.

main(x, weights...)  --tapped-->  loss(x, label, weights..., slots...)  --Gradient-->  adjoints of the slots
                     --finished-->  train_step(x, label, weights..., rates, counter) -> (loss, logits, new state...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from mcutrain.planner.errors import PolicyError
from mcutrain.planner.policy import Policy, Trained, resolve
from mcutrain.tvm_ext.dialect import ENTRIES, attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, calls_of, copy, live, well_formed
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.ops.table import Part
from mcutrain.tvm_ext.train.rules import require_rules
from mcutrain.tvm_ext.train.tapping import LABEL as LABEL
from mcutrain.tvm_ext.train.tapping import Tapped, as_it_runs, tap
from mcutrain.tvm_ext.train.updates import COUNTER, RATES, Parameter, Settings, Updater

SOFTMAX = "softmax"
MAX_ACCUMULATE = 1 << 16  # samples; a float32 sum of more would lose the small gradients


@dataclass(frozen=True)
class Training:
    """module: `infer` and, unless nothing trains, `train_step`. values: initial value of every parameter of both.
    optimiser: names of the velocities and accumulators among them."""

    model: Model
    policy: Policy
    module: tvm.IRModule
    values: Mapping[str, np.ndarray]
    parameters: tuple[Parameter, ...]
    trained: Mapping[str, Trained]
    optimiser: frozenset[str] = frozenset()


def train(model: Model, policy: Policy, momentum: float = 0.0, accumulate: int = 1, seed: int = 1) -> Training:
    """Extend the model by the backward pass that `policy` asks for, with QAS + SGD updates in place.

    momentum in [0, 1); accumulate: samples whose gradients are averaged before an update; seed: of stochastic rounding.
    Raises PolicyError."""
    if not 0.0 <= momentum < 1.0:
        raise PolicyError(f"momentum {momentum} is not in [0, 1)")
    if not 1 <= accumulate <= MAX_ACCUMULATE:
        raise PolicyError(f"accumulate {accumulate}: average over 1 to {MAX_ACCUMULATE} samples")
    trained = resolve(policy, model.layers)
    tapped = tap(model, trained)
    train_step, updater = _finish(_differentiate(tapped), tapped, model, Settings(float(momentum), int(accumulate)))
    values = {
        **tapped.values,
        **updater.added,
        RATES: np.array([0.001, 0.01], np.float32),
        COUNTER: np.array([seed & 0xFFFFFFFF, 0], np.uint32),
    }
    infer = _infer(tapped.function, model, tapped.slot_names)
    module = well_formed(tvm.IRModule({"infer": infer, "train_step": train_step}))
    used = {p.name for f in module.functions.values() for p in f.params}
    values = {n: v for n, v in values.items() if n in used}
    return Training(model, policy, module, values, tapped.parameters, trained, frozenset(updater.state))


def inference(model: Model) -> Training:
    """The model as it is, `infer` alone."""
    function = _infer(model.module[NETWORK], model)
    values = {p.name: model.params[p.name] for p in function.params if p.name != "x"}
    return Training(model, Policy("inference", ()), tvm.IRModule({"infer": function}), values, (), {})


def _differentiate(tapped: Tapped) -> relax.Function:
    """TVM's reverse mode: returns ((loss, logits), adjoint of each slot). It computes nothing that no slot needs."""
    wanted = [tapped.slots[p.variable] for p in tapped.parameters]
    require_rules(tapped.function, wanted)
    module = relax.transform.Gradient("loss", wanted)(tvm.IRModule({"loss": tapped.function}))
    (adjoint,) = (f for v, f in module.functions_items() if v.name_hint != "loss")
    return live("adjoint", adjoint)


def _same_params(builder: FunctionBuilder, function: relax.Function) -> dict[relax.Var, relax.Var]:
    return {p: builder.param(p.name, shape_of(p), dtype_of(p)) for p in function.params}


def _infer(forward: relax.Function, model: Model, without: frozenset[str] = frozenset()) -> relax.Function:
    """The same forward pass without slots and loss, with a softmax where the model has it: it runs on the state that
    train_step trains. without: names of the slots."""
    builder = FunctionBuilder()

    def rewrite(_: str, old: relax.Call, args: list[relax.Expr]) -> relax.Expr | None:
        return as_it_runs(old, args)

    *_, output = copy(forward, builder, _same_params(builder, forward), rewrite)
    if model.softmax:
        attrs = {"in_scale": model.logits_scale, "out_scale": 1 / 256, "out_zero": -128, "layer": SOFTMAX}
        output = builder.emit(call("qsoftmax", [output], **attrs), SOFTMAX)
    params = [v for n, v in builder.params.items() if n not in without and n != LABEL]
    return live("infer", builder.finish("infer", [output], params))


def _finish(
    adjoints: relax.Function, tapped: Tapped, model: Model, settings: Settings
) -> tuple[relax.Function, Updater]:
    """Drop the slots, compute each mask inside its forward op, and put the updates behind the gradients."""
    builder = FunctionBuilder()
    wanted = {(op_name(v), attrs_of(v).get("layer")) for v in calls_of(adjoints)}
    kept: dict[str, relax.Var] = {}  # by layer: its mask, or its indices

    def rewrite(name: str, old: relax.Call, args: list[relax.Expr]) -> relax.Expr | None:
        op, attrs = str(op_name(old)), attrs_of(old)
        if op not in ENTRIES:
            return None
        record, layer = ENTRIES[op].record, attrs.get("layer", "")
        if ENTRIES[op].part is Part.COMPANION:
            return kept[layer]
        plain = as_it_runs(old, args)
        companion = record.companion
        if companion is None or (companion.alone(op), layer) not in wanted:
            return plain
        runs = call(op, args, **attrs) if plain is None else plain
        both = builder.emit(call(companion.both(op), list(runs.args), **attrs_of(runs)), f"{name}.both")
        kept[layer] = builder.emit(relax.TupleGetItem(both, 1), f"{name}.{companion.name}")
        return builder.emit(relax.TupleGetItem(both, 0), name)

    loss, logits, *grads = copy(adjoints, builder, _same_params(builder, adjoints), rewrite)
    updater = Updater(builder, tapped.values, model, settings)
    states = [updater.update(p, g) for p, g in zip(tapped.parameters, grads, strict=True)]
    states.append(builder.emit(call("next_step", [updater.counter], layer=COUNTER), "counter.next"))
    params = [v for n, v in builder.params.items() if n not in tapped.slot_names]
    return live("train_step", builder.finish("train_step", [loss, logits, *states], params)), updater
