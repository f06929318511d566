"""What trains, and the SGD updates that a training step ends in: one `sgd` call a trained tensor."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from tvm import relax

from mcutrain.tvm_ext.dialect import attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, calls_of
from mcutrain.tvm_ext.kernels.build import float_bits
from mcutrain.tvm_ext.model import NETWORK, Model

RATES, COUNTER = "learning_rate", "counter"
DEAD_CHANNEL = 1e-5  # of the layer's largest scale: below it a channel is dead and stays frozen
TRUNK, HEAD = 0, 1  # places in the learning-rate vector


@dataclass(frozen=True)
class Parameter:
    """One trained tensor.

    name: the model's name for it (`blocks.9.pointwise1.weight`). variable: the state that trains (for a partly trained
    weight its trained slice, `....weight.trained`). channels: the trained input channels (depthwise: channels), None
    for all. depthwise, is_weight: what a reader needs to put a slice back into the whole."""

    name: str
    variable: str
    channels: tuple[int, ...] | None
    depthwise: bool
    is_weight: bool
    is_head: bool


class Updater:
    """Emits one `sgd` a trained tensor; `added` collects the values of the parameters that this needs."""

    def __init__(self, builder: FunctionBuilder, values: dict, model: Model, options: dict) -> None:
        self.builder, self.values, self.options = builder, values, options
        self.rates = builder.param(RATES, [2], "float32")
        self.counter = builder.param(COUNTER, [2], "uint32")
        self.added: dict[str, np.ndarray] = {}
        self.scales = {
            attrs_of(c)["layer"]: (attrs_of(c)["in_scale"], attrs_of(c)["out_scale"])
            for c in calls_of(model.module[NETWORK])
            if op_name(c) == "qconv2d"
        }

    def update(self, parameter: Parameter, g: relax.Var) -> relax.Var:
        variable = self.builder.params[parameter.variable]
        layer = parameter.name.rsplit(".", 1)[0]
        attrs = {
            "layer": parameter.name,
            "dtype": dtype_of(variable),
            "rate": HEAD if parameter.is_head else TRUNK,
            "channels": list(parameter.channels or ()) if parameter.depthwise else [],
            **self.options,
        }
        args = [variable, g]
        if attrs["dtype"] != "float32":
            args += [self.builder.params[f"{layer}.scale"], self._settings(parameter, layer)]
        args += [self.rates, self.counter]
        if self.options["momentum"]:
            args.append(self._optimiser_state(f"{parameter.name}.velocity", shape_of(g)))
        if self.options["every"] > 1:
            args.append(self._optimiser_state(f"{parameter.name}.accumulator", shape_of(g)))
        return self.builder.emit(call("sgd", args, **attrs), f"{parameter.variable}.next")

    def _settings(self, parameter: Parameter, layer: str) -> relax.Var:
        """The constants of one tensor's update, apart from its kernel, which many tensors share."""
        in_scale, out_scale = self.scales[layer]
        unit = out_scale / in_scale if parameter.is_weight else out_scale
        dead = DEAD_CHANNEL * float(self.values[f"{layer}.scale"].max())
        salt = zlib.crc32(parameter.name.encode())
        name = f"{parameter.name}.update"
        self.added[name] = np.array([float_bits(unit), float_bits(dead), salt], np.uint32)
        return self.builder.param(name, [3], "uint32")

    def _optimiser_state(self, name: str, shape: list[int]) -> relax.Var:
        self.added[name] = np.zeros(shape, np.float32)
        return self.builder.param(name, shape, "float32")
