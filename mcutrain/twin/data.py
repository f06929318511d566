"""Data files for training runs: an .npz of inputs and labels, turned into what the network reads."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.twin.labels import counted, label_shape
from mcutrain.twin.twin import Twin

BAD_ARCHIVE = (ValueError, TypeError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class Data:
    """Inputs (N, H, W, C), int8 or (of a float network) float32, and N labels as the loss takes them, of an autoencoder
    None; the test part is never trained on."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read_data(path: str | Path, twin: Twin) -> Data:
    """An .npz with x_train, y_train, x_test, y_test (of an autoencoder without the y). Inputs as the network reads
    them; for an int8 network also uint8 pixels 0..255 (`pixels`) or real numbers, which are quantised as its input is.
    Raises ModelError naming the array."""
    own_label = twin.meta["loss"] == "autoencoder"
    names = [f"{n}_{part}" for n in ("x" if own_label else "xy") for part in ("train", "test")]
    arrays = _arrays(path, names)
    for part in ("train", "test"):
        x = arrays[f"x_{part}"] = _inputs(arrays[f"x_{part}"], twin.meta["input"], f"{path}: x_{part}")
        if own_label:
            arrays[f"y_{part}"] = np.full(len(x), None)
        else:
            _check_labels(arrays[f"y_{part}"], twin.meta, len(x), f"{path}: y_{part}")
        if len(x) == 0:
            raise ModelError(f"{path}: x_{part} is empty")
    return Data(**arrays)


def _arrays(path: str | Path, names: list[str]) -> dict[str, np.ndarray]:
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in names:
                if name not in file:
                    raise ModelError(f"{path}: has no array '{name}'; it needs {', '.join(sorted(names, key=_order))}")
                arrays[name] = file[name]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}; give an .npz file") from None
    except BAD_ARCHIVE as error:  # TypeError: a lone .npy
        raise ModelError(f"{path}: not an .npz of plain arrays ({' '.join(str(error).split())[:120]})") from None
    return arrays


def _order(name: str) -> tuple[bool, str]:
    return name.endswith("test"), name


def _inputs(x: np.ndarray, place: dict, where: str) -> np.ndarray:
    """x as the network reads it."""
    shape, is_float = tuple(place["shape"][1:]), place["dtype"] == "float32"
    kinds = "f" if is_float else "fiu"
    flat = [n for n in shape if n != 1]
    fits = x.dtype.kind in kinds and x.ndim > 0 and [n for n in x.shape[1:] if n != 1] == flat
    if not fits or (not is_float and x.dtype.kind != "f" and x.dtype not in (np.int8, np.uint8)):
        wanted = f"(N, {', '.join(map(str, shape))})"
        dtypes = "float32" if is_float else "int8 or uint8 (or real numbers)"
        raise ModelError(f"{where} is {x.dtype} {x.shape}, the network takes {dtypes} {wanted}{_turned(x, flat)}")
    if x.dtype.kind == "f" and not np.all(np.isfinite(x)):
        raise ModelError(f"{where} holds a number that is not finite; leave such samples out")
    x = x.reshape(len(x), *shape)
    if is_float:
        return x.astype(np.float32)
    if x.dtype == np.uint8:
        return pixels(x, place)
    return quantised(x, place) if x.dtype.kind == "f" else x


def _turned(x: np.ndarray, flat: list[int]) -> str:
    """What to do where the channels stand first; flat: the network's input without sizes of 1."""
    if x.ndim < 3 or [n for n in (*x.shape[2:], x.shape[1]) if n != 1] != flat:
        return ""
    return f"; its channels stand first: x.transpose({', '.join(map(str, (0, *range(2, x.ndim), 1)))})"


def _check_labels(y: np.ndarray, meta: dict, count: int, where: str) -> None:
    loss, shape = meta["loss"], (count, *label_shape(meta))
    kind = "real" if loss == "mse" else "integer"
    if y.shape != shape or (y.dtype.kind not in "fiu" if loss == "mse" else not np.issubdtype(y.dtype, np.integer)):
        each = f" {shape[1:]}" if shape[1:] else ""
        raise ModelError(f"{where} is {y.dtype} {y.shape}, expected {count} {kind} labels{each}")
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ModelError(f"{where} holds a number that is not finite; leave such samples out")
    limit = meta["classes"] if loss == "cross_entropy" else 2
    if loss != "mse" and count and (y.min() < 0 or y.max() >= limit):
        raise ModelError(f"{where} goes from {y.min()} to {y.max()}, the network has {limit} classes; {counted(meta)}")


def pixels(x: np.ndarray, place: dict) -> np.ndarray:
    """uint8 pixels for this input: x - 128 where its zero point is -128, x - 127.5 (halves to even) elsewhere."""
    return (x.astype(np.int16) - 128).astype(np.int8) if place["zero"] == -128 else to_int8(x)


def to_int8(x: np.ndarray) -> np.ndarray:
    """uint8 pixels as int8: x - 127.5, halves to even."""
    return np.clip(np.rint(x.astype(np.float32) - 127.5), -128, 127).astype(np.int8)


def quantised(x: np.ndarray, place: dict) -> np.ndarray:
    """Real numbers as int8: x / scale + zero, halves to even."""
    return np.clip(np.rint(x / place["scale"]) + place["zero"], -128, 127).astype(np.int8)
