"""Relay's changes of shape that keep the elements, and the order of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.values import Order
from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM, Call, TensorType
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import LIST_OR_NONE, LISTED, NO, integer
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, Reals, Wide
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, shape_of


# ---------------------------------------------------------------------- ordinary Relax
def infer_shape(c: Context, old: tuple[int, ...], new: Sequence[object], allowzero: bool) -> list[int]:
    """Work out a shape in Relay's codes: 0 keeps a dimension, -1 is what is left, -2 keeps all that follow, -3 joins
    two, -4 splits one into the two numbers behind it."""
    out: list[int] = []
    source, i = 0, 0
    while i < len(new):
        code = new[i]
        if type(code) is not int or not -4 <= code <= LARGEST_DIM:
            raise c.fail(f"newshape {str(new)[:60]}: {str(code)[:20]} is no dimension and no code from -4 to 0")
        needed = {0: 0 if allowzero else 1, -3: 2, -4: 1}.get(code, 0)
        if source + needed > len(old) or (code == -4 and i + 2 >= len(new)):
            raise c.fail(f"newshape {str(new)[:60]} does not fit {list(old)}")
        if code == -2:
            out, source = out + list(old[source:]), len(old)
        elif code == -4:
            out += _halves(c, old[source], new[i + 1], new[i + 2])
            i += 2
        elif code == -3 or (code == 0 and needed):
            out.append(math.prod(old[source : source + needed]))
        else:
            out.append(code)
        source += needed if code in (0, -3, -4) else (code != -2)
        i += 1
    if out.count(-1) > 1:
        raise c.fail(f"newshape {str(new)[:60]} leaves two dimensions open")
    known = math.prod(d for d in out if d != -1)
    if -1 in out:
        out[out.index(-1)] = math.prod(old) // known if known else 0
    if math.prod(out) != math.prod(old):
        raise c.fail(f"newshape {str(new)[:60]} does not hold the elements of {list(old)}")
    return out


def _halves(c: Context, whole: int, first: object, second: object) -> list[int]:
    """Return the two dimensions of code -4, one of which may be -1."""
    if type(first) is not int or type(second) is not int or (first == -1 and second == -1):
        raise c.fail(
            f"newshape: -4 must be followed by two dimensions, of which one may be -1, found {first}, {second}"
        )
    first = whole // max(second, 1) if first == -1 else first
    second = whole // max(first, 1) if second == -1 else second
    if min(first, second) < 0 or first * second != whole:
        raise c.fail(f"newshape: -4 cannot split {whole} into {first} and {second}")
    return [first, second]


def reshape(c: Context, x: Tensor, *, newshape: list[object], allowzero: bool) -> relax.Expr:
    return op.reshape(x, infer_shape(c, shape_of(x), newshape, allowzero))


def reshape_like(c: Context, x: Tensor, like: Tensor) -> relax.Expr:
    return op.reshape(x, infer_shape(c, shape_of(x), list(shape_of(like)), allowzero=True))


def batch_flatten(c: Context, x: Tensor) -> relax.Expr:
    n, *rest = shape_of(x)
    return op.reshape(x, (n, math.prod(rest)))


def transpose(c: Context, x: Tensor, *, axes: list[int] | None) -> relax.Expr:
    rank = len(shape_of(x))
    return op.permute_dims(x, [c.axis(x, a) for a in axes] if axes else list(range(rank))[::-1])


def squeeze(c: Context, x: Tensor, *, axis: list[int] | None) -> relax.Expr:
    return op.squeeze(x, axis)


def expand_dims(c: Context, x: Tensor, *, axis: int, num_newaxis: int) -> relax.Expr:
    first = c.axis(x, axis, extra=1)
    if not 0 <= num_newaxis <= 16:
        raise c.fail(f"num_newaxis is {num_newaxis}, expected 0 to 16")
    return op.expand_dims(x, list(range(first, first + num_newaxis))) if num_newaxis else x


# ---------------------------------------------------------------------- integer networks
def to_vector(reader: Reader, name: str, call: Call, *, newshape: list[int], allowzero: bool) -> Known:
    shape = call.type.shape if isinstance(call.type, TensorType) else [n for n in newshape if n != 1]
    if len([n for n in shape if n != 1]) > 1:
        raise ModelError(f"reshapes to {list(shape)}", "only to a vector")
    return flatten(reader, name, call)


def flatten(reader: Reader, name: str, call: Call, **_: object) -> Known:
    """Nothing is computed: the order of the features is noted."""
    order: Order = "HWC" if reader.is_nhwc else "CHW"
    known = reader.known(call.args[0])
    if isinstance(known, Reals):
        curve, logits, make = known.curve, known.logits, known.quantised
        return Reals(
            curve and replace(curve, of=reader.network.flatten(curve.of, order)),
            logits and reader.network.flatten(logits, order),
            make and (lambda layer, out: reader.network.flatten(make(layer, out), order)),
        )
    flat = reader.network.flatten(reader.result(call.args[0]), order)
    return Wide(flat) if isinstance(known, Wide) else flat


OPERATORS = (
    RelayOperator("reshape", to_vector, to_relax=reshape, attributes={"newshape": LISTED, "allowzero": NO}),
    RelayOperator("reshape_like", to_relax=reshape_like),
    RelayOperator("nn.batch_flatten", flatten, to_relax=batch_flatten),
    RelayOperator("squeeze", flatten, to_relax=squeeze, attributes={"axis": LIST_OR_NONE}),
    RelayOperator("transpose", to_relax=transpose, attributes={"axes": LIST_OR_NONE}),
    RelayOperator("expand_dims", to_relax=expand_dims, attributes={"axis": integer(), "num_newaxis": integer(1)}),
)
