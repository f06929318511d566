"""The values that plan() and compile() return."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain.planner.model import Plan
from mcutrain.report.arena_picture import arena_svg
from mcutrain.schema.report import Report

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `boards` and `--help` without it
    from mcutrain.tvm_ext.lower.graph import Lowered

FIRMWARE_BYTES = 1024  # of the budget, kept at plan time; the verify firmware's stack, data and bss measure about 600


@dataclass(frozen=True, repr=False)
class PlannedModel:
    """A model with its training step planned.

    lowered: the kernels that the step calls. plan: order, and a place in SRAM for every tensor. budget: bytes of SRAM
    for everything. report: what text, JSON and page show (docs/FORMATS.md)."""

    lowered: Lowered
    plan: Plan
    budget: int
    report: Report

    @property
    def fits(self) -> bool:
        """Whether the arena and what is kept for the firmware are within the budget."""
        return self.plan.height + FIRMWARE_BYTES <= self.budget

    def __repr__(self) -> str:
        training = self.lowered.training
        arena = f"arena {self.plan.height:,} of {self.budget:,} B, {self.plan.status}"
        return f"<PlannedModel {training.model.name}, scheme {training.policy.name}: {arena}>"

    def _repr_html_(self) -> str:
        """A notebook's view: the tensors in the arena over time and address."""
        return f"<p>{escape(repr(self)[1:-1])}</p>\n{arena_svg(self.report)}"


@dataclass(frozen=True, repr=False)
class Artifact:
    """A compiled model: the folder of C, and its planned step. Functions that take such a folder take it as well."""

    directory: Path
    planned: PlannedModel

    @property
    def report(self) -> Report:
        """The report of the folder's report.json, and the seconds that planning took, which a file leaves out."""
        return self.planned.report

    def __fspath__(self) -> str:
        return str(self.directory)

    def __repr__(self) -> str:
        return f"<Artifact {str(self.directory)!r}, {self.planned!r}>"
