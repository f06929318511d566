"""Network pickle -> integer dialect. The format is in docs/FORMATS.md: first_conv, blocks of (pointwise1, depthwise,
pointwise2, residual), global average pool, classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

from planner.errors import ModelError
from planner.policy import Layer
from tvm_ext.dialect import call, shape_of, window_output_shape
from tvm_ext.function import FunctionBuilder, well_formed
from tvm_ext.importers import network_pickle
from tvm_ext.importers.conv_params import ConvParams, read_conv, safe_bias
from tvm_ext.importers.fields import integer, scale, take
from tvm_ext.model import NETWORK, Model, from_oihw

HEADS = ("float", "int8-slice")
LOGITS = ("raw", "dequantized")


def load(
    path: str | Path,
    input_size: int = 128,
    classes: int = 10,
    head: str = "float",
    logits: str | None = None,
) -> Model:
    """Read a network pickle for square images of `input_size` pixels.

    head: "float": a fresh float32 classifier, from zero, on the dequantised features; "int8-slice": the first `classes`
    rows of the published int8 classifier with zero bias. logits: "dequantized", or "raw" (softmax of the integers
    themselves, as the published reference trains its int8 head, and the default for that head).

    Raises ModelError that names the layer and the key."""
    if head not in HEADS:
        raise ModelError(f"unknown head '{head}'; use {' or '.join(HEADS)}")
    if input_size < 1 or classes < 2:
        raise ModelError(
            f"input size {input_size} and {classes} classes: need a size of 1 or more and 2 classes or more"
        )
    logits = logits or ("raw" if head == "int8-slice" else "dequantized")
    if logits not in LOGITS:
        raise ModelError(f"unknown logits '{logits}'; use {' or '.join(LOGITS)}")
    network = network_pickle.read(path)
    try:
        return _Importer(input_size).build(network, Path(path).stem, classes, head, logits)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


class _Importer:
    """Builds `main` layer by layer; each layer is checked against the shape and scale that reach it."""

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        self.builder = FunctionBuilder()
        self.params: dict[str, np.ndarray] = {}
        self.layers: list[Layer] = []
        self.scale, self.zero = 0.0, 0  # of the activation that the next layer reads

    def build(self, network: dict, name: str, classes: int, head: str, logits: str) -> Model:
        first = read_conv(take(network, "first_conv", dict, "first_conv"), "first_conv")
        if network.get("feature_mix") is not None:
            raise ModelError("feature_mix: not supported; export the network without it")
        shape = [1, self.input_size, self.input_size, first.weight.shape[1]]
        x = self.builder.param("x", shape, "int8")
        self.scale, self.zero = first.x_scale, first.x_zero
        y = self.conv(x, first, "first_conv")
        for index, block in enumerate(take(network, "blocks", list, "blocks")):
            y = self.block(y, block, f"blocks.{index}")
        y = self.builder.emit(call("qmean", [y], layer="global_pool"), "global_pool")
        classifier = take(network, "classifier", dict, "classifier")
        out, (logits_scale, logits_zero) = self.head(y, classifier, classes, head, logits)
        inputs = [x, *(v for n, v in self.builder.params.items() if n != "x")]
        module = well_formed(tvm.IRModule({NETWORK: self.builder.finish(NETWORK, [out], inputs)}))
        return Model(
            name=name,
            module=module,
            params=self.params,
            layers=tuple(self.layers),
            input_shape=tuple(shape),
            input_scale=first.x_scale,
            input_zero=first.x_zero,
            classes=classes,
            head=head,
            logits_scale=logits_scale,
            logits_zero=logits_zero,
        )

    def block(self, x: relax.Var, block: dict, where: str) -> relax.Var:
        if not isinstance(block, dict):
            raise ModelError(f"{where}: is a {type(block).__name__}, expected a dict of layers")
        if block.get("se") is not None:
            raise ModelError(f"{where}.se: squeeze-and-excitation is not supported; export the network without it")
        entering = (x, self.scale, self.zero)
        y = x
        for part in ("pointwise1", "depthwise", "pointwise2"):
            if block.get(part) is not None:
                y = self.conv(y, read_conv(take(block, part, dict, where), f"{where}.{part}"), f"{where}.{part}")
        if y is x:
            raise ModelError(f"{where}: holds no layer; expected pointwise1, depthwise or pointwise2")
        if block.get("residual") is None:
            return y
        return self.residual(entering, y, take(block, "residual", dict, where), f"{where}.residual")

    def residual(self, entering: tuple, y: relax.Var, entry: dict, where: str) -> relax.Var:
        x, x_scale, x_zero = entering
        params = take(entry, "params", dict, where)
        if shape_of(x) != shape_of(y):
            raise ModelError(f"{where}: adds {shape_of(x)} and {shape_of(y)}; the shapes must be equal")
        self.expect(
            scale(params, "x_scale", where), integer(params, "x_zero", -128, 127, where), x_scale, x_zero, where
        )
        attrs = {"a_scale": x_scale, "a_zero": x_zero, "b_scale": self.scale, "b_zero": self.zero}
        self.scale, self.zero = scale(params, "y_scale", where), integer(params, "y_zero", -128, 127, where)
        attrs |= {"out_scale": self.scale, "out_zero": self.zero, "lo": -128, "hi": 127, "layer": where}
        return self.builder.emit(call("qadd", [x, y], **attrs), where)

    def conv(self, x: relax.Var, conv: ConvParams, where: str, is_head: bool = False) -> relax.Var:
        channels = conv.weight.shape[0] if conv.depthwise else conv.weight.shape[1]
        if shape_of(x)[3] != channels:
            raise ModelError(f"{where}: takes {channels} channels, but {shape_of(x)[3]} reach it")
        self.expect(conv.x_scale, conv.x_zero, self.scale, self.zero, where)
        kernel = list(conv.weight.shape[2:])
        attrs = {
            "layer": where,
            "kernel": kernel,
            "stride": [conv.stride] * 2,
            "padding": [(kernel[0] - 1) // 2] * 4,
            "depthwise": conv.depthwise,
            "trained_channels": [],
            "slots": "",
            "in_zero": conv.x_zero,
            "out_zero": conv.y_zero,
            "lo": -128,
            "hi": 127,
            "in_scale": conv.x_scale,
            "out_scale": conv.y_scale,
        }
        if kernel[0] != kernel[1]:
            raise ModelError(f"{where}: kernel {kernel}: only square kernels")
        if min(window_output_shape(shape_of(x), channels, attrs)) < 1:
            raise ModelError(f"{where}: an input of {shape_of(x)[1:3]} is too small; choose a larger input size")
        weight = from_oihw(conv.weight, conv.depthwise)
        values = (weight, safe_bias(conv, attrs["lo"], attrs["hi"], where), conv.requantise)
        args = [self.param(f"{where}.{n}", v) for n, v in zip(("weight", "bias", "scale"), values, strict=True)]
        self.layers.append(Layer(where, conv.weight, conv.depthwise, is_head))
        self.scale, self.zero = conv.y_scale, conv.y_zero
        return self.builder.emit(call("qconv2d", [x, *args], **attrs), where)

    def head(self, x: relax.Var, entry: dict, classes: int, head: str, logits: str) -> tuple[relax.Var, tuple]:
        if head == "float":
            features = shape_of(x)[3]
            weight = self.param("classifier.weight", np.zeros((classes, features), np.float32))
            bias = self.param("classifier.bias", np.zeros(classes, np.float32))
            self.layers.append(Layer("classifier", np.zeros((classes, features, 1, 1), np.float32), False, True))
            attrs = {"in_scale": self.scale, "in_zero": self.zero, "layer": "classifier"}
            return self.builder.emit(call("dense", [x, weight, bias], **attrs), "classifier"), (1.0, 0)
        published = read_conv(entry, "classifier")
        if classes > len(published.bias):
            raise ModelError(
                f"classifier: has {len(published.bias)} classes, {classes} were asked for; use the float head"
            )
        sliced = replace(
            published,
            weight=published.weight[:classes],
            bias=np.zeros(classes, np.int32),
            w_scales=published.w_scales[:classes],
        )
        out = self.conv(x, sliced, "classifier", is_head=True)
        return out, ((1.0, 0) if logits == "raw" else (self.scale, self.zero))

    def param(self, name: str, value: np.ndarray) -> relax.Var:
        self.params[name] = np.ascontiguousarray(value)
        return self.builder.param(name, value.shape, str(value.dtype))

    @staticmethod
    def expect(its_scale: float, its_zero: int, scale_before: float, zero_before: int, where: str) -> None:
        """A layer's input must be quantised as the layer before wrote it."""
        if its_zero != zero_before or abs(its_scale - scale_before) > 1e-6 * scale_before:
            raise ModelError(
                f"{where}: reads scale {its_scale:.6g}, zero point {its_zero}; "
                f"the layer before writes {scale_before:.6g}, {zero_before}"
            )
