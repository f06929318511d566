"""ONNX files: a MobileNetV2 by way of quantize against onnxruntime, the two ends of networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from mcutrain.planner.errors import ModelError
from mcutrain.quantization.quantizer import quantize
from mcutrain.tvm_ext.importers.onnx.load import load
from tests.tvm_ext.importers.dialect_eval import channels_last, evaluate, quantised, trace
from tests.tvm_ext.importers.graph.qdq_cases import begin, classifier
from tests.tvm_ext.importers.onnx.onnx_models import Net, differences, imported
from tests.tvm_ext.importers.torch import torch_nets


# --------------------------------------------------------------------------- a real network
@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """(float32 file, int8 file, samples)."""
    folder = tmp_path_factory.mktemp("mobilenet")
    net = torch_nets.prepared(torch_nets.MobileNet(), (1, 3, 32, 32))
    torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), folder / "float.onnx", dynamo=True, external_data=False)
    samples = np.random.RandomState(0).normal(size=(40, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "samples.npz", samples)
    quantize(folder / "float.onnx", folder / "samples.npz", folder / "int8.onnx")
    return folder / "float.onnx", folder / "int8.onnx", samples


def test_mobilenet_float_equals_onnxruntime(mobilenet: tuple) -> None:
    path, _, samples = mobilenet
    ours, theirs = load(path), onnxruntime.InferenceSession(path)
    for x in samples[:3, None]:
        (expected,) = theirs.run(None, {theirs.get_inputs()[0].name: x})
        np.testing.assert_allclose(evaluate(ours, channels_last(x)).reshape(1, -1), expected, atol=1e-5)


def test_mobilenet_layers_have_the_names_of_their_modules(mobilenet: tuple) -> None:
    wanted = ["features.0.0", "features.1.conv.0", "features.1.conv.3", "features.2.conv.0"]
    for path in mobilenet[:2]:
        names = [layer.name for layer in load(path).layers]
        assert names[:4] == wanted and names[-2:] == ["features.7.0", "classifier.1"]
        assert [layer.depthwise for layer in load(path).layers[:3]] == [False, True, False]


@pytest.mark.parametrize("level", ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL"])
def test_mobilenet_int8_equals_onnxruntime_at_every_layer(mobilenet: tuple, level: str) -> None:
    """With all rewrites onnxruntime runs integer kernels; with none it computes in float32 between QDQ pairs."""
    _, path, samples = mobilenet
    model, ours = onnx.load(path), load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    codes = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in constants]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.INT8, None) for name in codes)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "1")  # its fast products saturate without VNNI
    theirs = onnxruntime.InferenceSession(model.SerializeToString(), options)
    wrong = []
    for x in samples[:20, None]:
        _, given, *expected = theirs.run(None, {theirs.get_inputs()[0].name: x})
        np.testing.assert_array_equal(quantised(ours, x), channels_last(given))
        layers = trace(ours, quantised(ours, x))
        for (_, y), code in zip(layers, expected, strict=True):
            wrong.append(np.abs(y.astype(int) - channels_last(code)).reshape(-1))
    wrong = np.concatenate(wrong)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999


# --------------------------------------------------------------------------- the ends
@pytest.mark.parametrize(("end", "loss"), [("Softmax", "cross_entropy"), ("Sigmoid", "binary_cross_entropy")])
@pytest.mark.parametrize("dtype", ["int8", None])
def test_softmax_and_sigmoid_are_taken_off(end: str, loss: str, dtype: str | None, tmp_path: Path) -> None:
    plain, with_end = (Net((1, 4, 8, 8), dtype) for _ in range(2))
    model = plain.model(classifier(plain), "float32")
    ours = imported(with_end.model(classifier(with_end, end), "float32"), tmp_path)
    assert (ours.loss, ours.classes, ours.head) == (loss, 5, "model") and ours.layers[-1].is_head
    assert differences(model, ours).max() < (1 if dtype else 1e-5)
    if dtype:
        assert ours.logits_zero == 3 and ours.logits_scale > 0
    raw = imported(with_end.model(with_end.nodes[-1].output[0], "float32"), tmp_path, logits="raw")
    assert (raw.logits_scale, raw.logits_zero) == (1.0, 0)


def test_float_head_takes_the_place_of_the_last_layer(tmp_path: Path) -> None:
    for quantise in (True, False):  # whose result may be float32: nobody computes it
        net = Net((1, 4, 8, 8))
        ours = imported(net.model(classifier(net, quantise=quantise), "float32"), tmp_path, classes=3, head="float")
        assert [layer.name for layer in ours.layers] == ["conv", "classifier"]
        assert (ours.classes, ours.head, ours.loss) == (3, "float", "cross_entropy")
        features = trace(ours, np.zeros(ours.input_shape, np.int8))[-2]
        assert features[0] == "globalaveragepool"


def test_an_open_batch_size_is_one(tmp_path: Path) -> None:
    net = Net(("N", 4, 8, 8))
    assert imported(net.model(classifier(net), "float32"), tmp_path).input_shape == (1, 8, 8, 4)


def test_an_autoencoder(tmp_path: Path) -> None:
    net = Net((1, 12), None)
    y = net.op("Relu", net.op("Gemm", "x", net.const(net.rng.normal(size=(12, 4)))))
    model = net.model(net.op("Gemm", y, net.const(net.rng.normal(size=(4, 12)))))
    assert imported(model, tmp_path, loss="autoencoder").loss == "autoencoder"


def test_a_channel_whose_weights_are_next_to_nothing_keeps_its_bias(tmp_path: Path) -> None:
    """Batch normalisation can fold a channel's weights to nearly 0; its bias is then too large for their units."""
    net = Net((1, 4, 8, 8))
    x = begin(net)
    y = net.conv(x, 4, 3, (1, 1), quantise=False)
    gamma, beta = net.const([1.0, 1e-12, 0.0]), net.const([0.5, 2.0, -1.0])
    y = net.op("BatchNormalization", y, gamma, beta, net.const([0.1, 0.2, 0.3]), net.const([1.0, 1.0, 1.0]))
    model = net.model(net.qdq(y, 0.03), "float32")
    wrong = differences(model, imported(model, tmp_path, loss="mse"))
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "int8"}, "unknown head 'int8'; use model or float"),
        ({"head": "float"}, "a float head needs the number of its classes"),
        ({"logits": "soft"}, "unknown logits 'soft'; use raw or dequantized"),
        ({"loss": "hinge"}, "unknown loss 'hinge'; use cross_entropy or"),
        ({"classes": 7}, "has 5 outputs, not 7; the float head makes a new one"),
        ({"loss": "autoencoder"}, "no autoencoder: 256 inputs, 5 outputs"),
        ({"loss": "mse", "end": "Softmax"}, "ends with a Softmax, and the loss mse works on what stands before it"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str, tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8))
    options = dict(options)
    model = net.model(classifier(net, options.pop("end", "")), "float32")
    with pytest.raises(ModelError, match=message):
        imported(model, tmp_path, **options)
