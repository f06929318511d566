"""Updates in place: SGD with quantisation-aware scaling and stochastic rounding (NUMERICS; Lin et al., NeurIPS 2022).

Training happens in the real-valued domain w_real = s_w * w: the step of the integer weight is rate * g / s_w^2, of the
bias rate * g / (s_w * s_x)^2, rounded stochastically from hash(seed, step, element). `scale` is s_x * s_w / s_y, so
that s_w = scale * s_y / s_x needs no array of its own. A channel whose s_w is (nearly) zero is dead and stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
    Frame,
    Kernel,
    channel_block,
    f32,
    finite,
    from_bits,
    function,
    i32,
    let,
    local,
    loop,
    ring_row,
    store,
    when,
)

EXTERN = {"int8": "mcu_update_i8", "int32": "mcu_update_i32"}


def sgd(shapes: list[list[int]], attrs: dict) -> Kernel:
    """w, g, [scale, settings,] rates [2], counter [2] (seed, step)[, velocity][, accumulator], where w, velocity and
    accumulator change in place.

    settings: uint32 [3], the bits of two floats and the tensor's own salt of the random stream. unit: real value of one
    integer step over scale (s_y / s_x for a weight, s_y for a bias); dead: channels with scale <= dead are frozen.
    attrs: dtype of w; rate (index into rates); channels = the trained rows of w, [] for all; momentum; every = samples
    to accumulate. The update of a weight takes blocks [y0, y1) of its gradient's rows, of channel_block() each."""
    g_shape, channels = shapes[1], list(attrs["channels"])
    rows, row = g_shape[0], int(np.prod(g_shape[1:]))
    is_blocked = len(g_shape) > 1  # a weight: its gradient may come block by block, in a ring
    block = channel_block(rows) if is_blocked else rows
    with function() as f:
        args, ring = _arguments(f, shapes, attrs), attrs.get("ring_in", 0)
        blocks = f.rows() if is_blocked else (0, 1)

        def fresh(s: object, i: object) -> tirx.Expr:
            return _number("g", args.g[ring_row(s, ring) * (block * row) + i])

        def mean(s: object, i: object) -> tirx.Expr:
            return _number("mean", args.total[s * (block * row) + i] / f32(attrs["every"]))

        if args.total is None:
            _apply(args, blocks, block, row, attrs, fresh)
        else:
            every = T.uint32(attrs["every"])
            with loop("s", *blocks) as s, loop("i", 0, block * row) as i:
                store(args.total, s * (block * row) + i, args.total[s * (block * row) + i] + fresh(s, i))
            with when(T.truncmod(args.counter[1], every) == every - T.uint32(1)):
                _apply(args, blocks, block, row, attrs, mean)
                with loop("i", blocks[0] * (block * row), blocks[1] * (block * row)) as i:
                    store(args.total, i, T.float32(0))
    return Kernel(
        f.func,
        (np.asarray(channels, "int16"),) if channels else (),
        rows=rows // block if is_blocked else None,
        by_channel=((rows // block, (1,), False),) if is_blocked else (),
        inputs=len(shapes),
        outputs=0,
    )


@dataclass(frozen=True)
class _Arguments:
    """The kernel's buffers; None for those that this update does without."""

    w: tirx.Buffer
    g: tirx.Buffer
    scale: tirx.Buffer | None
    settings: tirx.Buffer | None
    rates: tirx.Buffer
    counter: tirx.Buffer
    velocity: tirx.Buffer | None
    total: tirx.Buffer | None
    channels: tirx.Buffer | None


def _arguments(f: Frame, shapes: list[list[int]], attrs: dict) -> _Arguments:
    quantised, count = attrs["dtype"] != "float32", int(np.prod(shapes[1]))
    return _Arguments(
        f.buffer("w", int(np.prod(shapes[0])), attrs["dtype"]),
        f.buffer("g", count, "float32"),
        f.buffer("scale", shapes[2][0], "float32") if quantised else None,
        f.buffer("settings", 3, "uint32") if quantised else None,
        f.buffer("rates", 2, "float32"),
        f.buffer("counter", 2, "uint32"),
        f.buffer("velocity", count, "float32") if attrs["momentum"] else None,
        f.buffer("accumulator", count, "float32") if attrs["every"] > 1 else None,
        f.buffer("channels", shapes[1][0], "int16") if attrs["channels"] else None,
    )


def _apply(args: _Arguments, blocks: tuple, block: int, row: int, attrs: dict, gradient: Callable) -> None:
    """One step of every element in these blocks of rows; gradient(block, element in it)."""
    factor = local("factor", 1, "float32") if args.scale is not None else None
    rate = let("rate", args.rates[attrs["rate"]])
    with loop("s", *blocks) as s, loop("n", 0, block) as n:
        o = s * block + n
        channel = o if args.channels is None else let("channel", i32(args.channels[o]))
        if factor is None:
            with loop("i", 0, row) as i:
                step = _momentum(args.velocity, o * row + i, gradient(s, n * row + i), attrs)
                store(args.w, o * row + i, args.w[o * row + i] - rate * step)
            return
        with when(args.scale[channel] > from_bits(args.settings[1])):
            unit = let("unit", args.scale[channel] * from_bits(args.settings[0]))
            store(factor, 0, rate / unit / unit)
            with loop("i", 0, row) as i:
                step = _momentum(args.velocity, o * row + i, gradient(s, n * row + i), attrs)
                _store_rounded(args, channel * row + i, step * factor[0], attrs["dtype"])


def _store_rounded(args: _Arguments, target, step, dtype: str) -> None:
    """w[target] - step, rounded stochastically by hash(seed, step number, element)."""
    seed = T.bitwise_xor(args.counter[0], args.settings[2])
    random = T.call_pure_extern("uint32", "mcu_hash", seed, args.counter[1], T.Cast("uint32", target))
    store(args.w, target, T.call_pure_extern(dtype, EXTERN[dtype], args.w[target], step, random))


def _number(name, value):
    """A gradient that is not finite costs one step of one element and leaves no trace."""
    return finite(let(name, value))


def _momentum(velocity, index, gradient, attrs):
    """v = momentum * v + g, and v is the step; without momentum the gradient is."""
    if velocity is None:
        return gradient
    store(velocity, index, _number("v", velocity[index] * f32(attrs["momentum"]) + gradient))
    return velocity[index]


def next_step(shapes: list[list[int]], attrs: dict) -> Kernel:
    """counter[1] += 1: the random streams of the next step are new."""
    with function() as f:
        counter = f.buffer("counter", 2, "uint32")
        store(counter, 1, counter[1] + T.uint32(1))
    return Kernel(f.func, inputs=1, outputs=0)
