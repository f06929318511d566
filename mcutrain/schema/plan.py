"""Describes `plan.csv`: the arena in MiniMalloc's format, a row a tensor."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from mcutrain.schema.words import doc


class Row(NamedTuple):
    """One tensor of the arena. Positions are those of the plan, in which a streamed run is one op."""

    id: Annotated[str, doc("name of the tensor; a ring stands under its tensor's")]
    lower: Annotated[int, doc("op position from which it lives")]
    upper: Annotated[int, doc("op position before which it ends")]
    size: Annotated[int, doc("bytes; of a ring those of the ring")]
    offset: Annotated[int, doc("bytes from the start of the arena")]
