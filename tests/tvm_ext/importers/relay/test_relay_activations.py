"""Activation functions between a dequantize and a quantize, as TVM's frontends compose them: one table, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import ModelError
from mcutrain.tvm_ext.importers.relay.read.reader import read
from mcutrain.tvm_ext.importers.relay.read.text import parse
from mcutrain.tvm_ext.ops.activation import tabulate
from tests.tvm_ext.importers.relay.reference import numpy_relay

TEXT = """def @main(%x: Tensor[(1, 256), int8]) {
  %0 = qnn.requantize(%x, 0.05f, -7, 0.05f, -7, out_dtype="int8");
  %r = qnn.dequantize(%0, 0.05f, -7);
  BODY
  qnn.quantize(%y, 0.03125f, 11, out_dtype="int8")
}
"""
ERF = "%1 = multiply(%r, 0.70710677f); %2 = erf(%1); "
CHAINS = {
    "leaky_relu": "let %y = nn.leaky_relu(%r, alpha=0.3f);",
    "tanh": "let %y = tanh(%r);",
    "sigmoid": "let %y = sigmoid(%r);",
    "hard_sigmoid": "%1 = add(%r, 3f); %2 = clip(%1, a_min=0f, a_max=6f); let %y = divide(%2, 6f);",
    "hard_swish": "%1 = add(%r, 3f); %2 = clip(%1, a_min=0f, a_max=6f); %3 = multiply(%r, %2);"
    " let %y = divide(%3, 6f);",
    "silu": "%1 = sigmoid(%r); let %y = multiply(%r, %1);",
    "gelu": ERF + "%3 = multiply(%2, 0.5f); %4 = add(0.5f, %3); let %y = multiply(%r, %4);",
    "gelu_tanh": "%1 = power(%r, 3f); %2 = multiply(%1, 0.044715f); %3 = add(%r, %2); %4 = multiply(%3, 0.7978846f);"
    " %5 = tanh(%4); %6 = add(%5, 1f); %7 = multiply(0.5f, %r); let %y = multiply(%7, %6);",
    "elu": "%1 = exp(%r); %2 = subtract(1f, %1); %3 = nn.relu(%2); %4 = multiply(-1f, %3); %5 = nn.relu(%r);"
    " let %y = add(%4, %5);",
}
X = np.arange(-128, 128).astype(np.int8)


def written(folder: Path, text: str) -> Path:
    path = folder / "net.relay"
    path.write_text('#[version = "0.0.5"]\n' + text)
    return path


@pytest.mark.parametrize("function", CHAINS)
def test_a_chain_is_one_table(function: str, tmp_path: Path) -> None:
    text = TEXT.replace("BODY", CHAINS[function])
    model = mcutrain.load(written(tmp_path, text))
    expected = numpy_relay.run(parse(text, "net.relay"), {"x": X[None]})
    np.testing.assert_array_equal(model.params["quantize.table"], np.ravel(expected))
    parameters = {"alpha": 0.3} if function == "leaky_relu" else {}
    table, slope = tabulate(function, (float(np.float32(0.05)), -7), (0.03125, 11), **parameters)
    smooth = (np.abs(table.astype(int)) < 126) & (X != -7)  # at their kink compositions have slopes of their own
    np.testing.assert_allclose(model.params["quantize.slope"][smooth], slope[smooth], atol=1e-5)


FLOATS = """def @main(%x: Tensor[(1, 8), float32], %w: Tensor[(6, 8), float32], %a: Tensor[(6), float32],
          %v: Tensor[(3, 6), float32]) {
  let %r = nn.dense(%x, %w);
  BODY
  nn.dense(%y, %v)
}
"""


@pytest.mark.parametrize("function", [*(f for f in CHAINS if f != "elu"), "prelu"])
def test_in_a_float_network_it_is_one_function(function: str, tmp_path: Path) -> None:
    """It goes by way of Relax and the operator graph; the emitted C gives Relay's numbers."""
    from tvm import runtime

    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((6, 8)).astype("f4"), "v": rng.standard_normal((3, 6)).astype("f4")}
    weights["a"] = rng.standard_normal(6).astype("f4")
    params = {name: runtime.tensor(value) for name, value in weights.items()}
    (tmp_path / "net.params").write_bytes(runtime.save_param_dict(params))
    path = written(tmp_path, FLOATS.replace("BODY", CHAINS.get(function, "let %y = nn.prelu(%r, %a);")))
    model = mcutrain.load(path)
    twin = mcutrain.host(mcutrain.compile(model, "full", "nrf52840", "64KB", tmp_path / "out", seconds=1).directory)
    for _ in range(8):
        x = rng.standard_normal((1, 8)).astype("f4") * 2
        expected = numpy_relay.run(read(path), {"x": x})[0]
        np.testing.assert_allclose(twin.infer(x.reshape(1, 1, 8)), expected, 1e-5, 1e-5)


