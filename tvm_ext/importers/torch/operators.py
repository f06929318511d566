"""The table of PyTorch's operators: ATen's, and those that PT2E quantises with."""

from __future__ import annotations

from mcutrain.tvm_ext.importers.base.operators import by_name
from mcutrain.tvm_ext.importers.torch import layers, pointwise, pools, quantisation, shapes
from mcutrain.tvm_ext.importers.torch.call import TorchOperator

OPERATORS: dict[str, TorchOperator] = by_name(
    layers.OPERATORS, pointwise.OPERATORS, pools.OPERATORS, shapes.OPERATORS, quantisation.OPERATORS
)
