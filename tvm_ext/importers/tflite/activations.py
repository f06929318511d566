"""TFLite operators that act on each number alone, and those that a loss takes over at the network's end."""

from __future__ import annotations

from collections.abc import Callable

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.activations import table
from mcutrain.tvm_ext.importers.base.values import Value
from mcutrain.tvm_ext.importers.tflite.context import (
    Import,
    NamedOperator,
    Reader,
    Record,
    check_ratio,
    clamp,
    option,
    quantisation,
    real_option,
)
from mcutrain.tvm_ext.importers.tflite.ops import ROUNDING, requantised

AT_THE_END = "it is supported as the network's last operator alone, where the loss takes it over"


def _relu(activation: str) -> Reader:
    """The reader of a clamp that stands alone; of another quantisation than its input, perhaps."""

    def read(state: Import, step: NamedOperator) -> Value:
        out = quantisation(state.output(step), step.name)
        return requantised(state, step, out, *clamp(activation, out, step.name), is_float_ratio=True)

    return read


def _lookup(function: str, parameters: Callable[[NamedOperator], dict[str, float]] = lambda _: {}) -> Reader:
    """The reader of a function of each number; function and parameters are those of ops.activation.FUNCTIONS."""

    def read(state: Import, step: NamedOperator) -> Value:
        x, out = state.value(step), quantisation(state.output(step), step.name)
        steps, its_steps = (x.steps.scale, x.steps.zero), (out.scale, out.zero)
        return state.network.lookup(step.name, x, *table(function, steps, its_steps, "tflite", **parameters(step)), out)

    return read


def _gelu(state: Import, step: NamedOperator) -> Value:
    return _lookup("gelu_tanh" if option(step, "Approximate") else "gelu")(state, step)


def _prelu(state: Import, step: NamedOperator) -> Value:
    """PReLU with int8 slopes: one for all numbers, or one a channel."""
    x, slopes = state.value(step), state.constant(step, 1, ("int8",))
    out, own = quantisation(state.output(step), step.name), quantisation(state.tensor(step, 1), step.name)
    if slopes.size != max(slopes.shape[-1:], default=1) or slopes.size not in (1, x.shape[3]):
        raise LayerError(
            step.name, f"slopes of shape {list(slopes.shape)} for {x.shape[3]} channels", "share them over the image"
        )
    for scale in (x.steps.scale, x.steps.scale * own.scale):
        check_ratio(scale, out.scale, step.name)
    return state.network.prelu(step.name, x, slopes.reshape(-1), out, own, ROUNDING)


OPERATORS = (
    *(Record(name, _relu(name)) for name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")),
    Record("HARD_SWISH", _lookup("hard_swish")),
    Record("TANH", _lookup("tanh")),
    Record("ELU", _lookup("elu")),
    Record(
        "LEAKY_RELU",
        _lookup("leaky_relu", lambda step: {"alpha": real_option(step, "Alpha")}),
        options=("LeakyReluOptions", ("Alpha",)),
    ),
    Record("GELU", _gelu, options=("GeluOptions", ("Approximate",))),
    Record("PRELU", _prelu),
    Record("SOFTMAX", way_out=AT_THE_END, options=("SoftmaxOptions", ("Beta",)), behind="loss"),
    Record("LOGISTIC", _lookup("sigmoid"), behind="loss"),
    Record("LOG_SOFTMAX", way_out=AT_THE_END, behind="loss"),
)
