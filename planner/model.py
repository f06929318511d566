"""Defines the planner's values: tensors, ops, graphs, plans. All sizes are bytes; all intervals are half-open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mcutrain.planner.errors import PlanError

Kind = Literal["input", "output", "state", "constant", "activation", "gradient", "scratch"]
Axis = Literal["rows", "channels"]
Status = Literal["OPTIMAL", "FEASIBLE", "INFEASIBLE", "UNKNOWN"]
KINDS = ("input", "output", "state", "constant", "activation", "gradient", "scratch")


@dataclass(frozen=True)
class Tensor:
    """A tensor is one block of memory. `state` lives for ever, `constant` lies in flash and has no offset, `scratch`
    lives during its one op, `input` from the start to its last use, `output` from its op to the end."""

    name: str
    nbytes: int
    align: int = 4  # bytes; the offset is a multiple of it
    kind: Kind = "activation"


@dataclass(frozen=True)
class Overlap:
    """While the op runs, `output` may lie over `input` if offset(input) - offset(output) >= distance (bytes).

    It is a permission, and only where `input` dies at the op: an input that someone reads later must survive."""

    input: str
    output: str
    distance: int


@dataclass(frozen=True)
class RowAccess:
    """Says how an op that works row by row reads `tensor` of `rows` rows.

    Output row r takes rows [r * stride - padding, r * stride - padding + window), as far as they exist; transposed, the
    rows o whose own window o * stride - padding + [0, window) covers r."""

    tensor: str
    rows: int
    stride: int = 1
    window: int = 1
    padding: int = 0
    transposed: bool = False

    def first(self, row: int) -> int:
        """Returns the first input row that output row `row` takes."""
        if self.transposed:
            return max(0, -((self.window - 1 - row - self.padding) // self.stride))
        return max(0, row * self.stride - self.padding)

    def end(self, row: int) -> int:
        """Returns one past the last input row that output row `row` takes."""
        if self.transposed:
            return min(self.rows, (row + self.padding) // self.stride + 1)
        return min(self.rows, row * self.stride - self.padding + self.window)


@dataclass(frozen=True)
class ChannelForm:
    """Says how an op runs over equal blocks of channels: for block b of its output it reads block b of each of `reads`,
    and all else whole. accumulates: its output is whole, complete after the last block."""

    blocks: int
    reads: tuple[str, ...] = ()
    accumulates: bool = False


@dataclass(frozen=True)
class Op:
    """An op is one kernel call. `mutates` names state among `inputs` that the op overwrites in place: such an op runs
    after every other reader of that state.

    rows, reads: of an op that can run row by row, the rows of its first output and how it reads its activations;
    further outputs are kept whole. 0 and () for an op that cannot. accumulates: its output is a sum over the rows that
    it reads, complete after the last one; it takes each row as soon as it is there.
    by_channel: how it can run channel block by channel block instead: at most one form that makes its first output
    (or changes its state) block by block, and one that accumulates. macs: multiply-accumulates of one run."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scratch: tuple[str, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    mutates: tuple[str, ...] = ()
    rows: int = 0
    reads: tuple[RowAccess, ...] = ()
    accumulates: bool = False
    by_channel: tuple[ChannelForm, ...] = ()
    macs: int = 0


@dataclass(frozen=True)
class Stream:
    """A stream is a run of ops that executes row by row, or channel block by channel block. `ops` in order; the last
    one that does not accumulate drives the others. In a run over channels a "row" is a block of them, over all
    positions.

    rings: rows of memory that each tensor inside the run gets, row r in slot r mod rings. shared: (tensor, the one in
    whose ring it lies): the output of an op that works in place, row for row."""

    name: str
    ops: tuple[str, ...]
    rings: tuple[tuple[str, int], ...]
    shared: tuple[tuple[str, str], ...] = ()
    axis: Axis = "rows"


@dataclass(frozen=True)
class Graph:
    """A graph is a training step: `ops` stand in one valid order (each tensor is written once, before it is read)."""

    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    by_name: dict[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {t.name: t for t in self.tensors}
        if len(by_name) != len(self.tensors):
            raise PlanError("duplicate tensor names in the graph: every tensor needs a name of its own")
        object.__setattr__(self, "by_name", by_name)


@dataclass(frozen=True, repr=False)
class Plan:
    """A plan says where everything lies and when it runs.

    order: op names in the order of execution; a stream stands as one op of its name.
    offsets: byte offset of each tensor that lies in the arena.
    lifetimes: tensor -> [first, last) in positions of `order`; state is [0, len(order)).
    height: bytes of the arena, the largest offset + nbytes.
    bound: proven lower bound in bytes on the height of any allocation for this order, with these streams.
    order_bound: proven lower bound in bytes over every order, with these streams.
    status: of the allocation for this order; OPTIMAL only where height == bound, or CP-SAT proved it.
    order_status: OPTIMAL where no other order can have a lower bound, FEASIBLE otherwise.
    streams: the runs of ops that execute over rows or channels; each stands in `order` as one op."""

    order: tuple[str, ...]
    offsets: dict[str, int]
    lifetimes: dict[str, tuple[int, int]]
    height: int
    bound: int
    status: Status
    order_bound: int
    order_status: Status
    streams: tuple[Stream, ...] = ()

    def __repr__(self) -> str:
        size = f"{len(self.order)} ops, {len(self.offsets)} tensors"
        return f"<Plan of {size}: {self.height:,} B, bound {self.bound:,} B, {self.status}>"
