"""Every gradient rule against PyTorch: in a small network around its op, the gradients of all parameters."""

from __future__ import annotations

import numpy as np
import pytest

from mcutrain.planner.policy import named
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.model import Model, to_oihw
from mcutrain.tvm_ext.train.training import LABEL, train
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support import product_ops, torch_dialect
from tests.tvm_ext.support.draws import numbers
from tests.tvm_ext.support.op_cases import OpCases
from tests.tvm_ext.support.run_step import execute

WITH_RULE = [RECORDS[op] for op in sorted(product_ops.differentiable())]


def label_of(model: Model) -> np.ndarray:
    rng = np.random.default_rng(1)
    if model.loss == "cross_entropy":
        return np.array([1], np.int32)
    if model.loss == "binary_cross_entropy":
        return rng.integers(0, 2, model.classes).astype(np.int32)
    return rng.normal(size=model.classes).astype(np.float32)


@pytest.mark.parametrize("record", WITH_RULE, ids=str)
def test_a_rule_gives_pytorchs_gradients(record: OpCases) -> None:
    """Of every weight and bias, within 1e-4 of the largest; every layer has one that is not zero."""
    assert record.network is not None, f"{record.op}: give its record a network"
    model = record.network()
    lowered = lower(train(model, named("full", model.layers)))
    step, x, label = lowered.train_step, numbers(model.input_dtype, 0, model.input_shape), label_of(model)
    assert {record.op, *product_ops.op_names()[record.op]} & {call.kind for call in step.calls}
    parameters = {name: value for name, value in model.params.items() if name in step.values}
    tensors = execute(lowered, step, {**parameters, "x": x, LABEL: label})
    gradients = [call.gradient_of for call in step.calls if call.gradient_of]
    loss, expected = torch_dialect.gradients(model, x, label[0] if model.loss == "cross_entropy" else label)
    assert float(tensors[step.loss].reshape(-1)[0]) == pytest.approx(loss, rel=1e-5)
    pairs = zip(lowered.training.parameters, gradients, strict=True)
    found = {p.name: to_oihw(tensors[g]) if p.is_weight else tensors[g] for p, g in pairs}
    assert found.keys() == expected.keys() and len(found) >= 4
    for name, right in expected.items():
        largest = np.abs(right).max()
        assert largest > 0, name
        assert np.abs(found[name].reshape(right.shape) - right).max() <= 1e-4 * largest, name
