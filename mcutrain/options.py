"""The options that plan() and compile() have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanOptions:
    """How a training step is built and planned, whatever the network, the budget and the board are.

    momentum: of SGD, in [0, 1); 0 is none, another costs 4 B of SRAM a trained value. accumulate: samples whose
    gradients are averaged before an update, 1 or more; more than 1 costs 4 B a trained value.
    seed: of stochastic rounding; the plan does not depend on it.
    seconds: of one core, about as long at most for the solver. stream: run ops row by row, or by blocks of channels,
    where that lowers the peak. recompute: where the budget cannot hold otherwise, run cheap ops of the forward pass a
    second time instead of keeping what they made.

    The functions spell these fields out in their signatures; a test holds both equal, defaults included."""

    momentum: float = 0.0
    accumulate: int = 1
    seed: int = 1
    seconds: float = 20.0
    stream: bool = True
    recompute: bool = False


DEFAULTS = PlanOptions()
