"""Each operator family, quantised (QDQ and QLinear) and float32, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tvm_ext.importers.dialect_eval import evaluate
from tests.tvm_ext.importers.graph.qdq_cases import QDQ, STEP, begin, float_net, sequence
from tests.tvm_ext.importers.graph.qlinear_cases import qlinear_conv, qlinear_net
from tests.tvm_ext.importers.onnx.onnx_models import Net, differences, imported, network_input, run


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("case", QDQ)
def test_qdq_equals_onnxruntime(case: str, dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), dtype, seed=len(case))
    model = net.model(QDQ[case](net), "float32")
    # its channels-last integer pool rounds halves another way than QuantizeLinear and than its other pool
    wrong = differences(model, imported(model, tmp_path, loss="mse"), as_written=case == "pool_halves")
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_one_axis(dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 17), dtype)
    model = net.model(sequence(net), "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert ours.input_shape == (1, 1, 17, 4)
    wrong = differences(model, ours)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999


# --------------------------------------------------------------------------- QLinear operators
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_qlinear_operators_equal_onnxruntime(dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8), dtype, input_dtype=dtype)
    model = net.model(qlinear_net(net))
    ours = imported(model, tmp_path)
    assert [layer.name for layer in ours.layers] == ["stem", "matmul", "gemm"]
    wrong = differences(model, ours)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.99  # 24 outputs


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_qlinear_conv_equals_onnxruntime(dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8), dtype, input_dtype=dtype)
    model = net.model(qlinear_conv(net))
    wrong = differences(model, imported(model, tmp_path, loss="mse"))
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999


# --------------------------------------------------------------------------- float32
def test_float_operators_equal_onnxruntime(tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), None)
    model = net.model(float_net(net))
    ours = imported(model, tmp_path)
    assert ours.input_dtype == "float32" and (ours.input_scale, ours.input_zero) == (1.0, 0)
    assert differences(model, ours).max() < 1e-5


def test_float_sequence_of_fixed_shape_arithmetic(tmp_path: Path) -> None:
    """A reshape whose target the graph computes, as exporters write x.view(x.size(0), -1)."""
    net = Net(("batch", 3, 12), None)
    y = net.op("Relu", net.conv("x", 3, 4, (3,), strides=[2]))
    rows = net.op("Unsqueeze", net.op("Gather", net.op("Shape", y), net.const(0, "int64")), net.const([0], "int64"))
    y = net.op("Reshape", y, net.op("Concat", rows, net.const([-1], "int64"), axis=0))
    model = net.model(net.op("Gemm", y, net.const(net.rng.normal(size=(20, 3)))))
    assert differences(model, imported(model, tmp_path)).max() < 1e-5


# --------------------------------------------------------------------------- the ends
@pytest.mark.parametrize("dtype", ["int8", None])
def test_channels_last_at_the_ends(dtype: str | None, tmp_path: Path) -> None:
    net = Net((1, 9, 8, 4), dtype)
    x = begin(net) if dtype else "x"
    y = net.op("Transpose", x, perm=[0, 3, 1, 2])
    net.scales[y] = STEP
    y = net.op("Transpose", net.conv(y, 4, 6, (3, 3)), perm=[0, 2, 3, 1])
    model = net.model(y, "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert ours.input_shape == (1, 9, 8, 4)
    assert differences(model, ours, channels_first=False).max() < 1e-5


@pytest.mark.parametrize("quantised_before", [True, False])
def test_a_vector_that_becomes_an_image_at_once(quantised_before: bool, tmp_path: Path) -> None:
    net = Net((1, 72), "int8")
    x = begin(net) if quantised_before else "x"
    x = net.op("Reshape", x, net.const([1, 1, 9, 8], "int64"))
    x = net.qdq(x, STEP, 0) if not quantised_before else x
    net.scales[x] = STEP
    model = net.model(net.conv(x, 1, 6, (3, 3)), "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert ours.input_shape == (1, 9, 8, 1)
    given = np.random.RandomState(5).normal(size=(1, 72)).astype(np.float32)
    theirs = run(model, given).transpose(0, 2, 3, 1)
    steps = np.rint(theirs / np.float32(ours.logits_scale)) + ours.logits_zero
    np.testing.assert_array_equal(evaluate(ours, network_input(ours, given).reshape(1, 9, 8, 1)), steps)


def test_a_byte_image_that_is_cast(tmp_path: Path) -> None:
    """uint8 pixels, scaled inside: the input is int8 with a scale of 1."""
    net = Net((1, 4, 8, 8), "uint8", input_dtype="uint8")
    x = net.op("Cast", "x", to=1)
    x = net.qdq(net.op("Div", x, net.const(255.0)), 1 / 255, -128)
    model = net.model(net.conv(x, 4, 6, (3, 3)), "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert (ours.input_scale, ours.input_zero) == (1.0, -128)
    wrong = differences(model, ours)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999
