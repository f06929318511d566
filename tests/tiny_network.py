"""A tiny random int8 network in the pickle format, for tests: every kind of layer, small enough to check by hand."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 8  # pixels of the square input
CHANNELS = 3
CLASSES = 4
# in processing order; what a policy can name, the head left out
LAYERS = (
    "first_conv",
    *(f"blocks.{b}.{part}" for b in range(3) for part in ("pointwise1", "depthwise", "pointwise2")),
)


def tiny_network(seed: int = 0) -> dict[str, Any]:
    """first_conv 3x3 to 8 channels; a residual block of 8; a block to 12 channels with a 5x5 depthwise of stride 2; a
    residual block of 12; the classifier (1x1, 6 classes). Input 8x8x3, feature map at the end 4x4x12.

    Activations spread over the int8 range and reach its ends, so that clamps and masks have something to do."""
    return _Maker(seed).network()


def write_network(network: Any, path: Path, entry: str = "archive/data.pkl") -> Path:
    """The zip that the importer reads: `entry` is the pickle (protocol 2), with the old name of numpy's constructor."""
    raw = io.BytesIO()
    pickle.Pickler(raw, protocol=2).dump(network)
    return write_zip(raw.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"), path, entry)


def write_zip(data: bytes, path: Path, entry: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), data)
    return path


def tiny_file(folder: Path, seed: int = 0) -> Path:
    """The path of a tiny network's file, `tiny.pkl` in `folder`."""
    return write_network(tiny_network(seed), folder / "tiny.pkl")


def random_image(seed: int, shape: tuple[int, ...] = (SIZE, SIZE, CHANNELS)) -> np.ndarray:
    """int8 pixels over the whole range."""
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


class _Maker:
    """Carries scale, zero point and spread (standard deviation in integer steps) from layer to layer."""

    def __init__(self, seed: int) -> None:
        self.rng, self.spreads = np.random.default_rng(seed), np.random.default_rng(seed + 1)
        self.scale, self.zero, self.spread = 0.02, -3, 74.0

    def network(self) -> dict[str, Any]:
        first = self.conv(CHANNELS, 8, 3, zero=-110)
        blocks = [self.block(8, 16, 8, 3, 1), self.block(8, 16, 12, 5, 2), self.block(12, 24, 12, 3, 1)]
        classifier = self.conv(12, 6, 1, zero=4)
        return {"first_conv": first, "blocks": blocks, "feature_mix": None, "classifier": classifier}

    def block(self, inputs: int, middle: int, outputs: int, kernel: int, stride: int) -> dict[str, Any]:
        entering = self.scale, self.zero, self.spread
        parts: dict[str, Any] = {
            "pointwise1": self.conv(inputs, middle, 1, zero=-100),
            "depthwise": self.conv(middle, middle, kernel, zero=-100, stride=stride, depthwise=True),
            "pointwise2": self.conv(middle, outputs, 1, zero=int(self.rng.integers(-9, 10))),
            "residual": None,
            "se": None,
        }
        if inputs == outputs and stride == 1:
            x_scale, x_zero, x_spread = entering
            real_spread = float(np.hypot(x_scale * x_spread, self.scale * self.spread))
            self.zero, self.spread = int(self.rng.integers(-9, 10)), self.spreads.uniform(40, 70)
            self.scale = real_spread / self.spread
            params = {"x_scale": x_scale, "x_zero": x_zero, "y_scale": self.scale, "y_zero": self.zero}
            parts["residual"] = {"in_channel": inputs, "params": params}
        return parts

    def conv(
        self, inputs: int, outputs: int, kernel: int, zero: int, stride: int = 1, depthwise: bool = False
    ) -> dict[str, Any]:
        """Weights all over -127..127; the output scale spreads the results over 40 to 70 steps of int8, so that no two
        layers share a scale."""
        per_group = 1 if depthwise else inputs
        weight = self.rng.integers(-127, 128, (outputs, per_group, kernel, kernel)).astype(np.int8)
        growth = 74.0 * np.sqrt(per_group * kernel * kernel)  # of the spread, from input to accumulator
        spread, target = growth * self.spread, self.spreads.uniform(40, 70)
        w_scales = (self.rng.uniform(0.5, 2.0, outputs) / growth).astype(np.float32)  # real values keep their size
        params = {
            "weight": weight,
            "bias": self.rng.normal(0, 0.3 * spread, outputs).astype(np.int32),
            "x_scale": self.scale,
            "x_zero": self.zero,
            "y_scale": float(self.scale * self.spread / target),
            "y_zero": zero,
            "w_scales": w_scales,
        }
        self.scale, self.zero, self.spread = params["y_scale"], zero, target
        return {
            "in_channel": inputs,
            "out_channel": outputs,
            "kernel_size": (kernel, kernel),
            "stride": stride,
            "groups": outputs if depthwise else 1,
            "depthwise": depthwise,
            "act": None,
            "params": params,
        }
