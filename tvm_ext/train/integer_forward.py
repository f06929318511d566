"""The forward pass by integers alone, for boards without an FPU: a 31-bit multiplier and a shift requantise in place of
float32 and its halves to even (NUMERICS, "Cores without an FPU").

Whatever is one product is rounded once, halves up ("upward"). A sum is rounded in a common scale, 20 bits up
("tflite"): with operands that are rounded one by one, as "upward" has it of a sum, many results would be a step away.
An average between two quantisations takes TFLite's form, too: at most a step away, but rounded twice and so less often
equal. The float scales stay for the backward pass.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from mcutrain.tvm_ext.dialect import OPS, attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.function import FunctionBuilder, copy, live
from mcutrain.tvm_ext.model import NETWORK, Model


def integer_forward(model: Model) -> Model:
    """The same network with rounding "upward" or "tflite" where it had "even"; other roundings, and what is float32
    anyway (a float head, the loss), stay as they are.

    Raises ModelError naming the layer whose scales leave int32."""
    main, builder, params = model.module[NETWORK], FunctionBuilder(), dict(model.params)

    def param(name: str, value: np.ndarray) -> relax.Var:
        params[name] = value
        return builder.param(name, value.shape, str(value.dtype))

    def rewrite(_: str, old: relax.Call, args: list[relax.Expr]) -> relax.Expr | None:
        name, attrs = str(op_name(old)), attrs_of(old)
        rule = OPS[name].integer if name in OPS else None
        if rule is None or attrs["rounding"] != "even":
            return None
        form = rule([params.get(a.name) for a in args], attrs)
        more = [] if form.multipliers is None else [param(f"{attrs['layer']}.multipliers", form.multipliers)]
        return call(name, [*args, *more], **{**attrs, "rounding": form.rounding})

    known = {p: builder.param(p.name, shape_of(p), dtype_of(p)) for p in main.params}
    outputs = copy(main, builder, known, rewrite)
    function = live(NETWORK, builder.finish(NETWORK, outputs, list(builder.params.values())))
    return replace(model, module=tvm.IRModule({NETWORK: function}), params=params)
