"""Writers of TVM's binary formats for tests, from the layout of their fields."""

from __future__ import annotations

import struct

import numpy as np

CODES = {"i": 0, "u": 1, "f": 2}


def array_blob(value: np.ndarray, **fields: object) -> bytes:
    """Write an array as TVM saves it; `fields` overrides code, bits, lanes, ndim, shape, nbytes."""
    value = np.asarray(value)
    about = {"code": CODES[value.dtype.kind], "bits": value.itemsize * 8, "lanes": 1, "nbytes": value.nbytes}
    about |= {"shape": value.shape, "ndim": value.ndim} | fields
    head = struct.pack("<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, *(about[k] for k in ("ndim", "code", "bits", "lanes")))
    return (
        head
        + struct.pack(f"<{len(about['shape'])}q", *about["shape"])
        + struct.pack("<q", about["nbytes"])
        + value.tobytes()
    )


def params_blob(values: dict[str, np.ndarray]) -> bytes:
    """Write a parameter file."""
    names = b"".join(struct.pack("<Q", len(n.encode())) + n.encode() for n in values)
    head = struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, len(values)) + names
    return head + struct.pack("<Q", len(values)) + b"".join(map(array_blob, values.values()))
