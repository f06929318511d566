"""The builder that every frontend makes a network with: one method a layer, checked against the shape and the
quantisation that reach it. Whoever reads a file format calls these in the network's order and ends with `heads.finish`.

Activations are `Value`s: (1, H, W, C), int8 with a quantisation or float32 without one. A vector of n features is
(1, 1, 1, n). Flattening needs no op: a fully connected layer behind it becomes a convolution whose window is the whole
input, and its weight is read in the order in which the format flattens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
from tvm import relax

from mcutrain.planner.errors import LayerError
from mcutrain.planner.policy import Layer
from mcutrain.tvm_ext.dialect import call, window_output_shape
from mcutrain.tvm_ext.fixed_point import multipliers
from mcutrain.tvm_ext.function import FunctionBuilder
from mcutrain.tvm_ext.importers.base.conv_params import ConvParams, FloatConv, safe_bias
from mcutrain.tvm_ext.importers.base.values import (
    Order,
    Quantisation,
    Value,
    Window,
    are_alike,
    dtype_attr,
    expect,
    real,
    steps_of,
)
from mcutrain.tvm_ext.model import from_oihw
from mcutrain.tvm_ext.ops.activation import FUNCTIONS

RESERVED = ("x", "label", "loss", "softmax", "counter", "learning_rate")
LONGEST_NAME = 80
LARGEST_INDEXED_WINDOW = 256  # a maximum's place in its window is kept in one byte


class NetworkBuilder:
    """Builds `main` layer by layer. Every method raises ModelError naming the layer. A name that is taken gets a number
    behind it."""

    def __init__(self, input_shape: Sequence[int], quantisation: Quantisation | None) -> None:
        """input_shape: [1, H, W, C]; quantisation: None for a float32 network."""
        self.builder = FunctionBuilder()
        self.params: dict[str, np.ndarray] = {}
        self.layers: list[Layer] = []
        self._names: set[str] = set(RESERVED)
        dtype = "float32" if quantisation is None else "int8"
        self.input = Value(self.builder.param("x", input_shape, dtype), quantisation)

    # ------------------------------------------------------------------ layers with parameters
    def conv2d(self, name: str, x: Value, conv: ConvParams) -> Value:
        """int8 convolution, dense over channels or depthwise."""
        name, quantisation = self.unique(name), steps_of(x, name)
        expect(conv.x_scale, conv.x_zero, quantisation.scale, quantisation.zero, name)
        attrs = self._window(name, x, conv)
        attrs |= {"in_zero": conv.x_zero, "out_zero": conv.y_zero, "lo": conv.lo, "hi": conv.hi}
        attrs |= {"in_scale": conv.x_scale, "out_scale": conv.y_scale, "rounding": conv.rounding}
        values = {
            "weight": from_oihw(conv.weight, conv.depthwise),
            "bias": safe_bias(conv, conv.lo, conv.hi, name),
            "scale": conv.requantise,
        }
        if conv.rounding != "even":
            values["multipliers"] = multipliers(conv.x_scale, conv.w_scales, conv.y_scale)
        args = [self.param(f"{name}.{n}", v) for n, v in values.items()]
        self.layers.append(Layer(name, conv.weight, conv.depthwise))
        return self._call("qconv2d", [x], args, Quantisation(conv.y_scale, conv.y_zero), name, attrs)

    def float_conv2d(self, name: str, x: Value, conv: FloatConv) -> Value:
        """float32 convolution, dense over channels or depthwise."""
        name, x = self.unique(name), real(x, name)
        attrs = self._window(name, x, conv) | {"lo": conv.lo, "hi": conv.hi}
        values = {"weight": from_oihw(conv.weight, conv.depthwise), "bias": conv.bias}
        args = [self.param(f"{name}.{n}", v) for n, v in values.items()]
        self.layers.append(Layer(name, conv.weight, conv.depthwise))
        return self._call("fconv2d", [x], args, None, name, attrs)

    def dense(self, name: str, x: Value, layer: ConvParams | FloatConv) -> Value:
        """Fully connected: `layer.weight` is [O, features], in the order in which `x` was flattened."""
        _, height, width, channels = x.shape
        weight = layer.weight
        if weight.ndim != 2 or weight.shape[1] != x.features:
            raise LayerError(name, f"the weight {weight.shape} does not fit the {x.features} features that reach it")
        if x.order == "HWC":
            weight = weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        elif x.order == "CHW" or height * width == 1:
            weight = weight.reshape(-1, channels, height, width)
        else:
            raise LayerError(name, f"acts on the last axis of {x.shape}", "flatten its input first")
        layer = replace(layer, weight=np.ascontiguousarray(weight), stride=(1, 1), padding=(0, 0, 0, 0))
        x = replace(x, order=None)
        return self.conv2d(name, x, layer) if isinstance(layer, ConvParams) else self.float_conv2d(name, x, layer)

    # ------------------------------------------------------------------ layers without
    def add(self, name: str, a: Value, b: Value, out: Quantisation | None, rounding: str = "even", lo: int = -128,
            hi: int = 127) -> Value:  # fmt: skip
        """Sum of two activations of one shape; int8 or (out None) float32."""
        if a.shape != b.shape:
            raise LayerError(name, f"adds {a.shape} and {b.shape}", "the shapes must be equal")
        if out is None:
            return self._emit("fadd", [real(a, name), real(b, name)], None, name, {})
        qa, qb = steps_of(a, name), steps_of(b, name)
        attrs: dict[str, object] = {"a_scale": qa.scale, "a_zero": qa.zero, "b_scale": qb.scale, "b_zero": qb.zero}
        attrs |= {"lo": lo, "hi": hi, "out_scale": out.scale, "out_zero": out.zero, "rounding": rounding}
        return self._emit("qadd", [a, b], out, name, attrs)

    def mean(self, name: str, x: Value) -> Value:
        """int8 mean over all positions, halves to even; scale and zero point pass through."""
        return self._emit("qmean", [x], steps_of(x, name), name, {})

    def avg_pool(self, name: str, x: Value, window: Window, out: Quantisation | None = None, rounding: str = "even",
                 counts_padding: bool = False, lo: int = -128, hi: int = 127) -> Value:  # fmt: skip
        """Average over a window. int8: requantised to `out`; where scale and zero point do not change, the integers
        themselves are averaged (rounding "even", "tflite" (halves away from zero), "truncate"). float32: out None."""
        attrs = self._window(name, x, window) | {"counts_padding": counts_padding}
        if x.quantisation is None:
            return self._emit("favg_pool", [x], None, name, attrs)
        own, out = x.quantisation, out or x.quantisation
        attrs |= {"in_scale": own.scale, "in_zero": own.zero, "out_scale": out.scale, "out_zero": out.zero}
        return self._emit("qavg_pool", [x], out, name, attrs | {"rounding": rounding, "lo": lo, "hi": hi})

    def max_pool(self, name: str, x: Value, window: Window) -> Value:
        """Largest of a window; padding never wins."""
        if window.kernel[0] * window.kernel[1] > LARGEST_INDEXED_WINDOW:
            raise LayerError(name, f"a maximum over {window.kernel}", f"at most {LARGEST_INDEXED_WINDOW} positions")
        return self._emit("max_pool", [x], x.quantisation, name, self._window(name, x, window) | dtype_attr(x))

    def concat(self, name: str, values: Sequence[Value]) -> Value:
        """Along the channels; all of one quantisation (requantise them before)."""
        if len({(tuple(v.shape[:3]), v.order) for v in values}) != 1 or not all(
            are_alike(values[0], v) for v in values
        ):
            raise LayerError(name, "joins values that differ in more than their channels", "requantise or resize them")
        return self._emit("concat", list(values), values[0].quantisation, name, dtype_attr(values[0]))

    def pad(self, name: str, x: Value, padding: tuple[int, int, int, int]) -> Value:
        """Borders of real 0: top, left, bottom, right."""
        value = float(x.quantisation.zero) if x.quantisation else 0.0
        return self._emit("pad", [x], x.quantisation, name, {"padding": list(padding), "value": value, **dtype_attr(x)})

    def requantise(self, name: str, x: Value, out: Quantisation, rounding: str = "even", lo: int = -128,
                   hi: int = 127) -> Value:  # fmt: skip
        """int8 of one quantisation as int8 of another; with lo and hi alone, a clamp."""
        own = steps_of(x, name)
        attrs = {"in_scale": own.scale, "in_zero": own.zero, "out_scale": out.scale, "out_zero": out.zero}
        return self._emit("requantise", [x], out, name, attrs | {"rounding": rounding, "lo": lo, "hi": hi})

    def clip(self, name: str, x: Value, lo: float, hi: float) -> Value:
        """float32 clamp, as ReLU and ReLU6."""
        return self._emit("fclip", [real(x, name)], None, name, {"lo": float(lo), "hi": float(hi)})

    def lookup(self, name: str, x: Value, table: np.ndarray, slope: np.ndarray, out: Quantisation) -> Value:
        """An int8 function, element by element: y = table[x + 128].

        table: int8 [256]. slope: float32 [256], steps of y by steps of x, 0 where the table is clamped; the backward
        pass multiplies by slope[x + 128] (ops.activation.tabulate makes both from a function of real numbers)."""
        name = self.unique(name)
        steps_of(x, name)
        if [str(table.dtype), str(slope.dtype)] != ["int8", "float32"] or not table.shape == slope.shape == (256,):
            raise LayerError(name, "a table is int8 [256] and its slope float32 [256]")
        params = [self.param(f"{name}.table", table), self.param(f"{name}.slope", slope)]
        return self._call("lookup", [x], params, out, name, {})

    def activation(self, name: str, x: Value, function: str, **parameters: float) -> Value:
        """A float32 function, element by element; function and parameters are those of ops.activation.FUNCTIONS."""
        known = FUNCTIONS[function].defaults if function in FUNCTIONS else {}
        if function not in FUNCTIONS or not set(parameters) <= set(known):
            asked = ", ".join([function, *parameters])
            raise LayerError(name, f"no function {asked}", f"there are {', '.join(FUNCTIONS)}")
        attrs = {"function": function, **{k: float(v) for k, v in {**known, **parameters}.items()}}
        return self._emit("factivation", [real(x, name)], None, name, attrs)

    def prelu(self, name: str, x: Value, slopes: np.ndarray, out: Quantisation | None = None,
              slope_quantisation: Quantisation | None = None, rounding: str = "even", lo: int = -128,
              hi: int = 127) -> Value:  # fmt: skip
        """y = x, times the channel's slope where x is negative. slopes: [C], or [1] for all channels; they stay frozen.

        int8: `out` is given, and slopes are float32 real numbers (rounding "even"), or int8 with a quantisation of
        their own (rounding "tflite", the arithmetic of TFLite's reference). float32: out None, slopes float32."""
        name = self.unique(name)
        if slopes.shape not in ((1,), (x.shape[3],)):
            raise LayerError(name, f"has {slopes.shape} slopes", f"one, or one for each of the {x.shape[3]} channels")
        slopes = np.broadcast_to(slopes, x.shape[3:])
        if out is None:
            params = [self.param(f"{name}.slopes", slopes.astype(np.float32))]
            return self._call("fprelu", [real(x, name)], params, None, name, {})
        own, steps = steps_of(x, name), None
        if (rounding == "tflite") != (slope_quantisation is not None):
            raise LayerError(name, "slopes have a quantisation of their own for rounding tflite, and only for it")
        if slope_quantisation is not None:  # in float32, as TFLite forms its factors
            x_scale, y_scale, a_scale = map(np.float32, (own.scale, out.scale, slope_quantisation.scale))
            steps = slopes.astype(np.int16) - np.int16(slope_quantisation.zero)
            positive, negative = float(x_scale / y_scale), float(x_scale * a_scale / y_scale)
            below = negative * steps.astype(np.float64)
        else:
            positive, negative, below = own.scale / out.scale, 0.0, own.scale * slopes.astype(np.float64) / out.scale
        params = [self.param(f"{name}.scale", below.astype(np.float32))]
        params += [] if steps is None else [self.param(f"{name}.slopes", steps)]
        ends = [(127 - own.zero) * positive, *((-128 - own.zero) * below), 0.0]
        can_clamp = min(ends) + out.zero < lo or max(ends) + out.zero > hi
        attrs = {"in_zero": own.zero, "out_zero": out.zero, "lo": lo, "hi": hi, "rounding": rounding}
        attrs |= {"positive": positive, "negative": negative, "can_clamp": bool(can_clamp)}
        return self._call("qprelu", [x], params, out, name, attrs)

    def flatten(self, x: Value, order: Order) -> Value:
        """The same values, counted as a vector in this order."""
        return replace(x, order=x.order or order)

    def stand_in(self, shape: Sequence[int], quantisation: Quantisation | None) -> Value:
        """An activation that nothing computes, [1, H, W, C]: what the layers behind a refused one are judged on. A
        network that holds it is never finished."""
        dtype = "float32" if quantisation is None else "int8"
        return Value(relax.Var("refused", relax.TensorType(list(shape), dtype)), quantisation)

    # ------------------------------------------------------------------ shared
    def param(self, name: str, value: np.ndarray) -> relax.Var:
        if name in self.params:
            raise LayerError(name, "two layers have this name", "rename one of them")
        self.params[name] = np.ascontiguousarray(value)
        return self.builder.param(name, value.shape, str(value.dtype))

    def unique(self, name: str) -> str:
        """The layer's name in the characters that reports, policies and files can carry, told from the others."""
        base = candidate = re.sub(r"[^\w./-]+", "_", name, flags=re.ASCII)[:LONGEST_NAME] or "layer"
        numbers = count(2)
        while candidate in self._names:
            candidate = f"{base}_{next(numbers)}"
        self._names.add(candidate)
        return candidate

    def _emit(self, op: str, values: list[Value], out: Quantisation | None, name: str, attrs: dict) -> Value:
        return self._call(op, values, [], out, self.unique(name), attrs)

    def _call(
        self, op: str, values: list[Value], params: list, out: Quantisation | None, name: str, attrs: dict
    ) -> Value:
        expr = call(op, [*(v.var for v in values), *params], **attrs, layer=name)
        return Value(self.builder.emit(expr, name), out, values[0].order)

    def _window(self, name: str, x: Value, window: Window | ConvParams | FloatConv) -> dict:
        """The attributes of a window that slides over x, which must have room for it."""
        if isinstance(window, Window):
            attrs = window.attrs
        else:
            taken = window.weight.shape[0] if window.depthwise else window.weight.shape[1]
            if x.shape[3] != taken:
                raise LayerError(name, f"takes {taken} channels, but {x.shape[3]} reach it")
            attrs = Window(window.weight.shape[2:], window.stride, window.padding).attrs
            attrs |= {"depthwise": window.depthwise, "trained_channels": [], "slots": ""}
        if min(window_output_shape(x.shape, 1, attrs)) < 1:
            raise LayerError(name, f"an input of {x.shape[1:3]} is too small", "choose a larger input size")
        return attrs
