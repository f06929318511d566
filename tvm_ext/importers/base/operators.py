"""The record of an operator that a frontend knows: one in that frontend's table, whatever it says of the operator.

A frontend whose records say more extends `Operator` by the fields that it needs. The shape of what an operator makes is
its reader's to say; the walk's caller holds it against what the file says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")
N = TypeVar("N")
V = TypeVar("V")


@dataclass(frozen=True)
class Operator(Generic[R]):
    """name: in the frontend's own words. read: makes what the operator means of an operator of the file; None: it is
    known, and refused. way_out: what a person does instead of it, where it is refused."""

    name: str
    read: R | None = None
    way_out: str = ""


Record = TypeVar("Record", bound=Operator)


def by_name(*groups: Iterable[Record]) -> dict[str, Record]:
    """One table of several modules' records. Raises ValueError where two have one name."""
    table: dict[str, Record] = {}
    for record in (record for group in groups for record in group):
        if record.name in table:
            raise ValueError(f"the operator {record.name} has two records")
        table[record.name] = record
    return table


def ways_out(table: Mapping[str, Operator[R]]) -> dict[str, str]:
    """The ways out by the operators' names, for `walk`."""
    return {name: record.way_out for name, record in table.items() if record.way_out}


def handlers(
    table: Mapping[str, Operator[R]], bound: Callable[[R], Callable[[N], Sequence[V]]]
) -> dict[str, Callable[[N], Sequence[V]]]:
    """The handlers by the operators' names, for `walk`. bound: makes a handler of a record's reader."""
    return {name: bound(record.read) for name, record in table.items() if record.read is not None}
