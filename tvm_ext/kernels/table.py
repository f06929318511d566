"""Which kernel each op of the dialect runs on, what phase of a step it belongs to, and what its results are called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mcutrain.tvm_ext.kernels import (
    conv,
    conv_backward,
    depthwise,
    elementwise,
    float_conv,
    head,
    layout,
    losses,
    parameter_grads,
    pool,
    pool_backward,
    update,
)
from mcutrain.tvm_ext.kernels.build import Kernel


def _conv(shapes: list, attrs: dict, with_mask: bool) -> Kernel:
    return (depthwise.depthwise if attrs["depthwise"] else conv.qconv2d)(shapes, attrs, with_mask)


def _clamping(name: str, build: Callable) -> dict[str, Callable]:
    return {name: partial(build, with_mask=False), f"{name}_with_mask": partial(build, with_mask=True)}


FORWARD: dict[str, Callable[[list, dict], Kernel]] = {
    **_clamping("qconv2d", _conv),
    **_clamping("qadd", elementwise.qadd),
    **_clamping("qavg_pool", pool.qavg_pool),
    **_clamping("requantise", elementwise.requantise),
    "qmean": elementwise.qmean,
    "qsoftmax": elementwise.qsoftmax,
    "max_pool": partial(pool.max_pool, with_index=False),
    "max_pool_with_index": partial(pool.max_pool, with_index=True),
    "concat": layout.concat,
    "pad": layout.pad,
    **_clamping("fconv2d", float_conv.fconv2d),
    **_clamping("fclip", elementwise.fclip),
    "fadd": elementwise.fadd,
    "favg_pool": pool.favg_pool,
    "dense": head.dense,
    "cross_entropy": losses.cross_entropy,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "mse": losses.mse,
}
# op -> kernel, and what its result is called behind the layer's name
BACKWARD: dict[str, tuple[Callable[[list, dict], Kernel], str]] = {
    "cross_entropy_grad": (losses.cross_entropy_grad, ":g_logits"),
    "binary_cross_entropy_grad": (losses.binary_cross_entropy_grad, ":g_logits"),
    "mse_grad": (losses.mse_grad, ":g_logits"),
    "mask_scale": (elementwise.mask_scale, ":g_acc"),
    "mask_scale_by": (elementwise.mask_scale, ":g_operand"),
    "take_channels": (conv_backward.take_channels, ":saved"),
    "conv2d_bias_grad": (parameter_grads.conv2d_bias_grad, ":g_bias"),
    "conv2d_weight_grad": (parameter_grads.conv2d_weight_grad, ":g_weight"),
    "conv2d_input_grad": (conv_backward.conv2d_input_grad, ":g_x"),
    "spread": (elementwise.spread, ":g_x"),
    "avg_pool_grad": (pool_backward.avg_pool_grad, ":g_x"),
    "max_pool_grad": (pool_backward.max_pool_grad, ":g_x"),
    "slice_channels": (layout.slice_channels, ":g_x"),
    "crop": (layout.crop, ":g_x"),
    "dense_weight_grad": (head.dense_weight_grad, ":g_weight"),
    "dense_input_grad": (head.dense_input_grad, ":g_x"),
    "relax.add": (elementwise.add, ":g_sum"),
}
UPDATES: dict[str, Callable[[list, dict], Kernel]] = {"sgd": update.sgd, "next_step": update.next_step}
KERNELS = {**FORWARD, **{name: kernel for name, (kernel, _) in BACKWARD.items()}, **UPDATES}


def phase_of(kind: str) -> str:
    return "update" if kind in UPDATES else "forward" if kind in FORWARD else "backward"


def result_of(kind: str) -> str:
    """What an op's result is called behind the layer's name."""
    return BACKWARD[kind][1] if kind in BACKWARD else ""
