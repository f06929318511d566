"""The network as a loss: what trains stands there as operands that TVM's Gradient can differentiate by.

Integer weights have no gradient of their own for TVM's pass: each trained tensor gets a float32 "slot" of the shape of
its trained part as an extra operand, and the gradient is taken with respect to the slot (docs/DESIGN.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import relax

from mcutrain.planner.policy import Layer, Trained
from mcutrain.tvm_ext.dialect import OPS, attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, copy
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.ops.kernel import Attrs
from mcutrain.tvm_ext.train.updates import Parameter

LABEL = "label"
# loss -> shape and dtype of the label; an autoencoder's is its input
LABELS: dict[str, Callable[[Model], tuple[list[int], str]]] = {
    "cross_entropy": lambda model: ([1], "int32"),
    "binary_cross_entropy": lambda model: ([model.classes], "int32"),
    "mse": lambda model: ([model.classes], "float32"),
}


@dataclass(frozen=True)
class Tapped:
    """function: loss(x, label, weights..., slots...) -> (loss, logits). slots: the variable to differentiate by of each
    trained tensor, by the name of its state; slot_names: of those that are operands beside the weights. values: of the
    weights, where those that train in part are split. parameters: what trains."""

    function: relax.Function
    slots: Mapping[str, relax.Var]
    slot_names: frozenset[str]
    values: Mapping[str, np.ndarray]
    parameters: tuple[Parameter, ...]


def tap(model: Model, trained: Mapping[str, Trained]) -> Tapped:
    """The network with split weights, slots and loss."""
    return _Tapping(model, trained).result()


def as_it_runs(old: relax.Call, args: list[relax.Expr]) -> relax.Call | None:
    """A call without what only its gradient rule reads, such as slots; None where it runs as it stands."""
    record = OPS.get(str(op_name(old)))
    return None if record is None or record.runs is None else record.runs(old, args)


@dataclass
class _Tapping:
    """The state of `tap` on its way through the network."""

    model: Model
    trained: Mapping[str, Trained]
    builder: FunctionBuilder = field(default_factory=FunctionBuilder)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)
    slots: dict[str, relax.Var] = field(default_factory=dict)
    slot_names: set[str] = field(default_factory=set)

    def result(self) -> Tapped:
        model, builder = self.model, self.builder
        main = model.module[NETWORK]
        x = builder.param("x", model.input_shape, model.input_dtype)
        label = builder.param(LABEL, *LABELS[model.loss](model)) if model.loss in LABELS else x
        known = {p: x if p.name == "x" else self._param(p.name, model.params[p.name]) for p in main.params}
        (logits,) = copy(main, builder, known, self._rewrite)
        loss = builder.emit(_loss(model, logits, label), "loss")
        for name in set(self.values) - {v.name for v in _used(builder)}:
            del self.values[name]  # a weight that was split: its two parts stand for it
        named = {"x", LABEL, *self.values, *self.slot_names}
        params = [v for n, v in builder.params.items() if n in named]
        function = builder.finish("loss", [loss, logits], params)
        return Tapped(function, self.slots, frozenset(self.slot_names), self.values, tuple(self.parameters))

    def _param(self, name: str, value: np.ndarray) -> relax.Var:
        self.values[name] = np.ascontiguousarray(value)
        return self.builder.param(name, value.shape, str(value.dtype))

    def _slot(self, parameter: Parameter, shape: list[int]) -> relax.Var:
        name = f"{parameter.variable}.slot"
        self.parameters.append(parameter)
        self.slot_names.add(name)
        self.slots[parameter.variable] = self.builder.param(name, shape, "float32")
        return self.slots[parameter.variable]

    def _rewrite(self, _: str, old: relax.Call, args: list[relax.Expr]) -> relax.Expr | None:
        attrs, record = attrs_of(old), OPS.get(str(op_name(old)))
        chosen = self.trained.get(attrs.get("layer", ""))
        if chosen is None or record is None or record.trains is None:
            return None
        if record.trains == "slots":
            return self._with_slots(record.name, args, attrs, chosen)
        for part, var in zip(("weight", "bias"), args[1:], strict=True):
            name = f"{chosen.layer}.{part}"
            self.parameters.append(Parameter(chosen.layer, name, name, None, False, part == "weight", True))
            self.slots[name] = var
        return None

    def _with_slots(self, op: str, args: list[relax.Expr], attrs: Attrs, chosen: Trained) -> relax.Call:
        """A layer that trains: the weight split into its frozen and trained channels, a slot for what trains."""
        name, (x, weight, bias, *tables) = chosen.layer, args
        layer = next(layer for layer in self.model.layers if layer.name == name)
        weights, slots, kinds, channels = [weight], [], "", list(chosen.channels or ())
        if chosen.bias:
            bias_name = f"{name}.bias"
            parameter = Parameter(name, bias_name, bias_name, None, False, False, layer.is_head)
            slots.append(self._slot(parameter, shape_of(bias)))
            kinds += "b"
        if chosen.channels != ():
            weights, variable, shape = self._split(layer, weight, channels)
            parts = (chosen.channels, layer.depthwise, True, layer.is_head)
            slots.append(self._slot(Parameter(name, f"{name}.weight", variable, *parts), shape))
            kinds += "w"
        attrs = {**attrs, "trained_channels": channels, "slots": kinds}
        return call(op, [x, *weights, bias, *tables, *slots], **attrs)

    def _split(self, layer: Layer, weight: relax.Var, channels: list[int]) -> tuple[list[relax.Var], str, list[int]]:
        """(weight operands, name of the one that trains, shape of what trains); no channels: all of it trains."""
        variable, shape = f"{layer.name}.weight", shape_of(weight)
        if not channels:
            return [weight], variable, shape
        if layer.depthwise:
            return [weight], variable, [len(channels), *shape[1:]]
        rest = sorted(set(range(shape[3])) - set(channels))
        whole, trained = self.values[variable], f"{variable}.trained"
        parts = [self._param(f"{variable}.frozen", whole[..., rest]), self._param(trained, whole[..., channels])]
        return parts, trained, [*shape[:3], len(channels)]


def _loss(model: Model, logits: relax.Var, label: relax.Var) -> relax.Call:
    attrs = {"scale": model.logits_scale, "zero": model.logits_zero, "dtype": dtype_of(logits), "layer": "loss"}
    if model.loss in ("cross_entropy", "binary_cross_entropy"):
        return call(model.loss, [logits, label], **attrs)
    of_label = (model.input_scale, model.input_zero) if model.loss == "autoencoder" else (1.0, 0)
    attrs |= {"label_scale": of_label[0], "label_zero": of_label[1], "label_dtype": dtype_of(label)}
    return call("mse", [logits, label], **attrs)


def _used(builder: FunctionBuilder) -> set[relax.Var]:
    return {a for _, value in builder.emitted() if isinstance(value, relax.Call) for a in value.args}
