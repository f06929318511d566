"""The operands of a convolution: which weights it has, over which channels, and what stands behind them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tvm import relax

from mcutrain.tvm_ext.ops.kernel import Attrs


class ConvOperands(NamedTuple):
    """weights: one, or the frozen and the trained part of it. tables: scale, then (integer rounding) multipliers; a
    float convolution has none. slots: float32 operands that stand for what trains (train.training)."""

    weights: list[relax.Expr]
    bias: relax.Expr
    tables: list[relax.Expr]
    slots: list[relax.Expr]


def conv_operands(args: list[relax.Expr], attrs: Attrs) -> ConvOperands:
    """The operands behind x."""
    n = 2 if attrs["trained_channels"] and not attrs["depthwise"] else 1
    end = len(args) - len(attrs["slots"])
    return ConvOperands(list(args[1 : 1 + n]), args[1 + n], list(args[2 + n : end]), list(args[end:]))


def split_channels(attrs: Attrs, in_channels: int) -> list[list[int]]:
    """Input channels of each weight argument, in its order: [all], or [frozen, trained]."""
    trained = list(attrs["trained_channels"])
    if not trained:
        return [list(range(in_channels))]
    return [sorted(set(range(in_channels)) - set(trained)), trained]


def channel_tables(groups: list[list[int]]) -> tuple[np.ndarray, ...]:
    """The channel lists as constant tables; none for a weight over all channels."""
    return () if len(groups) == 1 else tuple(np.asarray(g, "int16") for g in groups)
