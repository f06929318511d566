"""The values that a builder's methods take and give: activations, their quantisations, windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from tvm import relax

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.dialect import shape_of

Order = Literal["HWC", "CHW"]


@dataclass(frozen=True)
class Quantisation:
    """real = (q - zero) * scale, q in [-128, 127]."""

    scale: float
    zero: int


@dataclass(frozen=True)
class Value:
    """An activation. order: None, or the order of its features once it counts as a flat vector."""

    var: relax.Var
    quantisation: Quantisation | None
    order: Order | None = None

    @property
    def shape(self) -> list[int]:
        """[1, H, W, C]."""
        return shape_of(self.var)

    @property
    def features(self) -> int:
        return int(np.prod(self.shape))

    @property
    def steps(self) -> Quantisation:
        """The quantisation of what is known to be int8. Raises ModelError for float32."""
        if self.quantisation is None:
            raise ModelError("an int8 layer reads float32", "quantise what comes before it, too")
        return self.quantisation


@dataclass(frozen=True)
class Window:
    """kernel (h, w), stride (vertical, horizontal), padding (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def attrs(self) -> dict[str, object]:
        return {"kernel": list(self.kernel), "stride": list(self.stride), "padding": list(self.padding)}


def expect(its_scale: float, its_zero: int, scale_before: float, zero_before: int, where: str) -> None:
    """A layer's input must be quantised as the layer before wrote it."""
    if its_zero != zero_before or abs(its_scale - scale_before) > 1e-6 * scale_before:
        raise LayerError(
            where,
            f"reads scale {its_scale:.6g}, zero point {its_zero}",
            f"the layer before writes {scale_before:.6g}, {zero_before}",
        )


def steps_of(x: Value, name: str) -> Quantisation:
    if x.quantisation is None:
        raise LayerError(name, "an int8 layer reads float32", "quantise what comes before it, too")
    return x.quantisation


def real(x: Value, name: str) -> Value:
    if x.quantisation is not None:
        raise LayerError(name, "a float32 layer reads int8", "quantise it, too, or nothing at all")
    return x


def are_alike(a: Value, b: Value) -> bool:
    """Tell whether both have one quantisation, but for the rounding of a scale."""
    if a.quantisation is None or b.quantisation is None:
        return a.quantisation is b.quantisation
    p, q = a.quantisation, b.quantisation
    return p.zero == q.zero and abs(p.scale - q.scale) <= 1e-6 * q.scale


def dtype_attr(x: Value) -> dict[str, str]:
    return {"dtype": "float32" if x.quantisation is None else "int8"}
