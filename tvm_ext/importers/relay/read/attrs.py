"""Which attributes each Relay operator has: kind, default, and how they are written in saved JSON.

Text leaves defaults out; JSON holds every value as a string, and only the kind says whether "1" is a number or the
index of a node. Kinds: see KINDS."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcutrain.planner.errors import ModelError

REQUIRED = object()
# int, float, bool, string, dtype stand in JSON as themselves; the ref kinds as the index of a node ("0" is None).
KINDS = ("int", "float", "bool", "string", "dtype", "ref int", "ref string", "ref list", "ref any")
LARGEST_INT = 2**63 - 1
# Hints of TVM's tuners: they say nothing about what is computed.
IGNORED = frozenset({"auto_scheduler_rewritten_layout", "meta_schedule_original_shape", "weight_layout"})


@dataclass(frozen=True)
class Field:
    kind: str
    default: object = REQUIRED


def _int(default: object = REQUIRED) -> Field:
    return Field("int", default)


def _float(default: object = REQUIRED) -> Field:
    return Field("float", default)


def _string(default: object = REQUIRED) -> Field:
    return Field("string", default)


def _list(*default: int) -> Field:
    return Field("ref list", list(default) or REQUIRED)


NO, YES = Field("bool", False), Field("bool", True)
DTYPE, DTYPE_GIVEN = Field("dtype", None), Field("dtype")
LISTED, LIST_OR_NONE, INT_OR_NONE = _list(), Field("ref list", None), Field("ref int", None)
LAYOUT, NO_LAYOUT = Field("ref string", "NCHW"), Field("ref string", "")

_CONV = {
    "strides": _list(1, 1),
    "padding": _list(0, 0),
    "dilation": _list(1, 1),
    "groups": _int(1),
    "channels": INT_OR_NONE,
    "kernel_size": LIST_OR_NONE,
    "data_layout": LAYOUT,
    "kernel_layout": Field("ref string", "OIHW"),
    "out_layout": NO_LAYOUT,
    "out_dtype": DTYPE,
}
_CONV_TRANSPOSE = _CONV | {
    "output_padding": _list(0, 0),
    "data_layout": _string("NCHW"),
    "kernel_layout": _string("IOHW"),
    "out_layout": _string(""),
}
_DENSE = {"units": INT_OR_NONE, "out_dtype": DTYPE}
_BATCH_MATMUL = {"out_dtype": DTYPE, "transpose_a": NO, "transpose_b": NO}
_POOL = {
    "pool_size": LISTED,
    "strides": _list(1, 1),
    "dilation": _list(1, 1),
    "padding": _list(0, 0),
    "layout": LAYOUT,
    "out_layout": NO_LAYOUT,
    "ceil_mode": NO,
}
_GLOBAL = {"layout": LAYOUT, "out_layout": NO_LAYOUT}
_ADAPTIVE = {"output_size": Field("ref list", []), "layout": _string("NCHW"), "out_layout": NO_LAYOUT}
_NORM = {"axis": _int(1), "epsilon": _float(1e-5), "center": YES, "scale": YES}
_RESIZE = {
    "size": LISTED,
    "roi": LIST_OR_NONE,
    "layout": _string("NCHW"),
    "method": _string("linear"),
    "coordinate_transformation_mode": _string("half_pixel"),
    "rounding_method": _string("round"),
    "cubic_alpha": _float(-0.5),
    "cubic_exclude": _int(0),
    "extrapolation_value": _float(0.0),
    "out_dtype": DTYPE,
}
_UPSAMPLING = {
    "scale_h": _float(),
    "scale_w": _float(),
    "layout": LAYOUT,
    "method": Field("ref string", "nearest_neighbor"),
    "align_corners": NO,
}
_SUBPIXEL = {"block_size": _int(1), "layout": _string("NCHW"), "mode": _string("DCR")}
_SLICE = {
    "begin": LIST_OR_NONE,
    "end": LIST_OR_NONE,
    "strides": LIST_OR_NONE,
    "slice_mode": Field("ref string", "end"),
    "axes": LIST_OR_NONE,
}
_REDUCE = {"axis": LIST_OR_NONE, "keepdims": NO, "exclude": NO}
_ARG_REDUCE = _REDUCE | {"select_last_index": NO}
_VARIANCE = _REDUCE | {"unbiased": NO}
_INIT = {"shape": LIST_OR_NONE, "dtype": DTYPE}
_ANY = Field("ref any", None)
_ARANGE = {"start": _ANY, "stop": _ANY, "step": _ANY, "dtype": DTYPE_GIVEN}
_ONE_HOT = {"depth": _int(1), "axis": _int(-1), "dtype": DTYPE}
_TAKE = {"batch_dims": Field("ref int", 0), "axis": INT_OR_NONE, "mode": Field("ref string", "clip")}
_REQUANTIZE = {
    "axis": _int(-1),
    "rounding": _string("None"),
    "compute_dtype": _string("None"),
    "out_dtype": DTYPE_GIVEN,
}
_QUANTIZE = {"out_dtype": DTYPE_GIVEN, "axis": _int(-1)}
_DEQUANTIZE = {"out_dtype": Field("dtype", "float32"), "axis": _int(-1)}
_QNN_BINARY = {"lhs_axis": _int(-1), "rhs_axis": _int(-1)}

_PLAIN = (
    "abs exp log sqrt rsqrt sigmoid tanh negative floor ceil round trunc sign erf sin cos tan asin acos atan sinh cosh "
    "add subtract multiply divide power maximum minimum floor_divide floor_mod mod equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor "
    "bitwise_not left_shift right_shift isnan isinf isfinite copy zeros_like ones_like full_like where nn.relu "
    "nn.batch_flatten nn.cross_entropy nn.cross_entropy_with_logits broadcast_to_like collapse_sum_like reshape_like "
    "annotation.stop_fusion"
)
# Operator -> its attributes, in the order that TVM prints them. An operator that is not here keeps what the file says.
OPS: dict[str, dict[str, Field]] = {op: {} for op in _PLAIN.split()} | {
    "nn.conv2d": _CONV,
    "qnn.conv2d": _CONV,
    "nn.conv2d_transpose": _CONV_TRANSPOSE,
    "nn.dense": _DENSE,
    "qnn.dense": _DENSE,
    "nn.matmul": _DENSE | _BATCH_MATMUL,
    "nn.batch_matmul": _BATCH_MATMUL,
    "nn.bias_add": {"axis": _int(1)},
    "nn.max_pool2d": _POOL,
    "nn.avg_pool2d": _POOL | {"count_include_pad": NO},
    "nn.global_avg_pool2d": _GLOBAL,
    "nn.global_max_pool2d": _GLOBAL,
    "nn.adaptive_avg_pool2d": _ADAPTIVE,
    "nn.adaptive_max_pool2d": _ADAPTIVE,
    "nn.pad": {"pad_width": LISTED, "pad_mode": Field("ref string", "constant")},
    "nn.leaky_relu": {"alpha": _float(0.25)},
    "nn.prelu": {"axis": _int(1)},
    "nn.softmax": {"axis": _int(-1)},
    "nn.log_softmax": {"axis": _int(-1)},
    "nn.dropout": {"rate": _float(0.5)},
    "nn.batch_norm": _NORM,
    "nn.instance_norm": _NORM,
    "nn.layer_norm": _NORM | {"axis": _int(-1)},
    "nn.group_norm": _NORM | {"num_groups": _int(0)},
    "nn.lrn": {"size": _int(5), "axis": _int(1), "bias": _float(2.0), "alpha": _float(0.0001), "beta": _float(0.75)},
    "nn.l2_normalize": {"eps": _float(), "axis": LIST_OR_NONE},
    "nn.upsampling": _UPSAMPLING,
    "image.resize2d": _RESIZE,
    "nn.space_to_depth": _SUBPIXEL,
    "nn.depth_to_space": _SUBPIXEL,
    "clip": {"a_min": _float(), "a_max": _float()},
    "cast": {"dtype": DTYPE_GIVEN},
    "cast_like": {},
    "reshape": {"newshape": LISTED, "allowzero": NO},
    "transpose": {"axes": LIST_OR_NONE},
    "squeeze": {"axis": LIST_OR_NONE},
    "expand_dims": {"axis": _int(), "num_newaxis": _int(1)},
    "concatenate": {"axis": _int(0)},
    "stack": {"axis": Field("ref int", 0)},
    "split": {"indices_or_sections": Field("ref any"), "axis": _int(0)},
    "strided_slice": _SLICE,
    "take": _TAKE,
    "one_hot": _ONE_HOT,
    "full": _INIT,
    "zeros": _INIT,
    "ones": _INIT,
    "arange": _ARANGE,
    "tile": {"reps": LISTED},
    "repeat": {"repeats": Field("ref int"), "axis": INT_OR_NONE},
    "reverse": {"axis": Field("ref int")},
    "broadcast_to": _INIT,
    "layout_transform": {"src_layout": _string(), "dst_layout": _string()},
    "fixed_point_multiply": {"multiplier": _int(), "shift": _int()},
    "argmax": _ARG_REDUCE,
    "argmin": _ARG_REDUCE,
    "variance": _VARIANCE,
    "qnn.quantize": _QUANTIZE,
    "qnn.dequantize": _DEQUANTIZE,
    "qnn.requantize": _REQUANTIZE,
    "qnn.add": _QNN_BINARY,
    "qnn.subtract": _QNN_BINARY,
    "qnn.mul": _QNN_BINARY,
    "qnn.concatenate": {"axis": _int(0)},
}
OPS |= dict.fromkeys(("sum", "mean", "max", "min", "prod", "all", "any"), _REDUCE)


def complete(op: str, given: dict[str, object], where: str) -> dict[str, object]:
    """The attributes of `op` with defaults filled in, each of its kind. Raises ModelError: unknown, missing, wrong."""
    known = OPS.get(op)
    if known is None:
        return given
    given = {k: v for k, v in given.items() if k not in IGNORED}
    unknown = [k for k in given if k not in known]
    if unknown:
        has = f"its attributes are {', '.join(known)}" if known else "it has none"
        raise ModelError(f"{where}: {op} has no attribute '{unknown[0]}'; {has}")
    attrs = {}
    for name, field in known.items():
        value = given.get(name, field.default)
        if value is REQUIRED:
            raise ModelError(f"{where}: {op} needs the attribute '{name}'")
        attrs[name] = _convert(value, field, f"{where}: {op}: attribute '{name}'")
    return attrs


def _convert(value: object, field: Field, where: str) -> object:
    kind = field.kind.removeprefix("ref ")
    is_number = isinstance(value, float) or (type(value) is int and abs(value) <= LARGEST_INT)
    if value is None and (field.default is None or field.kind in ("dtype", "ref any")):
        return None
    if kind == "any":
        return value
    if kind == "int" and is_number and abs(value) <= LARGEST_INT and float(value).is_integer():
        return int(value)
    if kind == "float" and is_number:
        return float(value)
    if kind == "bool" and isinstance(value, bool | int) and value in (0, 1):
        return bool(value)
    if kind in ("string", "dtype") and isinstance(value, str):
        return (value or None) if kind == "dtype" else value
    if kind == "list" and isinstance(value, list):
        return list(value)
    if kind == "list" and is_number and math.isfinite(value):
        return [value]
    expected = {"int": "an integer", "float": "a number", "bool": "True or False", "list": "a list"}.get(
        kind, f"a {kind}"
    )
    raise ModelError(f"{where} is {str(value)[:40]}, expected {expected}")
