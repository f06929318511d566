"""Data files for training runs: an .npz of inputs and labels, turned into what the network reads."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.schema.metadata import Metadata, QuantizedPlace
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


def read_data(path: str | os.PathLike[str], twin: Twin) -> Data:
    """Read an .npz with x_train, y_train, x_test, y_test (of an autoencoder without the y). Inputs as the network reads
    them; for an int8 network also uint8 pixels 0..255 (`pixels`) or real numbers, which are quantised as its input is.
    Raises ModelError naming the array."""
    names = _names(twin)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}; give an .npz file") from None
    except BAD_ARCHIVE as error:  # TypeError: a lone .npy
        raise ModelError(f"{path}: not an .npz of plain arrays ({' '.join(str(error).split())[:120]})") from None
    return checked(arrays, twin, os.fspath(path))


def checked(given: Mapping[str, np.ndarray], twin: Twin, where: str) -> Data:
    """The arrays that read_data() reads, as the network takes them. where: what messages call them.
    Raises ModelError naming the array."""
    names, arrays = _names(twin), {}
    for name in names:
        if name not in given:
            raise ModelError(f"{where}: has no array '{name}'; it needs {', '.join(sorted(names, key=_order))}")
        arrays[name] = np.asarray(given[name])
    for part in ("train", "test"):
        x = arrays[f"x_{part}"] = _inputs(arrays[f"x_{part}"], twin.meta.input, f"{where}: x_{part}")
        if f"y_{part}" in arrays:
            _check_labels(arrays[f"y_{part}"], twin.meta, len(x), f"{where}: y_{part}")
        else:
            arrays[f"y_{part}"] = np.full(len(x), None)
        if len(x) == 0:
            raise ModelError(f"{where}: x_{part} is empty")
    return Data(**arrays)


def _names(twin: Twin) -> Sequence[str]:
    kinds = "x" if twin.meta.loss == "autoencoder" else "xy"
    return [f"{kind}_{part}" for kind in kinds for part in ("train", "test")]


def _order(name: str) -> tuple[bool, str]:
    return name.endswith("test"), name


def _inputs(x: np.ndarray, place: QuantizedPlace, where: str) -> np.ndarray:
    """Turn x into what the network reads."""
    shape, is_float = tuple(place.shape[1:]), place.dtype == "float32"
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
    """Say what to do where the channels stand first; flat: the network's input without sizes of 1."""
    if x.ndim < 3 or [n for n in (*x.shape[2:], x.shape[1]) if n != 1] != flat:
        return ""
    return f"; its channels stand first: x.transpose({', '.join(map(str, (0, *range(2, x.ndim), 1)))})"


def _check_labels(y: np.ndarray, meta: Metadata, count: int, where: str) -> None:
    loss, shape = meta.loss, (count, *label_shape(meta))
    kind = "real" if loss == "mse" else "integer"
    if y.shape != shape or (y.dtype.kind not in "fiu" if loss == "mse" else not np.issubdtype(y.dtype, np.integer)):
        each = f" {shape[1:]}" if shape[1:] else ""
        raise ModelError(f"{where} is {y.dtype} {y.shape}, expected {count} {kind} labels{each}")
    if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
        raise ModelError(f"{where} holds a number that is not finite; leave such samples out")
    limit = meta.classes if loss == "cross_entropy" else 2
    if loss != "mse" and count and (y.min() < 0 or y.max() >= limit):
        raise ModelError(f"{where} goes from {y.min()} to {y.max()}, the network has {limit} classes; {counted(meta)}")


def pixels(x: np.ndarray, place: QuantizedPlace) -> np.ndarray:
    """Make uint8 pixels this input: x - 128 where its zero point is -128, x - 127.5 (halves to even) elsewhere."""
    return (x.astype(np.int16) - 128).astype(np.int8) if place.zero == -128 else to_int8(x)


def to_int8(x: np.ndarray) -> np.ndarray:
    """Make uint8 pixels int8: x - 127.5, halves to even."""
    levels: np.ndarray = np.rint(x.astype(np.float32) - 127.5)
    return levels.clip(-128, 127).astype(np.int8)


def quantised(x: np.ndarray, place: QuantizedPlace) -> np.ndarray:
    """Quantise real numbers: x / scale + zero, halves to even."""
    levels: np.ndarray = np.rint(x / place.scale) + place.zero
    return levels.clip(-128, 127).astype(np.int8)