BETWEEN = """def @main(%x: Tensor[(1, 8), int8]) {
  %0 = qnn.dense(%x, meta[relay.Constant][0], 3, 0, 0.5f, 0.01f, units=4, out_dtype="int32");
  %1 = qnn.requantize(%0, 0.005f, 0, 0.05f, 2, out_dtype="int8");
  BODY
}
"""


def between(folder: Path, body: str, weight: np.ndarray) -> Path:
    from tvm import runtime

    text = BETWEEN.replace("meta[relay.Constant][0]", "%w").replace("int8])", "int8], %w: Tensor[(4, 8), int8])")
    (folder / "net.params").write_bytes(runtime.save_param_dict({"w": runtime.tensor(weight)}))
    return written(folder, text.replace("BODY", body))


def test_a_sigmoid_inside_is_a_table_and_at_the_end_it_is_taken_off(tmp_path: Path) -> None:
    body = (
        "%2 = qnn.dequantize(%1, 0.05f, 2); %3 = sigmoid(%2); %4 = multiply(%2, %3);"
        ' %5 = qnn.quantize(%4, 0.02f, -9, out_dtype="int8"); %6 = qnn.dequantize(%5, 0.02f, -9); sigmoid(%6)'
    )
    rng = np.random.default_rng(0)
    path = between(tmp_path, body, rng.integers(-9, 10, (4, 8)).astype(np.int8))
    model = mcutrain.load(path)
    assert (model.loss, model.logits_scale, model.logits_zero) == ("binary_cross_entropy", np.float32(0.02), -9)
    twin = mcutrain.host(mcutrain.compile(model, "full", "nrf52840", "64KB", tmp_path / "out", seconds=1).directory)
    for _ in range(8):
        x = rng.integers(-128, 128, (1, 1, 8)).astype(np.int8)
        logits = (twin.infer(x).astype(np.float32) + 9) * np.float32(0.02)
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), numpy_relay.run(read(path), {"x": x[0]})[0], 1e-6)
    losses = [twin.train_step(x, np.array([1, 0, 0, 1], np.uint8)) for _ in range(20)]
    assert losses[-1] < losses[0]


PRELU = """def @main(%x: Tensor[SHAPE, int8], %a: Tensor[(5), float32]) {
  %0 = qnn.requantize(%x, 0.05f, -7, 0.05f, -7, out_dtype="int8");
  %1 = nn.prelu(qnn.dequantize(%0, 0.05f, -7), %a, axis=1);
  %2 = qnn.quantize(%1, 0.0313f, 11, out_dtype="int8");
  nn.batch_flatten(%2)
}
"""


def with_slopes(folder: Path, slopes: np.ndarray, shape: tuple[int, ...]) -> Path:
    from tvm import runtime

    (folder / "net.params").write_bytes(runtime.save_param_dict({"a": runtime.tensor(slopes)}))
    return written(folder, PRELU.replace("SHAPE", str(shape)))


