"""Gradient of a convolution over channels, of any window, with respect to its input: a transposed convolution that
gathers, so that each element is summed in a register and stored once. Weights are of the attribute `dtype`, "int8"
where it is missing.

    g_x[iy, ix, c] = sum over the output positions (oy, ox) that saw (iy, ix), then the filters o, of
                     g[oy, ox, o] * w[o, iy + top - oy * sy, ix + left - ox * sx, c]       oy, ox, o ascending

Columns that are a stride apart meet the same taps: a block of them shares each weight."""

from __future__ import annotations

from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.conv.operands import channel_tables, split_channels
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, largest_divisor
from mcutrain.tvm_ext.ops.tir import Index, as_float, floor_div, fma, function, i32, let, local, loop, ring_row, store

SUMS = 8  # accumulators of a block of pixels x channels: they stay in registers


def window(position: Index, taps: int, stride: int, padding: int, extent: int) -> tuple:
    """[first, last) of the output positions whose window covers the input `position`: o * stride + k - padding."""
    first = T.max(T.int32(0), floor_div(position + padding - taps + stride, stride, taps))
    last = T.min(T.int32(extent), floor_div(position + padding + stride, stride, 0))
    return first, last


def transposed_conv(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """g (1, Ho, Wo, O), w[, w_trained] [O, kh, kw, n] -> float32 (1, H, W, I), with attrs shape [1, H, W, I]."""
    _, out_h, out_w, out_c = shapes[0]
    _, in_h, in_w, in_c = attrs["shape"]
    (kh, kw), (sy, sx), (top, left, *_) = attrs["kernel"], attrs["stride"], attrs["padding"]
    groups, dtype = split_channels(attrs, in_c), attrs.get("dtype", "int8")
    positions, macs = out_h * out_w, out_h * out_w * out_c * kh * kw * in_c
    if len(groups) == 1 and out_w == 1 and kw == in_w and not left:
        # the columns of a row lie in g_x as in w: one column of that many channels
        in_w, kw, sx, in_c, groups = 1, 1, 1, in_w * in_c, [list(range(in_w * in_c))]
    with function() as f:
        g = f.buffer("g", positions * out_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * kh * kw * len(n), dtype) for i, n in enumerate(groups)]
        tables = [f.buffer(f"channels{i}", len(n), "int16") for i, n in enumerate(groups)] if len(groups) > 1 else None
        out = f.buffer("g_x", in_h * in_w * in_c, "float32")
        y0, y1 = f.rows()
        acc = local("acc", SUMS, "float32")

        def columns(iy: tirx.Expr, q: tirx.Expr, r: int, taps: int, pixels: int) -> None:
            """The columns (q + p) * sx + r - left, which meet `taps` taps of a row; those of several are inside."""
            seen = (
                (T.max(q - taps + 1, T.int32(0)), T.min(q + 1, T.int32(out_w)))
                if pixels == 1
                else (q - taps + 1, q + 1)
            )
            first = (ring_row(iy, variant.ring_out) * in_w + (q * sx + r - left)) * in_c
            for index, group in enumerate(groups):
                n = len(group)
                lanes = largest_divisor(n, tuple(c for c in (8, 4, 2, 1) if c * pixels <= SUMS))
                with loop("cb", 0, n // lanes) as cb:
                    for i in range(pixels * lanes):
                        store(acc, i, T.float32(0))
                    with loop("oy", *window(iy, kh, sy, top, out_h)) as oy, loop("ox", *seen) as ox:
                        tap = (iy + top - oy * sy) * kw + ((q - ox) * sx + r)
                        source = (ring_row(oy, variant.ring_in) * out_w + ox) * out_c
                        with loop("o", 0, out_c) as o:
                            at = (o * (kh * kw) + tap) * n + cb * lanes
                            wv = [let("wv", as_float(weights[index][at + j])) for j in range(lanes)]
                            for p in range(pixels):
                                gv = let("gv", g[source + p * out_c + o])
                                for j in range(lanes):
                                    store(acc, p * lanes + j, fma(gv, wv[j], acc[p * lanes + j]))
                    for j in range(lanes):
                        c = cb * lanes + j
                        channel = c if tables is None else i32(tables[index][c])
                        for p in range(pixels):
                            store(out, first + p * sx * in_c + channel, acc[p * lanes + j])

        with loop("iy", y0, y1) as iy:
            for r in range(sx):
                taps = max(0, -(-(kw - r) // sx))
                for start, count, pixels in _spans(r, taps, in_w, out_w, sx, left):
                    with loop("b", 0, count) as b:
                        columns(iy, start + b * pixels, r, taps, pixels)
    return Kernel(
        f.func,
        channel_tables(groups),
        macs=macs,
        rows=in_h,
        reads=((0, out_h, sy, kh, top, True),),
        inputs=len(shapes),
    )


def _spans(r: int, taps: int, in_w: int, out_w: int, stride: int, left: int) -> list[tuple[int, int, int]]:
    """(first q, blocks, columns of a block) of the columns q * stride + r - left of [0, in_w): blocks of several where
    all `taps` of each are inside the output, single columns before and behind them."""
    begin, end = (-(-(n + left - r) // stride) for n in (0, in_w))
    first = max(begin, taps - 1)
    inside = min(end, out_w) - first
    pixels = 4 if inside >= 4 else 2 if inside >= 2 else 1
    if pixels == 1:
        return [(begin, end - begin, 1)]
    behind = first + inside // pixels * pixels
    return [
        s for s in ((begin, first - begin, 1), (first, inside // pixels, pixels), (behind, end - behind, 1)) if s[1]
    ]
