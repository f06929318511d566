"""The channels of an activation whose weights train: all that the weight gradient needs of it."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.relax import TensorType

from mcutrain.tvm_ext.ops.expr import attrs_of, dtype_of, shape_of
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, overlap_distance, suffix_minimum
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import function, i32, loop, store


def take_channels(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """x (1, H, W, C) -> (1, H, W, n): the channels whose weights train, kept for the weight gradient."""
    _, height, width, in_c = shapes[0]
    channels, dtype = attrs["channels"], attrs.get("dtype", "int8")
    n, positions = len(channels), height * width
    with function() as f:
        x, table = f.buffer("x", positions * in_c, dtype), f.buffer("channels", n, "int16")
        out = f.buffer("y", positions * n, dtype)
        with loop("p", 0, positions) as p, loop("c", 0, n) as c:
            store(out, p * n + c, x[p * in_c + i32(table[c])])
    still_read = suffix_minimum((np.arange(positions)[:, None] * in_c + channels).ravel())
    still_read[0] = positions * in_c  # the first value is read before anything is written
    overlaps = ((0, 0, overlap_distance(np.arange(positions * n), still_read) * np.dtype(dtype).itemsize),)
    return Kernel(f.func, (np.asarray(channels, "int16"),), overlaps=overlaps, inputs=1)


def _type(c: relax.Call) -> relax.Type:
    x = c.args[0]
    return TensorType([*shape_of(x)[:3], len(attrs_of(c)["channels"])], dtype_of(x))


OPS = (OpRecord("take_channels", _type, take_channels, "backward", result=":saved"),)  # x; attr channels
