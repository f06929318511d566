"""What every kernel is made with: the Kernel value, a function frame, named loops, exact floats, overlap distances."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T


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
        (planner.model.ChannelForm). The variant for it is made with the attribute `axis` = "channels": its y0, y1 are
        blocks of channel_block() channels, and a tensor with a ring lies there as [ring][positions][block].
    wide: input indices of constant weights that are passed in the layout of conv.wide().
    changed: input indices of what a micro-kernel changes in place.
    """

    func: tirx.PrimFunc
    tables: tuple[np.ndarray, ...] = ()
    scratch: int = 0
    overlaps: tuple[tuple[int, int, int], ...] = ()
    macs: int = 0
    rows: int | None = None
    reads: tuple[tuple, ...] = ()
    accumulates: bool = False
    by_channel: tuple[tuple[int, tuple[int, ...], bool], ...] = ()
    inputs: int = 0
    outputs: int = 1
    wide: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()


class Frame:
    """Builds one PrimFunc; `frame.func` is the result once the `with` block of `function()` has ended."""

    def __init__(self) -> None:
        self.func: tirx.PrimFunc | None = None

    def buffer(self, name: str, length: int, dtype: str) -> tirx.Buffer:
        return T.arg(name, T.Buffer((max(1, length),), dtype))

    def rows(self) -> tuple[tirx.Var, tirx.Var]:
        return T.arg("y0", T.int32()), T.arg("y1", T.int32())


def ring_row(row: tirx.Expr, ring: int) -> tirx.Expr:
    """Where `row` lies: row r of a ring of n rows is in slot r mod n; a ring of 0 is the whole tensor."""
    return T.truncmod(row, T.int32(ring)) if ring else row


@contextmanager
def function() -> Iterator[Frame]:
    """with function() as f: x = f.buffer("x", 64, "int8"); ... ; afterwards f.func is the PrimFunc."""
    frame = Frame()
    with IRBuilder() as builder:
        with T.prim_func():
            T.func_name("kernel")
            yield frame
    frame.func = builder.get()


@contextmanager
def loop(name: str, start: object, stop: object) -> Iterator[tirx.Var]:
    """for name in [start, stop). The loop variable counts from 0 and `name` is a sum: TVM's CanonicalizeLoop forgets to
    shift the variable inside the bounds of inner loops."""
    from_zero = isinstance(start, int) and start == 0
    with T.serial(0, stop if from_zero else stop - start) as var:
        IRBuilder.name(name, var)
        yield var if from_zero else var + start


@contextmanager
def when(condition: tirx.Expr) -> Iterator[None]:
    with T.If(condition), T.Then():
        yield


def local(name: str, length: int, dtype: str) -> tirx.Buffer:
    """A few values that the C compiler keeps in registers: always indexed by constants."""
    buffer = T.alloc_buffer((length,), dtype)
    IRBuilder.name(name, buffer)
    return buffer


def let(name: str, value: tirx.Expr) -> tirx.Var:
    var = T.bind(value)
    IRBuilder.name(name, var)
    return var


def store(buffer: tirx.Buffer, index: object, value: object) -> None:
    T.buffer_store(buffer, value, [index])


def at(buffer: tirx.Buffer, index: object) -> tirx.Expr:
    """The address of an element, for call()."""
    return T.address_of(buffer[T.int32(index) if isinstance(index, int) else index])


def call(name: str, *arguments: object) -> None:
    """A call of a micro-kernel of mcu_kernels.h."""
    T.evaluate(T.call_extern("void", name, *(T.int32(a) if isinstance(a, int) else a for a in arguments)))


def i32(value: tirx.Expr) -> tirx.Expr:
    return T.Cast("int32", value)


def as_float(value: tirx.Expr) -> tirx.Expr:
    return T.Cast("float32", value)


def f32(value: float) -> tirx.Expr:
    """An exact float32 constant: TVM's C printer keeps 7 digits of a literal, which are not enough."""
    return from_bits(T.uint32(float_bits(value)))


def float_bits(value: float) -> int:
    """The bit pattern of float32(value)."""
    return struct.unpack("<I", struct.pack("<f", np.float32(value)))[0]


def from_bits(bits: tirx.Expr) -> tirx.Expr:
    return T.call_pure_extern("float32", "mcu_f32", bits)


def fma(a: tirx.Expr, b: tirx.Expr, c: tirx.Expr) -> tirx.Expr:
    return T.call_pure_extern("float32", "mcu_fma", a, b, c)


def round_even(value: tirx.Expr) -> tirx.Expr:
    return T.call_pure_extern("int32", "mcu_round_even", value)


