"""The dialect: Relax ops `relax.mcu.*`, registered on import, and how to call them.

Activations are int8 tensors (1, H, W, C), in float networks float32 ones; adjoints are float32 of the same shape.
A clamp mask keeps one bit an element, each row starting on a byte. Every op has the attribute `layer`, the name that
the user knows it by. Attributes that several ops share:

    kernel [kh, kw], stride [vertical, horizontal], padding [top, left, bottom, right]
    lo, hi: the clamp, of int8 values or (float ops) of real ones
    rounding: how integers are requantised (docs/DESIGN.md): "even", "tflite", "upward"; of averages also "truncate"

Each op is one record in ops/, in the module of its family; ops/table.py says how to add one.
"""

from __future__ import annotations

from mcutrain.tvm_ext.ops.expr import (
    PREFIX,
    attrs_of,
    call,
    dtype_of,
    mask_shape,
    op_name,
    shape_of,
    window_output_shape,
)
from mcutrain.tvm_ext.ops.table import ENTRIES, OPS

__all__ = [
    "ENTRIES",
    "OPS",
    "PREFIX",
    "attrs_of",
    "call",
    "dtype_of",
    "mask_shape",
    "op_name",
    "shape_of",
    "window_output_shape",
]
