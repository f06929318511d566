"""Random operands for convolutions: shapes, attributes and arrays that go together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.tvm_ext.support import reference
from tests.tvm_ext.support.draws import adjoint, size
from tests.tvm_ext.support.op_cases import FILTERS, IMAGE, Case
from tests.tvm_ext.support.product_ops import Attrs

NOWHERE = (-math.inf, math.inf)


@dataclass(frozen=True)
class ConvCase:
    """One convolution, quantised or float. weight: whole, [O, kh, kw, I], or depthwise [C, kh, kw]."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    attrs: Attrs

    @property
    def weights(self) -> list[np.ndarray]:
        """The weight arguments: one, or the frozen and the trained channels."""
        trained = self.attrs["trained_channels"]
        if not trained or self.attrs["depthwise"]:
            return [self.weight]
        rest = sorted(set(range(self.weight.shape[3])) - set(trained))
        return [np.ascontiguousarray(self.weight[..., rest]), np.ascontiguousarray(self.weight[..., trained])]

    @property
    def is_float(self) -> bool:
        return self.x.dtype == np.float32

    @property
    def arguments(self) -> list[np.ndarray]:
        return [self.x, *self.weights, self.bias, *([] if self.is_float else [self.table])]

    @property
    def table(self) -> np.ndarray:
        """What the accumulators are requantised with: scales, or multipliers and shifts."""
        return self.scale if self.attrs["rounding"] == "even" else reference.multipliers(self.scale)

    @property
    def shapes(self) -> list[list[int]]:
        return [list(a.shape) for a in self.arguments]

    @property
    def out_shape(self) -> tuple[int, ...]:
        (kh, kw), (sy, sx), (top, left, bottom, right) = (self.attrs[n] for n in ("kernel", "stride", "padding"))
        _, height, width, _ = self.x.shape
        return 1, (height + top + bottom - kh) // sy + 1, (width + left + right - kw) // sx + 1, self.weight.shape[0]

    @property
    def title(self) -> str:
        a = self.attrs
        (kh, kw), (sy, sx) = a["kernel"], a["stride"]
        words = ["depthwise" if a["depthwise"] else "dense", f"{size(self.x.shape)}-{self.weight.shape[0]}"]
        words += [f"by {kh}x{kw}", f"s{sy}x{sx}" if sy != sx else f"s{sy}", "p" + "".join(map(str, a["padding"]))]
        words += [f"in {a['lo']:g}..{a['hi']:g}", a["rounding"] if a["rounding"] != "even" else ""]
        words += ["trains " + ",".join(map(str, a["trained_channels"])) if a["trained_channels"] else ""]
        return " ".join(word for word in words if word)

    def redrawn(self, seed: int) -> ConvCase:
        """Another input and other weights for the same kernel."""
        if self.is_float:
            return floating(self, (self.attrs["lo"], self.attrs["hi"]), seed)
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
    trained: Sequence[int] = (),
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


def floating(case: ConvCase, clamp: tuple[float, float] = NOWHERE, seed: int = 0) -> ConvCase:
    """The same shapes in float32; whatever the fan-in, accumulators of about 1."""
    rng = np.random.default_rng(seed)
    spread = 1 / np.sqrt(case.weight[0].size)
    attrs = {**case.attrs, "lo": clamp[0], "hi": clamp[1], "dtype": "float32", "in_zero": 0}
    arrays = {"x": rng.normal(size=case.x.shape), "weight": rng.normal(0, spread, case.weight.shape)}
    arrays["bias"] = rng.normal(size=case.bias.shape)
    return replace(case, attrs=attrs, **{n: v.astype(np.float32) for n, v in arrays.items()})


# --------------------------------------------------------------------------- as cases of the ops
def forward(conv: ConvCase, title: str = "") -> Case:
    """A call of the convolution itself."""
    return Case(title or conv.title, conv.attrs, lambda seed: (conv.redrawn(seed) if seed else conv).arguments)


def input_grad(conv: ConvCase, seed: int = 0) -> Case:
    """A call of the gradient by its input. Of a pointwise convolution it may be made by blocks of channels from
    all of g, and taken by blocks into the whole; the latter alone where the weight is split."""
    axes = {0: IMAGE} | dict.fromkeys(range(1, 1 + len(conv.weights)), FILTERS)

    def draw(n: int) -> list[np.ndarray]:
        return [adjoint(seed + n, conv.out_shape), *(conv.redrawn(n) if n else conv).weights]

    forms = 1 if conv.attrs["depthwise"] or conv.attrs["trained_channels"] else 2
    attrs = {**conv.attrs, "shape": list(conv.x.shape)}
    return Case(f"{conv.title} #{seed}", attrs, draw, axes=axes, forms=forms)


def weight_grad(conv: ConvCase, seed: int = 0) -> Case:
    """A call of the gradient of its weight: of all channels, or of the trained ones, which `take_channels` kept."""
    trained, shape = conv.attrs["trained_channels"], list(conv.weight.shape)
    if trained:
        shape[0 if conv.attrs["depthwise"] else 3] = len(trained)

    def draw(n: int) -> list[np.ndarray]:
        x = (conv.redrawn(n) if n else conv).x
        return [np.ascontiguousarray(x[..., trained]) if trained else x, adjoint(seed + n, conv.out_shape)]

    attrs = {**conv.attrs, "shape": shape}
    return Case(f"{conv.title} #{seed}", attrs, draw, axes={1: IMAGE}, out_axis=FILTERS, forms=2)
