"""A model of the dialect in PyTorch: float64, rounding straight-through, clamps as PyTorch differentiates them. Its
autograd is the oracle of our gradients; the values are checked elsewhere (the formats' own interpreters)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of, flatten
from mcutrain.tvm_ext.model import NETWORK, Model, to_oihw


def gradients(model: Model, x: np.ndarray, label: object = None) -> tuple[float, dict[str, np.ndarray]]:
    """The loss, and its gradient by every weight and bias as they are stored (weights OIHW)."""
    network = _Network(model)
    real = (network.output(x) - model.logits_zero) * model.logits_scale
    loss = _loss(model, real, x, label)
    loss.backward()
    return loss.item(), {n: p.grad.numpy() for n, p in network.trained.items() if p.grad is not None}


def outputs(model: Model, x: np.ndarray) -> np.ndarray:
    """float64 (outputs,): the numbers as the network stores them, of an input in the network's shape."""
    return _Network(model).output(x).detach().numpy()


def _loss(model: Model, logits: torch.Tensor, x: np.ndarray, label: object) -> torch.Tensor:
    if model.loss == "cross_entropy":
        return F.cross_entropy(logits[None], torch.tensor([int(label)]))
    if model.loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, torch.tensor(np.asarray(label), dtype=torch.float64))
    if model.loss == "autoencoder":
        label = (x.reshape(-1).astype(np.float64) - model.input_zero) * model.input_scale
    return F.mse_loss(logits, torch.tensor(np.asarray(label), dtype=torch.float64))


class _Network:
    """trained: the leaves by parameter name, in the layout in which people see them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.bindings = list(bindings_of(model.module[NETWORK]))
        self.values = {n: torch.tensor(to_oihw(v), dtype=torch.float64) for n, v in model.params.items()}
        self.trained = {n: v.requires_grad_() for n, v in self.values.items() if n.endswith((".weight", ".bias"))}

    def output(self, x: np.ndarray) -> torch.Tensor:
        """(outputs,) in the order of the network's memory."""
        values = {**self.values, "x": _nchw(x.reshape(self.model.input_shape))}
        last = self._run(values, flatten(self.model.module[NETWORK].body.body)[0])
        return (last.permute(0, 2, 3, 1) if last.ndim == 4 else last).reshape(-1)

    def _run(self, values: dict, output: object) -> torch.Tensor:
        for var, value in self.bindings:
            name = op_name(value)
            if name is None:
                values[var.name] = values[value.name]
                continue
            args = [values[a.name] for a in value.args]
            values[var.name] = OPS[name](attrs_of(value), *args)
        return values[output.name]


def _nchw(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64).permute(0, 3, 1, 2)


