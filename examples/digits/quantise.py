"""Post-training quantisation of the float network, into the format of the MCUNet files: a zip with a pickle."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from float_network import Conv, InvertedResidual, Network
from make_data import PIXELS

INPUT_SCALE, INPUT_ZERO = 1 / 255, -128  # grey level 0..255 less 128


def activation_params(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of an int8 tensor whose real values lie in [low, high]; 0 is exactly representable."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, round(-128 - low / scale)


def quantise(weight: np.ndarray, bias: np.ndarray, x: tuple[float, int], y: tuple[float, int]) -> dict[str, Any]:
    """The `params` of one convolution; weight OIHW and bias real; x, y: (scale, zero point) of input and output."""
    w_scales = np.abs(weight).max(axis=(1, 2, 3)) / 127
    # A dead channel (weight all but zero) must not push its bias out of int32.
    w_scales = np.maximum(w_scales, np.abs(bias) / (x[0] * 2**24)).astype(np.float32)
    return {
        "weight": np.clip(np.rint(weight / w_scales[:, None, None, None]), -127, 127).astype(np.int8),
        "bias": np.rint(bias / (x[0] * w_scales.astype(np.float64))).astype(np.int32),
        "x_scale": x[0],
        "x_zero": x[1],
        "y_scale": y[0],
        "y_zero": y[1],
        "w_scales": w_scales,
    }


class Quantiser:
    """Walks the network in its order of execution and carries scale, zero point, channels and size along."""

    def __init__(self) -> None:
        self.now = (INPUT_SCALE, INPUT_ZERO)
        self.size = PIXELS

    def conv(self, layer: Conv) -> dict[str, Any]:
        """The dict of one convolution, in the format of the MCUNet files."""
        conv = layer.conv
        y = activation_params(*layer.range)
        params = quantise(*layer.folded(), self.now, y)
        size_in, self.size = self.size, self.size // conv.stride[0]
        self.now = y
        return {
            "in_channel": conv.in_channels,
            "in_shape": size_in,
            "out_channel": conv.out_channels,
            "out_shape": self.size,
            "kernel_size": conv.kernel_size,
            "stride": conv.stride[0],
            "groups": conv.groups,
            "depthwise": conv.groups > 1,
            "act": None,
            "params": params,
        }

    def block(self, block: InvertedResidual) -> dict[str, Any]:
        """The dict of one block; a residual's result has a scale of its own."""
        x = self.now
        parts: dict[str, Any] = {
            "pointwise1": None if block.pointwise1 is None else self.conv(block.pointwise1),
            "depthwise": self.conv(block.depthwise),
            "pointwise2": self.conv(block.pointwise2),
            "residual": None,
            "se": None,
        }
        if block.residual:
            self.now = activation_params(*block.range)
            params = {"x_scale": x[0], "x_zero": x[1], "y_scale": self.now[0], "y_zero": self.now[1]}
            channels = block.pointwise2.conv.out_channels
            parts["residual"] = {"in_channel": channels, "in_shape": self.size, "params": params}
        return parts

    def network(self, network: Network) -> dict[str, Any]:
        """The whole file's dict; the pool keeps scale and zero point of what it averages."""
        first = self.conv(network.first)
        blocks = [self.block(block) for block in network.blocks]
        weight = network.classifier.weight.detach().double().numpy()[:, :, None, None]
        bias = network.classifier.bias.detach().double().numpy()
        classifier = {
            "in_channel": weight.shape[1],
            "out_channel": weight.shape[0],
            "params": quantise(weight, bias, self.now, activation_params(*network.range)),
            "kernel_size": (1, 1),
            "stride": 1,
            "groups": 1,
        }
        return {"first_conv": first, "blocks": blocks, "feature_mix": None, "classifier": classifier}


def write_network(network: dict[str, Any], path: Path) -> None:
    """A zip with archive/data.pkl (protocol 2). numpy 2 names its array constructor differently: write the old name,
    which every numpy reads. A global stands in a protocol 2 pickle as plain text, and once."""
    raw = io.BytesIO()
    pickle.Pickler(raw, protocol=2).dump(network)
    data = raw.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    stamp = (1980, 1, 1, 0, 0, 0)  # no clock in the file: the same network is the same bytes
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl", stamp), data)
        archive.writestr(zipfile.ZipInfo("archive/version", stamp), b"3\n")
