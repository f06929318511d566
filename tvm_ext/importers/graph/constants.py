"""Operators on constants alone: shapes that exporters compute, weights that are quantised, transposed and reshaped in
the graph. Results are never larger than a small bound or their largest operand. A record's `fold` and `carry` are made
of the functions here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.importers.graph.context import Arrays, GraphOperator, Import, axis_of, integers, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import Known, Weight, as_array

SMALL = 1 << 16
DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # ONNX's numbers
FLOAT16, BFLOAT16 = 10, 16


def folded(state: Import, node: Node, record: GraphOperator) -> Known | None:
    """The constant that a node gives, None where one of its operands is none."""
    operands = [state.known(node, i) for i in range(len(node.inputs))]
    if not operands or any(k is not None and as_array(k) is None for k in operands):
        return None
    if record.fold is None:
        return None
    arrays = [None if k is None else as_array(k) for k in operands]
    limit = max([SMALL, *(a.size for a in arrays if a is not None)])
    try:
        if record.carry is not None and isinstance(operands[0], Weight):
            return record.carry(node, operands[0], arrays)
        with np.errstate(all="ignore"):
            result = np.asarray(record.fold(node, *arrays))
    except ModelError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError, AttributeError, KeyError):
        raise LayerError(node.name, "does not fit its constant operands", "export the model anew") from None
    if result.size > limit:
        raise LayerError(node.name, f"makes a constant of {result.size} numbers", "export the model anew")
    return result


def dequantised(state: Import, node: Node, ints: np.ndarray) -> Weight:
    """DequantizeLinear of a constant."""
    scale, zero = state.constant(node, 1, "scale"), state.optional(node, 2, "zero point")
    if ints.dtype.name not in ("int8", "uint8", "int32"):
        raise LayerError(node.name, f"a constant in {ints.dtype}", "quantise weights to int8 and biases to int32")
    if number(node, "block_size", 0):
        raise LayerError(node.name, "quantised in blocks", "quantise per channel or per tensor")
    zero = np.zeros(scale.shape, np.int32) if zero is None else zero
    axis = axis_of(node, int(number(node, "axis", 1)), ints.ndim) if scale.size > 1 else 0
    if scale.size > 1 and (scale.size != ints.shape[axis] or zero.size not in (1, scale.size)):
        raise LayerError(node.name, f"{scale.size} scales for a constant of {ints.shape}", "quantise the model anew")
    if zero.size not in (1, scale.size):
        raise LayerError(node.name, f"{zero.size} zero points for {scale.size} scales", "quantise the model anew")
    return Weight(ints, scale.reshape(-1).astype(np.float32), zero.reshape(-1).astype(np.int32), axis)


def quantised(state: Import, node: Node, real: np.ndarray) -> np.ndarray:
    """QuantizeLinear of a constant."""
    scale, zero = state.constant(node, 1, "scale"), state.optional(node, 2, "zero point")
    if zero is None:
        zero = np.zeros(scale.shape, np.int8 if node.attrs.get("output_dtype") == 3 else np.uint8)
    if zero.dtype.name not in ("int8", "uint8") or zero.size not in (1, scale.size):
        raise LayerError(node.name, f"quantises a constant to {zero.dtype}", "quantise to int8")
    shape = [1] * real.ndim
    if scale.size > 1:
        axis = axis_of(node, int(number(node, "axis", 1)), real.ndim)
        shape[axis] = scale.size
        if real.shape[axis] != scale.size:
            raise LayerError(node.name, f"{scale.size} scales for a constant of {real.shape}", "quantise anew")
    with np.errstate(all="ignore"):
        steps = np.rint(real.astype(np.float32) / scale.astype(np.float32).reshape(shape))
        limits = np.iinfo(zero.dtype)
        zeros = zero.astype(np.float32).reshape(shape if zero.size > 1 else [1] * real.ndim)
        return np.nan_to_num(np.clip(steps + zeros, limits.min, limits.max)).astype(zero.dtype)


# --------------------------------------------------------------------------- weights that keep their integers
def carried(node: Node, weight: Weight, arrays: Arrays) -> Weight:
    return weight


def transposed(node: Node, weight: Weight, arrays: Arrays) -> Weight:
    perm = integers(node, "perm") if "perm" in node.attrs else list(range(weight.ints.ndim))[::-1]
    if sorted(perm) != list(range(weight.ints.ndim)):
        raise LayerError(node.name, f"permutes a constant of {weight.ints.shape} by {perm}")
    return replace(weight, ints=weight.ints.transpose(perm), axis=perm.index(weight.axis) if perm else 0)


def reshaped(fold: Callable[..., np.ndarray]) -> Callable[[Node, Weight, Arrays], Weight]:
    """The `carry` of an operator that reshapes as `fold` does."""

    def carry(node: Node, weight: Weight, arrays: Arrays) -> Weight:
        shape = fold(node, np.empty(weight.ints.shape, np.bool_), *arrays[1:]).shape
        if weight.scale.size > 1 and (weight.axis != 0 or shape[:1] != weight.ints.shape[:1]):
            raise LayerError(node.name, "reshapes a weight that is quantised per channel", "quantise it per tensor")
        return replace(weight, ints=weight.ints.reshape(shape))

    return carry


# --------------------------------------------------------------------------- arrays
def same(node: Node, x: np.ndarray, *_: np.ndarray) -> np.ndarray:
    return x


def broadcast(f: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """The `fold` of arithmetic element by element."""

    def fold(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if math.prod(np.broadcast_shapes(a.shape, b.shape)) > max(SMALL, a.size, b.size):
            raise LayerError(node.name, "makes a constant larger than its operands", "export the model anew")
        return f(a, b)

    return fold


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.trunc(a / b).astype(a.dtype) if a.dtype.kind in "iu" else np.asarray(a / b)


def cast(node: Node, x: np.ndarray) -> np.ndarray:
    to = number(node, "to", 0)
    dtype = "float32" if to in (FLOAT16, BFLOAT16) else DTYPES.get(int(to))
    if dtype is None:
        raise LayerError(node.name, "casts a constant to a type that is not supported", "use float32 or int64")
    return x.astype(dtype)


def target(node: Node, dims: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """The dimensions that a Reshape to `wanted` gives: 0 copies, one -1 takes the rest."""
    copies = not node.attrs.get("allowzero", 0)
    out = [dims[i] if n == 0 and i < len(dims) and copies else n for i, n in enumerate(wanted)]
    rest = math.prod(n for n in out if n != -1)
    if out.count(-1) == 1 and rest > 0 and math.prod(dims) % rest == 0:
        out[out.index(-1)] = math.prod(dims) // rest
    if not out or min(out) < 1 or math.prod(out) != math.prod(dims):
        raise LayerError(node.name, f"reshapes {tuple(dims)} to {list(wanted)}", "export with a batch size of 1")
    return tuple(out)


def reshape(node: Node, x: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    return x.reshape(target(node, x.shape, integers(node, "shape") if shape is None else shape.tolist()))


def flatten(node: Node, x: np.ndarray) -> np.ndarray:
    return x.reshape(math.prod(x.shape[: int(number(node, "axis", 1))]), -1)


def unsqueeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.expand_dims(x, tuple(_axes(node, axes)))


def squeeze(node: Node, x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
    return np.squeeze(x, tuple(_axes(node, axes)) or None)


def transpose(node: Node, x: np.ndarray) -> np.ndarray:
    return x.transpose(integers(node, "perm") if "perm" in node.attrs else None)


def concatenate(node: Node, *x: np.ndarray) -> np.ndarray:
    return np.concatenate(x, axis=integers(node, "axis")[0])


def shape(node: Node, x: np.ndarray) -> np.ndarray:
    return np.array(x.shape, np.int64)


def _axes(node: Node, operand: np.ndarray | None) -> list[int]:
    return integers(node, "axes") if "axes" in node.attrs else [] if operand is None else [int(a) for a in operand]


def _slice(node: Node, x: np.ndarray, *operands: np.ndarray | None) -> np.ndarray:
    keys = ("starts", "ends", "axes", "steps")
    given = [integers(node, k) if k in node.attrs else [] for k in keys]
    for i, operand in enumerate(operands):
        given[i] = given[i] if operand is None else [int(n) for n in operand]
    starts, ends, axes, steps = given
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        x = x[(slice(None),) * axis_of(node, axis, x.ndim) + (slice(start, max(end, -(1 << 31)), step),)]
    return x


def _gather(node: Node, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    if indices.size > 64:
        raise LayerError(node.name, f"gathers {indices.size} constants", "export the model anew")
    return np.take(x, indices.astype(np.int64), axis=int(number(node, "axis", 0)))


def _filled(node: Node, shape: np.ndarray) -> np.ndarray:
    dims = [int(n) for n in shape.reshape(-1)]
    if len(dims) > 8 or min(dims, default=1) < 0 or math.prod(dims) > SMALL:
        raise LayerError(node.name, f"fills a constant of {dims[:8]}", "export the model anew")
    value = np.asarray(node.attrs.get("value", np.zeros(1, np.float32))).reshape(-1)
    return np.full(dims, value[0])


def _expanded(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    dims = np.broadcast_shapes(x.shape, tuple(int(n) for n in shape.reshape(-1)[:8]))
    if math.prod(dims) > max(SMALL, x.size):
        raise LayerError(node.name, f"makes a constant of {dims}", "export the model anew")
    return np.broadcast_to(x, dims)


def constants_alone(state: Import, node: Node) -> Known:
    """The reader of what is computed from constants, and only from them."""
    raise LayerError(node.name, "is computed from activations", "only from constants")


OPERATORS = (
    GraphOperator("Gather", constants_alone, fold=_gather),
    GraphOperator("Slice", constants_alone, fold=_slice),
    GraphOperator("ConstantOfShape", constants_alone, fold=_filled),
    GraphOperator("Expand", constants_alone, fold=_expanded),
    GraphOperator("Sqrt", constants_alone, fold=lambda _, x: np.sqrt(x)),
    GraphOperator("Neg", constants_alone, fold=lambda _, x: -x),
    GraphOperator("Floor", constants_alone, fold=lambda _, x: np.floor(x)),
    GraphOperator(
        "ReduceProd", constants_alone, fold=lambda n, x, *_: np.prod(x, keepdims=bool(number(n, "keepdims", 1)))
    ),
)
