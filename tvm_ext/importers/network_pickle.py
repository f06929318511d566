"""Reads a network pickle: a zip that holds `*/data.pkl`, nothing but dicts, lists, numbers and numpy arrays.

A pickle is a program; this reader admits the four names that a numpy array needs and refuses every other."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from planner.errors import ModelError

MAX_BYTES = 256 << 20  # unpacked; a zip that claims more is refused before it is read


def _encode(text: str, encoding: str) -> bytes:
    """What `_codecs.encode` does for the bytes inside a protocol 2 array, and no more."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"array bytes in encoding {encoding}")
    return text.encode("latin1")


def _dtype(*args: object) -> np.dtype:
    dtype = np.dtype(*args)
    if dtype.hasobject:
        raise pickle.UnpicklingError("an array of objects")
    return dtype


def _reconstruct(kind: type, shape: tuple, code: bytes) -> np.ndarray:
    """An empty array whose state the pickle sets next."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("an array that is not built the way numpy pickles them")
    return np.ndarray.__new__(np.ndarray, shape, code)


class _ArraysOnly(pickle.Unpickler):
    ADMITTED: ClassVar = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encode,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    }

    def find_class(self, module: str, name: str) -> object:
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key not in self.ADMITTED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}; only numpy arrays are admitted")
        return self.ADMITTED[key]


def read(path: str | Path) -> dict:
    """The top-level dict of a network pickle.

    Raises ModelError for a file that is missing, no zip, truncated, or asks for anything but numpy arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = _data_entry(archive, path)
            content = _ArraysOnly(io.BytesIO(archive.read(entry))).load()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a network pickle") from None
    except zipfile.BadZipFile:
        raise ModelError(f"{path}: not a zip, or truncated; a network pickle is a zip that holds data.pkl") from None
    except ModelError:
        raise
    except Exception as error:  # a hostile pickle can raise anything at all
        raise ModelError(f"{path}: data.pkl cannot be read: {_one_line(error)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: data.pkl holds a {type(content).__name__}, not a dict of layers")
    return content


def _data_entry(archive: zipfile.ZipFile, path: str | Path) -> zipfile.ZipInfo:
    entries = [i for i in archive.infolist() if i.filename.rsplit("/", 1)[-1] == "data.pkl"]
    if len(entries) != 1:
        raise ModelError(f"{path}: a network pickle holds one data.pkl, this zip holds {len(entries)}")
    if entries[0].file_size > MAX_BYTES:
        raise ModelError(f"{path}: data.pkl unpacks to {entries[0].file_size} B, more than {MAX_BYTES} B are refused")
    return entries[0]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
