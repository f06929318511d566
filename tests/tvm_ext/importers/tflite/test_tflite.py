"""TFLite models as Models: layers, names and numbers, against TFLite's own reference kernels bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import OpResolverType

import mcutrain
from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import calls_of
from mcutrain.tvm_ext.importers.tflite.load import load
from mcutrain.tvm_ext.model import NETWORK, Model
from tests.tvm_ext.importers.dialect_numpy import evaluate
from tests.tvm_ext.importers.tflite.tflite_models import Reference, TfliteModel, images

NUMBERS = [""] + [f"_{i}" for i in range(1, 14)]
POOLED = ["average_pooling2d", "dense"]
MLPERF = {  # file -> its layers, input shape, classes
    "ad01_int8": ([f"dense{n}" for n in NUMBERS[:10]], (1, 1, 1, 640), 640),
    "kws_ref_model": (
        [f"{kind}conv2d{n}" for n in NUMBERS[:4] for kind in ("", "depthwise_")] + ["conv2d_4", *POOLED],
        (1, 49, 10, 1),
        12,
    ),
    "pretrainedResnet_quant": (
        [
            *("conv2d", "conv2d_1", "conv2d_2", "add"),
            *("conv2d_3", "conv2d_4", "conv2d_5", "add_1"),
            *("conv2d_6", "conv2d_7", "conv2d_8", "add_2", *POOLED),
        ],
        (1, 32, 32, 3),
        10,
    ),
    "vww_96_int8": (
        [f"{kind}conv2d{n}" for n in NUMBERS[:13] for kind in ("", "depthwise_")] + ["conv2d_13", *POOLED],
        (1, 96, 96, 3),
        2,
    ),
}


def ops_of(model: Model) -> list[tuple[str, str]]:
    """(op, layer) in order."""
    return [(op_name(c), attrs_of(c)["layer"]) for c in calls_of(model.module[NETWORK])]


def load_mlperf(data: Path, name: str) -> tuple[Path, Model]:
    path = data / f"mlperf_tiny/{name}.tflite"
    return path, load(path, loss="autoencoder" if name == "ad01_int8" else None)


def assert_equal(
    path: Path,
    run: Callable[[np.ndarray], np.ndarray],
    inputs: list,
    tensor: int | None = None,
    resolver: OpResolverType = OpResolverType.BUILTIN_REF,
) -> None:
    """run(x) equals the reference interpreter's tensor on each input, bit for bit; and the outputs are alive."""
    reference, seen = Reference(path, resolver), set()
    for x in inputs:
        expected = reference.run(x, tensor).reshape(-1)
        np.testing.assert_array_equal(run(x).reshape(-1), expected)
        seen.update(expected.tolist())
    assert len(seen) > 10


def logits_tensor(path: Path) -> int | None:
    """The input of a softmax at the end."""
    last = Reference(path).interpreter._get_ops_details()[-1]
    return int(last["inputs"][0]) if last["op_name"] == "SOFTMAX" else None


@pytest.mark.parametrize("name", MLPERF)
def test_published_models(data: Path, name: str) -> None:
    layers, shape, classes = MLPERF[name]
    path, model = load_mlperf(data, name)
    assert (model.name, model.input_shape, model.classes, model.head) == (name, shape, classes, "model")
    assert model.loss == ("autoencoder" if name == "ad01_int8" else "cross_entropy")
    assert [layer for _, layer in ops_of(model)] == layers
    kinds = {"add": "qadd", "average": "qavg_pool"}
    assert [op for op, _ in ops_of(model)] == [kinds.get(layer.split("_")[0], "qconv2d") for layer in layers]
    trainable = [layer for layer in layers if not layer.startswith(("add", "average"))]
    assert [layer.name for layer in model.layers] == trainable
    assert [layer.is_head for layer in model.layers] == [False] * (len(trainable) - 1) + [True]
    assert all(layer.depthwise == layer.name.startswith("depthwise") for layer in model.layers)
    details = {t["index"]: t["quantization"] for t in Reference(path).interpreter.get_tensor_details()}
    reference = Reference(path)
    assert (model.input_scale, model.input_zero) == details[reference.input["index"]]
    logits = logits_tensor(path)
    assert (model.logits_scale, model.logits_zero) == details[logits or reference.output["index"]]


