"""Decides: what trains, in which order, where each byte lies. Imports ortools, networkx and numpy; never tvm."""

from planner import bound, csvfile
from planner.check import check
from planner.errors import BudgetError, PlanError
from planner.model import Graph, Op, Overlap, Plan, RowAccess, Stream, Tensor
from planner.solve import plan, planned_graph

__all__ = [
    "BudgetError",
    "Graph",
    "Op",
    "Overlap",
    "Plan",
    "PlanError",
    "RowAccess",
    "Stream",
    "Tensor",
    "bound",
    "check",
    "csvfile",
    "plan",
    "planned_graph",
]
