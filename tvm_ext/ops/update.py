"""Updates in place: SGD with quantisation-aware scaling and stochastic rounding (NUMERICS; Lin et al., NeurIPS 2022).

Training happens in the real-valued domain w_real = s_w * w: the step of the integer weight is rate * g / s_w^2, of the
bias rate * g / (s_w * s_x)^2, rounded stochastically from hash(seed, step, element). `scale` is s_x * s_w / s_y, so
that s_w = scale * s_y / s_x needs no array of its own. A channel whose s_w is (nearly) zero is dead and stays frozen.
The loop over blocks, momentum and accumulation stand here; the integer step is in runtime_c/kernels/mcu_sgd.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.expr import same_type
from mcutrain.tvm_ext.ops.kernel import PLAIN, Attrs, Kernel, Shapes, Variant, channel_block
from mcutrain.tvm_ext.ops.record import OpRecord
from mcutrain.tvm_ext.ops.tir import (
    Frame,
    Index,
    at,
    call_kernel,
    f32,
    finite,
    function,
    i32,
    let,
    loop,
    ring_row,
    store,
    when,
)

MICRO_KERNELS = {"int8": "mcu_sgd_i8", "int32": "mcu_sgd_i32"}


def sgd(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
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
        args, ring = _arguments(f, shapes, attrs), variant.ring_in
        blocks = f.rows() if is_blocked else (0, 1)
        if args.total is None:
            _apply(args, blocks, (block, row), attrs, args.g, ring)
        else:
            every = T.uint32(attrs["every"])
            with loop("s", *blocks) as s, loop("i", 0, block * row) as i:
                fresh = _number("g", args.g[ring_row(s, ring) * (block * row) + i])
                store(args.total, s * (block * row) + i, args.total[s * (block * row) + i] + fresh)
            with when(T.truncmod(args.counter[1], every) == every - T.uint32(1)):
                with loop("i", blocks[0] * (block * row), blocks[1] * (block * row)) as i:
                    store(args.total, i, args.total[i] / f32(attrs["every"]))
                _apply(args, blocks, (block, row), attrs, args.total, 0)
                with loop("i", blocks[0] * (block * row), blocks[1] * (block * row)) as i:
                    store(args.total, i, T.float32(0))
    return Kernel(
        f.func,
        (np.asarray(channels, "int16"),) if channels else (),
        rows=rows // block if is_blocked else None,
        by_channel=((rows // block, (1,), False),) if is_blocked else (),
        inputs=len(shapes),
        outputs=0,
        mutates=(0, *range(4 if attrs["dtype"] == "float32" else 6, len(shapes))),  # w, and what is behind the counter,
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


def _arguments(f: Frame, shapes: Shapes, attrs: Attrs) -> _Arguments:
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


def _apply(
    args: _Arguments, blocks: tuple, size: tuple[int, int], attrs: Attrs, gradient: tirx.Buffer, ring: int
) -> None:
    """One step of every element in these blocks. size: rows of a block, elements of a row."""
    block, row = size
    rate = let("rate", args.rates[attrs["rate"]])
    with loop("s", *blocks) as s:
        begin = s * (block * row)
        steps, first = gradient, ring_row(s, ring) * (block * row)
        if args.velocity is not None:
            with loop("i", 0, block * row) as i:
                moved = args.velocity[begin + i] * f32(attrs["momentum"]) + _number("g", gradient[first + i])
                store(args.velocity, begin + i, _number("v", moved))
            steps, first = args.velocity, begin
        if args.scale is None:
            with loop("i", 0, block * row) as i:
                store(args.w, begin + i, args.w[begin + i] - rate * _number("step", steps[first + i]))
        elif args.channels is None:
            _call(args, attrs, rate, at(steps, first), s * block, block, row)
        else:
            with loop("n", 0, block) as n:
                _call(args, attrs, rate, at(steps, first + n * row), i32(args.channels[s * block + n]), 1, row)


def _call(
    args: _Arguments, attrs: Attrs, rate: tirx.Expr, steps: tirx.Expr, first: Index, channels: int, row: int
) -> None:
    """The micro-kernel on `channels` channels from `first` on."""
    arrays = [at(args.w, 0), steps, at(args.scale, 0), at(args.settings, 0), at(args.counter, 0)]
    call_kernel(MICRO_KERNELS[attrs["dtype"]], *arrays, rate, first, channels, row)


def _number(name: str, value: tirx.Expr) -> tirx.Expr:
    """A gradient that is not finite costs one step of one element and leaves no trace."""
    return finite(let(name, value))


def next_step(shapes: Shapes, attrs: Attrs, variant: Variant = PLAIN) -> Kernel:
    """counter[1] += 1: the random streams of the next step are new."""
    with function() as f:
        counter = f.buffer("counter", 2, "uint32")
        store(counter, 1, counter[1] + T.uint32(1))
    return Kernel(f.func, inputs=1, outputs=0, mutates=(0,))


# the result is the new state, in the place of the old
OPS = (
    # w, g, [scale, settings,] rates, counter[, velocity][, accumulator]
    OpRecord("sgd", same_type, sgd, "update", gradient_operand=1),
    OpRecord("next_step", same_type, next_step, "update"),  # counter
)
