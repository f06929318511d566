"""The operands, quantisations, clamps and paddings of TFLite operators, checked: what their readers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import tflite

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.fields import LARGEST_SCALE, SMALLEST_SCALE
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.tflite.file import LARGEST_ACTIVATION, FileOperator, FileTensor, TfliteGraph
from mcutrain.tvm_ext.importers.tflite.record import TfliteOperator

LARGEST_WINDOW, LARGEST_STRIDE = 1 << 12, 1 << 12
LARGEST_RATIO = 1 << 16  # of two scales between which integers are requantised; 2^8 already saturates every value
ACTIVATIONS = {n: name for name, n in vars(tflite.ActivationFunctionType).items() if isinstance(n, int)}
BOUNDS = {
    "NONE": (None, None),
    "RELU": (0, None),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
    "RELU_0_TO_1": (0, 1),
    "TANH": (None, None),  # fused, LiteRT's int8 kernels pass over it
}
Padding = tuple[int, int, int, int]
WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")  # options of all that slides


@dataclass(frozen=True)
class NamedOperator:
    """An operator with its layer's name: what `walk` walks over."""

    name: str
    operator: FileOperator

    @property
    def op(self) -> str:
        return self.operator.op

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.operator.inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.operator.outputs


@dataclass(frozen=True)
class Import:
    """An import under way. values: by tensor number. readers: the operators that read a tensor, by its number; the
    network's end counts as one without a name. padding: of tensors whose PAD their one reader takes over."""

    graph: TfliteGraph
    network: NetworkBuilder
    values: dict[int, Value]
    readers: dict[int, list[str]]
    padding: dict[int, Padding] = field(default_factory=dict)

    def tensor(self, step: NamedOperator, index: int) -> FileTensor:
        """The tensor of an operand that must be there."""
        if index >= len(step.inputs) or step.inputs[index] < 0:
            raise LayerError(step.name, f"operand {index} is missing", "convert the model anew")
        return self.graph.tensors[step.inputs[index]]

    def output(self, step: NamedOperator) -> FileTensor:
        return self.graph.tensors[step.outputs[0]]

    def value(self, step: NamedOperator, index: int = 0) -> Value:
        """The activation that reaches operand `index`."""
        tensor = self.tensor(step, index)
        if tensor.is_constant:
            raise LayerError(step.name, f"reads the constant '{tensor.label}' as an activation", "fold it into a layer")
        if step.inputs[index] not in self.values:
            raise LayerError(step.name, f"reads '{tensor.label}', which nothing before it writes")
        return self.values[step.inputs[index]]

    def image(self, step: NamedOperator, index: int = 0) -> Value:
        """The activation that reaches operand `index` of an operator that needs to know where in the image an element
        stands."""
        x = self.value(step, index)
        if x.order is not None:
            raise LayerError(step.name, "works on a flattened image", "put it before the flatten")
        return x

    def constant(self, step: NamedOperator, index: int, dtypes: Sequence[str] = ("int32", "int64")) -> np.ndarray:
        """The value of operand `index`, which must be a constant of one of these dtypes."""
        tensor = self.tensor(step, index)
        if not tensor.is_constant:
            raise LayerError(step.name, f"'{tensor.label}' must be a constant of the file", "export with fixed shapes")
        if tensor.dtype not in dtypes:
            raise LayerError(
                step.name,
                f"'{tensor.label}' is {tensor.dtype}, not {' or '.join(dtypes)}",
                "convert with full-integer quantisation",
            )
        return tensor.array()


Reader = Callable[[Import, NamedOperator], Value]
Record = TfliteOperator[Reader]


def flat(state: Import, x: Value) -> Value:
    """x as a vector, in the order in which TFLite flattens."""
    return state.network.flatten(x, "HWC") if x.shape[1] * x.shape[2] > 1 else x


def option(step: NamedOperator, key: str) -> int:
    """A whole option, a number of an enumeration or a flag, by its name in the schema."""
    return int(real_option(step, key))


def real_option(step: NamedOperator, key: str) -> float:
    if key not in step.operator.options:
        raise LayerError(step.name, "its options are missing in the file", "convert the model anew")
    return step.operator.options[key]


def quantisation(tensor: FileTensor, name: str) -> Quantisation:
    """The quantisation of an int8 activation: one scale and one zero point."""
    if tensor.dtype != "int8":
        raise LayerError(
            name,
            f"'{tensor.label}' is {tensor.dtype}, activations are int8",
            "convert with full-integer quantisation (a representative dataset, int8 operators)",
        )
    if len(tensor.scales) != 1 or len(tensor.zeros) > 1:
        raise LayerError(name, f"an activation has one scale and one zero point, this has {len(tensor.scales)}")
    return Quantisation(checked_scale(tensor.scales[0], name), _zero(tensor.zeros, name))


