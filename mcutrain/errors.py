"""Errors that come from running something; those of models, policies, plans and files stand in planner/errors.py."""

from __future__ import annotations

from mcutrain.planner.errors import McutrainError


class ToolError(McutrainError):
    """A compiler or emulator is missing or failed."""


class BoardError(McutrainError):
    """A board that is not known, or a file that describes none."""


class DeviceError(McutrainError):
    """The firmware faulted, timed out or answered with something else than results. said: the last that it, or the
    emulator, printed, in its own words; nothing where that does not matter."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said
