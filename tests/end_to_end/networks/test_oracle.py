"""Real networks against the published PyTorch reference: logits equal, gradients of every trained tensor agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain

BAR = 1e-4  # relative to the largest gradient of the tensor
MEASURED = 5.3e-7  # the worst tensor of all networks; what float32 summation in another order explains
LABEL = 1


def reference_name(name: str, layers: list[str]) -> str:
    """Our parameter name -> the reference's: blocks.9.depthwise.weight -> 1.9.conv.1.weight."""
    layer, kind = name.rsplit(".", 1)
    if layer in ("first_conv", "classifier"):
        return f"{'0' if layer == 'first_conv' else '4'}.{kind}"
    _, block, part = layer.split(".")
    parts = [other.split(".")[2] for other in layers if other.startswith(f"blocks.{block}.")]
    return f"1.{block}.conv.{parts.index(part)}.{kind}"


CASES = [
    pytest.param(network, scheme, stem, id=stem)
    for network, scheme, stem in (
        ("mcunet-5fps", "49kb", "mcunet_sliced_49kb"),
        ("mcunet-5fps", "99kb", "mcunet_sliced_99kb"),
        ("mbv2-w0.35", "49kb", "mbv2_sliced_49kb"),
        ("mcunet-5fps", "full", "mcunet_sliced_full"),
    )
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "scheme", "stem"), CASES)
def test_gradients_and_logits(network: str, scheme: str, stem: str, data: Path, tmp_path: Path) -> None:
    model = mcutrain.load(data / f"mcunet/{network}.pkl", 128, 10, head="int8-slice")
    artifact = mcutrain.compile(model, scheme, budget="64MB", out=tmp_path / "out", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    x = np.load(data / "reference/input_hwc_int8.npy")
    with np.load(data / f"reference/{stem}.npz") as file:
        reference = {name: file[name] for name in file.files}
    if network == "mcunet-5fps":
        check_forward(twin, x, data)
    layers = [layer.name for layer in model.layers]
    gradients = {reference_name(name, layers): value for name, value in twin.gradients(x, LABEL).items()}
    expected = {name for name, value in reference.items() if name not in ("out", "loss") and value.any()}
    assert expected <= gradients.keys() <= reference.keys() and len(expected) >= 20
    for name, gradient in gradients.items():
        largest = np.abs(reference[name]).max()
        assert gradient.size == reference[name].size and largest > 0, name
        error = np.abs(gradient.reshape(reference[name].shape) - reference[name]).max() / largest
        assert error <= 10 * MEASURED < BAR, f"{name}: {error:.3g}"


def check_forward(twin: mcutrain.Twin, x: np.ndarray, data: Path) -> None:
    """Logits bit for bit, and the loss; the full scheme's file holds them for every scheme."""
    with np.load(data / "reference/mcunet_sliced_full.npz") as file:
        logits, loss = file["out"], float(file["loss"])
    found = twin.infer(x)
    assert found.dtype == np.int8 and len(set(found.tolist())) > 3
    np.testing.assert_array_equal(found, logits.reshape(-1))
    twin.learning_rate = 0.0
    assert twin.train_step(x, LABEL) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(twin.last_logits(), logits.reshape(-1))