@pytest.mark.parametrize("name", MLPERF)
def test_published_models_compute_what_tflite_computes(data: Path, name: str) -> None:
    path, model = load_mlperf(data, name)
    assert_equal(path, lambda x: evaluate(model, x), images(20, model.input_shape), logits_tensor(path))


# --------------------------------------------------------------------------- one operator at a time
def fill(m: TfliteModel, shape: tuple[int, ...] = (1, 7, 9, 4)) -> int:
    """An input and a convolution to 6 channels, so that the operator under test reads a scale of the network's own."""
    return m.conv(m.input(shape), 6, (1, 1), name="model/first")


def residual(m: TfliteModel, **options: object) -> int:
    x = fill(m)
    return m.add(x, m.conv(x, 6), **options)


def scaled(m: TfliteModel, x: int, factor: float) -> float:
    return float(np.float32(m.quantised(x)[0] * factor))


OPERATORS: dict[str, Callable[[TfliteModel], int]] = {
    "conv": lambda m: m.conv(fill(m), 5, (3, 3), (2, 1), activation="RELU"),
    "conv even": lambda m: m.conv(fill(m), 5, (2, 4), (3, 2), activation="RELU6"),
    "conv valid": lambda m: m.conv(fill(m), 5, (2, 3), (2, 2), "VALID", per_channel=False),
    "depthwise": lambda m: m.conv(fill(m), 6, (3, 2), (2, 2), depthwise=True, activation="RELU_N1_TO_1"),
    "depth multiplier": lambda m: m.conv(m.input((1, 8, 8, 1)), 6, (3, 3), (2, 2), depthwise=True),
    "conv tanh": lambda m: m.conv(fill(m), 5, activation="TANH"),
    "depthwise tanh": lambda m: m.conv(fill(m), 6, depthwise=True, activation="TANH"),
    "add tanh": lambda m: residual(m, activation="TANH"),
    "max tanh": lambda m: m.pool(fill(m), (2, 2), activation="TANH", code="MAX_POOL_2D"),
    "dense": lambda m: m.dense(fill(m), 40),
    "dense relu6": lambda m: m.dense(m.reshape(fill(m), [1, 378]), 40, "RELU6", bias=False),
    "dense by channel": lambda m: m.dense(fill(m), 40, per_channel=True),
    "dense at each position": lambda m: m.dense(fill(m), 8, features=6, keep=True),
    "dense over rows": lambda m: m.reshape(
        m.dense(m.reshape(fill(m), [63, 6]), 8, features=6, per_channel=True), [1, 7, 9, 8]
    ),
    "add": residual,
    "add relu": lambda m: residual(m, activation="RELU", scale=0.3, zero=-100),
    "average": lambda m: m.pool(fill(m), (2, 3), (2, 2)),
    "average same": lambda m: m.pool(fill(m), (3, 3), (1, 2), "SAME", "RELU"),
    "max": lambda m: m.pool(fill(m), (2, 3), code="MAX_POOL_2D"),
    "max same": lambda m: m.pool(fill(m), (3, 2), (2, 2), "SAME", "RELU6", code="MAX_POOL_2D"),
    "mean": lambda m: m.mean(fill(m)),
    "mean of 64": lambda m: m.mean(fill(m, (1, 8, 8, 4)), keep=False),
    "mean finer": lambda m: m.mean(x := fill(m), (-2, -3), scale=scaled(m, x, 0.3), zero=5),
    "mean coarser": lambda m: m.mean(x := fill(m), keep=False, scale=scaled(m, x, 1.7), zero=5),
    "mean of columns": lambda m: m.mean(fill(m), (1,), keep=False),
    "relu": lambda m: m.unary("RELU", fill(m)),
    "relu finer": lambda m: m.unary("RELU", x := fill(m), scaled(m, x, 0.7), -128),
    "relu6 coarser": lambda m: m.unary("RELU6", x := fill(m), scaled(m, x, 1.3), -20),
    "quantize": lambda m: m.unary("RELU", m.unary("QUANTIZE", x := fill(m), scaled(m, x, 0.83), 9)),
    "pad": lambda m: m.pad(fill(m), [[0, 0], [1, 2], [0, 3], [0, 0]]),
    "pad conv": lambda m: m.conv(m.pad(fill(m), [[0, 0], [1, 2], [0, 1], [0, 0]]), 5, (3, 3), (2, 2), "VALID"),
    "pad depthwise": lambda m: m.conv(m.pad(fill(m), [[0, 0], [1, 0], [0, 1], [0, 0]]), 6, stride=(2, 2), depthwise=True),  # noqa: E501
    "pad wide": lambda m: m.conv(m.pad(fill(m), [[0, 0], [3, 2], [0, 1], [0, 0]]), 5, (3, 3), (2, 2), "VALID"),
    "pad max": lambda m: m.pool(m.pad(fill(m), [[0, 0], [1, 1], [1, 1], [0, 0]], -128), (3, 3), (2, 2), code="MAX_POOL_2D"),  # noqa: E501
    "concat": lambda m: m.concat([x := fill(m), m.pool(x, (3, 3), (1, 1), "SAME", code="MAX_POOL_2D"), x]),
    "concat vectors": lambda m: m.concat([m.mean(x := fill(m), keep=False), m.mean(x, keep=False)], axis=1),
}  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_computes_what_tflite_computes(operator: str, tmp_path: Path) -> None:
    m = TfliteModel(7)
    path = m.save(tmp_path, OPERATORS[operator](m))
    model = load(path, loss="mse")
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape))


