"""Defines the product's errors, which have one base; a message says what, where and what to do."""

from __future__ import annotations

from dataclasses import dataclass


class McutrainError(Exception):
    """Is the base of every error that a user can cause or must act on; the command line prints it. What a file holds
    may stand in the message: nothing of it moves a terminal's cursor."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() or c == "\n" else "?" for c in message))


class ModelError(McutrainError):
    """Says that a model file or graph cannot be read or expressed. why: what cannot be. way_out: what a person does
    about it, "" where nothing is known. layer: the layer it is about, "" where it is about none. The message is made of
    the three."""

    def __init__(self, why: str, way_out: str = "", layer: str = "") -> None:
        text = f"{layer}: {why}" if layer else why
        super().__init__(f"{text}; {way_out}" if way_out else text)
        self.why, self.way_out, self.layer = why, way_out, layer


class LayerError(ModelError):
    """Says that one layer cannot be expressed; the fields are those of ModelError, the layer first."""

    def __init__(self, layer: str, why: str, way_out: str = "") -> None:
        super().__init__(why, way_out, layer)


@dataclass(frozen=True)
class Unsupported:
    """Describes one operator that cannot be imported. layer: the name that the user knows it by."""

    op: str
    layer: str
    why: str
    way_out: str


class UnsupportedError(ModelError):
    """Says that a model has operators that cannot be expressed; `problems` holds all of them."""

    def __init__(self, message: str, problems: tuple[Unsupported, ...]) -> None:
        super().__init__(message)
        self.problems = problems


class PolicyError(McutrainError):
    """Says that a sparse-update policy does not fit the model."""


class PlanError(McutrainError):
    """Says that a planning problem is malformed, or that the checker refuses a plan."""


class BudgetError(PlanError):
    """Says that the training step cannot live inside the memory budget. nbytes: what the best plan needs, where there
    is one."""

    def __init__(self, message: str, nbytes: int = 0) -> None:
        super().__init__(message)
        self.nbytes = nbytes


class OutputError(McutrainError):
    """Says that the output folder cannot be written."""
