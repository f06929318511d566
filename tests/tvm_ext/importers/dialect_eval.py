"""dialect_numpy's evaluator with the float32 operators: any model of the dialect in numpy, for tests of importers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.model import NETWORK, Model
from tests.tvm_ext.importers import dialect_numpy


def evaluate(model: Model, x: np.ndarray) -> np.ndarray:
    """The logits of one input (1, H, W, C), in the shape that the dialect gives them."""
    return trace(model, x)[-1][1]


def trace(model: Model, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(layer, its output) in order."""
    main = model.module[NETWORK]
    values = {p: model.params[p.name] for p in main.params[1:]}
    values[main.params[0]] = np.asarray(x).reshape(model.input_shape)
    outputs = []
    for var, call in bindings_of(main):
        op = op_name(call)
        if op is None:
            values[var] = values.get(call)
            continue
        args, attrs = [values[a] for a in call.args], attrs_of(call)
        rules = FLOAT if args[0].dtype == np.float32 else dialect_numpy.OPS
        values[var] = rules[op](*args, **attrs)
        outputs.append((attrs["layer"], values[var]))
    return outputs


def quantised(model: Model, real: np.ndarray) -> np.ndarray:
    """A real NCHW, NCW or NC input as the int8 that the network reads, in (1, H, W, C)."""
    scaled = np.rint(real.astype(np.float32) / np.float32(model.input_scale)) + model.input_zero
    return np.clip(channels_last(scaled), -128, 127).astype(np.int8)


def channels_last(x: np.ndarray) -> np.ndarray:
    """(1, C, H, W), (1, C, L) or (1, n) as (1, H, W, C)."""
    x = x.reshape(*x.shape[:2], *[1] * (4 - x.ndim), *x.shape[2:])
    return x.transpose(0, 2, 3, 1)


def windows(x: np.ndarray, fill: float, kernel: list, stride: list, padding: list) -> np.ndarray:
    """(1, H, W, C) -> float64 [Ho, Wo, C, kh, kw]."""
    top, left, bottom, right = padding
    padded = np.pad(x[0].astype(np.float64), ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(0, 1))[:: stride[0], :: stride[1]]


def fconv2d(x, w, bias, *, kernel, stride, padding, depthwise, lo, hi, **_: object) -> np.ndarray:
    cut = windows(x, 0, kernel, stride, padding)
    if depthwise:
        acc = np.einsum("hwckl,ckl->hwc", cut, w.astype(np.float64))
    else:
        acc = np.einsum("hwikl,okli->hwo", cut, w.astype(np.float64), optimize=True)
    return np.clip(acc + bias, lo, hi).astype(np.float32)[None]


def favg_pool(x, *, kernel, stride, padding, counts_padding, **_: object) -> np.ndarray:
    inside = windows(np.ones_like(x[..., :1]), 0, kernel, stride, padding).sum((3, 4))
    n = kernel[0] * kernel[1] if counts_padding else inside
    return (windows(x, 0, kernel, stride, padding).sum((3, 4)) / n).astype(np.float32)[None]


def max_pool(x, *, kernel, stride, padding, **_: object) -> np.ndarray:
    return windows(x, -np.inf, kernel, stride, padding).max((3, 4)).astype(np.float32)[None]


def concat(*values, **_: object) -> np.ndarray:
    return np.concatenate(values, axis=3)


def pad(x, *, padding, value, **_: object) -> np.ndarray:
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=np.float32(value))


def fclip(x, *, lo, hi, **_: object) -> np.ndarray:
    return np.clip(x, np.float32(lo), np.float32(hi))


def fadd(a, b, **_: object) -> np.ndarray:
    return a + b


def dense(x, w, b, *, in_scale, in_zero, **_: object) -> np.ndarray:
    real = (x.astype(np.float64) - in_zero) * in_scale
    return (w.astype(np.float64) @ real.reshape(-1) + b).astype(np.float32)


def factivation(x, *, function, layer, **parameters: float) -> np.ndarray:
    return FUNCTIONS[function](torch.from_numpy(x.astype(np.float64)), **parameters).numpy().astype(np.float32)


def fprelu(x, slopes, **_: object) -> np.ndarray:
    return np.where(x > 0, x, x * slopes)


FUNCTIONS = {
    "elu": F.elu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hard_sigmoid": lambda x, alpha, beta: torch.clamp(x * alpha + beta, 0, 1),
    "hard_swish": F.hardswish,
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "tanh": torch.tanh,
}
FLOAT = {f.__name__: f for f in (fconv2d, favg_pool, max_pool, concat, pad, fclip, fadd, factivation, fprelu, dense)}