def test_what_is_folded_and_what_is_not(tmp_path: Path) -> None:
    """A PAD goes into the convolution behind it, but not where others read it, or where it is wider than the window."""
    folded, wide, shared = TfliteModel(), TfliteModel(), TfliteModel()
    borders = [[0, 0], [1, 1], [1, 1], [0, 0]]
    model = load(folded.save(tmp_path, OPERATORS["pad conv"](folded)), loss="mse")
    assert [op for op, _ in ops_of(model)] == ["qconv2d", "qconv2d"]
    assert attrs_of(calls_of(model.module[NETWORK])[1])["padding"] == [1, 0, 2, 1]
    model = load(wide.save(tmp_path, OPERATORS["pad wide"](wide)), loss="mse")
    assert [op for op, _ in ops_of(model)] == ["qconv2d", "pad", "qconv2d"]
    x = shared.pad(fill(shared), borders)
    path = shared.save(tmp_path, shared.add(x, shared.conv(x, 6)))
    model = load(path, loss="mse")
    assert [op for op, _ in ops_of(model)] == ["qconv2d", "pad", "qconv2d", "qadd"]
    assert_equal(path, lambda x: evaluate(model, x), images(4, model.input_shape))


# --------------------------------------------------------------------------- whole networks
def everything(m: TfliteModel) -> int:
    """Every kind of layer once, to five classes."""
    y = m.conv(m.input((1, 9, 9, 3)), 4, (3, 3), (2, 2), activation="RELU6", name="model/stem")
    z = m.conv(m.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]), 4, padding="VALID", depthwise=True, name="model/block/dw")
    a = m.add(y, z, "RELU", name="model/block/add")
    b, c = m.pool(a, (2, 2), code="MAX_POOL_2D"), m.pool(a, (2, 2))
    e = m.concat([b, b])
    e = m.unary("RELU", m.unary("QUANTIZE", e, scaled(m, e, 0.9), 3))
    f = m.dense(m.mean(e, keep=False), 5, per_channel=True, name="model/left")
    return m.add(m.dense(m.reshape(c, [1, 16]), 5, name="model/right"), f, name="model/logits")


def test_every_kind_of_layer_in_emitted_c(tmp_path: Path) -> None:
    """Import, plan, C and its compiler together: the twin's logits are the interpreter's."""
    m = TfliteModel(3)
    logits = everything(m)
    path = m.save(tmp_path, m.softmax(logits))
    model = load(path)
    assert [name for _, name in ops_of(model) if "relu" not in name] == [
        *("stem", "block.dw", "block.add", "max_pool_2d", "average_pool_2d", "concatenation", "quantize", "mean"),
        *("left", "right", "logits"),
    ]
    artifact = mcutrain.compile(model, "inference", budget="1MB", out=tmp_path / "out", seconds=1.0)
    assert_equal(path, mcutrain.host(artifact.directory).infer, images(20, model.input_shape), logits)


def test_a_published_model_in_emitted_c(data: Path, tmp_path: Path) -> None:
    path, model = load_mlperf(data, "kws_ref_model")
    artifact = mcutrain.compile(model, "inference", budget="1MB", out=tmp_path / "out", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    assert_equal(path, twin.infer, images(20, model.input_shape), logits_tensor(path))
