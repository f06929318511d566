"""The table of cases is complete: every op of the product has its record, with all that the generic tests ask."""

from __future__ import annotations

import pytest

from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support import product_ops


def test_every_op_has_cases_and_no_other() -> None:
    """A new op needs a record in a module of tests/tvm_ext/ops/cases."""
    ops = set(product_ops.op_names())
    assert not ops - set(RECORDS), f"no cases for {sorted(ops - set(RECORDS))}: write tests/tvm_ext/ops/cases"
    assert not set(RECORDS) - ops, f"cases for {sorted(set(RECORDS) - ops)}, which the product does not have"


@pytest.mark.parametrize("op", RECORDS)
def test_a_record_is_complete(op: str) -> None:
    """What runs has a case, alone and with its companion; an op with a gradient rule has a network and its form in
    PyTorch."""
    record = RECORDS[op]
    names = {name for case in record.cases for name in record.names(case)}
    assert names == set(product_ops.op_names()[op])
    assert (record.network is not None) == (op in product_ops.differentiable())
    assert record.torch is not None or op not in product_ops.differentiable()
