"""quantize: a float32 ONNX file and samples become an int8 one that imports; its report, its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from mcutrain.planner.errors import ModelError, OutputError
from mcutrain.quantization.quantizer import quantize
from mcutrain.tvm_ext.importers.onnx.load import load
from tests.tvm_ext.importers.dialect_eval import evaluate, quantised
from tests.tvm_ext.importers.graph.qdq_cases import float_net
from tests.tvm_ext.importers.onnx.onnx_models import Net

SHAPE = (4, 9, 8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A float32 network with batch normalisations, a residual, a concatenation, pools and 3 outputs."""
    net = Net(("batch", *SHAPE), None)
    path = tmp_path / "float.onnx"
    path.write_bytes(net.model(float_net(net)).SerializeToString())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.random.RandomState(0).normal(size=(24, *SHAPE)))
    return path


def outputs(path: Path, samples: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    return np.stack([session.run(None, {"x": x[None].astype(np.float32)})[0][0] for x in samples])


@pytest.mark.parametrize("calibration", ["minmax", "entropy", "percentile"])
def test_quantised_network_and_report(model: Path, data: Path, tmp_path: Path, calibration: str) -> None:
    out = tmp_path / "int8.onnx"
    report = quantize(model, data, out, calibration=calibration)
    samples = np.load(data)["x"]
    real, ours = outputs(model, samples), outputs(out, samples)
    assert (report.out, report.samples, report.layers, report.float_layers) == (out, 24, 4, ())
    error = np.abs(real - ours)
    assert report.mean_error == pytest.approx(error.mean(), rel=0.1)  # onnxruntime fuses what the report runs by itself
    assert report.max_error == pytest.approx(error.max(), rel=0.1)
    assert report.output_range == pytest.approx((real.min(), real.max()))
    assert report.argmax_agreement == pytest.approx(np.mean(real.argmax(1) == ours.argmax(1)), abs=0.05)
    assert report.mean_error < 0.05 * np.ptp(real)


def test_settings(model: Path, data: Path, tmp_path: Path) -> None:
    """int8 throughout, weights symmetric and per channel, batch normalisation gone; and it imports."""
    out = tmp_path / "int8.onnx"
    quantize(model, data, out)
    graph = onnx.load(out).graph
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    steps = [constants[n.input[2]] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {zero.dtype.name for zero in steps} <= {"int8", "int32"}
    weights = [z for z in steps if z.size > 1]
    assert len(weights) >= 4 and not any(z.any() for z in weights)
    ours = load(out)
    sample = np.load(data)["x"][:1].astype(np.float32)
    logits = (evaluate(ours, quantised(ours, sample)).astype(int) - ours.logits_zero) * ours.logits_scale
    np.testing.assert_allclose(logits.reshape(-1), outputs(out, sample)[0], atol=1.01 * ours.logits_scale)


def test_a_failure_leaves_the_old_file(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    out.write_text("old")
    samples = np.load(data)["x"]
    np.savez(data, x=samples[:, :3])
    with pytest.raises(ModelError):
        quantize(model, data, out)
    assert out.read_text() == "old" and {p.name for p in tmp_path.iterdir()} == {out.name, model.name, data.name}


def test_a_place_that_cannot_be_written(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        quantize(model, data, tmp_path / "none" / "int8.onnx")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((5, 3, 9, 8))}, r"samples of \(5, 3, 9, 8\); the model's input takes \(N, 4, 9, 8\)"),
        ({"x": np.zeros(SHAPE)}, r"samples of \(4, 9, 8\); the model's input takes"),
        ({"x": np.zeros((0, *SHAPE))}, r"holds float64 \(0, 4, 9, 8\); samples are numbers"),
        ({"x": np.array(["a"])}, "samples are numbers"),
        ({"x": np.array([None])}, "no .npz file of numbers"),
        ({"x": np.full((2, *SHAPE), np.nan)}, "a sample is not finite; remove it"),
        ({"a": np.zeros((2, *SHAPE)), "b": np.zeros(2)}, "holds a, b; one array, or one named 'x'"),
        ({}, "holds nothing; one array"),
    ],
)
def test_samples_that_do_not_fit(model: Path, tmp_path: Path, arrays: dict, message: str) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    with pytest.raises(ModelError, match=message) as caught:
        quantize(model, path, tmp_path / "int8.onnx")
    assert str(caught.value).startswith(str(path))


def test_files_that_do_not_fit(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    with pytest.raises(ModelError, match="unknown calibration 'mean'; use minmax, entropy, percentile"):
        quantize(model, data, out, calibration="mean")
    with pytest.raises(ModelError, match=r"none\.onnx: No such file or directory; give the path of an ONNX model"):
        quantize(tmp_path / "none.onnx", data, out)
    with pytest.raises(ModelError, match=r"none\.npz: No such file or directory; give an .npz with samples"):
        quantize(model, tmp_path / "none.npz", out)
    (tmp_path / "net.tflite").write_bytes(b"1234TFL3")
    with pytest.raises(
        ModelError, match=r"net\.tflite: a TFLite model, and only ONNX can be quantised here; convert it with post"
    ):
        quantize(tmp_path / "net.tflite", data, out)
    quantize(model, data, tmp_path / "int8.onnx")
    with pytest.raises(ModelError, match=r"int8\.onnx: is quantised already \(it holds DequantizeLinear\); compile it"):
        quantize(tmp_path / "int8.onnx", data, out)
    with pytest.raises(
        ModelError, match=r"samples\.npz: onnxruntime cannot run it: [^\[]*; give a float32 ONNX model$"
    ):
        quantize(data, data, out)
    with pytest.raises(ModelError, match=r"float\.onnx: no .npz file"):
        quantize(model, model, out)
    np.save(tmp_path / "single.npy", np.zeros((2, *SHAPE)))
    with pytest.raises(ModelError, match=r"single\.npy: is a single array; save it by np"):
        quantize(model, tmp_path / "single.npy", out)
    net = Net((1, *SHAPE), None)
    model.write_bytes(net.model(net.op("Relu", "x")).SerializeToString())
    with pytest.raises(ModelError, match="holds no Conv, Gemm or MatMul with a weight; nothing to quantise"):
        quantize(model, data, out)
    net = Net((1, *SHAPE), "uint8", input_dtype="uint8")
    model.write_bytes(net.model(net.op("Identity", "x")).SerializeToString())
    with pytest.raises(ModelError, match=r"its input is tensor\(uint8\), must be float32; give the float network"):
        quantize(model, data, out)
