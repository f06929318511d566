"""The update: quantisation-aware scaling, stochastic rounding, momentum, accumulation, frozen channels."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.tvm_ext.support import product_ops, reference
from tests.tvm_ext.support.draws import counts
from tests.tvm_ext.support.op_cases import FILTERS, Case, OpCases
from tests.tvm_ext.support.product_ops import Attrs, Kernel
from tests.tvm_ext.support.run_kernel import run

SEED, SALT = 7, 0xABCD1234
LIMITS = {"int8": (-127, 127), "int32": (-(2**30), 2**30)}


@dataclass
class Tensor:
    """One trained tensor and everything that its update reads."""

    w: np.ndarray
    scale: np.ndarray
    unit: float = 0.7  # s_w = scale * unit
    dead: float = 1e-9
    rates: tuple[float, float] = (0.25, 100.0)
    channels: tuple[int, ...] = ()
    momentum: float = 0.0
    every: int = 1
    step: int = 0
    velocity: np.ndarray = field(init=False)
    total: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.g_shape = (len(self.channels) or len(self.w), *self.w.shape[1:])
        self.velocity, self.total = np.zeros(self.g_shape, np.float32), np.zeros(self.g_shape, np.float32)

    @property
    def attrs(self) -> Attrs:
        attrs = {"dtype": str(self.w.dtype), "rate": 0, "channels": list(self.channels)}
        return {**attrs, "momentum": self.momentum, "every": self.every, "layer": "under test"}

    @functools.cached_property
    def kernel(self) -> Kernel:
        shapes = [list(a.shape) for a in self.inputs(np.zeros(self.g_shape, np.float32))]
        return product_ops.build("sgd", shapes, self.attrs)

    @property
    def state(self) -> list[np.ndarray]:
        """What an update changes."""
        return [self.w, *[self.velocity] * bool(self.momentum), *[self.total] * (self.every > 1)]

    @property
    def is_quantised(self) -> bool:
        return self.w.dtype != np.float32

    def inputs(self, g: np.ndarray) -> list[np.ndarray]:
        settings = np.array([product_ops.float_bits(self.unit), product_ops.float_bits(self.dead), SALT], np.uint32)
        counter = np.array([SEED, self.step], np.uint32)
        values = [self.w, g, *([self.scale, settings] if self.is_quantised else [])]
        values += [np.array(self.rates, np.float32), counter]
        return values + [self.velocity] * bool(self.momentum) + [self.total] * (self.every > 1)

    def changed(self, inputs: Sequence[np.ndarray]) -> tuple[int, ...]:
        """Which of the inputs an update changes."""
        return tuple(i for i, a in enumerate(inputs) if any(a is state for state in self.state))

    def update(self, g: np.ndarray) -> np.ndarray:
        """One call in place; a copy of the new w."""
        inputs = self.inputs(g.astype(np.float32))
        run(self.kernel, inputs, mutates=self.changed(inputs))
        self.step += 1
        return self.w.copy()


def expected_update(t: Tensor, step_of_g: np.ndarray) -> np.ndarray:
    """The new integer w for a step in the gradient's units."""
    return stepped(t.w, step_of_g, t.inputs(step_of_g)[2:6], list(t.channels))


def stepped(w: np.ndarray, step_of_g: np.ndarray, operands: Sequence[np.ndarray], channels: list[int]) -> np.ndarray:
    """The new integer w, in the runtime's float32 arithmetic; what is not finite moves nothing. operands: scale,
    settings, rates, counter."""
    scale, settings, rates, (seed, step) = operands
    (unit, dead), rows = settings[:2].view(np.float32), channels or list(range(len(w)))
    of_row = (scale * unit).astype(np.float32)[rows]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = (rates[0] / of_row / of_row).reshape(-1, *[1] * (w.ndim - 1))
        steps = (_finite(step_of_g) * factor).astype(np.float32)
    random = reference.mcu_hash(int(seed) ^ int(settings[2]), int(step), np.arange(w.size).reshape(w.shape)[rows])
    alive = (scale > dead)[rows].reshape(factor.shape)
    new = w.astype(np.int64)
    moved = np.clip(new[rows] - reference.stochastic_round(steps, random), *LIMITS[str(w.dtype)])
    new[rows] = np.where(alive, moved, new[rows])
    return new.astype(w.dtype)


