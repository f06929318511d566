"""An interpreter of the Relay AST in plain numpy: the oracle of the conversion to Relax."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.tvm_ext.importers.relay import ast
from tests.tvm_ext.importers.relay.reference import numpy_relay_nn as nn
from tests.tvm_ext.importers.relay.reference import numpy_relay_qnn as qnn


def run(module: ast.Module, inputs: dict[str, np.ndarray]) -> object:
    """Return the value of @main: an array, or a tuple of values."""
    main = module.functions["main"]
    return _call(module, main, [inputs[p.name] for p in main.params], {})


def _call(module, function, args, outer):
    env = dict(outer) | {id(p): a for p, a in zip(function.params, args, strict=True)}
    return _value(module, function.body, env)


def _value(module, root, env):
    """Evaluate in post-order with an explicit stack; env holds values by node."""
    stack = [root]
    while stack:
        node = stack[-1]
        if id(node) in env:
            stack.pop()
            continue
        kids = (node.cond,) if isinstance(node, ast.If) else ast.children(node)
        kids = () if isinstance(node, ast.Function) else kids
        missing = [k for k in kids if id(k) not in env]
        if missing:
            stack.extend(missing)
        else:
            env[id(node)] = _make(module, node, env)
    return env[id(root)]


def _make(module, node, env):
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Function):
        return node
    if isinstance(node, ast.GlobalVar):
        return module.functions[node.name]
    if isinstance(node, ast.Tuple):
        return tuple(env[id(f)] for f in node.fields)
    if isinstance(node, ast.TupleGetItem):
        return env[id(node.value)][node.index]
    if isinstance(node, ast.If):
        return _value(module, node.then if env[id(node.cond)] else node.orelse, dict(env))
    args = [env[id(a)] for a in node.args]
    if not isinstance(node.op, str):
        return _call(module, env[id(node.op)], args, env)
    with np.errstate(all="ignore"):
        return OPS[node.op](*args, **node.attrs)


def float_of(function):
    return lambda *x: np.asarray(function(*(v.astype(np.float64) for v in x))).astype(x[0].dtype)


_NUMPYS_OWN = (
    "add",
    "subtract",
    "multiply",
    "power",
    "greater",
    "where",
    "negative",
    "abs",
    "zeros_like",
    "maximum",
    "logical_not",
)
OPS = {name: getattr(np, name) for name in _NUMPYS_OWN}
OPS |= {n: float_of(getattr(np, n)) for n in ("exp", "sqrt", "tanh", "log")}
OPS |= qnn.OPS | {
    "erf": float_of(np.vectorize(math.erf, otypes=[np.float64])),
    "divide": lambda a, b: nn.divide(a, b, a.dtype),
    "sigmoid": float_of(lambda x: 1 / (1 + np.exp(-x))),
    "cast": lambda x, *, dtype: (np.trunc(x) if x.dtype.kind == "f" else x).astype(dtype),
    "clip": lambda x, *, a_min, a_max: np.clip(x.astype(np.float64), a_min, a_max).astype(x.dtype),
    "nn.relu": lambda x: np.maximum(x, 0).astype(x.dtype),
    "nn.leaky_relu": lambda x, *, alpha: np.where(x > 0, x, x * np.float32(alpha)),
    "nn.prelu": lambda x, a, *, axis: np.where(x > 0, x, x * nn.channelwise(a, axis, x.ndim)),
    "nn.bias_add": lambda x, b, *, axis: x + nn.channelwise(b, axis, x.ndim),
    "nn.dropout": lambda x, *, rate: (x, np.ones_like(x)),
    "nn.conv2d": nn.conv2d,
    "nn.conv2d_transpose": nn.conv2d_transpose,
    "nn.dense": nn.dense,
    "nn.matmul": nn.matmul,
    "nn.batch_matmul": nn.matmul,
    "nn.batch_flatten": lambda x: x.reshape(len(x), -1),
    "nn.max_pool2d": lambda x, **a: nn.pool(x, "max", **a),
    "nn.avg_pool2d": lambda x, **a: nn.pool(x, "avg", **a),
    "nn.global_avg_pool2d": nn.global_pool("avg"),
    "nn.global_max_pool2d": nn.global_pool("max"),
    "nn.adaptive_avg_pool2d": lambda x, **a: nn.adaptive(x, np.mean, **a),
    "nn.adaptive_max_pool2d": lambda x, **a: nn.adaptive(x, np.max, **a),
    "nn.pad": lambda x, v, *, pad_width, pad_mode: np.pad(x, pad_width, constant_values=v),
    "nn.softmax": nn.softmax,
    "nn.log_softmax": lambda x, *, axis: nn.softmax(x, axis=axis, log=True),
    "nn.cross_entropy_with_logits": lambda x, y: np.float32(-(x.astype(np.float64) * y).sum() / len(x)),
    "nn.layer_norm": nn.layer_norm,
    "nn.instance_norm": nn.instance_norm,
    "nn.group_norm": nn.group_norm,
    "nn.lrn": nn.lrn,
    "nn.upsampling": lambda x, *, scale_h, scale_w, **_: x.repeat(int(scale_h), 2).repeat(int(scale_w), 3),
    "image.resize2d": nn.resize_linear,
    "nn.space_to_depth": lambda x, **a: nn.subpixel(x, to_depth=True, **a),
    "nn.depth_to_space": lambda x, **a: nn.subpixel(x, to_depth=False, **a),
    "reshape": nn.reshape,
    "transpose": lambda x, *, axes: x.transpose(axes),
    "squeeze": lambda x, *, axis: x.squeeze(None if axis is None else tuple(axis)),
    "expand_dims": lambda x, *, axis, num_newaxis: np.expand_dims(x, tuple(range(axis, axis + num_newaxis))),
    "concatenate": lambda x, *, axis: np.concatenate(x, axis),
    "stack": lambda x, *, axis: np.stack(x, axis),
    "split": nn.split,
    "strided_slice": nn.strided_slice,
    "take": lambda x, i, *, axis, mode, **_: np.take(x, i, axis, mode="clip"),
    "one_hot": nn.one_hot,
    "full": lambda v, *, shape, dtype: np.full(shape, v, dtype),
    "arange": lambda a, b, s, *, dtype, **_: np.arange(a, b, s, dtype),
    "layout_transform": nn.layout_transform,
    "sum": nn.reduction(np.sum),
    "max": nn.reduction(np.max),
    "mean": nn.mean,
    "argmax": lambda x, *, axis, keepdims, **_: np.argmax(x, axis[0], keepdims=keepdims).astype(np.int32),
}
