"""The forward pass by integers alone: what it rewrites, how near it stays to the float32 form, its gradients, and that
no forward kernel of a board without an FPU calls a floating-point routine, except the softmax: it is float32."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.firmware import toolchain
from mcutrain.planner.errors import ModelError
from mcutrain.targets import board as boards
from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of, calls_of
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams
from mcutrain.tvm_ext.importers.base.heads import finish
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Window
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.train.integer_forward import integer_forward
from mcutrain.tvm_ext.train.training import inference
from tests import tiny_network as network
from tests.tvm_ext.importers import dialect_numpy
from tests.tvm_ext.support.torch_dialect import gradients

BOARD = "mps2-an385"
FLOAT_ROUTINE = re.compile(r"__aeabi_(c?[fd]\w+|u?[il]2[fd])$|__\w+[sd]f\d?$")


def tiny(folder: Path, head: str) -> Model:
    return mcutrain.load(network.tiny_file(folder), network.SIZE, network.CLASSES, head)


def called(model: Model) -> list:
    return [(var, c) for var, c in bindings_of(model.module[NETWORK]) if op_name(c) is not None]


def roundings(model: Model) -> dict[str, str | None]:
    return {attrs_of(c)["layer"]: attrs_of(c).get("rounding") for _, c in called(model)}


def op_by_op(model: Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """layer -> integer form less float32 form, both of what the float32 form's layers before it give."""
    converted, main, differences = integer_forward(model), model.module[NETWORK], {}
    values = {p: model.params[p.name] for p in main.params[1:]} | {main.params[0]: x.reshape(model.input_shape)}
    for (var, old), (_, new) in zip(called(model), called(converted), strict=True):
        args = [values[a] for a in old.args]
        tables = [converted.params[a.name] for a in new.args[len(args) :]]
        evaluate = dialect_numpy.OPS[op_name(old)]
        values[var] = evaluate(*args, **attrs_of(old))
        found = evaluate(*args, *tables, **attrs_of(new))
        differences[attrs_of(old)["layer"]] = found.astype(np.int32) - values[var]
    return differences


def mixed_network(
    rounding: str = "even", scale: float = 0.031, pooled: float = 0.017, conv: ConvParams | None = None
) -> Model:
    """Every op without weights that requantises. conv: a first layer, which keeps the quantisation."""
    q = Quantisation
    b = NetworkBuilder([1, 6, 6, 4], q(0.05, -3))
    first = b.input if conv is None else b.conv2d("first", b.input, conv)
    wide = b.requantise("wide", first, q(scale, 7), rounding)
    pooled = b.avg_pool("pooled", wide, Window((3, 3), (1, 1), (1, 1, 1, 1)), q(pooled, 5), rounding)
    total = b.add("total", pooled, wide, q(0.043, -9), rounding)
    same = b.avg_pool("same", total, Window((2, 2), (2, 2)), None, rounding)
    return finish(b, "mixed", b.mean("mean", same))


def test_every_rounding_turns_into_an_integer_one() -> None:
    model = mixed_network()
    expected = {"wide": "upward", "pooled": "tflite", "total": "tflite", "same": "upward", "mean": None}
    assert roundings(integer_forward(model)) == expected
    assert set(roundings(model).values()) == {"even", None}, "the model that was given stays as it is"
    tflite = mixed_network("tflite")
    assert roundings(integer_forward(tflite)) == roundings(tflite)


def test_ops_without_weights_stay_within_a_step() -> None:
    """Averages differ more often: a mean of four values is a half in every fourth case, rounded up instead of to even,
    and a requantised one is rounded twice."""
    images = np.random.default_rng(3).integers(-128, 128, (40, 6, 6, 4)).astype(np.int8)
    found = [op_by_op(mixed_network(), image) for image in images]
    least_equal = {"wide": 0.99, "pooled": 0.78, "total": 0.99, "same": 0.83, "mean": 1.0}
    assert found[0].keys() == least_equal.keys()
    for layer, least in least_equal.items():
        differences = np.array([f[layer] for f in found])
        assert np.abs(differences).max() <= 1 and (differences == 0).mean() >= least, layer


