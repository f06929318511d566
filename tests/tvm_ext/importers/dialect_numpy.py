"""Evaluates a model of the dialect in numpy, call by call, for tests of importers: with the references of the ops that
the kernels are compared with (tests/tvm_ext/ops/cases). They share nothing with the kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.model import NETWORK, Model
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support.op_cases import OpCases, Within


def evaluate(model: Model, x: np.ndarray) -> np.ndarray:
    """The logits of one input, in the shape that the dialect gives them."""
    return trace(model, x)[-1][1]


def trace(model: Model, x: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(layer, its output) in order."""
    main = model.module[NETWORK]
    values = {p: model.params[p.name] for p in main.params[1:]}
    values[main.params[0]] = np.asarray(x).reshape(model.input_shape)
    outputs = []
    for var, call in bindings_of(main):
        if op_name(call) is None:
            values[var] = values.get(call)
            continue
        attrs = attrs_of(call)
        values[var] = OPS[op_name(call)](*(values[a] for a in call.args), **attrs)
        outputs.append((attrs["layer"], values[var]))
    return outputs


def _result(record: OpCases, *operands: np.ndarray, **attrs: object) -> np.ndarray:
    """The result of an op; of one with a tolerance the exact number in float32."""
    expected = next(iter(record.expect(attrs, *operands)))
    return expected.value.astype(expected.dtype) if isinstance(expected, Within) else np.asarray(expected)


# op -> its result by operands and attributes
OPS: dict[str, Callable[..., np.ndarray]] = {op: partial(_result, record) for op, record in RECORDS.items()}
