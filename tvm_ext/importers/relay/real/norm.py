"""Relay's normalisations, padding and layout changes in Relax."""

from __future__ import annotations

import math
import re

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.real.context import LARGEST_CONSTANT, Context, Conversion
from mcutrain.tvm_ext.importers.relay.real.pool import spatial_axes
from mcutrain.tvm_ext.importers.relay.real.reduce import axes_of
from mcutrain.tvm_ext.importers.relay.real.values import Tensor, constant, dtype_of, shape_of

_AXIS = re.compile(r"([A-Z])|([1-9]\d{0,5})([a-z])")


def batch_norm(
    c: Context, x: Tensor, gamma, beta, mean, var, *, axis: int, epsilon: float, center, scale
) -> relax.Expr:
    """As at inference: a tuple of the result and the two statistics as they were."""
    return op.nn.batch_norm(x, gamma, beta, mean, var, c.axis(x, axis), epsilon, center, scale, 0.1, training=False)


def layer_norm(c: Context, x: Tensor, gamma, beta, *, axis: int, epsilon: float, center, scale) -> relax.Expr:
    return op.nn.layer_norm(x, gamma, beta, c.axis(x, axis), epsilon, center, scale)


def group_norm(c: Context, x: Tensor, gamma, beta, *, num_groups: int, axis, epsilon, center, scale) -> relax.Expr:
    axis = c.axis(x, axis)
    if num_groups < 1 or shape_of(x)[axis] % num_groups:
        raise c.fail(f"num_groups={num_groups} does not divide {shape_of(x)[axis]} channels")
    rest = [a for a in range(1, len(shape_of(x))) if a != axis]
    return op.nn.group_norm(x, gamma, beta, num_groups, axis, rest, epsilon, center, scale)


def instance_norm(c: Context, x: Tensor, gamma, beta, *, axis: int, epsilon: float, center, scale) -> relax.Expr:
    """Each channel of each sample on its own: a group norm with groups of one channel."""
    channels = shape_of(x)[c.axis(x, axis)]
    about = {"axis": axis, "epsilon": epsilon, "center": center, "scale": scale}
    return group_norm(c, x, gamma, beta, num_groups=channels, **about)


def l2_normalize(c: Context, x: Tensor, *, eps: float, axis: list | None) -> relax.Expr:
    """x / sqrt(max(sum of squares over the axes, eps))"""
    total = c(op.sum(c(op.multiply(x, x)), axes_of(c, x, axis, exclude=False), keepdims=True))
    return op.divide(x, c(op.sqrt(c(op.maximum(total, constant(eps, dtype_of(x)))))))


def lrn(c: Context, x: Tensor, *, size: int, axis: int, bias: float, alpha: float, beta: float) -> relax.Expr:
    """x / (bias + alpha / size * sum of squares over `size` neighbours along the axis) ** beta"""
    axis, dtype = c.axis(x, axis), dtype_of(x)
    if not 1 <= size <= 255 or size % 2 == 0:
        raise c.fail(f"size is {size}, expected an odd number from 1 to 255")
    around = [0] * (2 * len(shape_of(x)))
    around[2 * axis] = around[2 * axis + 1] = size // 2
    squares = c(op.nn.pad(c(op.multiply(x, x)), around))
    n = shape_of(x)[axis]
    parts = [c(op.strided_slice(squares, [axis], [i], [i + n])) for i in range(size)]
    total = parts[0]
    for part in parts[1:]:
        total = c(op.add(total, part))
    scaled = c(op.divide(c(op.multiply(total, constant(alpha, dtype))), constant(size, dtype)))
    base = c(op.add(scaled, constant(bias, dtype)))
    return op.divide(x, c(op.power(base, constant(beta, dtype))))


def pad(c: Context, x: Tensor, value: Tensor, *, pad_width: list, pad_mode: str) -> relax.Expr:
    """value fills in mode "constant"; "edge" and "reflect" repeat elements of x."""
    pairs = [c.pair(p, "pad_width", least=-(1 << 30)) for p in pad_width]
    if len(pairs) != len(shape_of(x)) or any(not 0 <= w < 1 << 16 for p in pairs for w in p):
        raise c.fail(
            f"pad_width {str(pad_width)[:60]} does not fit {list(shape_of(x))}; each is two numbers below 65536"
        )
    if pad_mode == "constant":
        fill = c.numbers(value, "the pad value").item()
        return op.nn.pad(x, [w for p in pairs for w in p], "constant", fill)
    if pad_mode not in ("edge", "reflect"):
        raise c.fail(f"pad_mode {pad_mode}: expected constant, edge or reflect")
    for axis, (before, after) in enumerate(pairs):
        n = shape_of(x)[axis]
        if (before or after) and (n == 0 or (pad_mode == "reflect" and max(before, after) >= n)):
            raise c.fail(f"cannot {pad_mode} {max(before, after)} beyond {n}")
        if before or after:
            x = c(op.take(x, constant(np.pad(np.arange(n), (before, after), pad_mode), "int32"), axis, mode="fast"))
    return x


def _subpixel(is_to_depth: bool) -> Conversion:
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
    """Between layouts such as NCHW, NHWC, NCHW8c, where 8c are the low digits of C."""
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
    """(letter, factor) of each axis; the factor is 0 for a whole axis."""
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


TABLE: dict[str, Conversion] = {
    "nn.batch_norm": batch_norm,
    "nn.layer_norm": layer_norm,
    "nn.group_norm": group_norm,
    "nn.instance_norm": instance_norm,
    "nn.l2_normalize": l2_normalize,
    "nn.lrn": lrn,
    "nn.pad": pad,
    "nn.space_to_depth": _subpixel(is_to_depth=True),
    "nn.depth_to_space": _subpixel(is_to_depth=False),
    "layout_transform": layout_transform,
}