def test_kernels_give_the_integers_of_the_dialect(tmp_path: Path) -> None:
    """From the model to the emitted C: the twin of such a board against exact numpy."""
    for name, model in (("mixed", mixed_network()), ("tiny", tiny(tmp_path, "int8-slice"))):
        twin = mcutrain.host(mcutrain.compile(model, "inference", BOARD, out=tmp_path / name).directory)
        converted = integer_forward(model)
        images = [network.random_image(i, model.input_shape[1:]) for i in range(8)]
        expected = [dialect_numpy.evaluate(converted, image).reshape(-1) for image in images]
        np.testing.assert_array_equal([twin.infer(image) for image in images], expected)
        assert len(np.unique(expected)) > 8


def test_other_boards_keep_float32(tmp_path: Path) -> None:
    model = tiny(tmp_path, "int8-slice")
    for board, wanted in ((BOARD, {"upward", "tflite"}), ("nrf52840", {"even"})):
        artifact = mcutrain.compile(model, "inference", board, out=tmp_path / board)
        (function,) = artifact.planned.lowered.training.module.functions.values()
        assert {attrs_of(c)["rounding"] for c in calls_of(function) if "rounding" in attrs_of(c)} == wanted


def test_scales_serve_the_backward_pass_alone(tmp_path: Path) -> None:
    converted = integer_forward(tiny(tmp_path, "int8-slice"))
    assert {f"{layer}.{table}" for layer in network.LAYERS for table in ("scale", "multipliers")} <= set(
        converted.params
    )
    kept = set(inference(converted).values)
    assert not [name for name in kept if name.endswith(".scale")] and "first_conv.multipliers" in kept


def test_gradients_agree_with_pytorch(tmp_path: Path) -> None:
    model = tiny(tmp_path, "int8-slice")
    twin = mcutrain.host(mcutrain.compile(model, "full", BOARD, out=tmp_path / "out").directory)
    x = network.random_image(5)
    loss, expected = gradients(integer_forward(model), x, 1)
    found = twin.gradients(x, 1)
    assert twin.train_step(x, 1) == pytest.approx(loss, rel=1e-5)
    assert found.keys() == expected.keys() and len(found) == 2 * (len(network.LAYERS) + 1)
    for name, gradient in found.items():
        largest = np.abs(expected[name]).max()
        assert np.abs(gradient.reshape(expected[name].shape) - expected[name]).max() <= 1e-4 * largest, name


def test_mcunet(data: Path, tmp_path: Path) -> None:
    """Op by op a value in ten thousand may differ, and by one step; what a deep network makes of these is a few steps
    of its logits."""
    model = mcutrain.load(data / "mcunet/mcunet-5fps.pkl", 128, 10, head="int8-slice")
    x = np.load(data / "reference/input_hwc_int8.npy")
    differences = np.concatenate([d.reshape(-1) for d in op_by_op(model, x).values()])
    assert np.abs(differences).max() <= 1 and (differences != 0).mean() < 1e-4
    twins = [
        mcutrain.host(mcutrain.compile(model, "inference", board, "1MB", tmp_path / board, seconds=1.0).directory)
        for board in ("nrf52840", BOARD)
    ]
    images = [x, np.roll(x, 20, axis=1), x[:, ::-1], np.clip(x.astype(int) + 20, -128, 127).astype(np.int8)]
    logits = np.array([[twin.infer(np.ascontiguousarray(i)) for i in images] for twin in twins], np.int32)
    assert np.abs(logits[0] - logits[1]).max() <= 2 and np.ptp(logits[0]) > 10