@pytest.mark.parametrize("shape", [(1, 5, 16, 16), (1, 5)])
def test_a_slope_a_channel_is_a_prelu(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Every int8 number meets every slope, in the C that is emitted."""
    path = with_slopes(tmp_path, np.array([0.25, -0.31, 0, 1.7, 0.013], np.float32), shape)
    model = mcutrain.load(path, loss="mse")
    twin = mcutrain.host(
        mcutrain.compile(model, "inference", "nrf52840", "64KB", tmp_path / "out", seconds=1).directory
    )
    numbers = np.random.default_rng(1).permuted(np.tile(X, (5, 1)), axis=1)
    for part in np.split(numbers, 256 * 5 // int(np.prod(shape)), axis=1):
        expected = numpy_relay.run(read(path), {"x": part.reshape(shape)})
        found = twin.infer(part.T.reshape(model.input_shape[1:])).reshape(-1, 5).T
        wrong = np.abs(found.astype(int) - np.reshape(expected, (5, -1)))
        assert wrong.max() <= 1 and np.mean(wrong) < 0.02


def test_one_slope_for_all_channels_is_a_table(tmp_path: Path) -> None:
    model = mcutrain.load(with_slopes(tmp_path, np.full(5, 0.25, np.float32), (1, 5, 6, 7)))
    table, _ = tabulate("leaky_relu", (float(np.float32(0.05)), -7), (float(np.float32(0.0313)), 11), alpha=0.25)
    np.testing.assert_array_equal(model.params["quantize.table"], table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("axis=1", "axis=2", r"prelu \(line 4\): slopes along axis 2 of an image; only along the channels"),
        (
            "nn.prelu(qnn.dequantize(%0, 0.05f, -7)",
            "nn.prelu(exp(qnn.dequantize(%0, 0.05f, -7))",
            "behind another func",
        ),
        ("%a, axis", "%0, axis", "its slopes is no constant"),
    ],
)
def test_what_is_no_prelu_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = with_slopes(tmp_path, np.arange(5, dtype=np.float32), (1, 5, 6, 5))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ModelError, match=message):
        mcutrain.load(path)


DEQUANTIZED = "%2 = qnn.dequantize(%1, 0.05f, 2); "
QUANTIZED = 'qnn.quantize(%3, 0.1f, 0, out_dtype="int8")'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exp(%1)", r"exp \(line 5\): works on integers; dequantize before it"),
        ("subtract(%1, 1f)", r"subtract \(line 5\): works on integers; dequantize before it"),
        (f"{DEQUANTIZED} exp(%2)", "works on real numbers inside an integer network"),
        (
            f"{DEQUANTIZED} %3 = nn.softmax(%2); {QUANTIZED}",
            r"quantize \(line 5\): works on what is no function of each number alone",
        ),
        (
            f'{DEQUANTIZED} %4 = qnn.requantize(%1, 0.05f, 2, 0.1f, 0, out_dtype="int8");'
            f" %5 = qnn.dequantize(%4, 0.1f, 0); %3 = multiply(%2, %5); {QUANTIZED}",
            r"multiply \(line 5\): joins two activations in real numbers; use qnn.add",
        ),
        (
            f"{DEQUANTIZED} %3 = exp(%2); {QUANTIZED.replace('int8', 'uint8')}",
            r"quantize \(line 5\): quantises to uint8; only int8",
        ),
        (
            f'{DEQUANTIZED} %3 = add(%2, ones(shape=[4], dtype="float32")); {QUANTIZED}',
            r"ones \(line 5\): the operator is not supported",
        ),
        ("qnn.dequantize(%1, 0.06f, 2)", "reads scale 0.06, zero point 2"),
    ],
)
def test_what_is_no_table_is_refused(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        mcutrain.load(between(tmp_path, body, np.ones((4, 8), np.int8)))
