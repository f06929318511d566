"""An op's kernel as the planner and the emitter know it, and the variants that it can be asked for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx

from mcutrain.planner.model import Axis

ITEM_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "uint32": 4, "float32": 4}
Shapes = list[list[int]]  # of the arguments of a call
Attrs = dict[str, Any]  # of a call of the dialect, as plain Python values


@dataclass(frozen=True)
class Variant:
    """One way for a kernel to run. All variants of a kernel give the same results.

    rings_in: the rows of memory (over channels: the blocks) that each operand of `Kernel.reads` has, in their order; 0,
        and what is missing behind, for a whole tensor. ring_out: the same of the first output.
    axis: what the kernel's y0, y1 count: rows, or blocks of channel_block() channels.
    keeps: whether the op's companion (a clamp's mask, the places of maxima) is a second output.
    wide_weights: whether constant weights lie as int16 pairs (conv.dense.wide).
    """

    rings_in: tuple[int, ...] = ()
    ring_out: int = 0
    axis: Axis = "rows"
    keeps: bool = False
    wide_weights: bool = False

    def ring_of(self, operand: int) -> int:
        """The ring of an operand by its place in `Kernel.reads`, 0 for a whole tensor."""
        return self.rings_in[operand] if operand < len(self.rings_in) else 0

    @property
    def ring_in(self) -> int:
        """The ring of the first operand that is read in steps."""
        return self.ring_of(0)

    @property
    def over_channels(self) -> bool:
        return self.axis == "channels"


PLAIN = Variant()


@dataclass(frozen=True)
class Kernel:
    """A PrimFunc over flat buffers and what the planner must know of it.

    func: parameters are inputs, tables, outputs, scratch, then `y0, y1` where `rows` is not None: it computes output
        rows [y0, y1).
    tables: constant arrays (channel lists), passed behind the inputs; they lie in flash.
    scratch: bytes of the one scratch buffer, 0 for none.
    overlaps: (input index, output index, distance in bytes): the output may lie over the input if
        offset(input) - offset(output) >= distance, for the call over all rows.
    macs: multiply-accumulates of the call over all rows.
    reads: (input index, its rows, stride, window, padding[, transposed]) of each activation that is read row by row
        (planner.model.RowAccess). accumulates: the output is a sum over the rows, begun by the call with y0 == 0.
    by_channel: (blocks, input indices read block by block, accumulates) of each way to run over blocks of channels
        (planner.model.ChannelForm). In the variant for it y0, y1 are blocks of channel_block() channels, and a tensor
        with a ring lies there as [ring][positions][block].
    wide: input indices of constant weights that are passed in the layout of conv.dense.wide().
    mutates: input indices of the state that the kernel changes in place.
    """

    func: tirx.PrimFunc
    tables: tuple[np.ndarray, ...] = ()
    scratch: int = 0
    overlaps: tuple[tuple[int, int, int], ...] = ()
    macs: int = 0
    rows: int | None = None
    reads: tuple[tuple[int, ...], ...] = ()
    accumulates: bool = False
    by_channel: tuple[tuple[int, tuple[int, ...], bool], ...] = ()
    inputs: int = 0
    outputs: int = 1
    wide: tuple[int, ...] = ()
    mutates: tuple[int, ...] = ()


def largest_divisor(value: int, candidates: tuple[int, ...]) -> int:
    """The first of `candidates` (largest first, ending in 1) that divides `value`: a block without a remainder."""
    return next(c for c in candidates if value % c == 0)


def channel_block(channels: int) -> int:
    """Channels (of a weight gradient: filters) that one step of a run over channels takes. Fewer need less memory; more
    spare the sums over channels some loads and stores."""
    return largest_divisor(channels, (8, 4, 2, 1))


def overlap_distance(written_to: np.ndarray, read_from: np.ndarray) -> int:
    """Least safe offset(input) - offset(output), in bytes, of a kernel that works in steps.

    written_to[t]: end of the output bytes written up to and with step t. read_from[t]: lowest input byte that is read
    after some write of step t, by step t itself or a later one. What is written must not reach what is still read:
    written_to[t] - distance <= read_from[t] for all t."""
    return int(np.max(written_to - read_from))


def suffix_minimum(values: np.ndarray) -> np.ndarray:
    return np.minimum.accumulate(values[::-1])[::-1]


def float_bits(value: float) -> int:
    """The bit pattern of float32(value)."""
    return int(struct.unpack("<I", struct.pack("<f", np.float32(value)))[0])
