"""Reads a network pickle: a zip that holds `*/data.pkl`, nothing but dicts, lists, numbers and numpy arrays.

A pickle is a program. Three gates stand before it: the opcodes that such data needs and no others, the four names that
a numpy array needs and no others, and behind these names no code of numpy's, whose own unpickling trusts its input."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from mcutrain.planner.errors import ModelError

MAX_BYTES = 256 << 20  # unpacked; a zip that claims more is refused before it is read
MAX_DIMENSIONS = 8
OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT"),
    *("SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
ARRAY_TYPE = object()  # stands for numpy.ndarray: an argument of _reconstruct, nothing that can be called


def _encode(text: str, encoding: str) -> bytes:
    """Does what `_codecs.encode` does for the bytes inside a protocol 2 array, and no more."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"array bytes in encoding {encoding}")
    return text.encode("latin1")


class _Dtype:
    """Stands for numpy.dtype: a number of 1, 2, 4 or 8 bytes."""

    def __init__(self, code: object, *_: object) -> None:
        if code in ("O8", "O4", "O"):
            raise pickle.UnpicklingError("an array of objects")
        if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
            raise pickle.UnpicklingError("an array of something else than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "|", "=") or rest[:3] != [None, None, None]:
            raise pickle.UnpicklingError("an array of something else than numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """Filled once its shape, its dtype and its bytes have been seen to fit."""

    def __setstate__(self, state: tuple) -> None:
        version, shape, kind, by_column, data = state
        if version != 1 or not isinstance(kind, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array that is not built the way numpy pickles them")
        if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape):
            raise pickle.UnpicklingError("an array of an impossible shape")
        nbytes = kind.dtype.itemsize
        for n in shape:
            nbytes *= n
        if nbytes != len(data):
            raise pickle.UnpicklingError(f"an array of {nbytes} B with {len(data)} B of data")
        order = cast(Any, bool(by_column))  # numpy's stub asks for its own bool, which the method refuses
        super().__setstate__((1, shape, kind.dtype, order, data))


def _reconstruct(kind: object, *_: object) -> np.ndarray:
    """An empty array whose state the pickle sets next."""
    if kind is not ARRAY_TYPE:
        raise pickle.UnpicklingError("an array that is not built the way numpy pickles them")
    return _Array((0,), np.int8)


class _ArraysOnly(pickle.Unpickler):
    ADMITTED: ClassVar[dict[tuple[str, str], Callable[..., object]]] = {
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _encode,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    }

    def find_class(self, module: str, name: str) -> object:
        key = (module.replace("numpy._core", "numpy.core"), name)
        if key == ("numpy", "ndarray"):
            return ARRAY_TYPE
        if key not in self.ADMITTED:
            raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}; only numpy arrays are admitted")
        admitted = self.ADMITTED[key]
        # a pickle can set attributes of what it names (BUILD): it gets a function of its own
        return lambda *args: admitted(*args)


def _load(data: bytes) -> object:
    """Unpickle; the opcodes are looked through first. A memo index ahead of its count would allocate all up to it."""
    puts = 0
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"the pickle uses {opcode.name}; only dicts, lists, numbers and arrays may be")
        if opcode.name in PUTS and not 0 <= int(argument or 0) <= puts + 1:
            raise pickle.UnpicklingError("the pickle's memo is numbered with gaps")
        puts += opcode.name in PUTS or opcode.name == "MEMOIZE"
    return _ArraysOnly(io.BytesIO(data)).load()


def read(path: str | Path) -> dict:
    """The top-level dict of a network pickle.

    Raises ModelError for a file that is missing, no zip, truncated, or asks for anything but numpy arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = _data_entry(archive, path)
            content = _load(archive.read(entry))
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
