"""An inspection as text, and a model with a layer that no gradient passes, for tests."""

from __future__ import annotations

import io
from dataclasses import replace

import tvm
from rich.console import Console
from tvm import relax

from mcutrain.inspection.text import render_inspection
from mcutrain.schema.inspection import Inspection
from mcutrain.tvm_ext.dialect import attrs_of, call, dtype_of, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, bindings_of, flatten
from mcutrain.tvm_ext.model import NETWORK, Model


def rendered(found: Inspection, width: int, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    render_inspection(found, Console(file=file, width=width))
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def with_softmax(model: Model, behind: str) -> Model:
    """The model with a softmax, which has no gradient, on the output of the layer `behind`."""
    builder, main = FunctionBuilder(), model.module[NETWORK]
    new: dict = {p: builder.param(p.name, shape_of(p), dtype_of(p)) for p in main.params}
    scales = {"in_scale": 0.1, "in_zero": 0, "out_scale": 1 / 256, "out_zero": -128}
    for var, value in bindings_of(main):
        if not isinstance(value, relax.Call):
            new[var] = new[value]
            continue
        new[var] = builder.emit(relax.Call(value.op, [new[a] for a in value.args], value.attrs), var.name)
        if attrs_of(value)["layer"] == behind:
            new[var] = builder.emit(call("qsoftmax", [new[var]], **scales, layer="softmax"), "softmax")
    (output,) = flatten(main.body.body)
    function = builder.finish(NETWORK, [new[output]], [new[p] for p in main.params])
    return replace(model, module=tvm.IRModule({NETWORK: function}))
