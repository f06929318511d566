"""The context of a conversion to Relax: it emits under the layer's name, reads constants and shapes, and refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.operators.base.values import Pack, Tensor, Value, dtype_of, shape_of

LARGEST_CONSTANT = 1 << 26  # elements that a conversion may compute itself


@dataclass
class Context:
    """builder: the function under construction. where: file and line of the call, for messages. name: what the call's
    result will be called; values on the way to it are name_1, name_2, ..."""

    builder: relax.BlockBuilder
    unique: Callable[[str], str]
    where: str = ""
    op: str = ""
    name: str = ""

    def __call__(self, expr: relax.Expr) -> relax.Var:
        """Bind a value on the way, so that its shape and dtype are known."""
        return self.builder.emit(expr, name_hint=self.unique(f"{self.name}_part"))

    def fail(self, message: str) -> ModelError:
        return ModelError(f"{self.where}: {self.op}: {message}")

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return x if dtype_of(x) == dtype else self(op.astype(x, dtype))

    def axis(self, x: Tensor, axis: int, extra: int = 0) -> int:
        """Return the axis in [0, rank + extra); a negative one counts from the back."""
        rank = len(shape_of(x)) + extra
        if not -rank <= axis < rank:
            raise self.fail(f"axis {axis} is outside a tensor of {rank} dimensions")
        return axis % rank

    def numbers(self, x: Value, what: str) -> np.ndarray:
        """Return the value of an argument that must be a constant."""
        if not isinstance(x, GenericConst):
            raise self.fail(f"{what} must be a constant; bind the parameters, or fold constants before export")
        return x.value.numpy()

    def pair(self, values: object, what: str, least: int = 1) -> tuple[int, int]:
        """Read two integers (one serves for both) of at least `least`."""
        found = values * 2 if isinstance(values, list) and len(values) == 1 else values
        if not isinstance(found, list) or len(found) != 2 or not all(type(v) is int and v >= least for v in found):
            raise self.fail(f"{what} is {str(values)[:40]}, expected two integers of {least} or more")
        return found[0], found[1]

    def padding(self, values: object) -> tuple[int, int, int, int]:
        """Read top, left, bottom, right out of one, two (height, width) or four numbers."""
        if not isinstance(values, list) or len(values) not in (1, 2, 4) or not all(_is_pad(v) for v in values):
            raise self.fail(f"padding is {str(values)[:40]}, expected one, two or four integers from 0 to 65535")
        top, left, bottom, right = values * (4 // len(values))
        return top, left, bottom, right

    def tensors(self, x: Value, what: str = "the argument") -> list[Tensor]:
        """Return the fields of a tuple of tensors."""
        if not isinstance(x, Pack) or x.depth != 1:
            raise self.fail(f"{what} must be a tuple of tensors")
        return list(x.fields)

    def along(self, vector: np.ndarray, axis: int, rank: int) -> np.ndarray:
        """Give a vector (or scalar) the shape that broadcasts along `axis` of a tensor of `rank` dimensions."""
        if vector.ndim > 1:
            raise self.fail(f"a vector is needed, found shape {list(vector.shape)}")
        return vector if vector.ndim == 0 else vector.reshape([-1] + [1] * (rank - 1 - axis))


def _is_pad(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 16
