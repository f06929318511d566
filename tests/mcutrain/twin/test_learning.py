"""Training runs on the twin: data files and their faults, the schedule of the learning rate, learning itself."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import ModelError
from mcutrain.twin.data import Data, read_data, to_int8
from mcutrain.twin.learning import learn, score
from tests import tiny_network as network
from tests.mcutrain import tiny


def test_reads_what_was_saved(twin: mcutrain.Twin, tmp_path: Path) -> None:
    data = read_data(tiny.save_data(tmp_path / "d.npz", 10), twin)
    x, y = tiny.separable(10, 1)
    np.testing.assert_array_equal(data.x_train, x)
    np.testing.assert_array_equal(data.y_train, y)
    assert data.x_test.shape == (10, 8, 8, 3) and data.y_test.shape == (10,)


def test_pixels_become_int8() -> None:
    """x - 127.5, halves to even: no two steps of the same size would follow from truncation."""
    pixels = np.arange(256, dtype=np.uint8)
    expected = [min(127, max(-128, round(x - 127.5))) for x in range(256)]
    values = to_int8(pixels)
    assert values.dtype == np.int8 and values.tolist() == expected
    assert (values[0], values[127], values[128], values[129], values[255]) == (-128, 0, 0, 2, 127)


def test_uint8_files_are_converted(twin: mcutrain.Twin, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    data = read_data(tiny.save_data(tmp_path / "d.npz", x_train=pixels), twin)
    np.testing.assert_array_equal(data.x_train, to_int8(pixels))
    assert data.x_train.dtype == np.int8


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"y_test": None}, "has no array 'y_test'; it needs x_train, y_train, x_test, y_test"),
        ({"x_train": np.zeros((24, 8, 8, 3), int)}, r"x_train is int64 \(24, 8, 8, 3\), the network takes int8"),
        (
            {"x_test": np.zeros((24, 3, 8, 8), np.int8)},
            r"int8 \(24, 3, 8, 8\), the network takes .*; its channels stand first: x\.transpose\(0, 2, 3, 1\)$",
        ),
        ({"x_test": np.zeros((24, 8, 3, 8), np.int8)}, r"\(24, 8, 3, 8\), the network takes .* \(N, 8, 8, 3\)$"),
        ({"x_test": np.int8(3)}, r"x_test is int8 \(\), the network takes"),
        ({"y_train": np.zeros(23, np.int64)}, r"y_train is int64 \(23,\), expected 24 integer labels"),
        ({"y_train": np.zeros(24)}, r"y_train is float64 \(24,\), expected 24 integer labels"),
        (
            {"y_test": np.full(24, 4)},
            "y_test goes from 4 to 4, the network has 4 classes; labels count from 0 to 3; for N "
            "classes compile with --head float --classes N",
        ),
        ({"y_test": np.full(24, -1)}, "y_test goes from -1 to -1"),
        ({"x_test": np.zeros((0, 8, 8, 3), np.int8), "y_test": np.zeros(0, int)}, "x_test is empty"),
        ({"x_train": np.array([{"no": "plain array"}])}, r"not an \.npz of plain arrays \(Object arrays cannot"),
    ],
)
def test_faulty_arrays(replaced: dict, message: str, twin: mcutrain.Twin, tmp_path: Path) -> None:
    path = tiny.save_data(tmp_path / "d.npz", **replaced)
    with pytest.raises(ModelError, match=message) as error:
        read_data(path, twin)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def damaged(path: Path) -> bytes:
    """An .npz whose second half is lost, its directory at the end kept: a zip that opens and does not read."""
    whole = bytearray(tiny.save_data(path).read_bytes())
    whole[200:600] = bytes(400)
    return bytes(whole)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x03\x04 cut short", np.arange(3).tobytes(), damaged])
def test_faulty_files(content: object, twin: mcutrain.Twin, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(content if isinstance(content, bytes) else content(path))
    with pytest.raises(ModelError, match=r"d\.npz: (not an \.npz of plain arrays|cannot be read)") as error:
        read_data(path, twin)
    assert "\n" not in str(error.value)


def test_a_single_array_is_no_data_file(twin: mcutrain.Twin, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(ModelError, match=r"d\.npy: not an \.npz of plain arrays"):
        read_data(tmp_path / "d.npy", twin)


def test_missing_file(twin: mcutrain.Twin, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.npz: cannot be read: No such file or directory; give an \.npz file"):
        read_data(tmp_path / "no.npz", twin)


def data(train: int, test: int) -> Data:
    return Data(*tiny.separable(train, 1), *tiny.separable(test, 2))


def test_learning_learns_and_the_body_helps(compiled: mcutrain.Artifact) -> None:
    twin, samples = mcutrain.host(compiled.directory), data(64, 64)
    learnt = learn(twin, samples, epochs=4, learning_rate=(0.01, 0.01))
    assert learnt.steps == 4 * 64 and len(learnt.losses) == 4 and len(learnt.scores) == 5
    assert learnt.scores[0] < 0.4 and learnt.scores[-1] > 0.8
    assert learnt.losses[-1] < 0.6 * learnt.losses[0] < math.log(network.CLASSES)
    assert learnt.scores[-1] == score(twin, samples.x_test, samples.y_test)
    head_only = learn(mcutrain.host(compiled.directory), samples, epochs=4, learning_rate=(0.0, 0.01))
    assert learnt.losses[-1] < 0.8 * head_only.losses[-1]


def test_same_seed_same_run(compiled: mcutrain.Artifact) -> None:
    runs = [learn(mcutrain.host(compiled.directory), data(16, 4), 1, seed=seed) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] and runs[0].losses != runs[2].losses


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_schedule_of_the_learning_rate(schedule: str, twin: mcutrain.Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    step = twin.train_step
    monkeypatch.setattr(twin, "train_step", lambda x, y: (rates.append(twin.learning_rate), step(x, y))[1])
    learn(twin, data(10, 2), epochs=2, learning_rate=(0.01, 0.1), schedule=schedule)
    factor = [0.5 * (1 + math.cos(math.pi * i / 20)) if schedule == "cosine" else 1.0 for i in range(20)]
    np.testing.assert_allclose(rates, np.outer(factor, [0.01, 0.1]), rtol=1e-5)


def test_every_image_once_an_epoch_and_none_of_the_test(twin: mcutrain.Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(twin, "train_step", lambda x, y: (seen.append(x.tobytes()), 0.0)[1])
    samples = data(12, 12)
    learn(twin, samples, epochs=2)
    once = sorted(x.tobytes() for x in samples.x_train)
    assert sorted(seen[:12]) == sorted(seen[12:]) == once and seen[:12] != seen[12:]


def test_progress_counts_to_the_end(twin: mcutrain.Twin) -> None:
    """Training steps and evaluations apart."""
    steps: list[tuple[int, int]] = []
    scored: list[tuple[int, int]] = []
    learn(twin, data(5, 3), epochs=2, progress=lambda *said: steps.append(said), evaluating=lambda *s: scored.append(s))
    assert steps == [(i, 2 * 5) for i in range(1, 2 * 5 + 1)]
    assert scored == [(i, 3 * 3) for i in range(1, 3 * 3 + 1)]


def test_unknown_schedule(twin: mcutrain.Twin) -> None:
    with pytest.raises(ModelError, match="unknown schedule 'linear'; use cosine or constant"):
        learn(twin, data(2, 2), schedule="linear")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "0 epochs: must be 1 or more"),
        ({"learning_rate": (0.1, float("nan"))}, r"learning rates \(0\.1, nan\): must be two finite float32 numbers"),
        ({"learning_rate": (0.1,)}, r"learning rates \(0\.1,\): must be two finite float32 numbers"),
    ],
)
def test_arguments_that_mean_nothing(options: dict, message: str, twin: mcutrain.Twin) -> None:
    with pytest.raises(ModelError, match=message):
        mcutrain.train(twin, data(2, 2), **options)


def test_train_takes_an_artifact_and_a_file_or_arrays(compiled: mcutrain.Artifact, tmp_path: Path) -> None:
    """The result holds the state of a twin; the artifact is as new afterwards."""
    path = tiny.save_data(tmp_path / "d.npz", 8)
    with np.load(path) as file:
        arrays = dict(file)
    by_file, by_arrays = (mcutrain.train(compiled, given, epochs=1, seed=3) for given in (path, arrays))
    assert by_file == by_arrays and by_file.steps == 8 and len(by_file.scores) == 2
    assert by_file.state.keys() == mcutrain.host(compiled).state().keys()
    assert not mcutrain.host(compiled).state()["classifier.weight"].any() and by_file.state["classifier.weight"].any()
    assert repr(by_file).startswith("<TrainingResult 8 steps, test accuracy ") and "\n" not in repr(by_file)
    del arrays["y_test"]
    with pytest.raises(ModelError, match=r"^data: has no array 'y_test'; it needs x_train, y_train, x_test, y_test$"):
        mcutrain.train(compiled, arrays)


def test_a_twin_goes_on_learning(twin: mcutrain.Twin, tmp_path: Path) -> None:
    first = mcutrain.train(twin, data(8, 4), epochs=1)
    second = mcutrain.train(twin, data(8, 4), epochs=1)
    assert second.scores[0] == first.scores[-1]
    second.save(tmp_path / "trained")
    with np.load(tmp_path / "trained.npz") as saved:
        twin.reset()
        twin.set_state(dict(saved))
    assert all(np.array_equal(value, second.state[name]) for name, value in twin.state().items())
