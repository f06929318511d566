"""A MobileNetV2 of PyTorch by way of ONNX: exported, quantised by onnxruntime, imported, trained on an emulated M4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import mcutrain
from mcutrain.planner.policy import Policy, Update
from mcutrain.quantization.quantizer import quantize
from mcutrain.verification import verify
from tests.end_to_end.networks.test_mlperf_tiny import cosine, trained_part
from tests.tvm_ext.importers.torch import torch_nets
from tests.tvm_ext.support.torch_dialect import gradients

SPARSE = Policy(
    "sparse",
    tuple(
        Update(f"features.{block}.conv.{part}", True, ratio)
        for block, part, ratio in ((4, 0, 0.25), (4, 6, 0.5), (5, 0, 0.0), (5, 3, 1.0), (6, 0, 0.125), (6, 6, 1.0))
    ),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """(int8 ONNX file, samples NCHW)."""
    folder = tmp_path_factory.mktemp("mobilenet")
    net = torch_nets.prepared(torch_nets.MobileNet(), (1, 3, 32, 32))
    torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), folder / "float.onnx", dynamo=True, external_data=False)
    samples = np.random.RandomState(0).normal(size=(40, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "samples.npz", samples)
    made = quantize(folder / "float.onnx", folder / "samples.npz", folder / "int8.onnx")
    assert made.layers == 20 and not made.float_layers and made.argmax_agreement >= 0.8
    return made.out, samples


@pytest.mark.parametrize("scheme", ["last_k=3", SPARSE], ids=["last layers", "sparse"])
def test_trains_on_the_device(scheme: str | Policy, files: tuple, tmp_path: Path) -> None:
    path, samples = files
    model = mcutrain.load(path)
    out = mcutrain.compile(model, scheme, "nrf52840", "256KB", tmp_path / "out", seconds=2).directory
    twin = mcutrain.host(out)
    place = twin.meta.input
    real = samples[:20].transpose(0, 2, 3, 1)
    images = np.clip(np.rint(real / np.float32(place.scale)) + place.zero, -128, 127).astype(np.int8)

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    theirs = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = theirs.get_inputs()[0].name
    steps = []  # of the int8 logits, between ours and onnxruntime's
    for image, sample in zip(images, samples[:20, None], strict=True):
        ours = (twin.infer(image).astype(np.float64) - model.logits_zero) * model.logits_scale
        steps.append(np.rint(np.abs(ours - theirs.run(None, {name: sample})[0][0]) / model.logits_scale))
    assert (
        np.max(steps) <= 1 and np.mean(np.equal(steps, 0)) >= 0.99
    )  # every layer: tests/tvm_ext/importers/test_onnx.py

    loss, expected = gradients(model, images[0], 3)
    found = twin.gradients(images[0], 3)
    assert twin.train_step(images[0], 3) == pytest.approx(loss, rel=1e-5)
    for parameter in twin.meta.parameters:
        tensor = parameter.name
        assert cosine(found[tensor], trained_part(parameter, expected[tensor])) >= 0.999, tensor
    measured = verify(out, 5)
    assert measured.host_equals_device and measured.fits