def _round(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


def _instead(real: torch.Tensor, exact: np.ndarray) -> torch.Tensor:
    """The exact integers, with the gradient of the real values."""
    return real + (torch.tensor(exact, dtype=torch.float64) - real).detach()


def _times(x: np.ndarray, real: np.ndarray | float, rounding: str) -> np.ndarray:
    """int64 x * real by a 31-bit multiplier and a shift: halves up once, or ("tflite") up and then away from zero."""
    fraction, shift = np.frexp(np.broadcast_to(np.float64(real), x.shape))
    multiplier, shift = np.floor(fraction * 2**31 + 0.5).astype(np.int64), shift.astype(np.int64)
    if rounding == "upward":
        return (x * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    high = ((x << left) * multiplier + 2**30) >> 31
    return np.sign(high) * ((np.abs(high) + (np.int64(1) << right >> 1)) >> right)


def _integers(x: torch.Tensor) -> np.ndarray:
    return np.rint(x.detach().numpy()).astype(np.int64)


def _strict_clamp(x: torch.Tensor, attrs: dict) -> torch.Tensor:
    """As ReLU and hardtanh: no gradient at the bounds."""
    if math.isfinite(attrs["lo"]) and not math.isfinite(attrs["hi"]) and attrs["lo"] == 0:
        return F.relu(x)
    return F.hardtanh(x, attrs["lo"], attrs["hi"])


def _clamp(x: torch.Tensor, attrs: dict) -> torch.Tensor:
    return x.clamp(attrs["lo"], attrs["hi"])


def _padded(x: torch.Tensor, attrs: dict, value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = attrs["padding"]
    return F.pad(x, (left, right, top, bottom), value=value)


def _conv(attrs: dict, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    groups = x.shape[1] if attrs["depthwise"] else 1
    return F.conv2d(_padded(x, attrs), w, b, stride=tuple(attrs["stride"]), groups=groups)


def qconv2d(attrs: dict, x, w, b, scale, *multipliers) -> torch.Tensor:
    acc, factor = _conv(attrs, x - attrs["in_zero"], w, b), scale[None, :, None, None]
    if multipliers:
        real = multipliers[0].numpy()
        exact = np.ldexp(real[0] / 2**31, real[1].astype(int))[None, :, None, None]
        return _clamp(
            _instead(acc * factor, _times(_integers(acc), exact, attrs["rounding"])) + attrs["out_zero"], attrs
        )
    return _clamp(_round(acc * factor) + attrs["out_zero"], attrs)


def qadd(attrs: dict, a, b) -> torch.Tensor:
    a, b, out = a - attrs["a_zero"], b - attrs["b_zero"], attrs["out_scale"]
    scales, rounding = (attrs["a_scale"], attrs["b_scale"]), attrs["rounding"]
    real = (a * scales[0] + b * scales[1]) / out
    if rounding == "even":
        return _clamp(_round(real) + attrs["out_zero"], attrs)
    parts = [_integers(a), _integers(b)]
    if rounding == "upward":
        exact = sum(_times(q, s / out, rounding) if s != out else q for q, s in zip(parts, scales, strict=True))
    else:
        common = 2 * max(scales)
        lifted = sum(_times(q << 20, s / common, rounding) for q, s in zip(parts, scales, strict=True))
        exact = _times(lifted, common / (out * 2**20), rounding)
    return _clamp(_instead(real, exact) + attrs["out_zero"], attrs)


def requantise(attrs: dict, x) -> torch.Tensor:
    real = (x - attrs["in_zero"]) * attrs["in_scale"] / attrs["out_scale"]
    return _clamp(_round(real) + attrs["out_zero"], attrs)


def _average(attrs: dict, x: torch.Tensor) -> torch.Tensor:
    kernel, stride = tuple(attrs["kernel"]), tuple(attrs["stride"])
    sums = F.avg_pool2d(_padded(x, attrs), kernel, stride, divisor_override=1)
    inside = torch.ones_like(x) if not attrs["counts_padding"] else None
    if inside is None:
        return sums / (kernel[0] * kernel[1])
    return sums / F.avg_pool2d(_padded(inside, attrs), kernel, stride, divisor_override=1)


def qavg_pool(attrs: dict, x) -> torch.Tensor:
    if attrs["rounding"] == "tflite" and attrs["in_scale"] == attrs["out_scale"]:
        mean = _average(attrs, x)
        away = np.sign(mean.detach().numpy()) * np.floor(np.abs(mean.detach().numpy()) + 0.5)
        return _clamp(_instead(mean, away), attrs)
    if attrs["rounding"] == "truncate":
        mean = _average(attrs, x)
        return _clamp(_instead(mean, np.trunc(np.round(mean.detach().numpy(), 9))), attrs)
    real = _average(attrs, x - attrs["in_zero"]) * (attrs["in_scale"] / attrs["out_scale"])
    return _clamp(_round(real) + attrs["out_zero"], attrs)


def max_pool(attrs: dict, x) -> torch.Tensor:
    return F.max_pool2d(_padded(x, attrs, -1e30), tuple(attrs["kernel"]), tuple(attrs["stride"]))


def dense(attrs: dict, x, w, b) -> torch.Tensor:
    features = (x.permute(0, 2, 3, 1).reshape(-1) - attrs["in_zero"]) * attrs["in_scale"]
    return w.reshape(len(b), -1) @ features + b


OPS = {
    "qconv2d": qconv2d,
    "fconv2d": lambda attrs, x, w, b: _strict_clamp(_conv(attrs, x, w, b), attrs),
    "qadd": qadd,
    "fadd": lambda attrs, a, b: a + b,
    "requantise": requantise,
    "fclip": lambda attrs, x: _strict_clamp(x, attrs),
    "qmean": lambda attrs, x: _round(x.mean((2, 3), keepdim=True)),
    "qavg_pool": qavg_pool,
    "favg_pool": _average,
    "max_pool": max_pool,
    "concat": lambda attrs, *xs: torch.cat(xs, 1),
    "pad": lambda attrs, x: _padded(x, attrs, attrs["value"]),
    "dense": dense,
}
