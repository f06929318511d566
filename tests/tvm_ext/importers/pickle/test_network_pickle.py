"""The reader of network pickles against damaged and hostile files: one line, naming the file, and nothing is run."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mcutrain import frontends
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.pickle import unpickle as network_pickle
from tests.tiny_network import CLASSES, SIZE, tiny_network, write_network, write_zip


def refusal(path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(ModelError) as refused:
        frontends.load(path, SIZE, CLASSES)
    message = str(refused.value)
    assert str(path) in message and "\n" not in message and len(message) < 600, message
    return message


def test_a_good_file_reads_back(tmp_path: Path) -> None:
    network = tiny_network()
    read = network_pickle.read(write_network(network, tmp_path / "good.pkl"))
    for name in ("weight", "bias", "w_scales"):
        np.testing.assert_array_equal(read["first_conv"]["params"][name], network["first_conv"]["params"][name])
    depthwise = read["blocks"][1]["depthwise"]
    assert depthwise["kernel_size"] == (5, 5) and depthwise["params"]["weight"].dtype == np.int8


@pytest.mark.parametrize("protocol", range(5))
def test_every_protocol_without_buffers(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps(tiny_network(), protocol=protocol)
    read = network_pickle.read(write_zip(data, tmp_path / "p.pkl"))
    np.testing.assert_array_equal(
        read["classifier"]["params"]["weight"], tiny_network()["classifier"]["params"]["weight"]
    )


# --------------------------------------------------------------------------- the file around the pickle
def test_no_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "absent.pkl")
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello\n" * 100, pickle.dumps({"a": 1})])
def test_no_zip(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    assert "not a zip" in refusal(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_zip(kept: float, tmp_path: Path) -> None:
    path = write_network(tiny_network(), tmp_path / "x.pkl")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    assert "truncated" in refusal(path)


def test_flipped_bytes(tmp_path: Path) -> None:
    path = write_network(tiny_network(), tmp_path / "x.pkl")
    data = bytearray(path.read_bytes())
    for position in range(100, len(data) - 200, len(data) // 7):
        damaged = data.copy()
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        refusal(path)


def test_other_entries(tmp_path: Path) -> None:
    assert "holds 0" in refusal(write_network(tiny_network(), tmp_path / "a.pkl", entry="archive/other.pkl"))
    path = write_network(tiny_network(), tmp_path / "b.pkl")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("second/data.pkl", b"")
    assert "holds 2" in refusal(path)


@pytest.mark.parametrize(("claim", "words"), [(300 << 20, "refused"), (0xFFFFFFF0, "refused"), (1000, "truncated")])
def test_a_size_that_lies(claim: int, words: str, tmp_path: Path) -> None:
    """Too large a claim in the directory is refused before a byte is unpacked; too small a one is a bad checksum."""
    path = tmp_path / "bomb.pkl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 100_000)
    data = bytearray(path.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", claim)
    path.write_bytes(data)
    assert words in refusal(path)


def test_an_encrypted_entry(tmp_path: Path) -> None:
    path = write_network(tiny_network(), tmp_path / "x.pkl")
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
    assert "encrypted" in refusal(path)
