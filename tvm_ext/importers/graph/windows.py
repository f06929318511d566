"""The windows of convolutions and pools: ONNX's attributes in the order of the outer spatial axes, as (h, w) inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Window
from mcutrain.tvm_ext.importers.graph.context import bounded, integers
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import Real


def window_of(node: Node, x: Real, kernel: Sequence[int]) -> Window:
    """kernel: one number for each spatial axis of the outer tensor. The padding may reach farther at the end where
    ceil_mode asks for it: windows that begin inside count."""
    spatial = x.layout[2:]
    if len(kernel) != len(spatial):
        raise LayerError(node.name, f"a window of {len(kernel)} axes over an image of {len(spatial)}")
    bounded(node, "kernel_shape", kernel, 1)
    strides = bounded(node, "strides", _listed(node, "strides", len(kernel), 1), 1)
    dilations = _listed(node, "dilations", len(kernel), 1)
    if any(d != 1 and k != 1 for d, k in zip(dilations, kernel, strict=True)):
        raise LayerError(node.name, f"dilation {dilations}", "train it without dilation")
    sizes = [x.size(letter) for letter in spatial]
    begin, end = _padding(node, sizes, kernel, strides)
    if node.attrs.get("ceil_mode", 0):
        end = [_ceiled(*axis) for axis in zip(sizes, kernel, strides, begin, end, strict=True)]
    size, stride = _hw(spatial, kernel, 1), _hw(spatial, strides, 1)
    window = Window(size, stride, (*_hw(spatial, begin, 0), *_hw(spatial, end, 0)))
    check_room(node, x, window)
    return window


def has_ceiled(node: Node, x: Real, kernel: Sequence[int]) -> bool:
    """Tell whether ceil_mode adds windows."""
    if not node.attrs.get("ceil_mode", 0):
        return False
    plain = replace(node, attrs={**node.attrs, "ceil_mode": 0})
    return window_of(node, x, kernel) != window_of(plain, x, kernel)


def check_room(node: Node, x: Real, window: Window) -> None:
    (kh, kw), (top, left, bottom, right) = window.kernel, window.padding
    if x.shape[1] + top + bottom < kh or x.shape[2] + left + right < kw:
        raise LayerError(node.name, f"an input of {list(x.shape[1:3])} is too small for a window of {kh} x {kw}")


def output_shape(x: Real, window: Window, channels: int) -> tuple[int, int, int, int]:
    """Inside, (1, H, W, C)."""
    (kh, kw), (sy, sx), (top, left, bottom, right) = window.kernel, window.stride, window.padding
    height, width = (x.shape[1] + top + bottom - kh) // sy + 1, (x.shape[2] + left + right - kw) // sx + 1
    return (1, height, width, channels)


def _listed(node: Node, key: str, count: int, default: int) -> list[int]:
    values = integers(node, key) if key in node.attrs else []
    if not values:
        return [default] * count
    if len(values) != count:
        raise LayerError(node.name, f"{key} {values} for {count} axes", "export the model anew")
    return values


def _padding(node: Node, sizes: list[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[list, list]:
    auto = node.attrs.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = bounded(node, "pads", _listed(node, "pads", 2 * len(kernel), 0), 0)
        return list(pads[: len(kernel)]), list(pads[len(kernel) :])
    if auto == "VALID":
        return [0] * len(kernel), [0] * len(kernel)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise LayerError(node.name, f"auto_pad {auto!r}", "use explicit pads")
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _ceiled(size: int, kernel: int, stride: int, begin: int, end: int) -> int:
    """The padding behind that makes room for a last window, if that begins before the end."""
    count = -(-(size + begin + end - kernel) // stride) + 1
    if (count - 1) * stride >= size + begin:
        count -= 1
    return max(end, (count - 1) * stride + kernel - size - begin)


def _hw(spatial: str, values: Sequence[int], default: int) -> tuple[int, int]:
    by_letter = dict(zip(spatial, values, strict=True))
    return by_letter.get("H", default), by_letter.get("W", default)
