from .frontends import load, to_relax
from .pipeline import Artifact, PlannedModel, compile, plan
from .planner.errors import (
    BudgetError,
    DeviceError,
    McutrainError,
    ModelError,
    OutputError,
    PlanError,
    PolicyError,
    ToolError,
)
from .twin.twin import Twin, host

__all__ = [
    "Artifact",
    "BudgetError",
    "DeviceError",
    "McutrainError",
    "ModelError",
    "OutputError",
    "PlanError",
    "PlannedModel",
    "PolicyError",
    "ToolError",
    "Twin",
    "compile",
    "host",
    "load",
    "plan",
    "to_relax",
]
