"""Trains MCUNet-5fps on a CIFAR-10 subset, sparse update against head-only, on the host twin.

Float head from zero, images resized bilinearly to 128x128, batch 1, cosine learning rate, two epochs over 3,000 images,
accuracy on all 1,000 test images. The published reference's figures for the same setting stand in `REFERENCE`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mcutrain
from mcutrain.twin.data import Data
from mcutrain.twin.learning import TrainingResult

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REFERENCE = {
    "int8, stochastic rounding": 0.716,
    "head only": 0.652,
}  # after two epochs, first 500 test images, +-2 points
EPOCHS, IMAGES = 2, 3000
RATES = (0.001, 0.01)  # of the network and of the head


def resize_bilinear(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes uint8 (N, H, W, C) to float32 (N, size, size, C); pixel centres, edges repeated."""
    height, width = images.shape[1:3]
    rows, columns = _weights(height, size), _weights(width, size)
    return np.einsum("yh,nhwc,xw->nyxc", rows, images.astype(np.float32), columns, optimize=True)


def _weights(source: int, target: int) -> np.ndarray:
    """Returns the interpolation matrix (target, source)."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.minimum(position.astype(int), source - 2)
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), low] = 1 - (position - low)
    matrix[np.arange(target), low + 1] += position - low
    return matrix


def cifar(train: int = IMAGES, test: int = 1000, size: int = 128) -> Data:
    """Returns the CIFAR-10 subset as the network reads it: int8, x - 127.5 rounded."""
    with np.load(DATA / "datasets" / "cifar10_subset.npz") as file:
        arrays = {n: file[n] for n in ("x_train", "y_train", "x_test", "y_test")}

    def images(x: np.ndarray) -> np.ndarray:
        blocks = [resize_bilinear(x[i : i + 250], size) for i in range(0, len(x), 250)]
        return np.concatenate([np.clip(np.rint(b - 127.5), -128, 127).astype(np.int8) for b in blocks])

    return Data(
        images(arrays["x_train"][:train]), arrays["y_train"][:train],
        images(arrays["x_test"][:test]), arrays["y_test"][:test],
    )  # fmt: skip


def train(scheme: str, data: Data, progress: Callable[[int, int], None] | None = None) -> TrainingResult:
    """Compile MCUNet-5fps with a fresh float head under `scheme` and train it on the host twin."""
    model = mcutrain.load(DATA / "mcunet" / "mcunet-5fps.pkl", input_size=128, classes=10, head="float")
    with tempfile.TemporaryDirectory() as folder:
        artifact = mcutrain.compile(model, scheme, board="stm32f746", out=Path(folder) / "out")
        return mcutrain.train(artifact, data, epochs=EPOCHS, learning_rate=RATES, progress=progress)


def run(progress: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Returns the test accuracy before training and after each epoch, by scheme."""
    data = cifar()
    result = {}
    for scheme in ("head_only", "49kb"):
        progress(f"training {scheme}: {EPOCHS} epochs over {IMAGES} images")
        result[scheme] = list(train(scheme, data).scores)
        progress(f"{scheme}: " + " -> ".join(f"{a:.1%}" for a in result[scheme]))
    return result


if __name__ == "__main__":
    run()
