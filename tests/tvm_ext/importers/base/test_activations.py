"""int8 tables of activation functions against LiteRT's reference kernels, onnxruntime and PyTorch's gradients, over
random quantisations and all 256 inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.activations import table
from tests.tvm_ext.importers.tflite.tflite_models import Reference, TfliteModel

ALL = np.arange(-128, 128).astype(np.int8)
COUNT = 120  # quantisations a function
Steps = tuple[float, int]


def gelu(approximate: bool) -> schema.GeluOptionsT:
    options = schema.GeluOptionsT()
    options.approximate = approximate
    return options


def quantisations(seed: int, wide: float = 1.5) -> list[tuple[Steps, Steps]]:
    """Of inputs and outputs: input ranges from 0.03 to 2,560, output ranges from 1/16 to 30 times as wide."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(COUNT):
        x = float(np.float32(10 ** rng.uniform(-4, 1)))
        out = float(np.float32(x * 10 ** rng.uniform(-1.2, wide)))
        made.append(((x, int(rng.integers(-128, 128))), (out, int(rng.integers(-128, 128)))))
    return made


def litert(code: str, options: object, x: Steps, out: Steps) -> np.ndarray:
    m = TfliteModel()
    content = m.content(m.unary(code, m.input((1, 256), *x), *out, options))
    # the reference kernels have no int8 ELU; the ordinary one is all there is
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if code == "ELU" else OpResolverType.BUILTIN_REF
    return Reference(content, resolver).run(ALL).reshape(-1)


@pytest.mark.parametrize(
    ("function", "code", "options", "fixed"),
    [
        ("hard_swish", "HARD_SWISH", None, None),
        ("tanh", "TANH", None, (1 / 128, 0)),
        ("sigmoid", "LOGISTIC", None, (1 / 256, -128)),
        ("elu", "ELU", None, None),
        ("gelu", "GELU", gelu(False), None),
        ("gelu_tanh", "GELU", gelu(True), None),
    ],
)
def test_tables_are_those_of_tflite(function: str, code: str, options: object, fixed: Steps | None) -> None:
    for x, out in quantisations(1):
        ours, _ = table(function, x, fixed or out, "tflite")
        np.testing.assert_array_equal(ours, litert(code, options, x, fixed or out), f"{x} {fixed or out}")


def test_leaky_relu_is_that_of_tflite() -> None:
    rng = np.random.default_rng(2)
    options = schema.LeakyReluOptionsT()
    for x, out in quantisations(3):
        options.alpha = float(np.float32(rng.choice([0.01, 0.1, 0.3, 0.0, 1.5, rng.uniform(-2, 2)])))
        ours, _ = table("leaky_relu", x, out, "tflite", alpha=options.alpha)
        np.testing.assert_array_equal(ours, litert("LEAKY_RELU", options, x, out), f"{x} {out} {options.alpha}")


def test_what_tflite_has_no_kernel_for_is_refused() -> None:
    with pytest.raises(ModelError, match="TFLite has no int8 kernel for silu"):
        table("silu", (0.1, 0), (0.1, 0), "tflite")
    for x, out in (((0.5, 0), (0.003, 0)), ((1e6, 0), (1e6, 0)), ((1e-4, 0), (10.0, 0))):
        with pytest.raises(ModelError, match="do not fit a HARD_SWISH"):
            table("hard_swish", x, out, "tflite")
    for alpha in (1e9, math.nan):
        with pytest.raises(ModelError, match="do not fit a slope of"):
            table("leaky_relu", (1.0, 0), (1.0, 0), "tflite", alpha=alpha)
    with pytest.raises(ModelError, match="the scales on both sides of a function do not fit each other"):
        table("elu", (1e18, 100), (1e-18, 0), "tflite")


# --------------------------------------------------------------------------- onnxruntime
ONNX = {
    "hard_swish": ("HardSwish", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 0.2, "beta": 0.4}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.1}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "elu": ("Elu", {"alpha": 0.7}),
    "gelu": ("Gelu", {}),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "silu": ("Sigmoid", {}),  # times its input
}


def qdq(op: str, attributes: dict, is_gated: bool, x: Steps, out: Steps) -> np.ndarray:
    """onnxruntime's DequantizeLinear, operator, QuantizeLinear."""
    make = onnx.helper.make_node
    nodes = [make("DequantizeLinear", ["x", "xs", "xz"], ["r"]), make(op, ["r"], ["a"], **attributes)]
    nodes += [make("Mul", ["r", "a"], ["g"])] if is_gated else []
    nodes += [make("QuantizeLinear", ["g" if is_gated else "a", "ys", "yz"], ["y"])]
    constants = [
        onnx.numpy_helper.from_array(np.array(value, dtype), name)
        for name, value, dtype in (("xs", x[0], np.float32), ("xz", x[1], np.int8), ("ys", out[0], np.float32),
                                   ("yz", out[1], np.int8))
    ]  # fmt: skip
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, [256]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": ALL})[0]


@pytest.mark.parametrize("function", ONNX)
def test_tables_in_real_numbers_are_those_of_onnxruntime(function: str) -> None:
    op, attributes = ONNX[function]
    parameters = {k: v for k, v in attributes.items() if isinstance(v, float)}
    equal = 0
    for x, out in quantisations(4):
        ours, _ = table(function, x, out, **parameters)
        theirs = qdq(op, attributes, function == "silu", x, out)
        assert np.abs(ours.astype(int) - theirs).max() <= 1, (x, out)
        equal += int((ours == theirs).sum())
    assert equal >= 0.999 * COUNT * 256


# --------------------------------------------------------------------------- gradients
TORCH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": lambda x: F.elu(x, 0.7),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


@pytest.mark.parametrize("function", TORCH)
def test_slopes_are_those_of_pytorch(function: str) -> None:
    parameters = {"leaky_relu": {"alpha": 0.1}, "elu": {"alpha": 0.7}}.get(function, {})
    for x, out in quantisations(5, 0.3)[:40]:
        ours, slope = table(function, x, out, **parameters)
        real = torch.tensor((ALL.astype(np.float64) - x[1]) * x[0], requires_grad=True)
        TORCH[function](real).sum().backward()
        steps = np.rint(TORCH[function](real).detach().numpy() / out[0]) + out[1]
        expected = np.where((steps >= -128) & (steps <= 127), real.grad.numpy() * x[0] / out[0], 0)
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-7, err_msg=f"{x} {out}")
        assert not slope[(ours == 127) & (steps > 127)].any() and not slope[(ours == -128) & (steps < -128)].any()


def test_the_slope_of_a_table_of_tflite_is_that_of_the_function() -> None:
    """Where both tables leave int8 or neither does: there its integers differ from the exact ones by a step or two."""
    for function in ("hard_swish", "leaky_relu", "gelu"):
        parameters = {"alpha": 0.1} if function == "leaky_relu" else {}
        for x, out in quantisations(6, 0.3)[:40]:
            exact, slope = table(function, x, out, **parameters)
            ours, tflite = table(function, x, out, "tflite", **parameters)
            inner = (np.abs(exact.astype(int)) < 120) & (np.abs(ours.astype(int)) < 120)
            np.testing.assert_array_equal(tflite[inner], slope[inner])
    assert math.isclose(table("tanh", (0.01, 0), (1 / 128, 0), "tflite")[1][128], 1.28, rel_tol=1e-6)
