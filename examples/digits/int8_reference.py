"""The int8 network in plain numpy: read a network pickle without trusting it, run it, and count what it gets right.

This is the reference that the example's accuracy figure comes from; it shares no code with the compiler.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mcutrain import ModelError

# A pickle can name any function to be called; these are what numpy arrays need (numpy 2 renamed the first).
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
# What zipfile and pickle raise on a damaged file; pickle promises no single kind.
UNREADABLE = (
    *(OSError, zipfile.BadZipFile, EOFError, pickle.UnpicklingError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError, ImportError),
)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only numpy arrays are allowed")
        return super().find_class(module, name)


def read_network(path: Path) -> dict[str, Any]:
    """The dict {first_conv, blocks, feature_mix, classifier} of a network file. Raises ModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _ArraysOnly(io.BytesIO(archive.read("archive/data.pkl"))).load()
    except UNREADABLE as error:
        raise ModelError(f"{path}: not a network file ({error}); expected a zip with archive/data.pkl") from error


def convolution(x: np.ndarray, conv: dict[str, Any]) -> np.ndarray:
    """One convolution with its requantisation: int8 (N, H, W, C) to int8 (N, H', W', O); ReLU is the clamp at -128."""
    p = conv["params"]
    k, stride = conv["kernel_size"][0], conv["stride"]
    pad = (k - 1) // 2
    real = np.pad(x.astype(np.int32) - p["x_zero"], ((0, 0), (pad, pad), (pad, pad), (0, 0)))  # zero point -> 0
    height = (x.shape[1] + 2 * pad - k) // stride + 1
    width = (x.shape[2] + 2 * pad - k) // stride + 1
    weight = p["weight"].astype(np.int32)
    acc = np.zeros((x.shape[0], height, width, conv["out_channel"]), np.int32) + p["bias"]
    for i in range(k):
        for j in range(k):
            rows = real[:, i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
            if conv["groups"] > 1:
                acc += rows * weight[:, 0, i, j]
            else:  # products and sums of int8 numbers stay below 2**53: float64 is exact here, and fast
                acc += (rows.astype(np.float64) @ weight[:, :, i, j].T.astype(np.float64)).astype(np.int32)
    eff = (np.float64(p["x_scale"]) * p["w_scales"].astype(np.float64) / p["y_scale"]).astype(np.float32)
    return _clamp(np.rint(acc.astype(np.float32) * eff) + p["y_zero"])


def residual_add(a: np.ndarray, b: np.ndarray, p: dict[str, Any], b_params: dict[str, Any]) -> np.ndarray:
    """int8 + int8 with three scales: `a` the block's input, `b` the last convolution's output, in float32."""
    real_a = (a.astype(np.float32) - p["x_zero"]) * np.float32(p["x_scale"])
    real_b = (b.astype(np.float32) - b_params["y_zero"]) * np.float32(b_params["y_scale"])
    return _clamp(np.rint((real_a + real_b) / np.float32(p["y_scale"])) + p["y_zero"])


def features(network: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """int8 images (N, H, W, C) to the pooled int8 features (N, F) that the classifier reads."""
    x = convolution(x, network["first_conv"])
    for block in network["blocks"]:
        y = x if block["pointwise1"] is None else convolution(x, block["pointwise1"])
        y = convolution(convolution(y, block["depthwise"]), block["pointwise2"])
        if block["residual"] is not None:
            y = residual_add(x, y, block["residual"]["params"], block["pointwise2"]["params"])
        x = y
    return _clamp(np.rint(x.astype(np.float64).mean(axis=(1, 2))))


def logits(network: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """int8 images (N, H, W, C) to int8 logits (N, classes)."""
    return convolution(features(network, x)[:, None, None, :], network["classifier"])[:, 0, 0]


def accuracy(network: dict[str, Any], x: np.ndarray, y: np.ndarray) -> float:
    """The share of the images whose largest int8 logit is the right one, 0..1."""
    return float(np.mean(logits(network, x).argmax(axis=1) == y))


def _clamp(v: np.ndarray) -> np.ndarray:
    return np.clip(v, -128, 127).astype(np.int8)
