"""mcutrain: networks that go on learning on a microcontroller, inside a memory budget that is proven.

>>> model = mcutrain.load("network.tflite")
>>> artifact = mcutrain.compile(model, scheme="last_k=2", board="stm32f746", out="out")
>>> twin = mcutrain.host("out")
"""

from mcutrain.front_doors import to_relax
from mcutrain.pipeline import Artifact, PlannedModel, compile, load, plan
from mcutrain.twin import Twin, host
from planner.errors import (
    BudgetError,
    DeviceError,
    McutrainError,
    ModelError,
    OutputError,
    PlanError,
    PolicyError,
    ToolError,
)

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
