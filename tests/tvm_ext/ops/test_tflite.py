"""Kernels against TFLite's reference kernels: bit for bit, but for the softmax."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tvm_ext.ops.cases.elementwise import EVERY, SCALES, quantisation
from tests.tvm_ext.ops.cases.head import softmax
from tests.tvm_ext.ops.cases.layout import CONCAT, bordered
from tests.tvm_ext.support import product_ops
from tests.tvm_ext.support.op_cases import Case, kernel
from tests.tvm_ext.support.pool_windows import OTHER, SAME, Geometry, attrs_of, draw, out_shape, shape_of
from tests.tvm_ext.support.product_ops import Attrs
from tests.tvm_ext.support.run_kernel import run
from tests.tvm_ext.support.tflite_op import Quantised, run_op

# TFLite pools with padding VALID or SAME
WINDOWS: list[Geometry] = [
    ((8, 6, 40), (2, 2), (2, 2), (0, 0, 0, 0)),
    ((7, 7, 40), (3, 3), (2, 2), (1, 1, 1, 1)),
    ((8, 9, 24), (3, 2), (2, 1), (0, 0, 1, 1)),
    ((25, 5, 64), (25, 5), (25, 5), (0, 0, 0, 0)),
]


def pool_options(geometry: Geometry) -> schema.Pool2DOptionsT:
    options, (_, window, stride, padding) = schema.Pool2DOptionsT(), geometry
    options.padding = schema.Padding.SAME if any(padding) else schema.Padding.VALID
    (options.filterHeight, options.filterWidth), (options.strideH, options.strideW) = window, stride
    return options


def result(name: str, x: np.ndarray, attrs: Attrs, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(shape, np.int8)
    run(product_ops.build(name, [list(x.shape)], attrs), [x], [y])
    return y


@pytest.mark.parametrize("scales", SCALES)
def test_requantise(scales: tuple) -> None:
    in_scale, out_scale, in_zero, out_zero = (float(np.float32(v)) if isinstance(v, float) else v for v in scales)
    attrs = quantisation((in_scale, out_scale, in_zero, out_zero), rounding="tflite")
    source, target = Quantised(EVERY, in_scale, in_zero), Quantised(np.zeros_like(EVERY), out_scale, out_zero)
    theirs = run_op("QUANTIZE", schema.QuantizeOptionsT(), [source], target)
    np.testing.assert_array_equal(result("requantise", EVERY, attrs, EVERY.shape), theirs)


@pytest.mark.parametrize("in_scale", [0.01, 0.1, 0.6])
def test_softmax(in_scale: float) -> None:
    """At most one step apart."""
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    for case in (softmax(n, in_scale) for n in (1, 2, 10, 200)):
        for seed in range(case.seeds):
            (x,) = case.draw(seed)
            y = result("qsoftmax", x, case.attrs, x.shape)
            theirs = run_op("SOFTMAX", options, [Quantised(x, case.attrs["in_scale"], 3)], Quantised(y, 1 / 256, -128))
            assert np.abs(y.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("geometry", WINDOWS)
def test_average(geometry: Geometry) -> None:
    rng, attrs = np.random.default_rng(5), attrs_of(geometry, **{**SAME, "rounding": "tflite"})
    for reach in (128, 4):
        x = rng.integers(-reach, reach, shape_of(geometry)).astype(np.int8)
        y = result("qavg_pool", x, attrs, out_shape(geometry))
        theirs = run_op("AVERAGE_POOL_2D", pool_options(geometry), [Quantised(x, 0.1, -7)], Quantised(y, 0.1, -7))
        np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize("quantised", [SAME, OTHER, {**OTHER, "out_scale": 0.1}, {**OTHER, "out_scale": 0.31}])
def test_mean(quantised: Attrs) -> None:
    """MEAN over both axes, whatever the quantisation: it never rounds as AVERAGE_POOL_2D does."""
    options = schema.ReducerOptionsT()
    options.keepDims = True
    rng, scales = np.random.default_rng(6), {k: float(np.float32(v)) for k, v in quantised.items() if "scale" in k}
    rounding = "tflite_mean" if quantised is SAME else "tflite"
    for height, width in ((4, 4), (7, 7), (1, 3), (25, 5), (1, 1)):
        x = rng.integers(-128, 128, (1, height, width, 300)).astype(np.int8)
        geometry: Geometry = ((height, width, 300), (height, width), (1, 1), (0, 0, 0, 0))
        attrs = attrs_of(geometry, **{**quantised, **scales, "rounding": rounding})
        y = result("qavg_pool", x, attrs, (1, 1, 1, 300))
        source, target = (Quantised(a, attrs[f"{n}_scale"], attrs[f"{n}_zero"]) for a, n in ((x, "in"), (y, "out")))
        np.testing.assert_array_equal(y, run_op("MEAN", options, [source], target, [np.array([1, 2])]))


@pytest.mark.parametrize("geometry", WINDOWS)
def test_maximum(geometry: Geometry) -> None:
    x, attrs = draw("int8", shape_of(geometry), 4), attrs_of(geometry, dtype="int8")
    y = result("max_pool", x, attrs, out_shape(geometry))
    theirs = run_op("MAX_POOL_2D", pool_options(geometry), [Quantised(x, 0.1, -7)], Quantised(y, 0.1, -7))
    np.testing.assert_array_equal(y, theirs)


def moved(name: str, case: Case, op: str, options: object, zero: int, *constants: np.ndarray) -> None:
    """An op that moves values equals TFLite's."""
    operands, built = case.draw(4), kernel(name, case)
    shape = list(np.concatenate(operands, axis=3).shape)
    top, left, bottom, right = case.attrs.get("padding", (0, 0, 0, 0))
    y = np.zeros((1, shape[1] + top + bottom, shape[2] + left + right, shape[3]), np.int8)
    theirs = run_op(op, options, [Quantised(x, 0.2, zero) for x in operands], Quantised(y, 0.2, zero), constants)
    run(built, operands, [y])
    np.testing.assert_array_equal(y, theirs)


def test_concat() -> None:
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    moved("concat", CONCAT[0], "CONCATENATION", options, 5)


def test_pad() -> None:
    """Borders of real 0 are the zero point."""
    amounts = np.array([[0, 0], [1, 3], [2, 0], [0, 0]])
    moved("pad", bordered((1, 4, 5, 3), [1, 2, 3, 0], "int8", -9.0), "PAD", schema.PadOptionsT(), -9, amounts)
