"""Finds an order by CP-SAT, for small graphs on which the exact search gives up: positions, one cumulative, a hint."""

from __future__ import annotations

import math
from itertools import pairwise

from ortools.sat.python import cp_model

from mcutrain.planner.graph import MORTAL, WRITTEN
from mcutrain.planner.model import Graph
from mcutrain.planner.order.model import OrderModel
from mcutrain.planner.order.search import Incumbent, is_valid


def lowest_peak(graph: Graph, model: OrderModel, start: Incumbent, *, seconds: float, seed: int = 0) -> Incumbent:
    """Lowers the peak and raises the bound of `start` within `seconds` (deterministic work, 1 to 3 seconds each)."""
    cp = cp_model.CpModel()
    builder = _Builder(graph, model, cp)
    unit = math.gcd(*builder.demands, *(s for e in model.ends for _, s in e)) or 1
    limit = (start.peak - model.base) // unit
    floor = -(-(start.bound - model.base) // unit)
    height = cp.new_int_var(min(floor, limit), limit, "height")
    cp.add_cumulative(builder.intervals, [d // unit for d in builder.demands], height)
    cp.minimize(height)
    for position, v in enumerate(start.order):
        cp.add_hint(builder.position[v], position)
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False
    solver.parameters.num_workers = 1  # the number of workers chooses the strategies, and so the answer
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = seconds
    status = solver.solve(cp)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return start
    bound = max(start.bound, math.ceil(solver.best_objective_bound - 1e-6) * unit + model.base)
    order = sorted(range(len(model.names)), key=lambda v: solver.value(builder.position[v]))
    if is_valid(model, order) and model.peak(order) < start.peak:
        return Incumbent(order, model.peak(order), min(bound, model.peak(order)))
    return Incumbent(start.order, start.peak, min(bound, start.peak))


class _Builder:
    """Makes the intervals and demands of the cumulative: a relaxation only where several overlaps of one op save
    together more than they can (then the bound stays valid, and the order's true peak is computed afterwards)."""

    def __init__(self, graph: Graph, model: OrderModel, cp: cp_model.CpModel) -> None:
        self.graph, self.model, self.cp = graph, model, cp
        self.intervals: list[cp_model.IntervalVar] = []
        self.demands: list[int] = []
        self.position = self._positions()
        writer = {name: v for v, op in enumerate(graph.ops) for name in op.outputs}
        for tensor in graph.tensors:
            users = [v for v in range(len(graph.ops)) if model.users[tensor.name] >> v & 1]
            size = -(-tensor.nbytes // model.step) * model.step
            if size and users and tensor.kind in MORTAL:
                begin = self.position[writer[tensor.name]] if tensor.name in writer else 0
                self._add_layers(tensor.name, begin, users, size)
            elif size and tensor.kind in WRITTEN:
                begin = self.position[writer[tensor.name]]
                self._add(begin, len(graph.ops) if tensor.kind == "output" else begin + 1, size)
        for v, op in enumerate(graph.ops):
            scratch = sum(-(-graph.by_name[name].nbytes // model.step) * model.step for name in op.scratch)
            if scratch:
                self._add(self.position[v], self.position[v] + 1, scratch)

    def _positions(self) -> list[cp_model.IntVar]:
        count = len(self.model.names)
        ancestors, descendants = self.model.closures()
        position = [
            self.cp.new_int_var(ancestors[v].bit_count(), count - 1 - descendants[v].bit_count(), f"p{v}")
            for v in range(count)
        ]
        self.cp.add_all_different(position)
        for v in range(count):
            for s in self.model.after[v]:
                self.cp.add(position[v] < position[s])
        return position

    def _add_layers(self, name: str, begin: cp_model.LinearExprT, users: list[int], size: int) -> None:
        """Adds a tensor as layers of bytes: a layer that op v saves by overlap is gone while v runs, if v is the last
        user.

        It ends at v's position then; were another user later, that one would keep it alive over v."""
        savings = {v: max((p.saving() for _, p in self.model.pairs[v] if p.input == name), default=0) for v in users}
        levels = sorted({0, size, *(min(s, size) for s in savings.values())})
        for low, high in pairwise(levels):
            end = self.cp.new_int_var(0, len(self.model.names), "")
            for v in users:
                self.cp.add(end >= self.position[v] + (0 if savings[v] >= high else 1))
            self._add(begin, end, high - low)

    def _add(self, begin: cp_model.LinearExprT, end: cp_model.LinearExprT, demand: int) -> None:
        length = self.cp.new_int_var(0, len(self.model.names), "")
        self.intervals.append(self.cp.new_interval_var(begin, length, end, ""))
        self.demands.append(demand)
