"""The digits as a camera sees them: upright ones for the base training, rotated ones for the adaptation on the device.

Everything comes from scikit-learn's `load_digits` (1797 images, 8x8, grey) by a fixed split, so that no image of the
base training is ever seen again: `BASE` images train the network, the others are the adaptation's train and test part.
`python make_data.py` writes the adaptation data to digits_rotated.npz; programs call `rotated_digits()` instead.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain import McutrainError, OutputError, ToolError

PIXELS = 16  # height and width of the network's input
BASE, ADAPT_TRAIN, ADAPT_TEST = 897, 500, 400  # images of each part; together all 1797
SPLIT_SEED = 20
ANGLE = 36.0  # degrees, counter-clockwise
BLUR = 0.5  # standard deviation of the other lens, in pixels of the 16x16 image
CONTRAST, BRIGHTNESS = 0.75, 0.05  # of the other sensor: y = CONTRAST * x + BRIGHTNESS, x in 0..1


@dataclass(frozen=True)
class Data:
    """x_*: int8 (N, 16, 16, 1), real value = (x + 128) / 255; y_*: int32 (N,), the digit."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def upright_digits() -> Data:
    """The base training's data: `BASE` images to train, the 900 held-out ones to test. Raises ToolError."""
    images, labels = _load()
    base, held_out = _split()[0], np.concatenate(_split()[1:])
    x = to_int8(images)
    return Data(x[base], labels[base], x[held_out], labels[held_out])


def rotated_digits() -> Data:
    """The adaptation's data: held-out images through another sensor, 500 to train and 400 to test. Raises ToolError."""
    images, labels = _load()
    _, train, test = _split()
    x = to_int8(other_sensor(images))
    return Data(x[train], labels[train], x[test], labels[test])


def other_sensor(images: np.ndarray) -> np.ndarray:
    """Rotate by ANGLE, blur, and change contrast and brightness; float (N, 16, 16) in 0..1 to the same."""
    ndimage = _scipy_ndimage()
    turned = ndimage.rotate(images, ANGLE, axes=(2, 1), reshape=False, order=1, mode="constant", cval=0.0)
    blurred = ndimage.gaussian_filter(turned, sigma=(0, BLUR, BLUR))
    return np.clip(CONTRAST * blurred + BRIGHTNESS, 0.0, 1.0)


def to_int8(images: np.ndarray) -> np.ndarray:
    """Float (N, 16, 16) in 0..1 to int8 (N, 16, 16, 1): scale 1/255, zero point -128."""
    return (np.rint(images * 255.0) - 128).astype(np.int8)[..., None]


def _load() -> tuple[np.ndarray, np.ndarray]:
    """All digits, enlarged to float (1797, 16, 16) in 0..1, and their labels int32."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _missing("scikit-learn") from error
    digits = load_digits()
    zoom = PIXELS / digits.images.shape[1]
    enlarged = _scipy_ndimage().zoom(digits.images / 16.0, (1, zoom, zoom), order=1, mode="nearest", grid_mode=True)
    return np.clip(enlarged, 0.0, 1.0), digits.target.astype(np.int32)


def _split() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the three parts. RandomState, because numpy promises that its stream never changes."""
    order = np.random.RandomState(SPLIT_SEED).permutation(BASE + ADAPT_TRAIN + ADAPT_TEST)
    return order[:BASE], order[BASE : BASE + ADAPT_TRAIN], order[BASE + ADAPT_TRAIN :]


def _scipy_ndimage():
    try:
        from scipy import ndimage
    except ImportError as error:
        raise _missing("scipy") from error
    return ndimage


def _missing(package: str) -> ToolError:
    return ToolError(f"examples/digits: {package} is not installed; run: pip install 'mcutrain[examples]'")


def main() -> int:
    """Write digits_rotated.npz (arrays x_train, y_train, x_test, y_test)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("digits_rotated.npz"))
    out = parser.parse_args().out
    try:
        data = rotated_digits()
        try:
            np.savez_compressed(out, **vars(data))
        except OSError as error:
            raise OutputError(f"{out}: cannot write ({error.strerror}); choose another path with --out") from error
    except McutrainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{out}: {len(data.y_train)} images to train, {len(data.y_test)} to test, {out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
