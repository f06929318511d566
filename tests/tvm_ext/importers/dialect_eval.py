"""Models of the dialect evaluated in numpy, and inputs for them in the layouts of the frontends."""

from __future__ import annotations

import numpy as np

from mcutrain.tvm_ext.model import Model
from tests.tvm_ext.importers.dialect_numpy import evaluate as evaluate
from tests.tvm_ext.importers.dialect_numpy import trace as trace


def quantised(model: Model, real: np.ndarray) -> np.ndarray:
    """A real NCHW, NCW or NC input as the int8 that the network reads, in (1, H, W, C)."""
    scaled = np.rint(real.astype(np.float32) / np.float32(model.input_scale)) + model.input_zero
    return np.clip(channels_last(scaled), -128, 127).astype(np.int8)


def channels_last(x: np.ndarray) -> np.ndarray:
    """(1, C, H, W), (1, C, L) or (1, n) as (1, H, W, C)."""
    x = x.reshape(*x.shape[:2], *[1] * (4 - x.ndim), *x.shape[2:])
    return x.transpose(0, 2, 3, 1)
