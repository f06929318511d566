"""PyTorch's convolutions, fully connected layers and normalisations in the operator graph's vocabulary."""

from __future__ import annotations

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.torch.call import Rows, TorchCall, TorchOperator, ints, real, spatial, tensor, whole


def _convolution(rows: Rows, call: TorchCall) -> None:
    if call.args.get("transposed"):
        raise LayerError(call.name, "a transposed convolution", "only layers that keep or lower the resolution")
    count = spatial(call)
    attrs: dict[str, object] = {"strides": ints(call, "stride", count), "dilations": ints(call, "dilation", count)}
    attrs["group"] = whole(call, "groups")
    padding = call.args["padding"]
    if isinstance(padding, str):
        attrs["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}.get(padding, padding)
    else:
        attrs["pads"] = ints(call, "padding", count) * 2
    rows.add(call, "Conv", [tensor(call, "input"), tensor(call, "weight"), tensor(call, "bias")], **attrs)


def _linear(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "Gemm", [tensor(call, "input"), tensor(call, "weight"), tensor(call, "bias")], transB=1)


def _addmm(rows: Rows, call: TorchCall) -> None:
    attrs = {"alpha": call.args.get("alpha", 1), "beta": call.args.get("beta", 1)}
    rows.add(call, "Gemm", [tensor(call, "mat1"), tensor(call, "mat2"), tensor(call, "self")], **attrs)


def _matmul(rows: Rows, call: TorchCall) -> None:
    rows.add(call, "MatMul", [tensor(call, "self"), tensor(call, "other" if "other" in call.args else "mat2")])


def _batch_norm(rows: Rows, call: TorchCall) -> None:
    if call.args.get("training"):
        raise LayerError(call.name, "batch normalisation in training mode", "call model.eval() before the export")
    channels, inputs = call.shape[1], [tensor(call, "input")]
    for key, value in (("weight", 1.0), ("bias", 0.0)):
        inputs.append(tensor(call, key) or rows.constant(call, key, [value] * channels, "float32"))
    inputs += [tensor(call, "running_mean"), tensor(call, "running_var")]
    rows.add(call, "BatchNormalization", inputs, epsilon=real(call, "eps"))


FEED_FORWARD = "only feed-forward networks; use Conv1d"
NORM = "use BatchNorm, which is folded"
EVAL = "call model.eval() before the export"
OPERATORS = (
    *(TorchOperator(name, _convolution, has_weight=True) for name in ("conv1d", "conv2d", "convolution")),
    TorchOperator("linear", _linear, has_weight=True),
    TorchOperator("addmm", _addmm, has_weight=True),
    *(TorchOperator(name, _matmul, has_weight=True) for name in ("mm", "matmul")),
    *(TorchOperator(name, _batch_norm) for name in ("batch_norm", "_native_batch_norm_legit_no_training")),
    *(TorchOperator(name, way_out=NORM) for name in ("layer_norm", "native_layer_norm", "group_norm")),
    *(TorchOperator(name, way_out=NORM) for name in ("instance_norm", "native_group_norm")),
    *(TorchOperator(f"_native_batch_norm_legit{end}", way_out=EVAL) for end in ("", "_functional")),
    *(TorchOperator(name, way_out=FEED_FORWARD) for name in ("lstm", "gru", "rnn_tanh")),
)
