"""PyTorch's operators that move values, in the operator graph's vocabulary."""

from __future__ import annotations

from collections.abc import Callable

from mcutrain.tvm_ext.importers.torch.call import Ref, Rows, TorchCall, TorchOperator, ints, plain, real, tensor, whole


def _reshape(rows: Rows, call: TorchCall) -> None:
    key = "size" if "size" in call.args else "shape"
    rows.add(call, "Reshape", [tensor(call, "self")], shape=ints(call, key), allowzero=1)


def _flatten(rows: Rows, call: TorchCall) -> None:
    rank = len(call.shape)
    start, end = (whole(call, key) % rank for key in ("start_dim", "end_dim"))
    shape = [*call.shape[:start], -1, *call.shape[end + 1 :]]
    rows.add(call, "Reshape", [tensor(call, "self")], shape=[1 if i == 0 and start else n for i, n in enumerate(shape)])


def _axes(op: str) -> Callable[[Rows, TorchCall], None]:
    def make(rows: Rows, call: TorchCall) -> None:
        given = {"axes": ints(call, "dim")} if call.args.get("dim") is not None else {}
        rows.add(call, op, [tensor(call, "self")], **given)

    return make


def _permute(rows: Rows, call: TorchCall) -> None:
    rank = len(call.shape)
    perm = list(range(rank))
    if "dims" in call.args:
        perm = [n % rank for n in ints(call, "dims")]
    else:
        a, b = (whole(call, key, default) % rank for key, default in (("dim0", 0), ("dim1", -1)))
        perm[a], perm[b] = b, a
    rows.add(call, "Transpose", [tensor(call, "self")], perm=perm)


def _concat(rows: Rows, call: TorchCall) -> None:
    given = call.args["tensors"]
    names = [ref.name for ref in given if isinstance(ref, Ref)] if isinstance(given, list | tuple) else []
    rows.add(call, "Concat", names, axis=whole(call, "dim", 0))


def _pad(rows: Rows, call: TorchCall) -> None:
    """PyTorch lists the padding from the last axis on, begin and end of each."""
    given, rank = ints(call, "pad"), len(call.shape)
    pairs = [(0, 0)] * (rank - len(given) // 2) + [tuple(given[i : i + 2]) for i in range(len(given) - 2, -1, -2)]
    pads = [begin for begin, _ in pairs] + [end for _, end in pairs]
    value = real(call, "value") if call.args.get("value") else 0.0
    rows.add(call, "Pad", [tensor(call, "self")], pads=pads, value=value, mode=call.args.get("mode", "constant"))


OPERATORS = (
    *(TorchOperator(name, _reshape) for name in ("view", "_unsafe_view", "reshape", "view_copy")),
    TorchOperator("flatten", _flatten),
    TorchOperator("unsqueeze", _axes("Unsqueeze")),
    TorchOperator("squeeze", _axes("Squeeze")),
    *(TorchOperator(name, _permute) for name in ("permute", "transpose", "t")),
    TorchOperator("cat", _concat),
    *(TorchOperator(name, _pad) for name in ("constant_pad_nd", "pad")),
    *(TorchOperator(name, plain("Identity", "input")) for name in ("dropout", "dropout_", "native_dropout")),
    *(TorchOperator(n, plain("Identity")) for n in ("clone", "contiguous", "alias", "detach", "lift_fresh_copy")),
    TorchOperator("select", way_out="export one network of one input and output"),
)
