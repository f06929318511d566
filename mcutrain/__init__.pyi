from . import planner as planner
from .errors import BoardError, DeviceError, ToolError
from .firmware.emulator import Results
from .frontends import load, to_relax
from .inspection.model import inspect
from .options import PlanOptions
from .pipeline import compile, plan
from .planner.errors import (
    BudgetError,
    LayerError,
    McutrainError,
    ModelError,
    OutputError,
    PlanError,
    PolicyError,
    UnsupportedError,
)
from .planner.model import Plan
from .planner.policy import Policy, Update
from .profiling.run import profile
from .quantization.quantizer import QuantizationResult, quantize
from .report.files import ReportError
from .report.show import print_report
from .results import Artifact, PlannedModel
from .schema.inspection import Inspection
from .schema.measurement import Measurement
from .schema.profile import Profile
from .schema.report import Report
from .targets import boards
from .targets.board import Board
from .tvm_ext.model import Model
from .twin.learning import TrainingResult, train
from .twin.twin import Twin, host
from .units import UnitsError
from .verification import Samples, run_on_device, verify
from .version import __version__

__all__ = [
    "Artifact",
    "Board",
    "BoardError",
    "BudgetError",
    "DeviceError",
    "Inspection",
    "LayerError",
    "McutrainError",
    "Measurement",
    "Model",
    "ModelError",
    "OutputError",
    "Plan",
    "PlanError",
    "PlanOptions",
    "PlannedModel",
    "Policy",
    "PolicyError",
    "Profile",
    "QuantizationResult",
    "Report",
    "ReportError",
    "Results",
    "Samples",
    "ToolError",
    "TrainingResult",
    "Twin",
    "UnitsError",
    "UnsupportedError",
    "Update",
    "__version__",
    "boards",
    "compile",
    "host",
    "inspect",
    "load",
    "plan",
    "planner",
    "print_report",
    "profile",
    "quantize",
    "run_on_device",
    "to_relax",
    "train",
    "verify",
]
