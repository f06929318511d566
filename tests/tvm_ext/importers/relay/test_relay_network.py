"""Relay networks as models that train: int8 ones with TVM's own fixed-point arithmetic, float ones by way of Relax."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax

import mcutrain
from mcutrain import ModelError
from tests.tvm_ext.support.torch_dialect import gradients, outputs

QNN_LAYERS = ["c0", "dw1", "pw1", "c2", "fc"]


@pytest.fixture
def qnn(data: Path) -> Path:
    return data / "relay/tvm/qnn_int8_nhwc"


def quantised(model: mcutrain.pipeline.Model, x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x / model.input_scale) + model.input_zero, -128, 127).astype(np.int8)


@pytest.mark.parametrize(("file", "params"), [("bound.json", None), ("unbound.json", "params.bin")])
def test_an_integer_network_gives_the_reference(file: str, params: str | None, qnn: Path) -> None:
    model = mcutrain.load(qnn / file, params=qnn / params if params else None)
    if params:
        assert [layer.name for layer in model.layers] == QNN_LAYERS
    x = quantised(model, np.load(qnn / "inputs.npz")["data"])
    real = (outputs(model, x) - model.logits_zero) * model.logits_scale
    softmax = np.exp(real - real.max()) / np.exp(real - real.max()).sum()
    np.testing.assert_allclose(softmax, np.load(qnn / "ref_numpy.npy")[0], atol=1e-7)


def test_an_integer_network_trains(qnn: Path, tmp_path: Path) -> None:
    """The emitted C computes what the importer says, and its gradients are those of PyTorch."""
    model = mcutrain.load(qnn / "unbound.json", params=qnn / "params.bin")
    out = mcutrain.compile(model, "full", "nrf52840", "256KB", tmp_path / "out", seconds=1).directory
    twin = mcutrain.host(out)
    for seed in range(3):
        x = np.random.default_rng(seed).integers(-128, 128, (32, 32, 3)).astype(np.int8)
        np.testing.assert_array_equal(twin.infer(x), outputs(model, x))
    loss, expected = gradients(model, x, 4)
    found = twin.gradients(x, 4)
    assert twin.train_step(x, 4) == pytest.approx(loss, rel=1e-5)
    assert {f"{layer}.{part}" for layer in QNN_LAYERS for part in ("weight", "bias")} == set(found)
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-4 * np.abs(expected[name]).max(), err_msg=name)


def test_a_library_as_a_tar_and_as_a_folder(qnn: Path, tmp_path: Path) -> None:
    """microTVM's archives hold the Relay text and the parameters apart."""
    inner = tmp_path / "model"
    for name, content in {
        "metadata.json": b'{"modules": {"default": {}}, "version": 7}',
        "src/default.relay": (qnn / "bound.relay").read_bytes(),
        "parameters/default.params": b"",
    }.items():
        if content:
            (inner / name).parent.mkdir(parents=True, exist_ok=True)
            (inner / name).write_bytes(content)
    archive = tmp_path / "model.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(inner, ".")
    shapes = [[layer.weight.shape for layer in mcutrain.load(path).layers] for path in (inner, archive)]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 5


def test_a_library_without_its_constants_is_refused(data: Path) -> None:
    with pytest.raises(ModelError, match=r"line 3: meta\[relay\.Constant\]\[0\], but the file has no #\[metadata\]"):
        mcutrain.load(data / "relay/mlf/qnn_int8_nhwc")


TEXT = """#[version = "0.0.5"]
def @main(%x: Tensor[(1, 8), int8], %w: Tensor[(4, 8), int8]) {
  %0 = qnn.dense(%x, %w, 3, 0, 0.5f, 0.25f, units=4, out_dtype="int32");
  %1 = qnn.requantize(%0, 0.125f, 0, 1f, 2, out_dtype="int8"ROUNDING);
  BODY
}
"""


def written(folder: Path, body: str = "%1", rounding: str = "") -> Path:
    from tvm import runtime

    weight = np.arange(32, dtype=np.int8).reshape(4, 8)
    (folder / "net.params").write_bytes(runtime.save_param_dict({"w": runtime.tensor(weight)}))
    path = folder / "net.relay"
    path.write_text(TEXT.replace("BODY", body).replace("ROUNDING", rounding))
    return path


def test_halves_are_rounded_up(tmp_path: Path) -> None:
    """In exact integers: acc / 8 + 2, halves towards plus infinity."""
    model = mcutrain.load(written(tmp_path), head="model")
    x = np.array([3, 3, 3, 3, 3, 7, 3, 3], np.int8)
    weight = np.arange(32).reshape(4, 8)
    acc = weight @ (x.astype(int) - 3)
    expected = np.clip((2 * acc + 8) // 16 + 2, -128, 127)
    np.testing.assert_array_equal(outputs(model, x), expected)
    assert np.any(acc % 8 == 4)


@pytest.mark.parametrize(
    ("body", "rounding", "message"),
    [
        ("%1", ', rounding="TONEAREST"', "line 4.*rounding TONEAREST; only UPWARD"),
        ("nn.log_softmax(%1)", "", r"nn.log_softmax log_softmax \(line 5\): the operator is not supported"),
        ("nn.softmax(%1)", "", r"softmax \(line 5\): works on integers; dequantize before it"),
        ('cast(%1, dtype="uint8")', "", "line 5.*casts to uint8"),
        ("clip(tanh(%1), a_min=0f, a_max=1f)", "", "tanh"),
    ],
)
def test_refusals_name_the_operator_and_the_line(body: str, rounding: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        mcutrain.load(written(tmp_path, body, rounding))


def test_parameters_that_stand_nowhere(qnn: Path) -> None:
    with pytest.raises(ModelError, match=r"free parameters: data, c0_weight.*--params"):
        mcutrain.load(qnn / "unbound.json")


def test_parameters_of_a_float_network_that_stand_nowhere(data: Path) -> None:
    with pytest.raises(ModelError, match=r"free parameters are .*: give the others' values by --params FILE$"):
        mcutrain.load(data / "relay/tvm/lenet_fp32/unbound.relay")


def test_any_graph_as_relax(data: Path) -> None:
    module = mcutrain.to_relax(data / "relay/calyx/tests_correctness_relay_bias_add.relay")
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    x, bias = np.arange(8, dtype=np.int32).reshape(2, 4), np.array([1, 2, 3, 4], np.int32)
    found = machine["main"](*(tvm.runtime.tensor(a) for a in (x, bias))).numpy()
    np.testing.assert_array_equal(found, x + bias)
