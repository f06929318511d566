"""PyTorch's pools and means in the operator graph's vocabulary."""

from __future__ import annotations

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.torch.call import Rows, TorchCall, TorchOperator, ints, spatial, tensor, whole


def _average_pool(rows: Rows, call: TorchCall) -> None:
    if call.args.get("divisor_override") is not None:
        raise LayerError(call.name, "divisor_override", "leave it out")
    attrs = {**_window(call), "count_include_pad": whole(call, "count_include_pad")}
    rows.add(call, "AveragePool", [tensor(call, "self")], **attrs)


def _max_pool(rows: Rows, call: TorchCall) -> None:
    attrs = {**_window(call), "dilations": ints(call, "dilation", spatial(call))}
    rows.add(call, "MaxPool", [tensor(call, "self")], **attrs)


def _window(call: TorchCall) -> dict[str, object]:
    count = spatial(call)
    kernel = ints(call, "kernel_size", count)
    strides = ints(call, "stride", count) if call.args.get("stride") else kernel
    pads = ints(call, "padding", count) * 2
    return {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "ceil_mode": whole(call, "ceil_mode", 0),
    }


def _adaptive_pool(rows: Rows, call: TorchCall) -> None:
    sizes, image = ints(call, "output_size", spatial(call)), call.shape[2:]
    if all(n == 1 for n in sizes):
        rows.add(call, "GlobalAveragePool", [tensor(call, "self")])
        return
    if any(m % n for m, n in zip(image, sizes, strict=True)):
        raise LayerError(call.name, f"an adaptive pool of {image} to {sizes}", "only to sizes that divide it")
    kernel = [m // n for m, n in zip(image, sizes, strict=True)]
    rows.add(call, "AveragePool", [tensor(call, "self")], kernel_shape=kernel, strides=kernel)


def _mean(rows: Rows, call: TorchCall) -> None:
    axes = ints(call, "dim") if call.args.get("dim") is not None else []
    rows.add(call, "ReduceMean", [tensor(call, "self")], axes=axes, keepdims=int(bool(call.args.get("keepdim"))))


RESOLUTION = "only layers that keep or lower the resolution"
WHOLE_IMAGE = "use MaxPool with the size of the image"
OPERATORS = (
    *(TorchOperator(name, _average_pool) for name in ("avg_pool1d", "avg_pool2d")),
    *(TorchOperator(name, _max_pool) for name in ("max_pool1d", "max_pool2d", "max_pool2d_with_indices")),
    *(TorchOperator(f"{prefix}_pool2d", _adaptive_pool) for prefix in ("adaptive_avg", "_adaptive_avg")),
    TorchOperator("adaptive_avg_pool1d", _adaptive_pool),
    TorchOperator("mean", _mean),
    TorchOperator("sum", way_out="use mean"),
    *(TorchOperator(name, way_out=WHOLE_IMAGE) for name in ("adaptive_max_pool2d", "amax", "max")),
    *(TorchOperator(name, way_out=RESOLUTION) for name in ("upsample_nearest2d", "interpolate")),
)
