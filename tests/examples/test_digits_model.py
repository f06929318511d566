"""The digits example: a network file that is small, safe to read and as good as stated, and data that makes it fail."""

import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest

import make_data
from int8_reference import accuracy, convolution, features, logits, read_network, residual_add
from make_data import ADAPT_TEST, ADAPT_TRAIN, BASE, rotated_digits, upright_digits
from mcutrain import ModelError

MODEL = Path(make_data.__file__).with_name("digits_int8.pkl")
UPRIGHT_ACCURACY, ROTATED_ACCURACY = 0.9956, 0.6100  # printed by make_model.py
TOLERANCE = 0.01  # another scipy may interpolate a grey level differently


@pytest.fixture(scope="module")
def network():
    return read_network(MODEL)


@pytest.fixture(scope="module")
def rotated():
    return rotated_digits()


def convolutions(network):
    """Every convolution of the network, in order of execution."""
    yield network["first_conv"]
    for block in network["blocks"]:
        yield from (block[part] for part in ("pointwise1", "depthwise", "pointwise2") if block[part] is not None)
    yield network["classifier"]


def test_file_is_small_and_names_only_the_old_array_globals():
    assert MODEL.stat().st_size < 300_000
    data = zipfile.ZipFile(MODEL).read("archive/data.pkl")
    named = {arg for opcode, arg, _ in pickletools.genops(data) if opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST")}
    expected = {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "_codecs encode"}
    assert data[:2] == b"\x80\x02"  # protocol 2
    assert named == expected


def test_architecture_has_what_the_product_must_handle(network):
    convs = list(convolutions(network))
    assert any(block["residual"] for block in network["blocks"])
    assert any(conv["stride"] == 2 for conv in convs)
    assert any(conv["kernel_size"] == (5, 5) and conv["groups"] > 1 for conv in convs)
    assert 30_000 <= sum(c["params"]["weight"].size + c["params"]["bias"].size for c in convs) <= 100_000


def test_parameters_have_the_stated_types_and_ranges(network):
    for conv in convolutions(network):
        p, k = conv["params"], conv["kernel_size"][0]
        assert p["weight"].dtype == np.int8
        assert p["weight"].shape == (conv["out_channel"], conv["in_channel"] // conv["groups"], k, k)
        assert (np.abs(p["weight"].astype(int)).max(axis=(1, 2, 3)) == 127).all()  # the whole range, symmetric
        assert p["bias"].dtype == np.int32
        assert p["w_scales"].dtype == np.float32
        assert type(p["x_scale"]) is type(p["y_scale"]) is float
        assert type(p["x_zero"]) is type(p["y_zero"]) is int
        assert -128 <= p["x_zero"] <= 127
        assert -128 <= p["y_zero"] <= 127


def test_each_layer_reads_what_the_layer_before_wrote(network):
    def scale(p, side):
        return p[f"{side}_scale"], p[f"{side}_zero"]

    now = scale(network["first_conv"]["params"], "y")
    for block in network["blocks"]:
        entry = now
        for part in ("pointwise1", "depthwise", "pointwise2"):
            if block[part] is not None:
                assert scale(block[part]["params"], "x") == now
                now = scale(block[part]["params"], "y")
        if block["residual"] is not None:
            assert scale(block["residual"]["params"], "x") == entry
            now = scale(block["residual"]["params"], "y")
    assert scale(network["classifier"]["params"], "x") == now


def test_accuracy_upright_is_as_stated(network):
    upright = upright_digits()
    assert accuracy(network, upright.x_test, upright.y_test) == pytest.approx(UPRIGHT_ACCURACY, abs=TOLERANCE)


def test_accuracy_falls_behind_the_other_sensor(network, rotated):
    assert accuracy(network, rotated.x_test, rotated.y_test) == pytest.approx(ROTATED_ACCURACY, abs=TOLERANCE)


def test_the_features_still_tell_the_rotated_digits_apart(network, rotated):
    """Least squares on the frozen features wins much of it back: training on the device has something to find."""

    def bordered(x):
        return np.column_stack([features(network, x).astype(np.float64), np.ones(len(x))])

    penalty = 50.0 * np.eye(65)
    a, target = bordered(rotated.x_train), np.eye(10)[rotated.y_train]
    head = np.linalg.solve(a.T @ a + penalty, a.T @ target)
    assert np.mean((bordered(rotated.x_test) @ head).argmax(axis=1) == rotated.y_test) > ROTATED_ACCURACY + 0.2


def test_data_is_deterministic_disjoint_and_of_the_stated_form(rotated):
    base, train, test = make_data._split()
    assert sorted(np.concatenate([base, train, test])) == list(range(BASE + ADAPT_TRAIN + ADAPT_TEST))
    assert (rotated.x_train.shape, rotated.x_test.shape) == ((ADAPT_TRAIN, 16, 16, 1), (ADAPT_TEST, 16, 16, 1))
    assert rotated.x_train.dtype == rotated.x_test.dtype == np.int8
    assert rotated.y_train.dtype == rotated.y_test.dtype == np.int32
    assert set(rotated.y_train) == set(rotated.y_test) == set(range(10))
    again = rotated_digits()
    assert all(np.array_equal(a, b) for a, b in zip(vars(rotated).values(), vars(again).values(), strict=True))


def test_script_writes_the_same_data(tmp_path, monkeypatch, rotated):
    out = tmp_path / "digits.npz"
    monkeypatch.setattr("sys.argv", ["make_data.py", "--out", str(out)])
    assert make_data.main() == 0
    assert out.stat().st_size <= 300_000
    with np.load(out) as stored:
        assert all(np.array_equal(stored[name], array) for name, array in vars(rotated).items())


def test_script_names_the_path_that_it_cannot_write(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["make_data.py", "--out", str(tmp_path / "absent" / "digits.npz")])
    assert make_data.main() == 1
    message = capsys.readouterr().err
    assert "absent" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(("kernel", "stride", "groups"), [(1, 1, 1), (3, 1, 1), (3, 2, 6), (5, 2, 6), (5, 1, 1)])
def test_reference_convolution_equals_the_sum_written_out(kernel, stride, groups):
    """The formula of the forward pass, one output number at a time; padding counts as the zero point."""
    rng = np.random.default_rng(kernel * 10 + stride)
    size, channels, pad = 7, 6, kernel // 2
    x = rng.integers(-128, 128, (1, size, size, channels)).astype(np.int8)
    params = {
        "weight": rng.integers(-127, 128, (channels, channels // groups, kernel, kernel)).astype(np.int8),
        "bias": rng.integers(-9999, 9999, channels).astype(np.int32),
        "w_scales": rng.uniform(0.001, 0.01, channels).astype(np.float32),
        **{"x_scale": 0.02, "x_zero": -7, "y_scale": 0.05, "y_zero": 3},
    }
    conv = {"kernel_size": (kernel, kernel), "stride": stride, "groups": groups, "out_channel": channels}
    y = convolution(x, {**conv, "params": params})
    for row, column, c in np.ndindex(y.shape[1:]):
        acc = int(params["bias"][c])
        for i, j in np.ndindex(kernel, kernel):
            r, s = row * stride + i - pad, column * stride + j - pad
            if 0 <= r < size and 0 <= s < size:
                real = x[0, r, s].astype(int) + 7
                picked = real[c : c + 1] if groups > 1 else real
                acc += int((picked * params["weight"][c, :, i, j].astype(int)).sum())
        eff = np.float32(0.02 * float(params["w_scales"][c]) / 0.05)
        assert y[0, row, column, c] == max(-128, min(127, round(float(np.float32(acc) * eff)) + 3))


def test_reference_add_rounds_half_to_even_and_clamps():
    p = {"x_scale": 0.5, "x_zero": 0, "y_scale": 1.0, "y_zero": 0}
    b = {"y_scale": 1.0, "y_zero": 0}
    a_values, b_values = np.array([1, 3, -1, 127, -128], np.int8), np.array([0, 0, 0, 127, -128], np.int8)
    assert residual_add(a_values, b_values, p, b).tolist() == [0, 2, 0, 127, -128]


def test_logits_are_int8_and_one_a_class(network, rotated):
    out = logits(network, rotated.x_test[:3])
    assert (out.shape, out.dtype) == ((3, 10), np.int8)


def write_archive(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)


def test_reader_refuses_a_pickle_that_calls_something(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("called",)

    write_archive(tmp_path / "evil.pkl", pickle.dumps({"first_conv": Evil()}, protocol=2))
    with pytest.raises(ModelError, match="only numpy arrays are allowed"):
        read_network(tmp_path / "evil.pkl")


@pytest.mark.parametrize("length", [0, 1, 100, 50_000])
def test_reader_refuses_a_truncated_pickle(tmp_path, length):
    data = zipfile.ZipFile(MODEL).read("archive/data.pkl")
    write_archive(tmp_path / "short.pkl", data[:length])
    with pytest.raises(ModelError, match=r"short\.pkl: not a network file"):
        read_network(tmp_path / "short.pkl")


def test_reader_refuses_what_is_no_zip(tmp_path):
    (tmp_path / "text.pkl").write_bytes(b"hello")
    with pytest.raises(ModelError, match="expected a zip"):
        read_network(tmp_path / "text.pkl")
