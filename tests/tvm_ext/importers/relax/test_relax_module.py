"""Relax modules, in Python or as text: float32 and quantised, in both layouts, against TVM's own execution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op as R

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relax.load import load
from tests.tvm_ext.importers.relax.relax_modules import RNG, executed, module, values, var
from tests.tvm_ext.support.torch_dialect import gradients, outputs


def network(layout: str) -> tuple[tvm.IRModule, list[np.ndarray]]:
    """conv 3x3 stride 2, batch norm, relu, depthwise, max pool, residual add, average pool, flatten, dense, softmax."""
    nhwc = layout == "NHWC"
    w0, w1, w2 = values((6, 3, 3, 3), (6, 1, 3, 3), (4, 6 * 4))
    bias, gamma, beta, mean = values((4,), (6,), (6,), (6,))
    variance = (mean**2 + 0.5).astype(np.float32)
    kernel = "HWIO" if nhwc else "OIHW"
    x = var("image", [1, 9, 9, 3] if nhwc else [1, 3, 9, 9])

    def build(b: relax.BlockBuilder) -> relax.Expr:
        def conv(y, w, **more):
            depthwise = more.get("groups", 1) > 1
            value = w if not nhwc else w.transpose(2, 3, 0, 1) if depthwise else w.transpose(2, 3, 1, 0)
            order = "HWOI" if nhwc and depthwise else kernel
            return b.emit(
                R.nn.conv2d(y, relax.const(np.ascontiguousarray(value)), data_layout=layout, kernel_layout=order,
                            padding=1, **more)
            )  # fmt: skip

        y = conv(x, w0, strides=2)
        axis = 3 if nhwc else 1
        norm = R.nn.batch_norm(y, *(relax.const(v) for v in (gamma, beta, mean, variance)), axis=axis, training=False)
        y = b.emit(R.nn.relu(b.emit(relax.TupleGetItem(b.emit(norm), 0))))
        y = b.emit(R.add(y, conv(y, w1, groups=6)))
        y = b.emit(R.nn.max_pool2d(y, pool_size=2, strides=1, layout=layout))
        y = b.emit(R.nn.avg_pool2d(y, pool_size=2, strides=2, layout=layout))
        y = b.emit(R.reshape(y, [1, 24]))
        weight = w2 if not nhwc else w2.reshape(4, 6, 2, 2).transpose(0, 2, 3, 1).reshape(4, 24)
        y = b.emit(R.add(b.emit(R.matmul(y, R.permute_dims(relax.const(np.ascontiguousarray(weight))))),
                         relax.const(bias)))  # fmt: skip
        return R.nn.softmax(y)

    image = RNG.normal(size=(1, 9, 9, 3)).astype(np.float32)
    return module([x], build), [image]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_float_network_computes_what_relax_computes(layout: str) -> None:
    m, (image,) = network(layout)
    model = load(m)
    logits = outputs(model, image)
    ours = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    fed = image if layout == "NHWC" else np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(ours, executed(m, fed)[0], atol=1e-6)
    assert model.input_shape == (1, 9, 9, 3) and model.input_dtype == "float32" and model.classes == 4
    assert [layer.is_head for layer in model.layers] == [False, False, True]
    loss, found = gradients(model, image, 2)
    assert loss > 0 and all(np.any(g) for g in found.values())


def test_parameters_are_given_by_name_and_name_the_layers() -> None:
    w, b = values((5, 7), (5,))
    m = _dense_module()
    model = load(m, params={"fc_weight": w, "fc_bias": b})
    assert [layer.name for layer in model.layers] == ["fc"]
    x = RNG.normal(size=(1, 7)).astype(np.float32)
    np.testing.assert_allclose(outputs(model, x), (x @ w.T + b)[0], rtol=1e-5)


def _dense_module() -> tvm.IRModule:
    x, w, b = var("x", [1, 7]), var("fc_weight", [5, 7]), var("fc_bias", [5])
    return module([x, w, b], lambda builder: R.add(builder.emit(R.matmul(x, R.permute_dims(w))), b))


def quantised_network() -> tuple[tvm.IRModule, np.ndarray]:
    """x int8 -> dequantize -> conv, bias, relu -> quantize -> dequantize -> dense -> quantize."""
    w = RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales, bias = RNG.uniform(0.002, 0.01, 4).astype(np.float32), values((4,))[0]
    fc = RNG.integers(-127, 128, (5, 4 * 4 * 4)).astype(np.int8)
    x = var("x", [1, 3, 4, 4])

    def scalar(value: float, dtype: str) -> relax.Expr:
        return relax.const(np.asarray(value, dtype))

    def build(b: relax.BlockBuilder) -> relax.Expr:
        def through(y, scale, zero):
            q = b.emit(R.quantize(y, scalar(scale, "float32"), scalar(zero, "int8"), axis=0, out_dtype="int8"))
            return b.emit(R.dequantize(q, scalar(scale, "float32"), scalar(zero, "int8"), axis=0))

        y = through(x, 0.05, -4)
        weight = b.emit(R.dequantize(relax.const(w), relax.const(scales), relax.const(np.zeros(4, np.int8)), axis=0))
        y = b.emit(R.nn.conv2d(y, weight, padding=1))
        y = b.emit(R.nn.relu(b.emit(R.add(y, relax.const(bias.reshape(1, 4, 1, 1))))))
        y = b.emit(R.reshape(through(y, 0.04, -128), [1, 64]))
        weight = b.emit(R.dequantize(relax.const(fc), scalar(0.01, "float32"), scalar(0, "int8"), axis=0))
        return through(b.emit(R.matmul(y, R.permute_dims(weight))), 0.1, 3)

    return module([x], build), RNG.integers(-128, 128, (1, 4, 4, 3)).astype(np.int8)


def test_a_quantised_network_computes_what_relax_computes() -> None:
    m, q = quantised_network()
    model = load(m)
    assert model.input_dtype == "int8" and (model.input_scale, model.input_zero) == (pytest.approx(0.05), -4)
    real = ((q.astype(np.float32) + 4) * np.float32(0.05)).transpose(0, 3, 1, 2)
    expected = executed(m, np.ascontiguousarray(real))[0]
    ours = (outputs(model, q) - model.logits_zero) * model.logits_scale
    assert np.abs(ours - expected).max() < 0.11  # one step
    assert np.mean(np.isclose(ours, expected, atol=1e-4)) >= 0.8


def test_text_gives_the_module_that_was_printed(tmp_path: Path) -> None:
    path = tmp_path / "dense.relax"
    path.write_text(_dense_module().script())
    w, b = values((5, 7), (5,))
    model = load(path, params={"fc_weight": w, "fc_bias": b})
    assert model.name == "dense" and [layer.name for layer in model.layers] == ["fc"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\nos.system('true')", "import has no place in a module"),
        ("from os import system\nsystem('true')", "line 1: imports os"),
        (
            "from tvm.script import relax as R\n@R.function\ndef main(x: print('x')): return x",
            "line 3: calls something else than an operator",
        ),
        ("from tvm.script import relax as R\nR.__class__", "line 2: reaches for R.__class__"),
        ("from tvm.script import ir as I\nI.entry.inspect.os.system('true')", "line 2: reaches for I.entry.inspect.os"),
        ("def main(:", "no Relax text that TVM reads: invalid syntax"),
        ("x = 1", "no Relax text that TVM reads"),
    ],
)
def test_text_that_is_more_or_less_than_a_module(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.relax"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load(path)


def test_all_unsupported_operators_are_told_at_once() -> None:
    x = var("x", [1, 8])
    m = module([x], lambda b: R.add(b.emit(R.sin(x)), b.emit(R.sort(x))))
    with pytest.raises(ModelError) as error:
        load(m)
    assert "2 problems" in str(error.value) and "sin" in str(error.value) and "sort" in str(error.value)
    m = module([x], lambda b: b.emit(R.sort(b.emit(R.nn.relu(b.emit(R.sin(x)))))))
    with pytest.raises(ModelError, match=r"2 problems in the network\n  relax\.sin .*\n  relax\.sort "):
        load(m)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "one input; this one's free parameters are x, fc_weight, fc_bias"),
        ({"fc_weight": np.zeros((5, 7), np.float32), "fc": np.zeros(5)}, "'fc' is none of the function's"),
        ({"fc_weight": np.zeros((7, 5), np.float32)}, r"fc_weight is float32 \(7, 5\), the function takes"),
    ],
)
def test_parameters_that_do_not_fit(params: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(_dense_module(), params=params)
