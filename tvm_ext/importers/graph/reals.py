"""The values of a graph's tensors while it is translated. Real arithmetic between DequantizeLinear and
QuantizeLinear is not done where it stands: a `Real` knows how it is made once its quantisation and its clamp are known,
since both belong into the integer operator that makes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.fields import LARGEST_SCALE, SMALLEST_SCALE
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.curves import Curve, itself
from mcutrain.tvm_ext.ops.activation import FUNCTIONS

INF = math.inf
LARGEST_RATIO = 1 << 16  # of two scales between which is requantised; 2^8 already saturates every value
CANONICAL = {1: "C", 2: "NC", 3: "NCW", 4: "NCHW"}
Shape = tuple[int, int, int, int]  # (1, H, W, C)
# (quantisation or None for float32, lo, hi as reals, name of the operator that asks) -> the activation
Make = Callable[[Quantisation | None, float, float, str], Value]


@dataclass(frozen=True)
class Weight:
    """A constant that is dequantised: real = (ints - zero) * scale, scale and zero one number or one an index of
    `axis`."""

    ints: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int

    @property
    def real(self) -> np.ndarray:
        """float64."""
        shape = [1] * self.ints.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        scale, zero = self.scale.astype(np.float64).reshape(shape), self.zero.astype(np.float64).reshape(shape)
        return (self.ints.astype(np.float64) - zero) * scale


@dataclass(frozen=True)
class Stored:
    """An int8 tensor, between QuantizeLinear and DequantizeLinear. layout, curves: like a Real's, but for the curve of
    itself."""

    value: Value
    layout: str
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Real:
    """A real-valued activation. layout: the axis letters of the outer tensor, of which N is always 1 and a letter that
    is left out has size 1; rank 2 is a vector of features. shape: inside, (1, H, W, C). own: the quantisation in which
    it stands already, if any. rescaled: makes of it, of a factor and of a shift, float64 [C] each, what the layer that
    makes it gives with them; None where no layer can take them over. parts: what was joined along the channels to make
    it. curves: the functions as which it is known, of activations that are there already, the nearest first."""

    layout: str
    shape: Shape
    make: Make
    is_quantised: bool
    own: Quantisation | None = None
    rescaled: Callable[[Real, np.ndarray, np.ndarray], Real] | None = None
    parts: tuple[Real, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def bare(self) -> Real:
        """The same, without what is known of how it is made: where another operator's result begins."""
        return replace(self, rescaled=None, parts=(), curves=())

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of the outer tensor."""
        if len(self.layout) <= 2:
            return (1, math.prod(self.shape))[-len(self.layout) :]
        return tuple(self.size(letter) for letter in self.layout)

    def size(self, letter: str) -> int:
        return self.shape["NHWC".index(letter)]

    def ints(self, name: str) -> Value:
        """The activation as int8, in the quantisation in which it stands."""
        if self.own is None and self.is_quantised:
            raise LayerError(name, "its input is not quantised", "put a QuantizeLinear and a DequantizeLinear there")
        return self.make(self.own, -INF, INF, name)


Known = Real | Stored | Weight | np.ndarray


def as_array(known: Known) -> np.ndarray | None:
    """A constant's values, None for an activation."""
    if isinstance(known, Weight):
        return known.real
    return known if isinstance(known, np.ndarray) else None


def int_range(q: Quantisation, lo: float, hi: float) -> tuple[int, int]:
    """The clamp [lo, hi] in int8, as QuantizeLinear rounds its ends in float32."""
    ends = []
    for real, end in ((lo, -128), (hi, 127)):
        steps = end if math.isinf(real) else float(np.rint(np.float32(real) / np.float32(q.scale))) + q.zero
        ends.append(int(min(max(steps, -128), 127)))
    return ends[0], max(ends)


def alike(a: Quantisation, b: Quantisation) -> bool:
    return a.zero == b.zero and abs(a.scale - b.scale) <= 1e-6 * b.scale


def check_ratio(numerator: float, out: Quantisation, name: str) -> None:
    """Raises ModelError for scales so far apart that numbers say nothing, and that their products leave int32."""
    if not numerator < LARGEST_RATIO * out.scale:
        raise LayerError(name, f"the scales {numerator:.3g} and {out.scale:.3g} do not fit each other", "quantise anew")


def narrowed(lo: float, hi: float, outer_lo: float, outer_hi: float) -> tuple[float, float]:
    """The one clamp that equals [lo, hi] and then [outer_lo, outer_hi]."""
    return min(max(lo, outer_lo), outer_hi), min(max(hi, outer_lo), outer_hi)


