"""The calls of a plan's streams, over kernels that address what lies inside a stream as rings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcutrain.planner.model import Stream
from mcutrain.planner.stream.rewrite import members
from mcutrain.tvm_ext.lower.graph import Call, Lowered
from mcutrain.tvm_ext.lower.pool import KernelPool


def with_rings(lowered: Lowered, streams: Sequence[Stream]) -> Lowered:
    """The calls of the streams over kernels that address their tensors inside a stream as rings of rows."""
    if not streams:
        return lowered
    pool = KernelPool(lowered.kernels, lowered.kernel_titles)
    stream_of = {name: stream for stream in streams for name in stream.ops}
    planned = (lowered.train_step or lowered.infer).calls
    # `infer` runs as the forward part of the training step does
    forward = {c.layer: stream_of.get(c.op.name) for c in planned if c.phase == "forward"}

    def streamed(call: Call) -> Call:
        stream = forward.get(call.layer) if call.phase == "forward" else stream_of.get(call.op.name)
        return _streamed(pool, call, stream)

    lowered = lowered.over(streamed)
    used = sorted({c.kernel for step in lowered.steps for c in step.calls})
    number = {old: new for new, old in enumerate(used)}
    kernels, titles = tuple(pool.kernels[k] for k in used), tuple(pool.titles[k] for k in used)
    lowered = replace(lowered, kernels=kernels, kernel_titles=titles)
    return lowered.over(lambda c: replace(c, kernel=number[c.kernel]))


def _streamed(pool: KernelPool, call: Call, stream: Stream | None) -> Call:
    """The call over the variant of its kernel for this stream: its axis, and the rings of what it reads and makes."""
    if stream is None:
        return call
    rings, (op,) = dict(stream.rings), members({stream.ops[0]: call.op}, replace(stream, ops=stream.ops[:1]))
    taken = [rings.get(access.tensor, 0) for access in op.reads]
    while taken and not taken[-1]:
        taken.pop()  # what is whole is not named: equal variants share a kernel
    made = rings.get(op.outputs[0], 0) if op.outputs else 0
    variant = replace(call.variant, rings_in=tuple(taken), ring_out=made, axis=stream.axis)
    if variant == call.variant:
        return replace(call, op=op)
    kernel = pool.get(call.kind, list(map(list, call.shapes)), call.dtypes, call.attrs, variant)
    return replace(call, op=op, kernel=kernel, variant=variant)
