"""Damaged TFLite files: whatever the bytes, a ModelError or a network, and nothing else."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite import file as tflite_file
from mcutrain.tvm_ext.importers.tflite.load import load
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.train.training import inference
from tests.tvm_ext.importers.tflite.test_tflite import everything
from tests.tvm_ext.importers.tflite.test_tflite_refusals import refusal
from tests.tvm_ext.importers.tflite.tflite_models import TfliteModel

WORDS = (0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000, 0x7FC00000, 0x7F800000, 0x3F800000)
NUMBERS = (0, 1, 2, 3, -1, -2, 127, 4096, 65535, 1 << 20, 1 << 24, (1 << 31) - 1, -(1 << 31))
SCALES = (0, -1, np.nan, np.inf, 1e-30, 1e-18, 1e18, 1e-8, 1e8)
GROWTH = 200 << 20  # bytes of the process over all mutants together; one bad length would ask for gigabytes


def outcome(path: Path) -> str:
    """Of an import: "refused", or "read" if it also becomes kernels."""
    try:
        model = load(path)
    except ModelError as error:
        message = str(error)
    else:
        lower(inference(model))
        return "read"
    assert message.startswith(str(path)) and len(message) < 20_000
    return "refused"


def damaged(content: bytes, seed: int) -> bytes:
    """A few bytes, halves or words replaced, most of them where the tables and not the weights are; sometimes cut."""
    rng, data = np.random.default_rng(seed), bytearray(content)
    for _ in range(rng.integers(1, 6)):
        near = min(len(data) - 8, 6000)
        at = int(rng.integers(0, near)) if rng.random() < 0.5 else len(data) - 8 - int(rng.integers(0, near))
        kind = rng.integers(0, 4)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at & ~1 : (at & ~1) + 2] = rng.bytes(2)
        elif kind == 2:
            data[at & ~3 : (at & ~3) + 4] = int(rng.choice(WORDS)).to_bytes(4, "little")
        else:
            other = int(rng.integers(0, len(data) - 8)) & ~3
            data[at & ~3 : (at & ~3) + 4] = data[other : other + 4]
    return bytes(data[: int(rng.integers(0, len(data)))] if rng.random() < 0.05 else data)


def disturbed(seed: int) -> bytes:
    """A well-formed file with one or two wrong fields."""
    rng, m = np.random.default_rng(seed), TfliteModel(1)
    out = m.softmax(everything(m))
    for _ in range(rng.integers(1, 3)):
        disturb(m, rng)
    return m.content(out)


def disturb(m: TfliteModel, rng: np.random.Generator) -> None:
    tensor, operator, number = rng.choice(m.tensors), rng.choice(m.operators), int(rng.choice(NUMBERS))
    own = tensor.quantization
    changes: list[Callable[[], object]] = [
        lambda: tensor.shape.__setitem__(int(rng.integers(0, len(tensor.shape))), number),
        lambda: setattr(tensor, "shape", rng.choice([1, 2, 4, 5, 9, 16, 0, -1], rng.integers(0, 6))),
        lambda: setattr(tensor, "type", int(rng.integers(0, 19))),
        lambda: own and own.scale.__setitem__(0, rng.choice(SCALES)),
        lambda: own and own.zeroPoint.__setitem__(0, number),
        lambda: operator.inputs.__setitem__(0, rng.integers(-1, len(m.tensors))),
        lambda: operator.inputs.__setitem__(-1, number),
        lambda: operator.outputs.__setitem__(0, rng.integers(0, len(m.tensors))),
        lambda: setattr(operator, "inputs", operator.inputs[:-1]),
        lambda: vars(operator.builtinOptions or tensor).update(strideH=number, padding=1, filterWidth=number),
        lambda: setattr(m.buffers[-1], "data", np.full(int(rng.integers(0, 40)), 255, np.uint8)),
    ]
    changes[rng.integers(0, len(changes))]()


def test_damaged_bytes(data: Path, tmp_path: Path) -> None:
    m = TfliteModel(1)
    files = [(data / "mlperf_tiny/kws_ref_model.tflite").read_bytes(), m.content(m.softmax(everything(m)))]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for seed in range(60):
        path = tmp_path / "damaged.tflite"
        path.write_bytes(damaged(files[seed % 2], seed))
        outcomes.append(outcome(path))
    assert 10 <= outcomes.count("read") <= 50
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


def test_wrong_fields(tmp_path: Path) -> None:
    outcomes = []
    for seed in range(120):
        path = tmp_path / "wrong.tflite"
        path.write_bytes(disturbed(seed))
        outcomes.append(outcome(path))
    assert outcomes.count("refused") >= 60 and outcomes.count("read") >= 5


def test_a_negative_shape_whose_product_fits(tmp_path: Path) -> None:
    m = TfliteModel()
    out = m.conv(m.input((1, 6, 6, 2)), 5)
    m.tensors[m.operators[0].inputs[1]].shape = np.array([5, -3, -3, 2], np.int32)
    assert "a tensor of shape [5, -3, -3, 2]; convert the model anew" in refusal(m.save(tmp_path, out))


@pytest.mark.parametrize("cut", [0, 3, 7, 8, 9, 100, -1])
def test_a_file_that_ends_early(cut: int, tmp_path: Path) -> None:
    m = TfliteModel()
    path = m.save(tmp_path, m.conv(m.input((1, 6, 6, 2)), 5))
    path.write_bytes(path.read_bytes()[:cut])
    if cut == -1:  # what is cut off is padding, or noticed
        assert outcome(path) in ("read", "refused")
    else:
        assert ("TFL3" if cut < 8 else "damaged or truncated") in refusal(path)


def test_no_such_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.tflite"
    assert refusal(path) == f"{path}: No such file or directory; give the path of a TFLite model"
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory; give the path of a TFLite model"
    path.write_bytes(b"PK\3\4" * 9)
    assert "no TFLite model (its identifier TFL3 is missing)" in refusal(path)
    monkeypatch.setattr(tflite_file, "MAX_BYTES", 1 << 20)
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(1 << 20))
    assert "larger than 1 MiB; no microcontroller holds that model" in refusal(path)


def test_counts_beyond_what_is_read(tmp_path: Path) -> None:
    m = TfliteModel()
    out = m.conv(m.input((1, 6, 6, 2)), 5)
    for _ in range(tflite_file.MAX_ITEMS):
        m.tensor([1])
    assert f"holds {len(m.tensors)} tensors, more than 16384" in refusal(m.save(tmp_path, out))
    m = TfliteModel()
    x = m.input((1, 6, 6, 2))
    assert "holds 300 operands, more than 256" in refusal(m.save(tmp_path, m.concat([x] * 300)))


def test_operators_in_a_ring(tmp_path: Path) -> None:
    """Each waits for the other."""
    m = TfliteModel()
    x = m.conv(m.input((1, 6, 6, 2)), 2)
    a = m.add(x, x, name="model/a")
    b = m.add(a, x, name="model/b")
    m.operators[1].inputs[1] = b
    assert "ADD a: reads 'model/b/add', which nothing before it writes" in refusal(m.save(tmp_path, b))
    m.operators[2].outputs[0] = a
    assert "a tensor is written twice" in refusal(m.save(tmp_path, a))
