"""Relay's shape, indexing and constant-making operators in Relax."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.read.arrays import LARGEST_DIM
from mcutrain.tvm_ext.importers.relay.real.context import LARGEST_CONSTANT, Context, Conversion
from mcutrain.tvm_ext.importers.relay.real.values import Tensor, Value, constant, dtype_of, shape_of


def infer_shape(c: Context, old: tuple[int, ...], new: list, allowzero: bool) -> list[int]:
    """Relay's codes: 0 keeps a dimension, -1 is what is left, -2 keeps all that follow, -3 joins two, -4 splits one
    into the two numbers behind it."""
    out: list[int] = []
    source, i = 0, 0
    while i < len(new):
        code = new[i]
        if type(code) is not int or not -4 <= code <= LARGEST_DIM:
            raise c.fail(f"newshape {str(new)[:60]}: {str(code)[:20]} is no dimension and no code from -4 to 0")
        needed = {0: 0 if allowzero else 1, -3: 2, -4: 1}.get(code, 0)
        if source + needed > len(old) or (code == -4 and i + 2 >= len(new)):
            raise c.fail(f"newshape {str(new)[:60]} does not fit {list(old)}")
        if code == -2:
            out, source = out + list(old[source:]), len(old)
        elif code == -4:
            out += _halves(c, old[source], new[i + 1], new[i + 2])
            i += 2
        elif code == -3 or (code == 0 and needed):
            out.append(math.prod(old[source : source + needed]))
        else:
            out.append(code)
        source += needed if code in (0, -3, -4) else (code != -2)
        i += 1
    if out.count(-1) > 1:
        raise c.fail(f"newshape {str(new)[:60]} leaves two dimensions open")
    known = math.prod(d for d in out if d != -1)
    if -1 in out:
        out[out.index(-1)] = math.prod(old) // known if known else 0
    if math.prod(out) != math.prod(old):
        raise c.fail(f"newshape {str(new)[:60]} does not hold the elements of {list(old)}")
    return out


def _halves(c: Context, whole: int, first: object, second: object) -> list[int]:
    """The two dimensions of code -4, one of which may be -1."""
    if type(first) is not int or type(second) is not int or (first == -1 and second == -1):
        raise c.fail(
            f"newshape: -4 must be followed by two dimensions, of which one may be -1, found {first}, {second}"
        )
    first = whole // max(second, 1) if first == -1 else first
    second = whole // max(first, 1) if second == -1 else second
    if min(first, second) < 0 or first * second != whole:
        raise c.fail(f"newshape: -4 cannot split {whole} into {first} and {second}")
    return [first, second]


def reshape(c: Context, x: Tensor, *, newshape: list, allowzero: bool) -> relax.Expr:
    return op.reshape(x, infer_shape(c, shape_of(x), newshape, allowzero))


def reshape_like(c: Context, x: Tensor, like: Tensor) -> relax.Expr:
    return op.reshape(x, infer_shape(c, shape_of(x), list(shape_of(like)), allowzero=True))


def batch_flatten(c: Context, x: Tensor) -> relax.Expr:
    n, *rest = shape_of(x)
    return op.reshape(x, (n, math.prod(rest)))


def transpose(c: Context, x: Tensor, *, axes: list | None) -> relax.Expr:
    rank = len(shape_of(x))
    return op.permute_dims(x, [c.axis(x, a) for a in axes] if axes else list(range(rank))[::-1])


def squeeze(c: Context, x: Tensor, *, axis: list | None) -> relax.Expr:
    return op.squeeze(x, axis)


def expand_dims(c: Context, x: Tensor, *, axis: int, num_newaxis: int) -> relax.Expr:
    first = c.axis(x, axis, extra=1)
    if not 0 <= num_newaxis <= 16:
        raise c.fail(f"num_newaxis is {num_newaxis}, expected 0 to 16")
    return op.expand_dims(x, list(range(first, first + num_newaxis))) if num_newaxis else x


def concatenate(c: Context, x: Value, *, axis: int) -> relax.Expr:
    return op.concat(c.tensors(x), axis)


def stack(c: Context, x: Value, *, axis: int) -> relax.Expr:
    return op.stack(c.tensors(x), axis)


def split(c: Context, x: Tensor, *, indices_or_sections: object, axis: int) -> relax.Expr:
    size = shape_of(x)[c.axis(x, axis)]
    parts = indices_or_sections
    if type(parts) is int and parts > 0 and size % parts == 0 and parts <= 4096:
        return op.split(x, parts, c.axis(x, axis))
    if isinstance(parts, list) and all(type(p) is int and 0 <= p <= size for p in parts) and parts == sorted(parts):
        return op.split(x, parts, c.axis(x, axis))
    raise c.fail(f"cannot split {size} at {str(parts)[:60]}: expected a divisor, or rising indices")


def strided_slice(c: Context, x: Tensor, *, begin, end, strides, slice_mode: str, axes) -> relax.Expr:
    """Bounds are clipped to the tensor, as Python's slices are; in mode "size" end counts elements, -1 all."""
    if begin is None or end is None:
        raise c.fail("begin and end must be given as attributes, not computed")
    axes = [c.axis(x, a) for a in axes] if axes is not None else list(range(len(begin)))
    steps = strides if strides and slice_mode == "end" else [1] * len(begin)
    steps = steps * len(begin) if len(steps) == 1 else steps
    if not len(axes) == len(begin) == len(end) == len(steps) <= len(shape_of(x)) or 0 in steps:
        raise c.fail("begin, end, strides and axes do not fit each other or the tensor")
    bounds = []
    for axis, low, high, step in zip(axes, begin, end, steps, strict=True):
        size = shape_of(x)[axis]
        if slice_mode == "size":
            high = size if high == -1 else low + high
        bounds.append(slice(low, high, step).indices(size))
    low, high, step = (list(column) for column in zip(*bounds, strict=True))
    # A falling slice that reaches index 0 ends at -1, which Relax would count from the back.
    high = [-1 - shape_of(x)[a] if h < 0 else h for a, h in zip(axes, high, strict=True)]
    return op.strided_slice(x, axes, low, high, step)