def finite(value: tirx.Expr) -> tirx.Expr:
    """value, or 0 in the place of an infinity or NaN, which would stay in a sum or a float weight for ever.
    `value` is read three times: bind it by let() first."""
    lowest, largest = from_bits(T.uint32(0xFF7FFFFF)), from_bits(T.uint32(0x7F7FFFFF))
    return T.Select(T.And(value >= lowest, value <= largest), value, T.float32(0))


def requantised(acc: tirx.Expr, table: tirx.Buffer, o: tirx.Expr, attrs: dict) -> tirx.Expr:
    """The accumulator of channel o in steps of the output, before the clamp. table: float32 [O], or (integer rounding)
    int32 [2, O] of multipliers and shifts."""
    if attrs.get("rounding", "even") == "even":
        return round_even(as_float(acc) * table[o]) + T.int32(attrs["out_zero"])
    channels = int(table.shape[0]) // 2
    return multiplied(acc, table[o], table[channels + o], attrs["rounding"]) + T.int32(attrs["out_zero"])


def requantisation_table(f: Frame, channels: int, attrs: dict) -> tirx.Buffer:
    """The argument of `requantised`."""
    is_float = attrs.get("rounding", "even") == "even"
    return f.buffer("scale", channels, "float32") if is_float else f.buffer("multipliers", 2 * channels, "int32")


def multiplied(x: tirx.Expr, multiplier: object, shift: object, rounding: str) -> tirx.Expr:
    """x * multiplier / 2^31 * 2^shift, rounded as "tflite" or "upward" says (mcu_math.h)."""
    numbers = (T.int32(n) if isinstance(n, int) else n for n in (multiplier, shift))
    return T.call_pure_extern("int32", f"mcu_multiply_{rounding}", x, *numbers)


def store_clamped(y: tirx.Buffer, index: object, value: tirx.Expr, lo: int, hi: int) -> None:
    store(y, index, T.Cast("int8", T.max(T.min(value, T.int32(hi)), T.int32(lo))))


def clear(mask: tirx.Buffer, start: tirx.Expr, nbytes: int) -> None:
    with loop("i", 0, nbytes) as i:
        store(mask, start + i, T.uint8(0))


def set_mask_bit(mask: tirx.Buffer, row: tirx.Expr, element: tirx.Expr, value: tirx.Expr, lo: int, hi: int) -> None:
    """Set the bit of `element` of the mask row at byte `row` where lo <= value <= hi (the row was cleared before)."""
    inside = T.bitwise_and(i32(value >= T.int32(lo)), i32(value <= T.int32(hi)))
    index = row + T.shift_right(element, T.int32(3))
    bit = T.shift_left(inside, T.bitwise_and(element, T.int32(7)))
    store(mask, index, T.Cast("uint8", T.bitwise_or(i32(mask[index]), bit)))


def floor_div(value: object, divisor: int, bias: int) -> object:
    """floor(value / divisor) of a value >= -bias, in non-negative arithmetic."""
    if divisor == 1:
        return value
    lift = -(-bias // divisor) + 1
    return T.truncdiv(value + lift * divisor, T.int32(divisor)) - lift


def largest_divisor(value: int, candidates: tuple[int, ...]) -> int:
    """The first of `candidates` (largest first, ending in 1) that divides `value`: a block without a remainder."""
    return next(c for c in candidates if value % c == 0)


def channel_block(channels: int) -> int:
    """Channels (of a weight gradient: filters) that one step of a run over channels takes. Fewer need less memory; more
    spare the sums over channels some loads and stores."""
    return largest_divisor(channels, (8, 4, 2, 1))


def over_channels(attrs: dict) -> bool:
    """Whether the kernel's variant for runs over blocks of channels is asked for."""
    return attrs.get("axis") == "channels"


def pixel_index(position: object, block: object, lane: object, shape: list[int], ring: int) -> object:
    """Index of channel block * channel_block() + lane at `position` of a (1, H, W, C) tensor: whole, or a ring of
    blocks."""
    _, height, width, channels = shape
    size = channel_block(channels)
    if ring:
        return (ring_row(block, ring) * (height * width) + position) * size + lane
    return position * channels + block * size + lane


def overlap_distance(written_to: np.ndarray, read_from: np.ndarray) -> int:
    """Least safe offset(input) - offset(output), in bytes, of a kernel that works in steps.

    written_to[t]: end of the output bytes written up to and with step t. read_from[t]: lowest input byte that is read
    after some write of step t, by step t itself or a later one. What is written must not reach what is still read:
    written_to[t] - distance <= read_from[t] for all t."""
    return int(np.max(written_to - read_from))


def suffix_minimum(values: np.ndarray) -> np.ndarray:
    return np.minimum.accumulate(values[::-1])[::-1]
