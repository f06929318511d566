"""Random operands for convolution kernels: shapes, attributes and arrays that go together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcutrain.tvm_ext.fixed_point import multiplier


@dataclass(frozen=True)
class ConvCase:
    """One quantised convolution. weight: whole, [O, kh, kw, I], or depthwise [C, kh, kw]."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    attrs: dict

    @property
    def weights(self) -> list[np.ndarray]:
        """The weight arguments: one, or the frozen and the trained channels."""
        trained = self.attrs["trained_channels"]
        if not trained or self.attrs["depthwise"]:
            return [self.weight]
        rest = sorted(set(range(self.weight.shape[3])) - set(trained))
        return [np.ascontiguousarray(self.weight[..., rest]), np.ascontiguousarray(self.weight[..., trained])]

    @property
    def arguments(self) -> list[np.ndarray]:
        return [self.x, *self.weights, self.bias, self.table]

    @property
    def table(self) -> np.ndarray:
        """What the accumulators are requantised with: scales, or multipliers and shifts."""
        if self.attrs["rounding"] == "even":
            return self.scale
        return np.array([multiplier(float(s)) for s in self.scale], np.int32).T.copy()

    @property
    def shapes(self) -> list[list[int]]:
        return [list(a.shape) for a in self.arguments]

    @property
    def out_shape(self) -> tuple[int, ...]:
        (kh, kw), (sy, sx), (top, left, bottom, right) = (self.attrs[n] for n in ("kernel", "stride", "padding"))
        _, height, width, _ = self.x.shape
        return 1, (height + top + bottom - kh) // sy + 1, (width + left + right - kw) // sx + 1, self.weight.shape[0]

    def redrawn(self, seed: int) -> ConvCase:
        """Another input and other weights for the same kernel."""
        rng = np.random.default_rng(seed)
        x = rng.integers(-128, 128, self.x.shape).astype(np.int8)
        return replace(self, x=x, weight=rng.integers(-127, 128, self.weight.shape).astype(np.int8))

    def at_its_ends(self, value: int) -> ConvCase:
        """Every input `value`, 127 or -128, and the zero point at the other end; weights of 127, of every second filter
        -127. The sum of a whole window comes to 100 steps, or the bias takes it off and a step is one unit of it."""
        weight = np.full_like(self.weight, 127)
        weight[1::2] = -127
        sums = (2 * value + 1) * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int32)
        is_fine = np.arange(len(weight)) % 4 >= 2
        scale = np.where(is_fine, 1, 100 / np.abs(sums)).astype(np.float32)
        attrs = {**self.attrs, "in_zero": -1 - value, "out_zero": 0}
        return ConvCase(np.full_like(self.x, value), weight, np.where(is_fine, -sums, 0).astype(np.int32), scale, attrs)


def conv_case(
    seed: int,
    height: int,
    width: int,
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    depthwise: bool = False,
    trained: tuple[int, ...] = (),
    clamp: tuple[int, int] = (-128, 127),
    spread: float = 60.0,
    padding: tuple[int, int, int, int] | None = None,
    rounding: str = "even",
) -> ConvCase:
    """spread: standard deviation of the outputs before the clamp, in integer steps. padding: top, left, bottom, right;
    by default as much as keeps the extent."""
    rng = np.random.default_rng(seed)
    outputs = inputs if depthwise else outputs
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    sides = ((kh - 1) // 2, (kw - 1) // 2)
    shape = (inputs, kh, kw) if depthwise else (outputs, kh, kw, inputs)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    fan_in = weight[0].size
    acc = 100 * 73 * np.sqrt(fan_in)
    attrs = {
        "layer": "under test",
        "kernel": [kh, kw],
        "stride": [stride, stride] if isinstance(stride, int) else list(stride),
        "padding": [*sides, *sides] if padding is None else list(padding),
        "depthwise": depthwise,
        "trained_channels": list(trained),
        "slots": "",
        "in_zero": int(rng.choice([-128, 127, rng.integers(-128, 128)])),
        "out_zero": int(rng.integers(-60, 60)),
        "lo": clamp[0],
        "hi": clamp[1],
        "in_scale": 0.1,
        "out_scale": 0.2,
        "rounding": rounding,
    }
    return ConvCase(
        x=rng.integers(-128, 128, (1, height, width, inputs)).astype(np.int8),
        weight=weight,
        bias=rng.integers(-int(acc) // 2, int(acc) // 2 + 1, outputs).astype(np.int32),
        scale=(spread / acc * rng.uniform(0.3, 2, outputs)).astype(np.float32),
        attrs=attrs,
    )


def adjoint(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 gradient with magnitudes over several decades, and zeros where a mask stopped it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 10.0 ** rng.uniform(-4, 1, shape)
    return np.where(rng.random(shape) < 0.2, 0, values).astype(np.float32)