def calls_for_the_board(out: Path, build: Path) -> dict[str, set[str]]:
    """function -> whom it calls, in firmware for the board without an FPU; `build` is made."""
    source = out / "codegen/host"
    files = [*sorted((source / "src").glob("*.c")), *toolchain.KERNEL_SOURCES, toolchain.VERIFY_MAIN]
    headers = [source / "include", source / "src"]
    toolchain.build_firmware(files, headers, boards.get(BOARD), None, build / "firmware.elf", build_dir=build)
    cache = Path(os.environ["XDG_CACHE_HOME"])
    return toolchain.parse_callgraph([*build.glob("*.ci"), *cache.rglob("*.ci")]).calls


def floats_within(calls: dict[str, set[str]], kernels: str) -> dict[str, set[str]]:
    """Emitted kernel (one of the kinds a|b|c) -> floating-point routines in reach of it."""
    found = {}
    for name in (n for n in calls if re.search(rf"_({kernels})(_with_mask)?_\w*_k\d+$", n)):
        reached, todo = set(), [name]
        while todo:
            new = calls.get(todo.pop(), set()) - reached
            reached |= new
            todo += new
        found[name] = {r for r in reached if FLOAT_ROUTINE.match(r)}
    return found


def floats_of_the_mixed_network(folder: Path) -> dict[str, set[str]]:
    """Of its forward kernels, in training (behind a layer that trains: with masks) and in inference with a softmax."""
    identity = np.eye(4, dtype=np.int8).reshape(4, 4, 1, 1)
    conv = ConvParams(identity, np.zeros(4, np.int32), np.ones(4, np.float32), 0.05, -3, 0.05, -3)
    model = replace(mixed_network(conv=conv), softmax=True)
    artifact = mcutrain.compile(model, "full", BOARD, out=folder / "mixed")
    calls = calls_for_the_board(artifact.directory, folder / "build_mixed")
    return floats_within(calls, "qconv2d|requantise|qavg_pool|qadd|qmean|qsoftmax")


def test_no_soft_float_in_forward_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny(tmp_path, "int8-slice")
    calls = calls_for_the_board(
        mcutrain.compile(model, "full", BOARD, out=tmp_path / "ours").directory, tmp_path / "build"
    )
    forward = floats_within(calls, "qconv2d|qadd|qmean")
    assert len(forward) >= 10 and not any(forward.values()), forward
    backward = floats_within(calls, "mask_scale|conv2d_weight_grad|cross_entropy_grad")
    assert len(backward) >= 5 and all(backward.values()), "the search finds what is there"
    mixed = floats_of_the_mixed_network(tmp_path)
    assert {kernel for kernel, floats in mixed.items() if floats} == {k for k in mixed if "_qsoftmax_" in k}
    for kind in ("requantise", "qavg_pool", "qadd"):
        assert {"_with_mask" in k for k in mixed if f"_{kind}_" in k} == {False, True}
    other = mcutrain.compile(model, "full", "nrf52840", out=tmp_path / "other").directory
    in_float32 = floats_within(calls_for_the_board(other, tmp_path / "build_other"), "qconv2d|qadd")
    assert len(in_float32) >= 9 and all({"__aeabi_fmul", "__aeabi_i2f"} <= f for f in in_float32.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"scale": 1e-9},
            r"layer wide: a requantisation by 5e\+07 of numbers up to 255 leaves int32; check its scales",
        ),
        ({"scale": 4e4}, r"layer pooled: .* up to 2295 leaves int32.*board with an FPU"),
        ({"scale": 1e5, "pooled": 1e5}, r"layer total: .* of numbers up to 267386880 leaves int32"),
    ],
)
def test_scales_that_leave_int32_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        integer_forward(mixed_network(**change))


def test_a_convolution_whose_products_leave_int32_is_refused(tmp_path: Path) -> None:
    model = tiny(tmp_path, "float")
    params = dict(model.params)
    params["blocks.1.depthwise.scale"] = params["blocks.1.depthwise.scale"].copy()
    params["blocks.1.depthwise.scale"][3] = 2e6
    broken = Model(**{**vars(model), "params": params})
    with pytest.raises(ModelError, match=r"layer blocks.1.depthwise: a requantisation by 2e\+06 of numbers"):
        integer_forward(broken)
