"""Relay's pooling and resizing in Relax."""

from __future__ import annotations

from collections.abc import Callable

from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.real.context import Context, Conversion
from mcutrain.tvm_ext.importers.relay.real.conv import check_layouts
from mcutrain.tvm_ext.importers.relay.real.reduce import mean_over
from mcutrain.tvm_ext.importers.relay.real.values import Tensor, dtype_of, is_integer, shape_of

LARGEST_ADAPTIVE = 64
_MODES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")


def spatial_axes(c: Context, x: Tensor, layout: str, out_layout: str = "") -> list[int]:
    """Where H and W are."""
    check_layouts(c, layout, out_layout)
    if len(shape_of(x)) != 4:
        raise c.fail(f"data of shape {list(shape_of(x))}: expected four dimensions ({layout})")
    return [layout.index("H"), layout.index("W")]


def max_pool2d(c: Context, x: Tensor, **a: object) -> relax.Expr:
    return op.nn.max_pool2d(x, *_window(c, x, a), layout=a["layout"])


def avg_pool2d(c: Context, x: Tensor, *, count_include_pad: bool, **a: object) -> relax.Expr:
    """Integers are divided with truncation."""
    window = _window(c, x, a)
    return _in_int64(c, x, lambda wide: op.nn.avg_pool2d(wide, *window, count_include_pad, layout=a["layout"]))


def _in_int64(c: Context, x: Tensor, average: Callable[[Tensor], relax.Expr]) -> relax.Expr:
    """An average of integers: Relax's pools count in int64, and give int64 whatever their type says."""
    if not is_integer(x):
        return average(x)
    return op.astype(c(average(c.cast(x, "int64"))), dtype_of(x))


def _window(c: Context, x: Tensor, a: dict) -> tuple:
    axes, size = spatial_axes(c, x, a["layout"], a["out_layout"]), c.pair(a["pool_size"], "pool_size")
    dilation, padding = c.pair(a["dilation"], "dilation"), c.padding(a["padding"])
    for i, axis in enumerate(axes):
        room = shape_of(x)[axis] + padding[i] + padding[i + 2]
        if (size[i] - 1) * dilation[i] + 1 > room:
            raise c.fail(f"a window of {list(size)} does not fit {list(shape_of(x))} with padding {list(padding)}")
    return size, c.pair(a["strides"], "strides"), padding, dilation, a["ceil_mode"]


def global_avg_pool2d(c: Context, x: Tensor, *, layout: str, out_layout: str) -> relax.Expr:
    return mean_over(c, x, spatial_axes(c, x, layout, out_layout), keepdims=True)


def global_max_pool2d(c: Context, x: Tensor, *, layout: str, out_layout: str) -> relax.Expr:
    return op.max(x, spatial_axes(c, x, layout, out_layout), keepdims=True)


def _adaptive(over: Callable[[Context, Tensor, int], relax.Expr]) -> Conversion:
    def convert(c: Context, x: Tensor, *, output_size: list, layout: str, out_layout: str) -> relax.Expr:
        """Output i covers the inputs from floor(i * n / m) to ceil((i + 1) * n / m); rows first, then columns."""
        axes = spatial_axes(c, x, layout, out_layout)
        sizes = c.pair(output_size, "output_size") if output_size else [shape_of(x)[a] for a in axes]
        for axis, m in zip(axes, sizes, strict=True):
            n = shape_of(x)[axis]
            if m > LARGEST_ADAPTIVE:
                raise c.fail(f"output_size {m} is more than {LARGEST_ADAPTIVE}; use a pooling of fixed size")
            bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            parts = [over(c, c(op.strided_slice(x, [axis], [low], [high])), axis) for low, high in bounds]
            joined = op.concat([c(p) for p in parts], axis)
            x = c(joined) if axis == axes[0] else x
        return joined

    return convert


def adaptive_avg_pool2d(c: Context, x: Tensor, *, output_size: list, layout: str, out_layout: str) -> relax.Expr:
    spatial_axes(c, x, layout, out_layout)
    size = c.pair(output_size, "output_size") if output_size else None
    return _in_int64(c, x, lambda wide: op.nn.adaptive_avg_pool2d(wide, size, layout))


def resize2d(c: Context, x: Tensor, *, size: list, layout: str, method: str, **a: object) -> relax.Expr:
    """roi, the cubic attributes and extrapolation belong to methods that are refused here."""
    spatial_axes(c, x, layout)
    mode, rounding = a["coordinate_transformation_mode"], a["rounding_method"]
    if method not in ("linear", "nearest_neighbor") or mode not in _MODES:
        raise c.fail(f"method {method}, {mode}: supported are linear and nearest_neighbor with {', '.join(_MODES)}")
    if not rounding and method == "nearest_neighbor":
        rounding = "round" if mode == "align_corners" else "floor"
    if rounding == "round" and method == "nearest_neighbor":
        raise c.fail("nearest_neighbor with rounding 'round' rounds halves differently here; use floor or ceil")
    target = c.pair(size, "size")
    if max(target) > 1 << 14:
        raise c.fail(f"size {list(target)} is more than {1 << 14}")
    y = op.image.resize2d(
        x,
        target,
        layout=layout,
        method=method,
        coordinate_transformation_mode=mode,
        rounding_method=rounding or "round",
        out_dtype=a["out_dtype"] or dtype_of(x),
    )
    return y


def upsampling(
    c: Context, x: Tensor, *, scale_h: float, scale_w: float, layout: str, method: str, align_corners: bool
) -> relax.Expr:
    axes = spatial_axes(c, x, layout)
    if not (0 < scale_h <= 1024 and 0 < scale_w <= 1024):
        raise c.fail(f"scales {scale_h:g} and {scale_w:g}: expected numbers from 0 to 1024")
    size = [round(shape_of(x)[axis] * scale) for axis, scale in zip(axes, (scale_h, scale_w), strict=True)]
    return resize2d(
        c,
        x,
        size=size,
        layout=layout,
        method={"bilinear": "linear"}.get(method, method),
        coordinate_transformation_mode="align_corners" if align_corners else "asymmetric",
        rounding_method="",
        out_dtype=None,
    )


TABLE: dict[str, Conversion] = {
    "nn.max_pool2d": max_pool2d,
    "nn.avg_pool2d": avg_pool2d,
    "nn.global_avg_pool2d": global_avg_pool2d,
    "nn.global_max_pool2d": global_max_pool2d,
    "nn.adaptive_avg_pool2d": adaptive_avg_pool2d,
    "nn.adaptive_max_pool2d": _adaptive(lambda c, part, axis: op.max(part, [axis], keepdims=True)),
    "image.resize2d": resize2d,
    "nn.upsampling": upsampling,
}
