"""The tensors that train, and the SGD updates that a training step ends in: one `sgd` call a trained tensor."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import relax

from mcutrain.tvm_ext.dialect import OPS, attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, calls_of
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.ops.kernel import float_bits

RATES, COUNTER = "learning_rate", "counter"
DEAD_CHANNEL = 1e-5  # of the layer's largest scale: below it a channel is dead and stays frozen
TRUNK, HEAD = 0, 1  # places in the learning-rate vector


@dataclass(frozen=True)
class Parameter:
    """One trained tensor.

    layer: the one that it belongs to. name: the model's name for it (`blocks.9.pointwise1.weight`). variable: the state
    that trains (for a partly trained weight its trained slice, `....weight.trained`). channels: the trained input
    channels (depthwise: channels), None for all. depthwise, is_weight: what a reader needs to put a slice back into the
    whole."""

    layer: str
    name: str
    variable: str
    channels: tuple[int, ...] | None
    depthwise: bool
    is_weight: bool
    is_head: bool


@dataclass(frozen=True)
class Settings:
    """momentum in [0, 1); every: samples whose gradients are averaged before an update."""

    momentum: float
    every: int


class Updater:
    """Emits one `sgd` a trained tensor. added: values of the parameters that this needs; state: those of them that are
    the optimiser's."""

    def __init__(
        self, builder: FunctionBuilder, values: Mapping[str, np.ndarray], model: Model, settings: Settings
    ) -> None:
        self.builder, self.values, self.settings = builder, values, settings
        self.state: list[str] = []
        self.rates = builder.param(RATES, [2], "float32")
        self.counter = builder.param(COUNTER, [2], "uint32")
        self.added: dict[str, np.ndarray] = {}
        self.scales = {
            attrs_of(c)["layer"]: (attrs_of(c)["in_scale"], attrs_of(c)["out_scale"])
            for c in calls_of(model.module[NETWORK])
            if op_name(c) in OPS and OPS[str(op_name(c))].trains == "slots" and "out_scale" in attrs_of(c)
        }

    def update(self, parameter: Parameter, g: relax.Var) -> relax.Var:
        variable = self.builder.params[parameter.variable]
        attrs = {
            "layer": parameter.name,
            "dtype": dtype_of(variable),
            "rate": HEAD if parameter.is_head else TRUNK,
            "channels": list(parameter.channels or ()) if parameter.depthwise else [],
            "momentum": self.settings.momentum,
            "every": self.settings.every,
        }
        args = [variable, g]
        if attrs["dtype"] != "float32":
            args += [self.builder.params[f"{parameter.layer}.scale"], self._constants(parameter)]
        args += [self.rates, self.counter]
        if self.settings.momentum:
            args.append(self._optimiser_state(f"{parameter.name}.velocity", shape_of(g)))
        if self.settings.every > 1:
            args.append(self._optimiser_state(f"{parameter.name}.accumulator", shape_of(g)))
        return self.builder.emit(call("sgd", args, **attrs), f"{parameter.variable}.next")

    def _constants(self, parameter: Parameter) -> relax.Var:
        """The constants of one tensor's update, apart from its kernel, which many tensors share."""
        layer = parameter.layer
        in_scale, out_scale = self.scales[layer]
        unit = out_scale / in_scale if parameter.is_weight else out_scale
        dead = DEAD_CHANNEL * float(self.values[f"{layer}.scale"].max())
        salt = zlib.crc32(parameter.name.encode())
        name = f"{parameter.name}.update"
        self.added[name] = np.array([float_bits(unit), float_bits(dead), salt], np.uint32)
        return self.builder.param(name, [3], "uint32")

    def _optimiser_state(self, name: str, shape: list[int]) -> relax.Var:
        self.added[name] = np.zeros(shape, np.float32)
        self.state.append(name)
        return self.builder.param(name, shape, "float32")
