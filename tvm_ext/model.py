"""The value that an importer returns: the forward graph in the dialect, its parameters, and what the policy needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tvm

from mcutrain.planner.policy import Layer

if TYPE_CHECKING:
    import os

    import torch

    RelaxModule: TypeAlias = tvm.IRModule
    Source: TypeAlias = str | os.PathLike[str] | RelaxModule | torch.export.ExportedProgram  # of a model

NETWORK = "main"


@dataclass(frozen=True, repr=False)
class Model:
    """An int8 network, or a float32 one.

    module: one Relax function `main(x, parameters...) -> logits` over the dialect; x is (1, H, W, C), int8 or float32.
    params: parameter name -> value, for every function parameter but x (weights OHWI, depthwise [C, kh, kw]).
    layers: the layers that may train, in network order.
    logits_scale, logits_zero: real logit = (q - zero) * scale for the loss; a scale of 1 and zero of 0 take them raw.
    input_scale, input_zero: real input = (x - zero) * scale; of a float32 input 1 and 0.
    classes: outputs. loss: cross_entropy (label: a class), binary_cross_entropy (a 0 or 1 for each output), mse (real
    values for each output) or autoencoder (mse against the input, no label).
    softmax: inference ends in an int8 softmax, real = (q + 128) / 256; the loss works on the logits before it.
    """

    name: str
    module: tvm.IRModule
    params: Mapping[str, np.ndarray]
    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    input_scale: float
    input_zero: int
    classes: int
    head: str
    logits_scale: float
    logits_zero: int
    loss: str = "cross_entropy"
    softmax: bool = False

    @property
    def input_dtype(self) -> str:
        (x,) = (p for p in self.module[NETWORK].params if p.name == "x")
        return str(getattr(x.ty.dtype, "dtype", x.ty.dtype))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.input_shape[1:]))
        size = f"{len(self.layers)} layers that can train, loss {self.loss}"
        return f"<Model {self.name}: {self.input_dtype} {shape} -> {self.classes} outputs, {size}>"


def to_oihw(value: np.ndarray) -> np.ndarray:
    """A weight of the dialect as people know it: OHWI -> OIHW, depthwise [C, kh, kw] -> [C, 1, kh, kw]."""
    if value.ndim == 4:
        return np.ascontiguousarray(value.transpose(0, 3, 1, 2))
    return value[:, None] if value.ndim == 3 else value


def from_oihw(value: np.ndarray, depthwise: bool) -> np.ndarray:
    """The inverse of to_oihw for the weight of a convolution."""
    return np.ascontiguousarray(value[:, 0] if depthwise else value.transpose(0, 2, 3, 1))
