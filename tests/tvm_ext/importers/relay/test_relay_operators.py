"""The records of operators: what each takes is what its attributes say."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable

import pytest

from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.table import OPERATORS


def keywords(function: Callable) -> set[str] | None:
    """Return the attributes that a conversion or a rule takes by name; None where it takes any."""
    names: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            names.add(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            hint = eval(parameter.annotation, function.__globals__)
            if hint is object:
                return None
            names |= typing.get_type_hints(*typing.get_args(hint)).keys()
    return names


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda o: o.name)
def test_attributes_are_what_the_functions_take(operator: RelayOperator) -> None:
    for function in (operator.to_relax, operator.read):
        taken = keywords(function) if function else None
        optional = {"units"} if operator.name == "nn.batch_matmul" else {"axis"} if operator.name == "add" else set()
        assert taken is None or taken - optional == set(operator.attributes)
