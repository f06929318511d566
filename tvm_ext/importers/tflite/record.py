"""The record of a TFLite operator: all that this frontend knows of it by its name in the schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from mcutrain.tvm_ext.importers.base.operators import Operator

R = TypeVar("R")
Behind = Literal["loss", "type", "shape"]


@dataclass(frozen=True)
class TfliteOperator(Operator[R]):
    """options: the table of the schema that holds its options, and their fields there. operands: how many of its inputs
    count, None for all. word: what its layer is called where the file has no name of people; by default the operator's
    own name in small letters. product: the last part, as a pattern, of the tensor names that say which layer it is.
    has_bias: so does the name of its bias. behind: why it may stand behind the logits: a loss takes it over, or it
    changes the type or the shape alone."""

    options: tuple[str, tuple[str, ...]] = ("", ())
    operands: int | None = None
    word: str = ""
    product: str = ""
    has_bias: bool = False
    behind: Behind | None = None
