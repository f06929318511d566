"""Functions of one number: int8 tables with their slopes, and float32 ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.ops.activation import tabulate
from tests.tvm_ext.ops.cases.elementwise import NEAR, SHAPES, alone
from tests.tvm_ext.support import networks, torch_parts
from tests.tvm_ext.support.draws import adjoint, counts, extents, int8, normal, size
from tests.tvm_ext.support.op_cases import IMAGE, Case, OpCases, Within
from tests.tvm_ext.support.product_ops import Attrs

EVERY = np.arange(-128, 128).astype(np.int8).reshape(1, 8, 8, 4)
ERF = np.vectorize(math.erf, otypes=[np.float64])
GELU = math.sqrt(2 / math.pi)
Values = Callable[..., np.ndarray]
# function -> (its values in float64, the same in PyTorch, parameters)
FUNCTIONS: dict[str, tuple[Values, Callable, dict[str, float]]] = {
    "elu": (lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))), F.elu, {"alpha": 0.7}),
    "gelu": (lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2, F.gelu, {}),
    "gelu_tanh": (
        lambda x: x * (1 + np.tanh(GELU * (x + 0.044715 * x**3))) / 2,
        lambda x: F.gelu(x, approximate="tanh"),
        {},
    ),
    "hard_sigmoid": (
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1),
        {"alpha": 0.2, "beta": 0.4},
    ),
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, F.hardswish, {}),
    "leaky_relu": (
        lambda x, alpha: np.where(x > 0, x, alpha * x),
        lambda x, alpha: F.leaky_relu(x, alpha),
        {"alpha": 0.1},
    ),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), torch.sigmoid, {}),
    "silu": (lambda x: x / (1 + np.exp(-x)), F.silu, {}),
    "tanh": (np.tanh, torch.tanh, {}),
}


def parameters(attrs: Attrs) -> dict[str, float]:
    return {name: value for name, value in attrs.items() if name in ("alpha", "beta")}


# --------------------------------------------------------------------------- tables
def lookup(_: Attrs, x: np.ndarray, table: np.ndarray, *_slope: np.ndarray) -> list[np.ndarray]:
    return [table[x.astype(int) + 128]]


def lookup_grad(_: Attrs, g: np.ndarray, x: np.ndarray, slope: np.ndarray) -> list[np.ndarray]:
    return [g * slope[x.astype(int) + 128]]


def tabulated(shape: tuple[int, ...], seed: int = 0) -> Case:
    return Case(f"{size(shape)} #{seed}", {}, lambda s: [int8(seed + s, shape), int8(seed + s + 1, (256,))],
                slack=alone(shape))  # fmt: skip


def sloped(shape: tuple[int, ...], seed: int = 0) -> Case:
    return Case(
        f"{size(shape)} #{seed}",
        {},
        lambda s: [adjoint(seed + s, shape), int8(seed + s, shape), normal(seed + s, (256,)) + np.float32(3)],
        slack=alone(shape),
        axes={0: IMAGE},
    )


def table_in_torch(_: Attrs, x: torch.Tensor, table: torch.Tensor, slope: torch.Tensor | None = None) -> torch.Tensor:
    """The table's numbers, with the gradient of the slope, where there is one."""
    place = torch_parts.integers(x) + 128
    return table[place] if slope is None else torch_parts.instead(x * slope[place], table[place].numpy())


def through_a_table(b: NetworkBuilder, x: Value) -> Value:
    out = Quantisation(0.03, -20)
    table, slope = tabulate("silu", (x.steps.scale, x.steps.zero), (out.scale, out.zero))
    return b.lookup("op", x, table, slope, out)


# --------------------------------------------------------------------------- float32
def factivation(attrs: Attrs, x: np.ndarray) -> list[Within]:
    wide = x.astype(np.float64)
    value = FUNCTIONS[attrs["function"]][0](wide, **parameters(attrs))
    return [Within(value, 5e-7 * (1 + np.abs(wide)))]


def factivation_grad(attrs: Attrs, g: np.ndarray, x: np.ndarray) -> list[Within]:
    """By central differences; the operands keep away from kinks."""
    wide, h = x.astype(np.float64), 1e-5
    f, more = FUNCTIONS[attrs["function"]][0], parameters(attrs)
    value = g * (f(wide + h, **more) - f(wide - h, **more)) / (2 * h)
    return [Within(value, np.abs(g) * 2e-6 * (1 + np.abs(wide)))]


def in_torch(attrs: Attrs, x: torch.Tensor) -> torch.Tensor:
    return FUNCTIONS[attrs["function"]][1](x, **parameters(attrs))


def gradient_in_torch(attrs: Attrs, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch_parts.backward(lambda x: in_torch(attrs, x), x, g)


def wide(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers around zero, and some far from it; none at a kink."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * 10.0 ** rng.uniform(-1, 1.3, shape)).astype(np.float32)
    kinks = np.array([0, 3, -3, 3 + 1e-3, -2, -3 + 1e-3], np.float32)
    return np.where(np.abs(x[..., None] - kinks).min(-1) < 1e-4, np.float32(0.5), x)


def real(function: str, shape: tuple[int, ...], count: int) -> Case:
    """x, or (count 2) an adjoint and x."""
    attrs: Attrs = {"function": function, **FUNCTIONS[function][2]}

    def draw(seed: int) -> list[np.ndarray]:
        return [*([adjoint(seed, shape)] if count == 2 else []), wide(seed + 1, shape)]

    return Case(f"{function} {size(shape)}", attrs, draw, slack=alone(shape), axes={0: IMAGE})


def through_functions(b: NetworkBuilder, x: Value) -> Value:
    for i, (function, (*_, more)) in enumerate(FUNCTIONS.items()):
        x = b.activation(f"op{i}", networks.conv(b, f"between{i}", x, 4), function, **more)
    return x


def in_blocks() -> Iterator[tuple[int, ...]]:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        height, width = extents(rng)
        yield from ((1, height, width, n) for n in counts(rng))


REALS = [real(function, (1, 5, 7, 6), 1) for function in FUNCTIONS]
RECORDS = [
    OpCases(
        "lookup",
        lookup,
        [Case("every number", {}, lambda seed: [EVERY, int8(seed, (256,))]), *map(tabulated, SHAPES)],
        table_in_torch,
        near=list(map(tabulated, NEAR)),
        rows=list(map(tabulated, SHAPES)),
        network=lambda: networks.around(through_a_table, True),
    ),
    OpCases(
        "lookup_grad",
        lookup_grad,
        list(map(sloped, SHAPES)),
        lambda _, g, x, slope: g * slope[x.long() + 128],
        torch_error=2.0**-23,
        near=list(map(sloped, NEAR)),
        rows=list(map(sloped, SHAPES)),
        blocks=[sloped(shape) for shape in in_blocks()],
    ),
    OpCases(
        "factivation",
        factivation,
        REALS,
        in_torch,
        near=[real("tanh", shape, 1) for shape in NEAR],
        rows=[real("gelu", shape, 1) for shape in SHAPES],
        device=REALS,
        network=lambda: networks.around(through_functions, False),
    ),
    OpCases(
        "factivation_grad",
        factivation_grad,
        [real(function, (1, 5, 7, 6), 2) for function in FUNCTIONS],
        gradient_in_torch,
        torch_error=1e-4,
        near=[real("sigmoid", shape, 2) for shape in NEAR],
        rows=[real("gelu", shape, 2) for shape in SHAPES],
        blocks=[real("hard_swish", shape, 2) for shape in in_blocks()],
    ),
]