def sgd(attrs: Attrs, w: np.ndarray, g: np.ndarray, *rest: np.ndarray) -> list[np.ndarray]:
    """The new weight, velocity and sum of samples. A gradient that is not finite counts as 0 in velocity, sum and float
    weight."""
    rest = list(rest)
    settings = [rest.pop(0), rest.pop(0)] if w.dtype != np.float32 else []
    rates, counter = rest.pop(0), rest.pop(0)
    velocity = rest.pop(0) if attrs["momentum"] else None
    after = []
    if attrs["every"] > 1:
        total = rest.pop(0) + _finite(g)
        if counter[1] % attrs["every"] != attrs["every"] - 1:
            return [w, *([] if velocity is None else [velocity]), total]
        g, after = total / np.float32(attrs["every"]), [np.zeros_like(total)]
    if velocity is not None:
        velocity = g = _finite(velocity * np.float32(attrs["momentum"]) + _finite(g))
        after = [velocity, *after]
    if settings:
        return [stepped(w, g, [*settings, rates, counter], attrs["channels"]), *after]
    return [w - rates[attrs["rate"]] * _finite(g), *after]


def _finite(v: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(v), v, np.float32(0))


def weights(shape: Sequence[int], dtype: str = "int8", reach: int = 100) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(-reach, reach + 1, shape).astype(dtype)


# --------------------------------------------------------------------------- cases
def of_tensor(title: str, w: np.ndarray, extreme: bool = False, **more: object) -> Case:
    """One update amid a training: velocity and sum are not zero. extreme: a dead channel, and steps that saturate or
    are no numbers."""
    rng = np.random.default_rng(6)
    scale = rng.uniform(0.01, 0.4, len(w)).astype(np.float32)
    if extreme:
        scale[4] = 1e-10

    def draw(seed: int) -> list[np.ndarray]:
        rng, t = np.random.default_rng(seed), Tensor(w, scale, **more)
        size = t.g_shape
        g = (rng.normal(size=size) * 10.0 ** (rng.uniform(-3, 1, size) if extreme else 0)).astype(np.float32)
        if extreme:
            g.flat[:5] = 1e30, -1e30, np.nan, np.inf, -np.inf
        t.velocity, t.total = (rng.normal(size=size).astype(np.float32) for _ in range(2))
        return t.inputs(g)

    t = Tensor(w, scale, **more)
    changed = t.changed(t.inputs(np.zeros(t.g_shape, np.float32)))
    return Case(title, t.attrs, draw, changed=changed, axes={1: FILTERS}, out_axis=FILTERS)


DEVICE = [
    of_tensor("weight", weights((12, 3, 3, 4)), True, step=1),
    of_tensor("depthwise slice", weights((10, 3, 3)), True, step=1, channels=(1, 4, 7)),
    of_tensor("matrix every second", weights((9, 5)), True, step=1, every=2),
    of_tensor("bias with momentum", weights((9,), "int32", 10**6), True, step=1, momentum=0.9),
    of_tensor("large bias", weights((8,), "int32", 2**30), True, step=1),
]


def sized() -> Iterator[Case]:
    yield from DEVICE
    for momentum, every in [(0.0, 1), (0.9, 1), (0.0, 3), (0.5, 3)]:
        for dtype in ("int8", "float32"):
            for step in range(every):
                options = {"momentum": momentum, "every": every, "step": step}
                yield of_tensor(f"{dtype} {momentum} {every} {step}", weights((3, 5), dtype), **options)


def in_blocks() -> Iterator[Case]:
    for dtype in ("int8", "float32"):
        for seed, (momentum, every) in enumerate([(0.0, 1), (0.9, 1), (0.0, 2), (0.5, 3)]):
            for n in counts(np.random.default_rng(seed)):
                for step in range(every):
                    options = {"momentum": momentum, "every": every, "step": step}
                    yield of_tensor(f"{n} {dtype} {momentum} {every} {step}", weights((n, 3, 2), dtype), **options)


RECORDS = [
    OpCases("sgd", sgd, list(sized()), blocks=[DEVICE[0], *in_blocks()], device=DEVICE),
    OpCases(
        "next_step",
        lambda _, counter: [counter + np.array([0, 1], np.uint32)],
        [
            Case("in the middle", {}, lambda seed: [np.array([5, 9 + seed], np.uint32)], changed=(0,)),
            Case("wraps", {}, lambda _: [np.array([5, 2**32 - 1], np.uint32)], changed=(0,)),
        ],
    ),
]
