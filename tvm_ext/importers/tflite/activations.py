"""TFLite operators that act on each number alone, and those that a loss takes over at the network's end."""

from __future__ import annotations

from mcutrain.tvm_ext.importers.base.network import Value
from mcutrain.tvm_ext.importers.tflite.context import Import, Reader, Record, Step, clamp, quantisation
from mcutrain.tvm_ext.importers.tflite.ops import requantised

AT_THE_END = "it is supported as the network's last operator alone, where the loss takes it over"
RELU = "use RELU or RELU6"


def _relu(activation: str) -> Reader:
    """The reader of a clamp that stands alone; of another quantisation than its input, perhaps."""

    def read(state: Import, step: Step) -> Value:
        out = quantisation(state.output(step), step.name)
        return requantised(state, step, out, *clamp(activation, out, step.name), is_float_ratio=True)

    return read


OPERATORS = (
    *(Record(name, _relu(name)) for name in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")),
    *(Record(name, way_out=RELU) for name in ("HARD_SWISH", "LEAKY_RELU", "PRELU", "ELU", "GELU", "TANH")),
    Record("SOFTMAX", way_out=AT_THE_END, options=("SoftmaxOptions", ("Beta",)), behind="loss"),
    Record("LOGISTIC", way_out=AT_THE_END, behind="loss"),
    Record("LOG_SOFTMAX", way_out=AT_THE_END, behind="loss"),
)
