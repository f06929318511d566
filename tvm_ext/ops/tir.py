"""The vocabulary that kernels are written in: a function frame, named loops, exact floats, addresses of ring rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T

from mcutrain.tvm_ext.ops.kernel import channel_block, float_bits

Index = int | Any  # of an element, or a count: known now, or an expression of TIR


class Frame:
    """Builds one PrimFunc; `frame.func` is the result once the `with` block of `function()` has ended."""

    def __init__(self) -> None:
        self.func: tirx.PrimFunc | None = None

    def buffer(self, name: str, length: int, dtype: str) -> tirx.Buffer:
        return T.arg(name, T.Buffer((max(1, length),), dtype))

    def rows(self) -> tuple[tirx.Var, tirx.Var]:
        return T.arg("y0", T.int32()), T.arg("y1", T.int32())


def ring_row(row: tirx.Expr, ring: int) -> tirx.Expr:
    """Row r of a ring of n rows lies in slot r mod n; a ring of 0 is the whole tensor."""
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
def loop(name: str, start: Index, stop: Index) -> Iterator[tirx.Var]:
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


def store(buffer: tirx.Buffer, index: Index, value: Index) -> None:
    T.buffer_store(buffer, value, [index])


def at(buffer: tirx.Buffer, index: Index) -> tirx.Expr:
    """The address of an element, for call_kernel()."""
    return T.address_of(buffer[T.int32(index) if isinstance(index, int) else index])


def call_kernel(name: str, *arguments: Index) -> None:
    """A call of a micro-kernel of mcu_kernels.h."""
    T.evaluate(T.call_extern("void", name, *(T.int32(a) if isinstance(a, int) else a for a in arguments)))


def i32(value: tirx.Expr) -> tirx.Expr:
    return T.Cast("int32", value)


def as_float(value: tirx.Expr) -> tirx.Expr:
    return T.Cast("float32", value)


def f32(value: float) -> tirx.Expr:
    """An exact float32 constant: TVM's C printer keeps 7 digits of a literal, which are not enough."""
    return from_bits(T.uint32(float_bits(value)))


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


def floor_div(value: Index, divisor: int, bias: int) -> Index:
    """floor(value / divisor) of a value >= -bias, in non-negative arithmetic."""
    if divisor == 1:
        return value
    lift = -(-bias // divisor) + 1
    return T.truncdiv(value + lift * divisor, T.int32(divisor)) - lift


def pixel_index(position: Index, block: Index, lane: Index, shape: list[int], ring: int) -> Index:
    """Index of channel block * channel_block() + lane at `position` of a (1, H, W, C) tensor: whole, or a ring of
    blocks."""
    _, height, width, channels = shape
    size = channel_block(channels)
    if ring:
        return (ring_row(block, ring) * (height * width) + position) * size + lane
    return position * channels + block * size + lane
