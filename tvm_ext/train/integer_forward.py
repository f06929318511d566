"""The forward pass by integers alone, for boards without an FPU: a 31-bit multiplier and a shift requantise in place of
float32 and its halves to even (NUMERICS, "Cores without an FPU").

Whatever is one product is rounded once, halves up ("upward"). A sum is rounded in a common scale, 20 bits up
("tflite"): with operands that are rounded one by one, as "upward" has it of a sum, many results would be a step away.
An average between two quantisations takes TFLite's form, too: at most a step away, but rounded twice and so less often
equal. The float scales stay for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import attrs_of, call, dtype_of, op_name, shape_of
from mcutrain.tvm_ext.fixed_point import multiplier
from mcutrain.tvm_ext.function import FunctionBuilder, copy, live
from mcutrain.tvm_ext.model import NETWORK, Model

LARGEST_STEP = 255  # |q - zero| of int8
LARGEST_WEIGHT = 128
SUM_BITS = 20  # by which "tflite" lifts the operands of a sum
LIMIT = 2**30  # of a product in steps of the output: a bit is left for the shift to the left, which is a power of two
Param = Callable[[str, np.ndarray], relax.Var]


def integer_forward(model: Model) -> Model:
    """The same network with rounding "upward" or "tflite" where it had "even"; other roundings, and what is float32
    anyway (a float head, the loss), stay as they are.

    Raises ModelError naming the layer whose scales leave int32."""
    main, builder, params = model.module[NETWORK], FunctionBuilder(), dict(model.params)

    def param(name: str, value: np.ndarray) -> relax.Var:
        params[name] = value
        return builder.param(name, value.shape, str(value.dtype))

    def rewrite(_: str, old: relax.Call, args: list) -> relax.Expr | None:
        name, attrs = op_name(old), attrs_of(old)
        if name not in RULES or attrs["rounding"] != "even":
            return None
        rounding, more = RULES[name](args, attrs, params, param)
        return call(name, [*args, *more], **{**attrs, "rounding": rounding})

    known = {p: builder.param(p.name, shape_of(p), dtype_of(p)) for p in main.params}
    outputs = copy(main, builder, known, rewrite)
    function = live(NETWORK, builder.finish(NETWORK, outputs, list(builder.params.values())))
    return replace(model, module=tvm.IRModule({NETWORK: function}), params=params)


def _qconv2d(args: list, attrs: dict, params: Mapping[str, np.ndarray], param: Param) -> tuple[str, list]:
    """Multipliers behind the scale, of the very float32 that the scale is."""
    weight, bias, scale = (params[a.name] for a in args[1:4])
    products = weight[0].size * LARGEST_WEIGHT * max(127 - attrs["in_zero"], attrs["in_zero"] + 128)
    reach = products + np.abs(bias.astype(np.int64))
    for real, largest in zip(scale, reach, strict=True):
        _check(float(real), int(largest), attrs)
    table = np.array([multiplier(float(real)) for real in scale], np.int32).T.copy()
    return "upward", [param(f"{attrs['layer']}.multipliers", table)]


def _qadd(_args: list, attrs: dict, _params: Mapping[str, np.ndarray], _param: Param) -> tuple[str, list]:
    common = 2 * max(attrs["a_scale"], attrs["b_scale"])
    _check(common / (attrs["out_scale"] * 2**SUM_BITS), LARGEST_STEP << SUM_BITS, attrs)
    return "tflite", []


def _qavg_pool(_args: list, attrs: dict, _params: Mapping[str, np.ndarray], _param: Param) -> tuple[str, list]:
    """Without a new quantisation the quotient itself is rounded; else 1 / positions goes into the multiplier."""
    if (attrs["in_scale"], attrs["in_zero"]) == (attrs["out_scale"], attrs["out_zero"]):
        return "upward", []
    _check(attrs["in_scale"] / attrs["out_scale"], LARGEST_STEP * int(np.prod(attrs["kernel"])), attrs)
    return "tflite", []


def _requantise(_args: list, attrs: dict, _params: Mapping[str, np.ndarray], _param: Param) -> tuple[str, list]:
    _check(attrs["in_scale"] / attrs["out_scale"], LARGEST_STEP, attrs)
    return "upward", []


def _check(real: float, largest: int, attrs: dict) -> None:
    """That `largest` * real stays inside int32 on its way to the clamp, as float32 does not ask for."""
    if real * largest >= LIMIT:
        raise ModelError(
            f"layer {attrs['layer']}: a requantisation by {real:.3g} of numbers up to {largest} leaves int32; "
            "check its scales, or choose a board with an FPU"
        )


RULES = {"qconv2d": _qconv2d, "qadd": _qadd, "qavg_pool": _qavg_pool, "requantise": _requantise}
