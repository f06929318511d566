"""Updates in place: SGD with quantisation-aware scaling and stochastic rounding (NUMERICS; Lin et al., NeurIPS 2022).

Training happens in the real-valued domain w_real = s_w * w: the step of the integer weight is rate * g / s_w^2, of the
bias rate * g / (s_w * s_x)^2, rounded stochastically from hash(seed, step, element). `scale` is s_x * s_w / s_y, so
that s_w = scale * s_y / s_x needs no array of its own. A channel whose s_w is (nearly) zero is dead and stays frozen.
"""

from __future__ import annotations

import numpy as np
from tvm.tirx.script import builder as T

from tvm_ext.kernels.build import (
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
    w_shape, g_shape = shapes[0], shapes[1]
    rows, row = g_shape[0], int(np.prod(g_shape[1:]))
    quantised = attrs["dtype"] != "float32"
    channels = list(attrs["channels"])
    is_blocked = len(g_shape) > 1  # a weight: its gradient may come block by block, in a ring
    block = channel_block(rows) if is_blocked else rows
    with function() as f:
        w = f.buffer("w", int(np.prod(w_shape)), attrs["dtype"])
        g = f.buffer("g", rows * row, "float32")
        scale = f.buffer("scale", shapes[2][0], "float32") if quantised else None
        settings = f.buffer("settings", 3, "uint32") if quantised else None
        rates, counter = f.buffer("rates", 2, "float32"), f.buffer("counter", 2, "uint32")
        velocity = f.buffer("velocity", rows * row, "float32") if attrs["momentum"] else None
        total = f.buffer("accumulator", rows * row, "float32") if attrs["every"] > 1 else None
        table = f.buffer("channels", rows, "int16") if channels else None
        y0, y1 = f.rows() if is_blocked else (0, 1)
        factor = local("factor", 1, "float32") if quantised else None

        def apply(gradient) -> None:
            """gradient(element of g, element of the whole) for each element of the blocks."""
            rate = let("rate", rates[attrs["rate"]])
            with loop("s", y0, y1) as s, loop("n", 0, block) as n:
                lies = (ring_row(s, attrs.get("ring_in", 0)) * block + n) * row
                o = s * block + n
                channel = let("channel", i32(table[o])) if channels else o
                if not quantised:
                    with loop("i", 0, row) as i:
                        step = _momentum(velocity, o * row + i, gradient(lies + i, o * row + i), attrs)
                        store(w, o * row + i, w[o * row + i] - rate * step)
                    return
                with when(scale[channel] > from_bits(settings[1])):
                    unit = let("unit", scale[channel] * from_bits(settings[0]))
                    store(factor, 0, rate / unit / unit)
                    with loop("i", 0, row) as i:
                        step = _momentum(velocity, o * row + i, gradient(lies + i, o * row + i), attrs)
                        _store_rounded(w, channel * row + i, step * factor[0], counter, settings, attrs["dtype"])

        if total is None:
            apply(lambda at, _: _number("g", g[at]))
        else:
            every = T.uint32(attrs["every"])
            with loop("s", y0, y1) as s, loop("i", 0, block * row) as i:
                whole, at = s * (block * row) + i, ring_row(s, attrs.get("ring_in", 0)) * (block * row) + i
                store(total, whole, total[whole] + _number("g", g[at]))
            with when(T.truncmod(counter[1], every) == every - T.uint32(1)):
                apply(lambda _, whole: _number("mean", total[whole] / f32(attrs["every"])))
                with loop("i", y0 * (block * row), y1 * (block * row)) as i:
                    store(total, i, T.float32(0))
    return Kernel(
        f.func,
        (np.asarray(channels, "int16"),) if channels else (),
        rows=rows // block if is_blocked else None,
        by_channel=((rows // block, (1,), False),) if is_blocked else (),
        inputs=len(shapes),
        outputs=0,
    )


def _store_rounded(w, target, step, counter, settings, dtype: str) -> None:
    """w[target] - step, rounded stochastically by hash(seed, step number, element)."""
    seed = T.bitwise_xor(counter[0], settings[2])
    random = T.call_pure_extern("uint32", "mcu_hash", seed, counter[1], T.Cast("uint32", target))
    store(w, target, T.call_pure_extern(dtype, EXTERN[dtype], w[target], step, random))


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
