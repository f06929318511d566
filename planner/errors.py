"""The one exception base of the product; a message says what, where and what to do."""

from __future__ import annotations

from dataclasses import dataclass


class McutrainError(Exception):
    """Base of every error that a user can cause or must act on; the command line prints it. What a file holds may stand
    in the message: nothing of it moves a terminal's cursor."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() or c == "\n" else "?" for c in message))


class ModelError(McutrainError):
    """A model file or graph that cannot be read or expressed."""


@dataclass(frozen=True)
class Unsupported:
    """One operator that cannot be imported. layer: the name that the user knows it by."""

    op: str
    layer: str
    why: str
    way_out: str


class UnsupportedError(ModelError):
    """A model with operators that cannot be expressed; `problems` holds all of them."""

    def __init__(self, message: str, problems: tuple[Unsupported, ...]) -> None:
        super().__init__(message)
        self.problems = problems


class PolicyError(McutrainError):
    """A sparse-update policy that does not fit the model."""


class PlanError(McutrainError):
    """A planning problem that is malformed, or a plan that the checker refuses."""


class BudgetError(PlanError):
    """The training step cannot live inside the memory budget. nbytes: what the best plan needs, where there is one."""

    def __init__(self, message: str, nbytes: int = 0) -> None:
        super().__init__(message)
        self.nbytes = nbytes


class ToolError(McutrainError):
    """A compiler or emulator that is missing or failed."""


class DeviceError(McutrainError):
    """The firmware faulted, timed out or answered with something else than results."""


class OutputError(McutrainError):
    """The output folder cannot be written."""
