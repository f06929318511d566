"""A model of the dialect in PyTorch: float64, rounding straight-through, clamps as PyTorch differentiates them. Its
autograd is the oracle of our gradients. What an op is in PyTorch stands with its cases (tests/tvm_ext/ops/cases)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from mcutrain.tvm_ext.dialect import attrs_of, op_name
from mcutrain.tvm_ext.function import bindings_of, flatten
from mcutrain.tvm_ext.model import NETWORK, Model, to_oihw
from tests.tvm_ext.ops.cases.table import RECORDS
from tests.tvm_ext.support.torch_parts import to_torch


def gradients(model: Model, x: np.ndarray, label: object = None) -> tuple[float, dict[str, np.ndarray]]:
    """The loss, and its gradient by every weight and bias as they are stored (weights OIHW)."""
    network = _Network(model)
    real = (network.output(x) - model.logits_zero) * model.logits_scale
    loss = _loss(model, real, x, label)
    loss.backward()
    return loss.item(), {n: p.grad.numpy() for n, p in network.trained.items() if p.grad is not None}


def outputs(model: Model, x: np.ndarray) -> np.ndarray:
    """float64 (outputs,): the numbers as the network stores them, of an input in the network's shape."""
    return _Network(model).output(x).detach().numpy()


def _loss(model: Model, logits: torch.Tensor, x: np.ndarray, label: object) -> torch.Tensor:
    if model.loss == "cross_entropy":
        return F.cross_entropy(logits[None], torch.tensor([int(label)]))
    if model.loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(logits, torch.tensor(np.asarray(label), dtype=torch.float64))
    if model.loss == "autoencoder":
        label = (x.reshape(-1).astype(np.float64) - model.input_zero) * model.input_scale
    return F.mse_loss(logits, torch.tensor(np.asarray(label), dtype=torch.float64))


class _Network:
    """trained: the leaves by parameter name, in the layout in which people see them."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.bindings = list(bindings_of(model.module[NETWORK]))
        self.values = {n: torch.tensor(to_oihw(v), dtype=torch.float64) for n, v in model.params.items()}
        self.trained = {n: v.requires_grad_() for n, v in self.values.items() if n.endswith((".weight", ".bias"))}

    def output(self, x: np.ndarray) -> torch.Tensor:
        """(outputs,) in the order of the network's memory."""
        values = {**self.values, "x": to_torch(x.reshape(self.model.input_shape))}
        last = self._run(values, flatten(self.model.module[NETWORK].body.body)[0])
        return (last.permute(0, 2, 3, 1) if last.ndim == 4 else last).reshape(-1)

    def _run(self, values: dict, output: object) -> torch.Tensor:
        for var, value in self.bindings:
            name = op_name(value)
            if name is None:
                values[var.name] = values[value.name]
                continue
            args = [values[a.name] for a in value.args]
            values[var.name] = RECORDS[name].torch(attrs_of(value), *args)
        return values[output.name]
