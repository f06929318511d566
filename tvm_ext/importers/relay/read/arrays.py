"""TVM's arrays as bytes, their base64 text in JSON, and parameter files; every length is checked before it is used."""

from __future__ import annotations

import base64
import binascii
import math
import struct

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM

ARRAY_MAGIC, PARAMS_MAGIC = 0xDD5E40F096B4A13F, 0xF7E58D4F05049CB7
MAX_RANK = 32
# (type code, bits) -> numpy. A bool is unsigned with one bit, or code 6 with eight, and fills a byte either way.
_BY_CODE = {(0, b): f"int{b}" for b in (8, 16, 32, 64)} | {(1, b): f"uint{b}" for b in (8, 16, 32, 64)}
_BY_CODE |= {(2, b): f"float{b}" for b in (16, 32, 64)} | {(1, 1): "bool", (6, 8): "bool", (6, 1): "bool"}
DTYPES = frozenset(_BY_CODE.values())


class _Bytes:
    """Walks over bytes and never reads past the end."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.pos = data, where, 0

    def take(self, count: int, what: str) -> bytes:
        if count > len(self.data) - self.pos:
            left = len(self.data) - self.pos
            raise ModelError(
                f"{self.where}: {what} needs {count} bytes at offset {self.pos}, {left} are left: truncated"
            )
        self.pos += count
        return self.data[self.pos - count : self.pos]

    def unpack(self, form: str, what: str) -> tuple:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))


def from_base64(text: object, where: str) -> np.ndarray:
    """Read one entry of a `b64ndarrays` list."""
    if not isinstance(text, str):
        raise ModelError(f"{where}: is a {type(text).__name__}, expected a base64 string")
    try:
        blob = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ModelError(f"{where}: bad base64 ({error})") from None
    cursor = _Bytes(blob, where)
    value = _array(cursor)
    if cursor.pos != len(blob):
        raise ModelError(f"{where}: {len(blob) - cursor.pos} bytes follow the array")
    return value


def from_params(blob: bytes, where: str) -> dict[str, np.ndarray]:
    """Read a parameter file (tvm.runtime.save_param_dict wrote it): name -> array, in the file's order."""
    cursor = _Bytes(blob, where)
    (magic, _), (count,) = cursor.unpack("QQ", "the header"), cursor.unpack("Q", "the number of names")
    if magic != PARAMS_MAGIC:
        raise ModelError(f"{where}: not a TVM parameter file (magic {magic:#x}, expected {PARAMS_MAGIC:#x})")
    if count > (len(blob) - cursor.pos) // 8:
        raise ModelError(f"{where}: {count} names cannot be in {len(blob)} bytes")
    names = [_name(cursor) for _ in range(count)]
    (arrays,) = cursor.unpack("Q", "the number of arrays")
    if arrays != count:
        raise ModelError(f"{where}: {count} names but {arrays} arrays")
    if len(set(names)) != len(names):
        raise ModelError(f"{where}: the name '{next(n for n in names if names.count(n) > 1)}' occurs twice")
    values = {}
    for name in names:
        cursor.where = f"{where}, parameter '{name}'"
        values[name] = _array(cursor)
    if cursor.pos != len(blob):
        raise ModelError(f"{where}: {len(blob) - cursor.pos} bytes follow the last array")
    return values


def _name(cursor: _Bytes) -> str:
    (length,) = cursor.unpack("Q", "a name's length")
    try:
        return cursor.take(length, "a name").decode()
    except UnicodeDecodeError:
        raise ModelError(f"{cursor.where}: a name at offset {cursor.pos - length} is not UTF-8") from None


def _array(cursor: _Bytes) -> np.ndarray:
    where = cursor.where
    magic, _ = cursor.unpack("QQ", "an array's header")
    if magic != ARRAY_MAGIC:
        raise ModelError(f"{where}: not a TVM array (magic {magic:#x}, expected {ARRAY_MAGIC:#x})")
    _, _, ndim, code, bits, lanes = cursor.unpack("iiiBBH", "an array's device and dtype")
    dtype = _BY_CODE.get((code, bits))
    if dtype is None or lanes != 1:
        raise ModelError(
            f"{where}: dtype code {code}, {bits} bits, {lanes} lanes is none of {', '.join(sorted(DTYPES))}"
        )
    if not 0 <= ndim <= MAX_RANK:
        raise ModelError(f"{where}: {ndim} dimensions, expected 0 to {MAX_RANK}")
    shape = cursor.unpack(f"{ndim}q", "the shape")
    if any(not 0 <= d <= LARGEST_DIM for d in shape):
        raise ModelError(f"{where}: shape {list(shape)} has a dimension outside 0 to {LARGEST_DIM}")
    (nbytes,) = cursor.unpack("q", "the data's length")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if nbytes != expected:
        raise ModelError(f"{where}: says {nbytes} bytes of data, {dtype} {list(shape)} has {expected}")
    raw = cursor.take(nbytes, "the data")
    if dtype == "bool":  # any nonzero byte is true; numpy's bool must hold 0 or 1
        return (np.frombuffer(raw, np.uint8) != 0).reshape(shape)
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