def stored_real(network: NetworkBuilder, value: Value, layout: str, curves: tuple[Curve, ...] = ()) -> Real:
    """The real numbers of `value`, which is there already. curves: the functions of others as which it is known."""
    made: dict[object, Value] = {}  # clamps and requantisations, for the next reader who asks for the same

    def make(q: Quantisation | None, lo: float, hi: float, name: str) -> Value:
        own = value.quantisation
        if own is None:
            if q is not None:
                raise LayerError(name, "quantises what was computed in float32", "quantise all operators, or none")
            if (lo, hi) != (-INF, INF) and (lo, hi) not in made:
                made[lo, hi] = network.clip(name, value, lo, hi)
            return made.get((lo, hi), value)
        if q is None:
            raise LayerError(name, "computes in float32 on int8 activations", "quantise it, too, or nothing at all")
        limits = int_range(q, lo, hi)
        if alike(own, q) and limits == (-128, 127):
            return value
        key = (own if alike(own, q) else q, *limits)
        check_ratio(own.scale, q, name)
        if key not in made:
            made[key] = network.requantise(name, value, key[0], lo=limits[0], hi=limits[1])
        return made[key]

    batch, height, width, channels = value.shape
    shape, q, known = (batch, height, width, channels), value.quantisation, (itself(value), *curves)
    return Real(layout, shape, make, q is not None, q, curves=known)


def curved(network: NetworkBuilder, name: str, x: Real, curves: tuple[Curve, ...], otherwise: Make | None) -> Real:
    """The result of an operator on each number of x (or of x and others) alone, which is known as `curves`.

    otherwise: makes it by other means than a table or one of the builder's functions; int8 where it is given, float32
    where the functions hold none that it is."""
    if x.is_quantised:
        made = once(name, lambda q, lo, hi: network.lookup(name, curves[-1].of, *curves[-1].table(q, lo, hi), q))
        return replace(x.bare, make=otherwise or made, own=None, curves=curves)

    def make(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        named = next((c for c in (c.recognised() for c in reversed(curves)) if c is not None), None)
        if named is None and otherwise is not None:
            return otherwise(q, lo, hi, reader)
        if named is None:
            known = ", ".join(sorted(FUNCTIONS))
            raise LayerError(name, "no function that is known in float32", f"use one of {known}")
        value = network.activation(name, named.of, named.function, **named.parameters)
        return stored_real(network, value, x.layout).make(q, lo, hi, reader)

    return replace(x.bare, make=make, curves=curves)


def once(name: str, emit: Callable[[Quantisation, int, int], Value]) -> Make:
    """Emits an int8 operator when it is first asked for; all readers must ask for the same."""
    made: dict[object, Value] = {}

    def make(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        if q is None:
            raise LayerError(reader, f"the result of {name} is not quantised", f"put a QuantizeLinear behind {name}")
        limits = int_range(q, lo, hi)
        if made and (q, limits) not in made:
            raise LayerError(reader, f"the result of {name} is quantised in two ways", "quantise it once, behind it")
        if not made:
            made[q, limits] = emit(q, *limits)
        return made[q, limits]

    return make


def commuting(x: Real, shape: Shape, layout: str, move: Callable[[Value], Value]) -> Real:
    """The result of an int8 operator that moves values without changing them: its operand takes the quantisation of its
    result."""
    made: dict[object, Value] = {}  # by the operand; the operator is emitted once for it

    def make(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        operand = x.make(q, lo, hi, reader)
        if operand.var not in made:
            made[operand.var] = move(operand)
        return made[operand.var]

    return replace(x.bare, layout=layout, shape=shape, make=make)


def quantisation_of(scale: np.ndarray | None, zero: np.ndarray | None, name: str) -> tuple[Quantisation, str]:
    """(per-tensor quantisation in int8 terms, dtype in the file); uint8 is int8 with the zero point 128 lower."""
    if scale is None or scale.size != 1 or (zero is not None and zero.size != 1):
        raise LayerError(name, "an activation needs one constant scale and zero point", "quantise it per tensor")
    dtype = "uint8" if zero is None else str(zero.dtype)
    if dtype not in ("int8", "uint8"):
        raise LayerError(name, f"activations in {dtype}", "quantise to int8 or uint8")
    value = float(np.asarray(scale, np.float32).reshape(-1)[0])
    if not SMALLEST_SCALE <= value <= LARGEST_SCALE:  # NaN, too
        raise LayerError(
            name, f"the scale {value:.3g} is no positive finite number ({SMALLEST_SCALE:g} to {LARGEST_SCALE:g})"
        )
    number = 0 if zero is None else int(zero.reshape(-1)[0])
    return Quantisation(value, number - 128 if dtype == "uint8" else number), dtype
