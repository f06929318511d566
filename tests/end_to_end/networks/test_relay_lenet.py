"""A float32 LeNet in Relay, as TVM saved it: trained whole on an emulated Cortex-M7, against PyTorch."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import mcutrain
from mcutrain.tvm_ext.importers.relay.read.arrays import from_params
from mcutrain.verification import Samples, run_on_device, verify

STEPS, RATE = 20, 0.02
BUDGET = 320 * 1024  # the whole SRAM of the board: the weights alone have 247 KB


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    return data / "relay/tvm/lenet_fp32"


@pytest.fixture(scope="module")
def digits(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """MNIST, float32 (N, 28, 28, 1) in [0, 1), and its labels."""
    raw = gzip.decompress((data / "datasets/train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((data / "datasets/train-labels-idx1-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, STEPS * 784, 16).reshape(STEPS, 28, 28, 1)
    return images.astype(np.float32) / 256, np.frombuffer(labels, np.uint8, STEPS, 8).astype(int)


def torch_losses(params: dict[str, np.ndarray], images: np.ndarray, labels: np.ndarray) -> list[float]:
    """Plain SGD at batch 1 in float32, layer by layer as the Relay text has them."""
    p = {name: torch.tensor(value).requires_grad_() for name, value in params.items()}
    losses = []
    for image, label in zip(images, labels, strict=True):
        x = torch.tensor(image).permute(2, 0, 1)[None]
        x = F.max_pool2d(F.relu(F.conv2d(x, p["conv1_weight"], p["conv1_bias"], padding=2)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, p["conv2_weight"], p["conv2_bias"])), 2).flatten(1)
        x = F.relu(F.linear(x, p["fc1_weight"], p["fc1_bias"]))
        x = F.relu(F.linear(x, p["fc2_weight"], p["fc2_bias"]))
        loss = F.cross_entropy(F.linear(x, p["fc3_weight"], p["fc3_bias"]), torch.tensor([label]))
        grads = torch.autograd.grad(loss, list(p.values()))
        with torch.no_grad():
            for value, grad in zip(p.values(), grads, strict=True):
                value -= RATE * grad
        losses.append(loss.item())
    return losses


def test_trains_as_pytorch_does(folder: Path, digits: tuple, tmp_path: Path) -> None:
    images, labels = digits
    model = mcutrain.load(folder / "unbound.json", params=folder / "params.bin")
    assert [layer.name for layer in model.layers] == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    out = mcutrain.compile(model, "full", "stm32f746", BUDGET, tmp_path / "out").directory
    device = run_on_device(out, images[:1], Samples(images, list(labels)), (RATE, RATE))
    expected = torch_losses(from_params((folder / "params.bin").read_bytes(), "params.bin"), images, labels)
    assert np.ptp(expected) > 1  # the samples differ, and so do the losses
    np.testing.assert_allclose(device.losses, expected, rtol=0, atol=1e-4)
    twin = mcutrain.host(out)
    twin.learning_rate = (RATE, RATE)
    losses = np.array([twin.train_step(x, y) for x, y in zip(images, labels, strict=True)], np.float32)
    np.testing.assert_array_equal(losses, device.losses)
    assert twin.state_bytes() == device.state


def test_inference_is_the_reference(folder: Path, tmp_path: Path) -> None:
    model = mcutrain.load(folder / "bound.json")
    out = mcutrain.compile(model, "inference", "stm32f746", "256KB", tmp_path / "out").directory
    image = np.load(folder / "inputs.npz")["data"].transpose(0, 2, 3, 1)
    logits = mcutrain.host(out).infer(image).astype(np.float64)
    softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(softmax, np.load(folder / "ref_numpy.npy")[0], atol=1e-6)
    assert verify(out).host_equals_device
