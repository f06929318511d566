"""Relay's operators in plain numpy, for the oracle: convolution, pooling, normalisation, shapes."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def pads(padding):
    """Return ((top, bottom), (left, right))."""
    p = padding * (4 // len(padding)) if len(padding) != 4 else padding
    return (p[0], p[2]), (p[1], p[3])


def conv2d(x, w, *, strides, padding, dilation, groups, data_layout, kernel_layout, out_dtype=None, **_):
    """Sum in float64, which holds every integer sum here exactly."""
    dtype = np.dtype(out_dtype or x.dtype)
    x = x.astype(np.float64).transpose([data_layout.index(d) for d in "NCHW"])
    w = w.astype(np.float64).transpose([kernel_layout.index(d) for d in "OIHW"])
    if groups > 1 and w.shape[0] == groups and w.shape[1] > 1:
        w = w.reshape(-1, 1, *w.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), *pads(padding)))
    kh, kw = w.shape[2:]
    spread = (dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1)
    windows = sliding_window_view(x, spread, (2, 3))[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]
    parts = []
    for wg, xg in zip(np.split(w, groups), np.split(windows, groups, 1), strict=True):
        n, _, oh, ow = xg.shape[:4]
        columns = xg.transpose(0, 2, 3, 1, 4, 5).reshape(n, oh * ow, -1)
        parts.append((columns @ wg.reshape(len(wg), -1).T).reshape(n, oh, ow, -1))
    y = np.concatenate(parts, -1)
    return (y if data_layout == "NHWC" else y.transpose(0, 3, 1, 2)).astype(dtype)


def conv2d_transpose(x, w, *, strides, padding, output_padding, groups, **_):
    """Each input element adds its multiple of the kernel to the output (NCHW, IOHW)."""
    (top, bottom), (left, right) = pads(padding)
    n, c, h, width = x.shape
    kh, kw = w.shape[2:]
    full = np.zeros((n, groups * w.shape[1], (h - 1) * strides[0] + kh, (width - 1) * strides[1] + kw))
    for i in range(h):
        for j in range(width):
            y, z = i * strides[0], j * strides[1]
            for g, (xg, wg) in enumerate(zip(np.split(x[:, :, i, j], groups, 1), np.split(w, groups), strict=True)):
                o = slice(g * w.shape[1], (g + 1) * w.shape[1])
                full[:, o, y : y + kh, z : z + kw] += np.einsum("nc,cohw->nohw", xg, wg)
    full = np.pad(full, ((0, 0), (0, 0), (0, output_padding[0]), (0, output_padding[1])))
    return full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right].astype(x.dtype)


def pool(x, how, *, pool_size, strides, padding, dilation, layout, ceil_mode, count_include_pad=False, **_):
    x = x.transpose([layout.index(d) for d in "NCHW"])
    width = list(pads(padding))
    for i in (0, 1):
        rest = (x.shape[2 + i] + sum(width[i]) - (pool_size[i] - 1) * dilation[i] - 1) % strides[i]
        if ceil_mode and rest:
            width[i] = (width[i][0], width[i][1] + strides[i] - rest)
    spread = [(s - 1) * d + 1 for s, d in zip(pool_size, dilation, strict=True)]

    def windows(a, fill):
        a = np.pad(a, ((0, 0), (0, 0), *width), constant_values=fill)
        return sliding_window_view(a, spread, (2, 3))[..., :: dilation[0], :: dilation[1]][
            :, :, :: strides[0], :: strides[1]
        ]

    if how == "max":
        low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        y = windows(x, low).max((-2, -1))
    else:
        total = windows(x.astype(np.float64), 0).sum((-2, -1))
        inside = np.ones(x.shape)
        if count_include_pad:
            (top, bottom), (left, right) = pads(padding)
            inside = np.pad(inside, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
            counted = np.pad(inside, [(0, 0), (0, 0), (0, width[0][1] - bottom), (0, width[1][1] - right)])
            count = sliding_window_view(counted, spread, (2, 3))[..., :: dilation[0], :: dilation[1]]
            count = count[:, :, :: strides[0], :: strides[1]].sum((-2, -1))
        else:
            count = windows(inside, 0).sum((-2, -1))
        y = divide(total, count, x.dtype)
    return y.transpose([("NCHW").index(d) for d in layout])


def divide(a, b, dtype=None):
    """Divide; quotients of integers are truncated."""
    dtype = np.dtype(dtype or a.dtype)
    return (np.trunc(a / b) if dtype.kind in "iu" else a / b).astype(dtype)


def adaptive(x, function, *, output_size, layout, **_):
    h, w = layout.index("H"), layout.index("W")
    for axis, m in ((h, output_size[0]), (w, output_size[1])):
        n = x.shape[axis]
        cuts = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        x = np.concatenate([function(x.take(range(a, b), axis), axis, keepdims=True) for a, b in cuts], axis)
    return x


def axes_of(x, axis, exclude):
    if axis is None:
        return tuple(range(x.ndim))
    given = {a % x.ndim for a in axis}
    return tuple(a for a in range(x.ndim) if (a in given) != exclude)


def reduction(function):
    return lambda x, *, axis, keepdims, exclude: np.asarray(
        function(x, axis=axes_of(x, axis, exclude), keepdims=keepdims)
    ).astype(x.dtype)


def mean(x, *, axis, keepdims, exclude):
    axes = axes_of(x, axis, exclude)
    return divide(x.sum(axes, np.float64, keepdims=keepdims), math.prod(x.shape[a] for a in axes), x.dtype)


def global_pool(function):
    def pooled(x, *, layout, **_):
        axes = (layout.index("H"), layout.index("W"))
        if function == "max":
            return x.max(axes, keepdims=True)
        return divide(x.sum(axes, np.float64, keepdims=True), x.shape[axes[0]] * x.shape[axes[1]], x.dtype)

    return pooled


def softmax(x, *, axis, log=False):
    z = x.astype(np.float64) - x.max(axis, keepdims=True)
    total = np.exp(z).sum(axis, keepdims=True)
    return (z - np.log(total) if log else np.exp(z) / total).astype(x.dtype)


def channelwise(v, axis, rank):
    return v.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


def norm(x, gamma, beta, axes, channel, eps):
    y = (x - x.mean(axes, keepdims=True, dtype=np.float64)) / np.sqrt(
        x.var(axes, keepdims=True, dtype=np.float64) + eps
    )
    return y if channel is None else (y * channelwise(gamma, channel, x.ndim) + channelwise(beta, channel, x.ndim))


def group_norm(x, gamma, beta, *, num_groups, axis, epsilon, **_):
    assert axis == 1
    grouped = x.reshape(x.shape[0], num_groups, -1)
    y = norm(grouped, None, None, (2,), None, epsilon).reshape(x.shape)
    return (y * channelwise(gamma, 1, x.ndim) + channelwise(beta, 1, x.ndim)).astype(x.dtype)


def lrn(x, *, size, axis, bias, alpha, beta):
    squares, total = np.square(x.astype(np.float64)), np.zeros(x.shape)
    n = x.shape[axis]
    for i in range(n):
        near = squares.take(range(max(0, i - size // 2), min(n, i + size // 2 + 1)), axis).sum(axis)
        total[tuple(i if a == axis else slice(None) for a in range(x.ndim))] = near
    return (x / (bias + alpha / size * total) ** beta).astype(x.dtype)


def resize_linear(x, *, size, layout, **_):
    """Interpolate bilinearly between half pixels, clamped at the borders."""
    for axis, m in zip((layout.index("H"), layout.index("W")), size, strict=True):
        n = x.shape[axis]
        place = (np.arange(m) + 0.5) * n / m - 0.5
        low = np.floor(place).astype(int)
        part = channelwise(place - low, axis, x.ndim)
        a, b = (x.take(np.clip(low + k, 0, n - 1), axis) for k in (0, 1))
        x = a * (1 - part) + b * part
    return x.astype(np.float32)


def reshape(x, *, newshape, **_):
    """Work out codes of -2 and below by hand; 0 keeps a dimension."""
    out, left, codes = [], list(x.shape), list(newshape)
    while codes:
        code = codes.pop(0)
        if code == -2:
            out, left = out + left, []
        elif code == -3:
            out.append(left.pop(0) * left.pop(0))
        elif code == -4:
            a, b, whole = codes.pop(0), codes.pop(0), left.pop(0)
            out += [whole // b if a == -1 else a, whole // a if b == -1 else b]
        else:
            old = left.pop(0) if left else None
            out.append(old if code == 0 else code)
    return x.reshape(out)


def strided_slice(x, *, begin, end, strides, slice_mode, axes):
    axes = axes or range(len(begin))
    cut = [slice(None)] * x.ndim
    for k, axis in enumerate(axes):
        stop = end[k] if slice_mode == "end" else (None if end[k] == -1 else begin[k] + end[k])
        step = 1 if slice_mode == "size" or not strides else strides[k % len(strides)]
        cut[axis] = slice(begin[k], stop, step)
    return x[tuple(cut)]


def layout_transform(x, *, src_layout, dst_layout):
    assert (src_layout, dst_layout) == ("NCHW", "NCHW8c")
    n, c, h, w = x.shape
    return x.reshape(n, c // 8, 8, h, w).transpose(0, 1, 3, 4, 2)


def subpixel(x, *, block_size, to_depth, mode="DCR", **_):
    b, (n, c, h, w) = block_size, x.shape
    if to_depth:
        return np.concatenate([x[:, :, i::b, j::b] for i in range(b) for j in range(b)], 1)
    y, deep = np.empty((n, c // (b * b), h * b, w * b), x.dtype), c // (b * b)
    for i in range(b):
        for j in range(b):
            y[:, :, i::b, j::b] = x[:, (i * b + j) * deep : (i * b + j + 1) * deep]
    return y


def split(x, *, indices_or_sections, axis):
    return tuple(np.split(x, indices_or_sections, axis))


def one_hot(indices, on, off, *, depth, axis, dtype):
    y = np.where(indices[..., None] == np.arange(depth), on, off).astype(dtype)
    return np.moveaxis(y, -1, axis)


def dense(x, w, *, units=None, out_dtype=None):
    return matmul(x, w, transpose_b=True, out_dtype=out_dtype)


def matmul(a, b, *, transpose_a=False, transpose_b=False, out_dtype=None, **_):
    dtype = np.dtype(out_dtype or a.dtype)
    a, b = (v.astype(np.float64 if dtype.kind == "f" else np.int64) for v in (a, b))
    a, b = (np.swapaxes(v, -1, -2) if t else v for v, t in ((a, transpose_a), (b, transpose_b)))
    return (a @ b).astype(dtype)


def layer_norm(x, gamma, beta, *, axis, epsilon, **_):
    return norm(x, gamma, beta, (axis,), axis, epsilon).astype(x.dtype)


def instance_norm(x, gamma, beta, *, axis, epsilon, **_):
    rest = tuple(a for a in range(1, x.ndim) if a != axis)
    return norm(x, gamma, beta, rest, axis, epsilon).astype(x.dtype)
