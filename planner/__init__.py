"""Decides: what trains, in which order, where each byte lies. Imports ortools, networkx and numpy; never tvm.

Packing alone, of buffers that live in half-open sections (see `solve`):

    from mcutrain.planner import Buffer, Problem, solve

    problem = Problem((Buffer("a", 0, 2, 96), Buffer("b", 1, 3, 32), Buffer("c", 2, 4, 96)))
    found = solve(problem, capacity=128)
    print(found.height, found.bound, found.status, found.offsets)  # 128 128 OPTIMAL, and a byte offset for each id
"""

from mcutrain.planner.check import check
from mcutrain.planner.errors import BudgetError, PlanError
from mcutrain.planner.model import Graph, Op, Overlap, Plan, RowAccess, Stream, Tensor
from mcutrain.planner.packing import bound, csvfile
from mcutrain.planner.packing.check import check_allocation
from mcutrain.planner.packing.problem import Allocation, Buffer, Problem
from mcutrain.planner.packing.solve import solve
from mcutrain.planner.plans import plan, plan_rematerialised, planned_graph

__all__ = [
    "Allocation",
    "BudgetError",
    "Buffer",
    "Graph",
    "Op",
    "Overlap",
    "Plan",
    "PlanError",
    "Problem",
    "RowAccess",
    "Stream",
    "Tensor",
    "bound",
    "check",
    "check_allocation",
    "csvfile",
    "plan",
    "plan_rematerialised",
    "planned_graph",
    "solve",
]
