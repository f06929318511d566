"""What the ops' models in PyTorch are made of: float64, rounding straight-through, clamps as PyTorch differentiates
them. Images are (1, C, H, W), weights OIHW."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from tests.tvm_ext.support.product_ops import Attrs


def to_torch(value: np.ndarray) -> torch.Tensor:
    """float64: (1, H, W, C) as (1, C, H, W), OHWI as OIHW, a depthwise [C, kh, kw] as [C, 1, kh, kw]."""
    tensor = torch.tensor(value, dtype=torch.float64)
    return tensor.permute(0, 3, 1, 2) if value.ndim == 4 else tensor[:, None] if value.ndim == 3 else tensor


def from_torch(value: torch.Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of to_torch, for a tensor of ours of this shape."""
    array = value.detach().numpy()
    return array.transpose(0, 2, 3, 1) if len(shape) == 4 else array.reshape(shape)


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


def instead(real: torch.Tensor, exact: np.ndarray) -> torch.Tensor:
    """The exact integers, with the gradient of the real values."""
    return real + (torch.tensor(exact, dtype=torch.float64) - real).detach()


def times(x: np.ndarray, real: np.ndarray | float, rounding: str) -> np.ndarray:
    """int64 x * real by a 31-bit multiplier and a shift: halves up once, or ("tflite") up and then away from zero."""
    fraction, shift = np.frexp(np.broadcast_to(np.float64(real), x.shape))
    multiplier, shift = np.floor(fraction * 2**31 + 0.5).astype(np.int64), shift.astype(np.int64)
    if rounding == "upward":
        return (x * multiplier + (np.int64(1) << (30 - shift))) >> (31 - shift)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    high = ((x << left) * multiplier + 2**30) >> 31
    return np.sign(high) * ((np.abs(high) + (np.int64(1) << right >> 1)) >> right)


def integers(x: torch.Tensor) -> np.ndarray:
    return np.rint(x.detach().numpy()).astype(np.int64)


def strict_clamp(x: torch.Tensor, attrs: Attrs) -> torch.Tensor:
    """As ReLU and hardtanh: no gradient at the bounds."""
    if math.isfinite(attrs["lo"]) and not math.isfinite(attrs["hi"]) and attrs["lo"] == 0:
        return F.relu(x)
    return F.hardtanh(x, attrs["lo"], attrs["hi"])


def clamp(x: torch.Tensor, attrs: Attrs) -> torch.Tensor:
    return x.clamp(attrs["lo"], attrs["hi"])


def padded(x: torch.Tensor, attrs: Attrs, value: float = 0.0) -> torch.Tensor:
    top, left, bottom, right = attrs["padding"]
    return F.pad(x, (left, right, top, bottom), value=value)


def whole_weight(attrs: Attrs, rest: tuple) -> tuple[torch.Tensor, tuple]:
    """(the weight, the operands behind it): of frozen and trained channels one weight is made."""
    trained = attrs["trained_channels"]
    if not trained or attrs["depthwise"]:
        return rest[0], rest[1:]
    frozen, chosen, *behind = rest
    order = [*sorted(set(range(frozen.shape[1] + chosen.shape[1])) - set(trained)), *trained]
    return torch.cat([frozen, chosen], 1)[:, np.argsort(order)], tuple(behind)


def conv(attrs: Attrs, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    groups = x.shape[1] if attrs["depthwise"] else 1
    return F.conv2d(padded(x, attrs), w, b, stride=tuple(attrs["stride"]), groups=groups)


def backward(f, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The gradient of f at x for the gradient g of its result."""
    x = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(f(x), x, g)
    return found
