"""PyTorch's operators that act on each number alone, in the operator graph's vocabulary."""

from __future__ import annotations

from collections.abc import Callable

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.torch.call import Rows, TorchCall, TorchOperator, operand, plain, real, tensor


def _arithmetic(op: str) -> Callable[[Rows, TorchCall], None]:
    def make(rows: Rows, call: TorchCall) -> None:
        if call.args.get("alpha", 1) != 1 or call.args.get("rounding_mode") is not None:
            raise LayerError(call.name, "alpha or a rounding mode", "write it without")
        rows.add(call, op, [operand(rows, call, "self"), operand(rows, call, "other")])

    return make


def _clamp(rows: Rows, call: TorchCall) -> None:
    ends = {}
    for end in ("min", "max"):
        key = f"{end}_val" if f"{end}_val" in call.args else end
        if call.args.get(key) is not None:
            ends[end] = real(call, key)
    rows.add(call, "Clip", [tensor(call, "self")], **ends)


def _clamp_to(lo: float, hi: float) -> Callable[[Rows, TorchCall], str]:
    """The reader of a clamp whose ends are in its name."""
    return lambda rows, call: rows.add(call, "Clip", [tensor(call, "self")], min=float(lo), max=float(hi))


def _leaky_relu(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "LeakyRelu", [tensor(call, "self")], alpha=real(call, "negative_slope"))


def _hard_sigmoid(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "HardSigmoid", [tensor(call, "self")], alpha=1 / 6, beta=0.5)


def _silu(rows: Rows, call: TorchCall) -> None:
    x = tensor(call, "self")
    rows.add(call, "Mul", [x, rows.add(call, "Sigmoid", [x], "gate")])


def _elu(rows: Rows, call: TorchCall) -> None:
    if call.args.get("scale", 1) != 1 or call.args.get("input_scale", 1) != 1:
        raise LayerError(call.name, "a scaled ELU", "use ELU, or ReLU")
    rows.add(call, "Elu", [tensor(call, "self")], alpha=real(call, "alpha"))


def _gelu(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "Gelu", [tensor(call, "self")], approximate=call.args.get("approximate", "none"))


def _prelu(rows: Rows, call: TorchCall) -> None:
    """PyTorch's slopes are a vector, whatever the rank of what they meet."""
    slopes, rank = tensor(call, "weight"), len(call.shape)
    if rank > 2:
        slopes = rows.add(call, "Unsqueeze", [slopes], "slopes", axes=list(range(1, rank - 1)))
    rows.add(call, "PRelu", [tensor(call, "self"), slopes])


def _power(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "Pow", [tensor(call, "self"), operand(rows, call, "exponent")])


def _both(name: str, reader: Callable[[Rows, TorchCall], object]) -> tuple[TorchOperator, TorchOperator]:
    """An operator and its form that writes into its operand, which means the same in a program of values."""
    return TorchOperator(name, reader), TorchOperator(f"{name}_", reader)


_FUNCTIONS = (
    *_both("relu", plain("Relu")),
    TorchOperator("relu6", _clamp_to(0, 6)),
    *_both("sigmoid", plain("Sigmoid")),
    *_both("tanh", plain("Tanh")),
    *_both("hardswish", plain("HardSwish")),
    *_both("hardsigmoid", _hard_sigmoid),
    *_both("leaky_relu", _leaky_relu),
    *_both("elu", _elu),
    *_both("silu", _silu),
    *_both("gelu", _gelu),
    TorchOperator("prelu", _prelu),
)
KNOWN = f"use one of {', '.join(record.name for record in _FUNCTIONS if not record.name.endswith('_'))}"
OPERATORS = (
    *_FUNCTIONS,
    *(TorchOperator(name, _clamp) for name in ("hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_max")),
    *(TorchOperator(f"{op.lower()}{end}", _arithmetic(op)) for op in ("Add", "Sub", "Mul", "Div") for end in ("", "_")),
    *(TorchOperator(name, plain("Softmax")) for name in ("softmax", "_softmax")),
    *(TorchOperator(name, plain("LogSoftmax")) for name in ("log_softmax", "_log_softmax")),
    TorchOperator("erf", plain("Erf")),
    TorchOperator("pow", _power),
    *(TorchOperator(name, way_out=KNOWN) for name in ("mish", "selu", "softplus")),
)
