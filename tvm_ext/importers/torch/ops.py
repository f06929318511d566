"""PyTorch's operators (ATen, and quantized_decomposed of PT2E) in the vocabulary of op_graph.py: one row each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.torch.call import Call, Ref, Rows, ints, operand, spatial, tensor

CLAMP = {"relu6": (0, 6)}
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
RELU = "use ReLU or ReLU6"
WAYS_OUT = {
    **dict.fromkeys(("hardswish", "hardsigmoid", "silu", "gelu", "leaky_relu", "elu", "tanh", "prelu", "mish"), RELU),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh"), "only feed-forward networks; use Conv1d"),
    **dict.fromkeys(
        ("layer_norm", "native_layer_norm", "group_norm", "instance_norm"), "use BatchNorm, which is folded"
    ),
    **dict.fromkeys(("upsample_nearest2d", "interpolate"), "only layers that keep or lower the resolution"),
    **dict.fromkeys(("adaptive_max_pool2d", "amax", "max"), "use MaxPool with the size of the image"),
    "native_group_norm": "use BatchNorm, which is folded",
    "sum": "use mean",
    "select": "export one network of one input and output",
    "_native_batch_norm_legit": "call model.eval() before the export",
    "_native_batch_norm_legit_functional": "call model.eval() before the export",
}


# --------------------------------------------------------------------------- layers
def convolution(rows: Rows, call: Call) -> None:
    if call.args.get("transposed"):
        raise ModelError(f"{call.name}: a transposed convolution; only layers that keep or lower the resolution")
    count = spatial(call)
    attrs = {"strides": ints(call, "stride", count), "dilations": ints(call, "dilation", count)}
    attrs["group"] = int(call.args["groups"])
    padding = call.args["padding"]
    if isinstance(padding, str):
        attrs["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}.get(padding, padding)
    else:
        attrs["pads"] = ints(call, "padding", count) * 2
    rows.add(call, "Conv", [tensor(call, "input"), tensor(call, "weight"), tensor(call, "bias")], **attrs)


def linear(rows: Rows, call: Call) -> None:
    rows.add(call, "Gemm", [tensor(call, "input"), tensor(call, "weight"), tensor(call, "bias")], transB=1)


def addmm(rows: Rows, call: Call) -> None:
    attrs = {"alpha": call.args.get("alpha", 1), "beta": call.args.get("beta", 1)}
    rows.add(call, "Gemm", [tensor(call, "mat1"), tensor(call, "mat2"), tensor(call, "self")], **attrs)


def matmul(rows: Rows, call: Call) -> None:
    rows.add(call, "MatMul", [tensor(call, "self"), tensor(call, "other" if "other" in call.args else "mat2")])


def batch_norm(rows: Rows, call: Call) -> None:
    if call.args.get("training"):
        raise ModelError(f"{call.name}: batch normalisation in training mode; call model.eval() before the export")
    channels, inputs = call.shape[1], [tensor(call, "input")]
    for key, value in (("weight", 1.0), ("bias", 0.0)):
        inputs.append(tensor(call, key) or rows.constant(call, key, [value] * channels, "float32"))
    inputs += [tensor(call, "running_mean"), tensor(call, "running_var")]
    rows.add(call, "BatchNormalization", inputs, epsilon=float(call.args["eps"]))


# --------------------------------------------------------------------------- element by element
def plain(op: str, key: str = "self") -> Callable[[Rows, Call], None]:
    return lambda rows, call: rows.add(call, op, [tensor(call, key)])


def arithmetic(op: str) -> Callable[[Rows, Call], None]:
    def make(rows: Rows, call: Call) -> None:
        if call.args.get("alpha", 1) != 1 or call.args.get("rounding_mode") is not None:
            raise ModelError(f"{call.name}: alpha or a rounding mode; write it without")
        rows.add(call, op, [operand(rows, call, "self"), operand(rows, call, "other")])

    return make


def clamp(rows: Rows, call: Call) -> None:
    lo, hi = CLAMP.get(call.op, (None, None))
    lo = call.args.get("min_val", call.args.get("min", lo))
    hi = call.args.get("max_val", call.args.get("max", hi))
    _clip(rows, call, tensor(call, "self"), lo, hi, "")


def _clip(rows: Rows, call: Call, x: str, lo: object, hi: object, step: str) -> str:
    ends = {k: float(v) for k, v in (("min", lo), ("max", hi)) if v is not None}
    return rows.add(call, "Clip", [x], step, **ends)


# --------------------------------------------------------------------------- windows
def average_pool(rows: Rows, call: Call) -> None:
    if call.args.get("divisor_override") is not None:
        raise ModelError(f"{call.name}: divisor_override; leave it out")
    rows.add(
        call,
        "AveragePool",
        [tensor(call, "self")],
        **_window(call),
        count_include_pad=int(call.args["count_include_pad"]),
    )


def max_pool(rows: Rows, call: Call) -> None:
    rows.add(call, "MaxPool", [tensor(call, "self")], **_window(call), dilations=ints(call, "dilation", spatial(call)))


def _window(call: Call) -> dict[str, object]:
    count = spatial(call)
    kernel = ints(call, "kernel_size", count)
    strides = ints(call, "stride", count) if call.args.get("stride") else kernel
    pads = ints(call, "padding", count) * 2
    return {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "ceil_mode": int(call.args.get("ceil_mode", False)),
    }


def adaptive_pool(rows: Rows, call: Call) -> None:
    sizes, image = ints(call, "output_size", spatial(call)), call.shape[2:]
    if all(n == 1 for n in sizes):
        rows.add(call, "GlobalAveragePool", [tensor(call, "self")])
        return
    if any(m % n for m, n in zip(image, sizes, strict=True)):
        raise ModelError(f"{call.name}: an adaptive pool of {image} to {sizes}; only to sizes that divide it")
    kernel = [m // n for m, n in zip(image, sizes, strict=True)]
    rows.add(call, "AveragePool", [tensor(call, "self")], kernel_shape=kernel, strides=kernel)


def mean(rows: Rows, call: Call) -> None:
    axes = ints(call, "dim") if call.args.get("dim") is not None else []
    rows.add(call, "ReduceMean", [tensor(call, "self")], axes=axes, keepdims=int(bool(call.args.get("keepdim"))))


# --------------------------------------------------------------------------- shapes
def reshape(rows: Rows, call: Call) -> None:
    key = "size" if "size" in call.args else "shape"
    rows.add(call, "Reshape", [tensor(call, "self")], shape=ints(call, key), allowzero=1)


def flatten(rows: Rows, call: Call) -> None:
    rank = len(call.shape)
    start, end = (n % rank for n in (call.args["start_dim"], call.args["end_dim"]))
    shape = [*call.shape[:start], -1, *call.shape[end + 1 :]]
    rows.add(call, "Reshape", [tensor(call, "self")], shape=[1 if i == 0 and start else n for i, n in enumerate(shape)])


def axes(op: str) -> Callable[[Rows, Call], None]:
    def make(rows: Rows, call: Call) -> None:
        given = {"axes": ints(call, "dim")} if call.args.get("dim") is not None else {}
        rows.add(call, op, [tensor(call, "self")], **given)

    return make


def permute(rows: Rows, call: Call) -> None:
    rank = len(call.shape)
    perm = list(range(rank))
    if "dims" in call.args:
        perm = [n % rank for n in ints(call, "dims")]
    else:
        a, b = (int(call.args.get(key, default)) % rank for key, default in (("dim0", 0), ("dim1", -1)))
        perm[a], perm[b] = b, a
    rows.add(call, "Transpose", [tensor(call, "self")], perm=perm)


def concat(rows: Rows, call: Call) -> None:
    given = call.args["tensors"]
    rows.add(call, "Concat", [ref.name for ref in given if isinstance(ref, Ref)], axis=int(call.args.get("dim", 0)))


def pad(rows: Rows, call: Call) -> None:
    """PyTorch lists the padding from the last axis on, begin and end of each."""
    given, rank = ints(call, "pad"), len(call.shape)
    pairs = [(0, 0)] * (rank - len(given) // 2) + [tuple(given[i : i + 2]) for i in range(len(given) - 2, -1, -2)]
    pads = [begin for begin, _ in pairs] + [end for _, end in pairs]
    value, mode = call.args.get("value") or 0.0, call.args.get("mode", "constant")
    rows.add(call, "Pad", [tensor(call, "self")], pads=pads, value=float(value), mode=mode)


# --------------------------------------------------------------------------- quantisation
def quantize(rows: Rows, call: Call) -> None:
    scale, zero, dtype = _steps(rows, call)
    x, known = call.args["input"], (rows.constants.get(scale), rows.constants.get(zero))
    low, high = call.args.get("quant_min"), call.args.get("quant_max")
    is_narrow = dtype in LIMITS and (low, high) != LIMITS[dtype] and isinstance(low, int) and isinstance(high, int)
    source = tensor(call, "input")
    if is_narrow and isinstance(x, Ref) and not x.is_constant and all(k is not None and k.size == 1 for k in known):
        step, middle = (float(k.reshape(-1)[0]) for k in known)
        source = _clip(rows, call, source, (low - middle) * step, (high - middle) * step, "narrowed")
    rows.add(call, "QuantizeLinear", [source, scale, zero], axis=int(call.args.get("axis", 1)))


def dequantize(rows: Rows, call: Call) -> None:
    scale, zero, _ = _steps(rows, call)
    rows.add(call, "DequantizeLinear", [tensor(call, "input"), scale, zero], axis=int(call.args.get("axis", 1)))


def _steps(rows: Rows, call: Call) -> tuple[str, str, str]:
    """Names of the scale and the zero point, dtype of the integers."""
    dtype = str(call.args["dtype"]).removeprefix("torch.")
    if dtype not in (*LIMITS, "int32"):
        raise ModelError(f"{call.name}: quantises to {dtype}; use int8 or uint8")
    names = []
    for keys, to in ((("scale", "scales"), "float32"), (("zero_point", "zero_points"), dtype)):
        value = next((call.args[k] for k in keys if call.args.get(k) is not None), None)
        if isinstance(value, Ref):  # a buffer, of float64 and int64
            if value.name not in rows.constants:
                raise ModelError(f"{call.name}: its {keys[0]} is computed; only constants")
            value = rows.constants[value.name]
        fill = 0 if value is None else value
        names.append(rows.constant(call, keys[0], np.asarray(fill).astype(to), to))
    return names[0], names[1], dtype


OPS: dict[str, Callable[[Rows, Call], object]] = {
    **dict.fromkeys(("conv1d", "conv2d", "convolution"), convolution),
    "linear": linear,
    "addmm": addmm,
    **dict.fromkeys(("mm", "matmul"), matmul),
    "batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": batch_norm,
    **dict.fromkeys(("relu", "relu_"), plain("Relu")),
    **dict.fromkeys(("relu6", "hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_max"), clamp),
    **{name: arithmetic(op) for op in ("Add", "Sub", "Mul", "Div") for name in (op.lower(), f"{op.lower()}_")},
    **dict.fromkeys(("softmax", "_softmax"), plain("Softmax")),
    **dict.fromkeys(("log_softmax", "_log_softmax"), plain("LogSoftmax")),
    "sigmoid": plain("Sigmoid"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), average_pool),
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool2d_with_indices"), max_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), adaptive_pool),
    "mean": mean,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "view_copy"), reshape),
    "flatten": flatten,
    "unsqueeze": axes("Unsqueeze"),
    "squeeze": axes("Squeeze"),
    **dict.fromkeys(("permute", "transpose", "t"), permute),
    "cat": concat,
    **dict.fromkeys(("constant_pad_nd", "pad"), pad),
    **dict.fromkeys(("dropout", "dropout_", "native_dropout"), plain("Identity", "input")),
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "lift_fresh_copy"), plain("Identity")),
    **dict.fromkeys(("quantize_per_tensor", "quantize_per_channel"), quantize),
    **dict.fromkeys(("dequantize_per_tensor", "dequantize_per_channel"), dequantize),
}