def checked_scale(scale: float, name: str) -> float:
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:  # NaN, too
        raise LayerError(
            name, f"the scale {scale:.3g} is no positive finite number ({SMALLEST_SCALE:g} to {LARGEST_SCALE:g})"
        )
    return float(scale)


def _zero(zeros: np.ndarray, name: str) -> int:
    zero = int(zeros[0]) if len(zeros) else 0
    if not -128 <= zero <= 127:
        raise LayerError(name, f"the zero point {zero} is outside int8", "convert the model anew")
    return zero


def check_ratio(numerator: float, denominator: float, name: str) -> None:
    """Raises ModelError for two scales between which an integer product of a requantisation can leave int32."""
    if numerator / denominator >= LARGEST_RATIO:
        raise LayerError(name, f"the scales {numerator:.3g} and {denominator:.3g} do not fit each other")


def same(a: Quantisation, b: Quantisation, name: str) -> None:
    """Raises ModelError where an operator that passes integers through would have to requantise them."""
    if a != b:
        raise LayerError(
            name,
            f"reads scale {a.scale:.6g}, zero point {a.zero} and writes {b.scale:.6g}, {b.zero}, "
            "but does not requantise",
            "convert the model anew",
        )


def clamp(activation: str, out: Quantisation, name: str) -> tuple[int, int]:
    """(lo, hi) of the int8 output under an activation; rounded in float32, halves away from zero, as TFLite does."""
    if activation not in BOUNDS:
        raise LayerError(
            name, f"the activation {activation} is not supported", f"use {', '.join(n for n in BOUNDS if n != 'NONE')}"
        )
    ends = []
    for real, end in zip(BOUNDS[activation], (-128, 127), strict=True):
        if real is None:
            ends.append(end)
            continue
        steps = np.float32(real) / np.float32(out.scale)
        if abs(steps) < 1 << 10:
            ends.append(min(max(out.zero + int(math.copysign(math.floor(abs(steps) + 0.5), steps)), -128), 127))
        else:
            ends.append(end)
    return ends[0], ends[1]


def fused_clamp(step: NamedOperator, out: Quantisation) -> tuple[int, int]:
    """(lo, hi) of the int8 output under the activation that the operator's options name."""
    number = option(step, "FusedActivationFunction")
    return clamp(ACTIVATIONS.get(number, f"number {number}"), out, step.name)


def strides(step: NamedOperator) -> tuple[int, int]:
    """(vertical, horizontal)."""
    stride = (option(step, "StrideH"), option(step, "StrideW"))
    if not all(1 <= n <= LARGEST_STRIDE for n in stride):
        raise LayerError(step.name, f"stride {list(stride)}", f"from 1 to {LARGEST_STRIDE}")
    return stride


def window_padding(
    state: Import, step: NamedOperator, x: Value, kernel: Sequence[int], stride: Sequence[int]
) -> Padding:
    """(top, left, bottom, right): none, or SAME, whose odd one comes last; around that of a PAD that was taken over."""
    if not all(1 <= k <= LARGEST_WINDOW for k in kernel):
        raise LayerError(step.name, f"a window of {list(kernel)}", f"from 1 to {LARGEST_WINDOW}")
    kind = option(step, "Padding")
    if kind not in (tflite.Padding.SAME, tflite.Padding.VALID):
        raise LayerError(step.name, f"padding of kind {kind}", "SAME and VALID are known")
    top, left, bottom, right = state.padding.get(step.inputs[0], (0, 0, 0, 0))
    if kind == tflite.Padding.VALID:
        return top, left, bottom, right
    size = x.shape[1] + top + bottom, x.shape[2] + left + right
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    before = [total // 2 for total in totals]
    return top + before[0], left + before[1], bottom + totals[0] - before[0], right + totals[1] - before[1]


def check_shape(value: Value, tensor: FileTensor, name: str) -> None:
    """Holds what an operator made against what the file says it makes. Raises ModelError."""
    size = math.prod(value.shape)
    if size > LARGEST_ACTIVATION:
        raise LayerError(name, f"makes {size} numbers", f"more than {LARGEST_ACTIVATION} fit no microcontroller")
    is_equal = list(tensor.shape) == value.shape if len(tensor.shape) == 4 and not value.order else tensor.size == size
    if not is_equal:
        raise LayerError(
            name,
            f"makes {value.shape}, the file says {list(tensor.shape)}",
            "export with fixed shapes and a batch size of 1",
        )
