"""PT2E's quantisation (quantized_decomposed) in the operator graph's vocabulary."""

from __future__ import annotations

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.torch.call import Ref, Rows, TorchCall, TorchOperator, tensor, whole

LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


def _quantize(rows: Rows, call: TorchCall) -> None:
    scale, zero, dtype = _steps(rows, call)
    x, known = call.args["input"], [rows.constants[name] for name in (scale, zero)]
    low, high = call.args.get("quant_min"), call.args.get("quant_max")
    source = tensor(call, "input")
    is_activation = isinstance(x, Ref) and not x.is_constant and all(k.size == 1 for k in known)
    is_narrow = dtype in LIMITS and (low, high) != LIMITS[dtype]
    if is_activation and is_narrow and isinstance(low, int) and isinstance(high, int):
        step, middle = (float(k.reshape(-1)[0]) for k in known)
        ends = {"min": (low - middle) * step, "max": (high - middle) * step}
        source = rows.add(call, "Clip", [source], "narrowed", **ends)
    rows.add(call, "QuantizeLinear", [source, scale, zero], axis=whole(call, "axis", 1))


def _dequantize(rows: Rows, call: TorchCall) -> None:
    scale, zero, _ = _steps(rows, call)
    rows.add(call, "DequantizeLinear", [tensor(call, "input"), scale, zero], axis=whole(call, "axis", 1))


def _steps(rows: Rows, call: TorchCall) -> tuple[str, str, str]:
    """(the names of the scale and of the zero point, the dtype of the integers)."""
    dtype = str(call.args["dtype"]).removeprefix("torch.")
    if dtype not in (*LIMITS, "int32"):
        raise LayerError(call.name, f"quantises to {dtype}", "use int8 or uint8")
    names = []
    for keys, to in ((("scale", "scales"), "float32"), (("zero_point", "zero_points"), dtype)):
        value = next((call.args[k] for k in keys if call.args.get(k) is not None), None)
        if isinstance(value, Ref):  # a buffer, of float64 and int64
            if value.name not in rows.constants:
                raise LayerError(call.name, f"its {keys[0]} is computed", "only constants")
            value = rows.constants[value.name]
        fill = 0 if value is None else value
        names.append(rows.constant(call, keys[0], np.asarray(fill).astype(to), to))
    return names[0], names[1], dtype


OPERATORS = (
    *(TorchOperator(f"quantize_{per}", _quantize) for per in ("per_tensor", "per_channel")),
    *(TorchOperator(f"dequantize_{per}", _dequantize) for per in ("per_tensor", "per_channel")),
)
