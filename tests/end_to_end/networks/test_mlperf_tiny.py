"""The four MLPerf Tiny models from their TFLite files to training on an emulated Cortex-M4: the forward pass equal to
TFLite's reference kernels bit for bit, the gradients those of PyTorch, everything inside 256 KB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.planner.policy import Policy, Update
from mcutrain.schema.metadata import ParameterEntry
from mcutrain.verification import random_samples, run_on_device, verify
from tests.end_to_end.litert import logits
from tests.tvm_ext.support.torch_dialect import gradients

BOARD, BUDGET, STEPS, INPUTS = "nrf52840", 256 * 1024, 5, 20


def sparse(layers: list[str], weights: dict[str, float]) -> Policy:
    return Policy("sparse", tuple(Update(name, True, weights.get(name, 0.0)) for name in layers))


@dataclass(frozen=True)
class Case:
    file: str
    scheme: str | Policy
    loss: str | None = None


CASES = {
    "autoencoder, last layers": Case("ad01_int8", "last_k=2", "autoencoder"),
    "autoencoder, sparse": Case(
        "ad01_int8",
        sparse([f"dense_{i}" for i in range(3, 9)], {"dense_4": 1.0, "dense_6": 0.25, "dense_8": 0.5}),
        "autoencoder",
    ),
    "keywords, last layers": Case("kws_ref_model", "last_k=3"),
    "keywords, sparse": Case(
        "kws_ref_model",
        sparse(
            ["conv2d_2", "depthwise_conv2d_2", "conv2d_3", "depthwise_conv2d_3", "conv2d_4"],
            {"conv2d_2": 0.25, "depthwise_conv2d_3": 0.5, "conv2d_4": 0.5},
        ),
    ),
    "resnet, last layers": Case("pretrainedResnet_quant", "last_k=2"),
    "resnet, sparse": Case(
        "pretrainedResnet_quant",
        sparse([f"conv2d_{i}" for i in range(2, 9)], {"conv2d_3": 0.25, "conv2d_6": 0.125, "conv2d_8": 0.25}),
    ),
    "visual wake words, last layers": Case("vww_96_int8", "last_k=4"),
    "visual wake words, sparse": Case(
        "vww_96_int8",
        sparse(
            [name for i in range(8, 13) for name in (f"depthwise_conv2d_{i}", f"conv2d_{i + 1}")],
            {"conv2d_9": 0.25, "conv2d_11": 0.125, "depthwise_conv2d_12": 1.0, "conv2d_13": 0.25},
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_trains_on_the_device(name: str, data: Path, tmp_path: Path) -> None:
    case = CASES[name]
    path = data / "mlperf_tiny" / f"{case.file}.tflite"
    model = mcutrain.load(path, loss=case.loss)
    out = mcutrain.compile(model, case.scheme, BOARD, BUDGET, tmp_path / "out", seconds=2).directory
    twin = mcutrain.host(out)
    images = np.random.default_rng(1).integers(-128, 128, (INPUTS, *model.input_shape[1:])).astype(np.int8)
    expected = logits(path, images)
    np.testing.assert_array_equal([twin.infer(image) for image in images], expected)
    on_device = run_on_device(out, images).infer_logits.view(np.int8)
    np.testing.assert_array_equal(on_device, expected)

    sample = random_samples(twin.meta, 1)
    label = sample.labels[0]
    ours = twin.gradients(sample.images[0], label)
    loss, theirs = gradients(model, sample.images[0], label)
    assert twin.train_step(sample.images[0], label) == pytest.approx(loss, rel=1e-5)
    assert len(ours) >= 4
    for parameter in twin.meta.parameters:
        tensor = parameter.name
        assert cosine(ours[tensor], trained_part(parameter, theirs[tensor])) >= 0.99999, tensor

    measured = verify(out, STEPS)
    assert measured.host_equals_device and measured.fits
    assert measured.sram_total_bytes <= BUDGET and len(measured.losses) == STEPS


def trained_part(parameter: ParameterEntry, gradient: np.ndarray) -> np.ndarray:
    """The gradient with zeros where the policy trains nothing."""
    if not parameter.is_weight or parameter.channels is None:
        return gradient
    chosen = list(parameter.channels)
    channels = np.s_[chosen] if parameter.depthwise else np.s_[:, chosen]
    part = np.zeros_like(gradient)
    part[channels] = gradient[channels]
    return part


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b))) if np.any(a) or np.any(b) else 1.0