def take(c: Context, x: Tensor, indices: Tensor, *, batch_dims: int, axis: int | None, mode: str) -> relax.Expr:
    if batch_dims or mode not in ("clip", "wrap", "fast"):
        raise c.fail(f"batch_dims={batch_dims}, mode={mode}: supported are no batch dimensions and clip, wrap, fast")
    if axis is None:
        return op.take(c(op.reshape(x, (math.prod(shape_of(x)),))), indices, 0, mode=mode)
    return op.take(x, indices, c.axis(x, axis), mode=mode)


def one_hot(c: Context, indices: Tensor, on: Tensor, off: Tensor, *, depth: int, axis: int, dtype) -> relax.Expr:
    """on where the index equals the position along the new axis, else off."""
    if not 0 < depth <= 1 << 20:
        raise c.fail(f"depth is {depth}, expected 1 to {1 << 20}")
    axis = c.axis(indices, axis, extra=1)
    positions = np.arange(depth).astype(dtype_of(indices))
    classes = constant(c.along(positions, axis, len(shape_of(indices)) + 1))
    is_on = c(op.equal(c(op.expand_dims(indices, axis)), classes))
    return op.where(is_on, c.cast(on, dtype or dtype_of(on)), c.cast(off, dtype or dtype_of(on)))


def full(c: Context, value: Tensor, *, shape: list | None, dtype: str | None) -> relax.Expr:
    return op.full(_given(c, shape), c.cast(value, dtype or dtype_of(value)), dtype or dtype_of(value))


def _filled(value: int) -> Conversion:
    def convert(c: Context, *, shape: list | None, dtype: str | None) -> relax.Expr:
        return op.full(_given(c, shape), constant(value, dtype or "float32"), dtype or "float32")

    return convert


def _given(c: Context, shape: list | None) -> list[int]:
    if shape is None or not all(type(d) is int and 0 <= d <= LARGEST_DIM for d in shape):
        raise c.fail(f"shape is {str(shape)[:60]}, expected dimensions")
    return shape


def broadcast_to(c: Context, x: Tensor, *, shape: list | None, dtype: str | None) -> relax.Expr:
    return op.broadcast_to(x, _given(c, shape))


def broadcast_to_like(c: Context, x: Tensor, like: Tensor) -> relax.Expr:
    return op.broadcast_to(x, shape_of(like))


def arange(c: Context, start: Tensor, stop: Tensor, step: Tensor, /, *, dtype: str, **_: object) -> relax.Expr:
    """The attributes start, stop and step repeat the arguments."""
    low, high, by = (c.numbers(v, "start, stop and step").item() for v in (start, stop, step))
    if not by or not all(map(math.isfinite, (low, high, by))) or (high - low) / by > LARGEST_CONSTANT:
        raise c.fail(f"from {low} to {high} by {by} has no end or more than {LARGEST_CONSTANT} elements")
    return constant(np.arange(low, high, by), dtype)


def tile(c: Context, x: Tensor, *, reps: list) -> relax.Expr:
    return op.tile(x, _given(c, reps))


def repeat(c: Context, x: Tensor, *, repeats: int, axis: int | None) -> relax.Expr:
    if not 1 <= repeats <= LARGEST_DIM:
        raise c.fail(f"repeats is {repeats}, expected 1 or more")
    return op.repeat(x, repeats, axis)


def reverse(c: Context, x: Tensor, *, axis: int) -> relax.Expr:
    return op.flip(x, c.axis(x, axis))


TABLE: dict[str, Conversion] = {
    "reshape": reshape,
    "reshape_like": reshape_like,
    "nn.batch_flatten": batch_flatten,
    "transpose": transpose,
    "squeeze": squeeze,
    "expand_dims": expand_dims,
    "concatenate": concatenate,
    "stack": stack,
    "split": split,
    "strided_slice": strided_slice,
    "take": take,
    "one_hot": one_hot,
    "full": full,
    "zeros": _filled(0),
    "ones": _filled(1),
    "broadcast_to": broadcast_to,
    "broadcast_to_like": broadcast_to_like,
    "arange": arange,
    "tile": tile,
    "repeat": repeat,
    "reverse": reverse,
}
