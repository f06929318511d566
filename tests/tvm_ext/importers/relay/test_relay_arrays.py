"""Array blobs and parameter files: what is written comes back, and each broken length or code is refused."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.read.arrays import from_base64, from_params
from tests.tvm_ext.importers.relay.relay_files import array_blob, params_blob

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 4)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    value = np.asarray(np.random.default_rng(0).integers(0, 100, shape)).astype(dtype)
    found = from_base64(base64.b64encode(array_blob(value)).decode(), "a")
    assert found.dtype == value.dtype and found.shape == value.shape and found.flags.writeable
    np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(("code", "bits"), [(1, 1), (6, 8)])
def test_bools_are_bytes(code: int, bits: int) -> None:
    blob = array_blob(np.array([0, 1, 5], np.uint8), code=code, bits=bits)
    assert from_base64(base64.b64encode(blob).decode(), "a").tolist() == [False, True, True]


def test_parameter_files_come_back(data: Path) -> None:
    """Ours come back, and one that TVM wrote, whose values are those of an npz beside it."""
    values = {"a": np.arange(6, dtype=np.int8).reshape(2, 3), "größe:0": np.array(1.5, np.float32)}
    found = from_params(params_blob(values), "p")
    assert list(found) == list(values) and all(np.array_equal(found[k], values[k]) for k in values)
    assert from_params((data / "relay/mlf/qnn_int8_nhwc/parameters/default.params").read_bytes(), "p") == {}
    lenet = from_params((data / "relay/tvm/lenet_fp32/params.bin").read_bytes(), "p")
    assert {k: v.shape for k, v in lenet.items()}["fc1_weight"] == (120, 400) and len(lenet) == 10


A = array_blob(np.arange(6, dtype=np.int8).reshape(2, 3))
NBYTES = len(A) - 14


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "an array's header needs 16 bytes at offset 0, 0 are left: truncated"),
        (b"\0" * 40, "not a TVM array .magic 0x0, expected 0xdd5e40f096b4a13f"),
        (A[:-1], "the data needs 6 bytes at offset .*, 5 are left: truncated"),
        (A + b"x", "1 bytes follow the array"),
        (array_blob(np.zeros(3, np.int8), code=9), "dtype code 9, 8 bits, 1 lanes is none of bool, float16"),
        (array_blob(np.zeros(3, np.int8), bits=7), "dtype code 0, 7 bits, 1 lanes is none of"),
        (array_blob(np.zeros(3, np.int8), lanes=4), "dtype code 0, 8 bits, 4 lanes is none of"),
        (array_blob(np.zeros(3, np.int8), ndim=-1), "-1 dimensions, expected 0 to 32"),
        (array_blob(np.zeros(3, np.int8), ndim=2**31 - 1), "2147483647 dimensions, expected 0 to 32"),
        (array_blob(np.zeros(3, np.int8), shape=(-3,)), r"shape \[.*\] has a dimension outside 0 to"),
        (array_blob(np.zeros(3, np.int8), shape=(2**40,)), r"shape \[.*\] has a dimension outside 0 to"),
        (array_blob(np.zeros(3, np.int8), nbytes=2), r"says 2 bytes of data, int8 \[3\] has 3"),
        (array_blob(np.zeros(3, np.int8), nbytes=-1), "says -1 bytes of data"),
        (array_blob(np.zeros(3, np.int8), ndim=4, shape=(2**31 - 1,) * 4), "says 3 bytes of data, int8 .* has"),
        (array_blob(np.zeros(3, np.int8), shape=(2**30,), nbytes=2**30), "the data needs 1073741824 bytes"),
    ],
    ids=lambda v: v if isinstance(v, str) else "blob",
)
def test_broken_arrays(blob: bytes, message: str) -> None:
    with pytest.raises(ModelError, match="^arrays: " + message):
        from_base64(base64.b64encode(blob).decode(), "arrays")


@pytest.mark.parametrize("text", ["P6G0l", "P6G0lv==BAXt", "P6G0lvBA!!!=", "ä"])
def test_broken_base64(text: str) -> None:
    with pytest.raises(ModelError, match=r"^a: bad base64 \("):
        from_base64(text, "a")


def test_what_is_no_text() -> None:
    with pytest.raises(ModelError, match="a: is a int, expected a base64 string"):
        from_base64(5, "a")


P = params_blob({"a": np.zeros(2, np.int8), "b": np.zeros(2, np.int8)})


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "p: the header needs 16 bytes"),
        (b"\0" * 40, "p: not a TVM parameter file .magic 0x0, expected 0xf7e58d4f05049cb7"),
        (P[:16] + struct.pack("<Q", 2**60), "p: 1152921504606846976 names cannot be in 24 bytes"),
        (P[:24] + struct.pack("<Q", 2**60) + P[32:], "p: a name needs 1152921504606846976 bytes at offset 32"),
        (P.replace(b"b", b"a"), "p: the name 'a' occurs twice"),
        (P.replace(b"b", b"\xff"), "p: a name at offset 41 is not UTF-8"),
        (P[:-1], "p, parameter 'b': the data needs 2 bytes at offset"),
        (P + b"xy", "p: 2 bytes follow the last array"),
        (P[:42] + struct.pack("<Q", 3) + P[50:], "p: 2 names but 3 arrays"),
    ],
    ids=lambda v: v if isinstance(v, str) else "blob",
)
def test_broken_parameter_files(blob: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        from_params(blob, "p")


def test_every_truncation_is_refused() -> None:
    for end in range(len(P)):
        with pytest.raises(ModelError, match="p"):
            from_params(P[:end], "p")
