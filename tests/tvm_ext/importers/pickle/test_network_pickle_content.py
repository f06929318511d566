"""What a network pickle asks for: functions, arrays that lie, other values than a dict."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.tvm_ext.importers.pickle import unpickle as network_pickle
from tests.tiny_network import tiny_network, write_network, write_zip
from tests.tvm_ext.importers.pickle.test_network_pickle import refusal

WITNESS = "MCUTRAIN_TEST_WITNESS"


class Calls:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple:
        return self.call


def spoil() -> str:
    return f"import os; os.environ[{WITNESS!r}] = 'run'"


MALICIOUS = {
    "os.system": lambda: Calls(os.system, "exit 0"),
    "builtins.eval": lambda: Calls(eval, f"__import__('os').environ.__setitem__('{WITNESS}', 'run')"),
    "builtins.exec": lambda: Calls(exec, spoil()),
    "builtins.getattr": lambda: Calls(getattr, "text", "upper"),
    "numpy.load": lambda: Calls(np.load, "/etc/hostname", None, True),
    "numpy.fromfile": lambda: Calls(np.fromfile, "/etc/hostname"),
    "numpy.memmap": lambda: Calls(np.memmap, "/etc/hostname"),
    "pathlib": lambda: Path("/etc"),
}


@pytest.mark.parametrize("name", MALICIOUS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_function(name: str, protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"first_conv": MALICIOUS[name]()}, protocol)
    message = refusal(write_zip(data, tmp_path / "evil.pkl"))
    assert "only numpy arrays" in message
    assert WITNESS not in os.environ


HAND_MADE = {
    "memo index of 4 billion": b"\x80\x02}r\xff\xff\xff\xff.",
    "instance by name": b"(S'exit 0'\nios\nsystem\n.",
    "persistent id": b"\x80\x02X\x03\x00\x00\x00abcQ.",
    "extension code": b"\x80\x02\x82\x01.",
    "bytearray of 2^40": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "out of band buffer": b"\x80\x05\x97.",
    "unicode of 2^40": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "no opcode": b"\xff\xff",
    "empty": b"",
    "protocol of tomorrow": b"\x80\x63}.",
    "pop of nothing": b"\x80\x020.",
    "no stop": b"\x80\x02}",
    "attributes of the array type": b"\x80\x02cnumpy\nndarray\n}X\x05\x00\x00\x00shapeK\x01sb.",
    "array type called": b"\x80\x02cnumpy\nndarray\nK\x04\x85R.",
    "array type called, 2^40": b"\x80\x02cnumpy\nndarray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R.",
    "array type made anew": b"\x80\x02cnumpy\nndarray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85\x81.",
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_pickles(name: str, tmp_path: Path) -> None:
    refusal(write_zip(HAND_MADE[name], tmp_path / "x.pkl"))


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    """BUILD sets attributes of whatever the pickle names: here the default arguments of the admitted function."""
    data = b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b."
    refusal(write_zip(data, tmp_path / "x.pkl"))
    for function in (network_pickle._encode, network_pickle._reconstruct):
        assert function.__defaults__ is None and not function.__dict__


def array_pickle(state: tuple, dtype: str = "i1", dtype_state: tuple | None = (3, "|", None, None, None, -1, -1, 0)):
    """A pickle whose top level is {'first_conv': array}, with this state for the array and its dtype."""
    out = io.BytesIO()
    out.write(b"\x80\x02}X\x0a\x00\x00\x00first_conv")
    out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R")

    def put(value: object) -> None:
        if value is np.dtype:
            out.write(b"cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype.encode() + b"K\x00K\x01\x87R")
            if dtype_state is not None:
                put(dtype_state)
                out.write(b"b")
        elif isinstance(value, tuple):
            out.write(b"(")
            for item in value:
                put(item)
            out.write(b"t")
        else:
            out.write(pickletools.optimize(pickle.dumps(value, 2))[2:-1])

    put(state)
    out.write(b"bs.")
    return out.getvalue()


def test_the_hand_made_array_is_an_array(tmp_path: Path) -> None:
    data = array_pickle((1, (2, 2), np.dtype, False, b"abcd"))
    read = network_pickle.read(write_zip(data, tmp_path / "x.pkl"))["first_conv"]
    assert read.dtype == np.int8 and read.tolist() == [[97, 98], [99, 100]]


ARRAYS = {
    "shape larger than its data": array_pickle((1, (1 << 20, 1 << 20), np.dtype, False, b"abcd")),
    "shape that wraps": array_pickle((1, (1 << 32, 1 << 32), np.dtype, False, b"")),
    "negative shape": array_pickle((1, (-4,), np.dtype, False, b"abcd")),
    "two negative extents": array_pickle((1, (-2, -2), np.dtype, False, b"abcd")),
    "shape of many dimensions": array_pickle((1, (1,) * 100, np.dtype, False, b"a")),
    "shape of names": array_pickle((1, ("a",), np.dtype, False, b"a")),
    "data as a list": array_pickle((1, (2,), np.dtype, False, [1, 2])),
    "no data": array_pickle((1, (2,), np.dtype, False, None)),
    "short state": array_pickle((1, (2,))),
    "state that is no tuple": array_pickle({"shape": 3}),
    "version of tomorrow": array_pickle((9, (2,), np.dtype, False, b"ab")),
    "objects": array_pickle((1, (1,), np.dtype, False, [1]), "O8"),
    "pointers as bytes": array_pickle((1, (1,), np.dtype, False, b"abcdefgh"), "O8"),
    "void of 2^30 bytes": array_pickle((1, (1,), np.dtype, False, b"a"), "V1073741824"),
    "dtype that turns into objects": array_pickle(
        (1, (1,), np.dtype, False, [b"a"]), "V8", (3, "|", None, ("a",), {"a": ("O", 0)}, 8, 1, 63)
    ),
    "dtype with the flags of objects": array_pickle(
        (1, (1,), np.dtype, False, ["abcdefgh"]), "V8", (3, "|", None, None, None, 8, 1, 63)
    ),
    "dtype of another size": array_pickle(
        (1, (4,), np.dtype, False, b"abcd"), "V1", (3, "|", None, None, None, 1 << 30, 1, 0)
    ),
    "dtype with subarray": array_pickle((1, (4,), np.dtype, False, b"abcd"), "(1000000000,)i1"),
    "unknown dtype": array_pickle((1, (4,), np.dtype, False, b"abcd"), "nonsense"),
    "structured dtype": array_pickle((1, (2,), np.dtype, False, b"abcd"), "i1,i1"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_lie(name: str, tmp_path: Path) -> None:
    refusal(write_zip(ARRAYS[name], tmp_path / "x.pkl"))


def test_an_array_of_objects(tmp_path: Path) -> None:
    network = tiny_network()
    network["first_conv"]["params"]["weight"] = np.array([1, "two", None], object)
    assert "objects" in refusal(write_network(network, tmp_path / "x.pkl"))


def test_deep_nesting(tmp_path: Path) -> None:
    """A hundred thousand lists, one in another, where a dict, a number and a tuple are expected."""
    depth = 100_000
    deep = b"]" * depth + b"a" * (depth - 1)
    assert "holds a list" in refusal(write_zip(b"\x80\x02" + deep + b".", tmp_path / "top.pkl"))
    refusal(write_zip(b"\x80\x02}X\x0a\x00\x00\x00first_conv" + deep + b"s.", tmp_path / "layer.pkl"))


@pytest.mark.parametrize("value", [None, [], 3, "text", (1, 2), np.zeros(3, np.int8)])
def test_the_top_must_be_a_dict(value: object, tmp_path: Path) -> None:
    assert "not a dict" in refusal(write_network(value, tmp_path / "x.pkl"))
