"""Relay's resizing, the moves between space and depth, and between layouts."""

from __future__ import annotations

import math
import re

from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.operators.base.context import LARGEST_CONSTANT, Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import (
    DTYPE,
    LAYOUT,
    LIST_OR_NONE,
    LISTED,
    NO,
    integer,
    real,
    reference,
    string,
)
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, dtype_of, shape_of
from mcutrain.tvm_ext.importers.relay.operators.pool import spatial_axes

MODES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
RESIZE = {
    "size": LISTED,
    "roi": LIST_OR_NONE,
    "layout": string("NCHW"),
    "method": string("linear"),
    "coordinate_transformation_mode": string("half_pixel"),
    "rounding_method": string("round"),
    "cubic_alpha": real(-0.5),
    "cubic_exclude": integer(0),
    "extrapolation_value": real(0.0),
    "out_dtype": DTYPE,
}
UPSAMPLING = {
    "scale_h": real(),
    "scale_w": real(),
    "layout": LAYOUT,
    "method": reference("string", "nearest_neighbor"),
    "align_corners": NO,
}
SUBPIXEL = {"block_size": integer(1), "layout": string("NCHW"), "mode": string("DCR")}
_AXIS = re.compile(r"([A-Z])|([1-9]\d{0,5})([a-z])")


def resize2d(
    c: Context,
    x: Tensor,
    *,
    size: list[int],
    layout: str,
    method: str,
    coordinate_transformation_mode: str,
    rounding_method: str,
    out_dtype: str | None,
    **_: object,
) -> relax.Expr:
    """Resize the image; roi, the cubic attributes and extrapolation belong to methods that are refused here."""
    spatial_axes(c, x, layout)
    mode, rounding = coordinate_transformation_mode, rounding_method
    if method not in ("linear", "nearest_neighbor") or mode not in MODES:
        raise c.fail(f"method {method}, {mode}: supported are linear and nearest_neighbor with {', '.join(MODES)}")
    if not rounding and method == "nearest_neighbor":
        rounding = "round" if mode == "align_corners" else "floor"
    if rounding == "round" and method == "nearest_neighbor":
        raise c.fail("nearest_neighbor with rounding 'round' rounds halves differently here; use floor or ceil")
    target = c.pair(size, "size")
    if max(target) > 1 << 14:
        raise c.fail(f"size {list(target)} is more than {1 << 14}")
    return op.image.resize2d(
        x,
        target,
        layout=layout,
        method=method,
        coordinate_transformation_mode=mode,
        rounding_method=rounding or "round",
        out_dtype=out_dtype or dtype_of(x),
    )


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


def _subpixel(is_to_depth: bool) -> Conversion:
    """Make the conversion of space to depth, or of depth to space."""

    def convert(c: Context, x: Tensor, *, block_size: int, layout: str, mode: str) -> relax.Expr:
        spatial_axes(c, x, layout)
        x = c(op.permute_dims(x, [0, 3, 1, 2])) if layout == "NHWC" else x
        n, d, h, w = shape_of(x)
        b = block_size
        divisible = (h, w) if is_to_depth else (d,)
        if not 1 <= b <= 4096 or any(v % (b if is_to_depth else b * b) for v in divisible):
            raise c.fail(f"block_size {b} does not divide {list(shape_of(x))} (NCHW)")
        if is_to_depth:
            split, order, shape = (n, d, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4), (n, d * b * b, h // b, w // b)
        else:
            is_dcr, deep = mode != "CRD" and mode != "CDR", d // (b * b)
            split = (n, b, b, deep, h, w) if is_dcr else (n, deep, b, b, h, w)
            order, shape = ((0, 3, 4, 1, 5, 2) if is_dcr else (0, 1, 4, 2, 5, 3)), (n, deep, h * b, w * b)
        y = op.reshape(c(op.permute_dims(c(op.reshape(x, split)), list(order))), shape)
        return op.permute_dims(c(y), [0, 2, 3, 1]) if layout == "NHWC" else y

    return convert


def layout_transform(c: Context, x: Tensor, *, src_layout: str, dst_layout: str) -> relax.Expr:
    """Move between layouts such as NCHW, NHWC, NCHW8c, where 8c are the low digits of C."""
    source, target = _axes(c, src_layout), _axes(c, dst_layout)
    letters = [letter for letter, _ in source if letter.isupper()]
    if sorted(letters) != sorted(letter for letter, _ in target if letter.isupper()) or len(source) != len(shape_of(x)):
        raise c.fail(f"{src_layout} -> {dst_layout} does not fit data {list(shape_of(x))}")
    sizes = dict(zip((letter for letter, _ in source), shape_of(x), strict=True))
    if any(factor and sizes[letter] != factor for letter, factor in source):
        raise c.fail(f"data {list(shape_of(x))} is not in {src_layout}")
    names = [letter for letter, _ in source]
    order = [names.index(part) for u in letters for part in (u, u.lower()) if part in names]
    whole = {u: sizes[u] * sizes.get(u.lower(), 1) for u in letters}
    x = c(op.reshape(c(op.permute_dims(x, order)), [whole[u] for u in letters]))
    factors = {letter.upper(): factor for letter, factor in target if factor}
    if any(whole[u] % f for u, f in factors.items()):
        raise c.fail(f"{dst_layout} does not divide {list(whole.values())} ({''.join(letters)})")
    parts = [(p, s) for u in letters for p, s in _split(u, whole[u], factors.get(u))]
    x = c(op.reshape(x, [s for _, s in parts]))
    return op.permute_dims(x, [[p for p, _ in parts].index(letter) for letter, _ in target])


def _split(letter: str, size: int, factor: int | None) -> list[tuple[str, int]]:
    return [(letter, size // factor), (letter.lower(), factor)] if factor else [(letter, size)]


def _axes(c: Context, layout: str) -> list[tuple[str, int]]:
    """Read (letter, factor) of each axis; the factor is 0 for a whole axis."""
    found = [(m[1] or m[3], int(m[2] or 0)) for m in _AXIS.finditer(layout)]
    letters = [letter for letter, _ in found]
    is_whole = "".join(f"{factor or ''}{letter}" for letter, factor in found) == layout
    if (
        not is_whole
        or len(set(letters)) != len(letters)
        or any(p.islower() and p.upper() not in letters for p in letters)
    ):
        raise c.fail(f"layout {layout[:40]!r}: expected letters such as NCHW or NCHW8c")
    if math.prod(factor or 1 for _, factor in found) > LARGEST_CONSTANT:
        raise c.fail(f"layout {layout[:40]!r}: its factors are too large")
    return found


OPERATORS = (
    RelayOperator("image.resize2d", to_relax=resize2d, attributes=RESIZE),
    RelayOperator("nn.upsampling", to_relax=upsampling, attributes=UPSAMPLING),
    RelayOperator("nn.space_to_depth", to_relax=_subpixel(is_to_depth=True), attributes=SUBPIXEL),
    RelayOperator("nn.depth_to_space", to_relax=_subpixel(is_to_depth=False), attributes=SUBPIXEL),
    RelayOperator(
        "layout_transform", to_relax=layout_transform, attributes={"src_layout": string(), "dst_layout": string()}
    ),
)
