"""The pointwise input gradient over blocks of channels, float32: two kernels that stand on either side of a depthwise
convolution, so that the hidden tensors of an inverted bottleneck lie in memory a block of channels at a time.

    g_x[p, c] = sum over o of g[p, o] * w[o, c], o ascending, as the whole kernel sums it.

Weights are of the attribute `dtype`, "int8" where it is missing."""

from __future__ import annotations

from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Kernel,
    as_float,
    channel_block,
    fma,
    function,
    i32,
    largest_divisor,
    let,
    local,
    loop,
    pixel_index,
    store,
    when,
)
from tvm_ext.kernels.conv import channel_tables, split_channels


def forms(shapes: list[list[int]], attrs: dict) -> tuple:
    """Kernel.by_channel of a pointwise input gradient: blocks of its output from all of g (where no channel table lies
    between), or all of its output as a sum over blocks of g, each with its own filters."""
    out_c, in_c = shapes[0][3], attrs["shape"][3]
    takes = (out_c // channel_block(out_c), tuple(range(len(shapes))), True)
    if len(shapes) > 2:
        return (takes,)
    return ((in_c // channel_block(in_c), (), False), takes)


def pointwise_blocks(shapes: list[list[int]], attrs: dict) -> Kernel:
    """g (1, H, W, O), w[, w_trained] -> (1, H, W, I): the output in a ring of blocks, or a sum over blocks of g."""
    return _made(shapes, attrs) if attrs.get("ring_out", 0) else _taken(shapes, attrs)


def _made(shapes: list[list[int]], attrs: dict) -> Kernel:
    """Blocks [y0, y1) of the output's channels, each from all of g."""
    _, height, width, out_c = shapes[0]
    in_c, positions = attrs["shape"][3], height * width
    block, pixels = channel_block(in_c), largest_divisor(positions, (4, 2, 1))
    lanes = largest_divisor(block, (2, 1))
    with function() as f:
        g = f.buffer("g", positions * out_c, "float32")
        w = f.buffer("w0", out_c * in_c, attrs.get("dtype", "int8"))
        out = f.buffer("g_x", positions * in_c, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pixels * lanes, "float32")
        with loop("s", y0, y1) as s, loop("p", 0, positions // pixels) as p, loop("b", 0, block // lanes) as b:
            for i in range(pixels * lanes):
                store(acc, i, T.float32(0))
            with loop("o", 0, out_c) as o:
                wv = [let("wv", as_float(w[o * in_c + s * block + b * lanes + j])) for j in range(lanes)]
                for i in range(pixels):
                    gv = let("gv", g[(p * pixels + i) * out_c + o])
                    for j in range(lanes):
                        store(acc, i * lanes + j, fma(gv, wv[j], acc[i * lanes + j]))
            for i in range(pixels):
                for j in range(lanes):
                    at = pixel_index(p * pixels + i, s, b * lanes + j, attrs["shape"], attrs["ring_out"])
                    store(out, at, acc[i * lanes + j])
    macs = positions * out_c * in_c
    return Kernel(f.func, macs=macs, rows=in_c // block, by_channel=forms(shapes, attrs), inputs=2)


def _taken(shapes: list[list[int]], attrs: dict) -> Kernel:
    """The sum goes on with blocks [y0, y1) of g's channels; it begins where y0 == 0."""
    _, height, width, out_c = shapes[0]
    in_c, positions, ring = attrs["shape"][3], height * width, attrs.get("ring_in", 0)
    block, pixels = channel_block(out_c), largest_divisor(positions, (4, 2, 1))
    groups, dtype = split_channels(attrs, in_c), attrs.get("dtype", "int8")
    with function() as f:
        g = f.buffer("g", positions * out_c, "float32")
        weights = [f.buffer(f"w{i}", out_c * len(n), dtype) for i, n in enumerate(groups)]
        tables = [f.buffer(f"channels{i}", len(n), "int16") for i, n in enumerate(groups)] if len(groups) > 1 else None
        out = f.buffer("g_x", positions * in_c, "float32")
        y0, y1 = f.rows()
        acc = local("acc", pixels * 2, "float32")
        with when(y0 == 0), loop("i", 0, positions * in_c) as i:
            store(out, i, T.float32(0))
        with loop("s", y0, y1) as s, loop("p", 0, positions // pixels) as p:
            for index, group in enumerate(groups):
                n = len(group)
                lanes = largest_divisor(n, (2, 1))
                with loop("cb", 0, n // lanes) as cb:
                    c = [cb * lanes + j for j in range(lanes)]
                    channel = c if tables is None else [let("channel", i32(tables[index][j])) for j in c]
                    target = [(p * pixels + i) * in_c + j for i in range(pixels) for j in channel]
                    for i, at in enumerate(target):
                        store(acc, i, out[at])
                    with loop("o", 0, block) as o:
                        wv = [let("wv", as_float(weights[index][(s * block + o) * n + j])) for j in c]
                        for i in range(pixels):
                            gv = let("gv", g[pixel_index(p * pixels + i, s, o, shapes[0], ring)])
                            for j in range(lanes):
                                store(acc, i * lanes + j, fma(gv, wv[j], acc[i * lanes + j]))
                    for i, at in enumerate(target):
                        store(out, at, acc[i])
    return Kernel(
        f.func,
        channel_tables(groups),
        macs=positions * out_c * in_c,
        rows=out_c // block,
        accumulates=True,
        by_channel=forms(shapes, attrs),
        inputs=len(shapes),
    )
