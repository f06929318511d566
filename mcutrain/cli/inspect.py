"""`mcutrain inspect`: what is in a model, what training its layers would cost, or why it cannot be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mcutrain.artifact.folder import to_json
from mcutrain.cli.console import counting, output
from mcutrain.cli.options import Classes, Head, InputSize, Json, Logits, Loss, Model, Params
from mcutrain.cli.refusal import BAD_INPUT
from mcutrain.frontends import format_of, load
from mcutrain.inspection.model import inspect_model
from mcutrain.inspection.text import PROBLEM_FIELDS, render_inspection, render_problems
from mcutrain.planner.errors import UnsupportedError

if TYPE_CHECKING:
    from mcutrain.tvm_ext.model import Model as Network


def inspect(
    model: Model,
    input_size: InputSize = None,
    classes: Classes = None,
    head: Head = None,
    logits: Logits = None,
    loss: Loss = None,
    params: Params = None,
    costs: Annotated[
        bool,
        typer.Option("--costs/--no-costs", help="Also plan the training of each layer: seconds to minutes in all."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Show what is in a model, layer by layer, and what training from each layer on would need.

    Example: `mcutrain inspect mcunet.pkl`
    """
    read = partial(load, model, input_size, classes, head, logits, loss=loss, params=params)
    show_inspection(read, lambda: format_of(model)[0], costs, as_json)


def show_inspection(read: Callable[[], Network], told: Callable[[], str], costs: bool, as_json: bool) -> None:
    """Inspect the model that read() returns, of the format that told() says: a key of frontends.FORMATS.

    A model with operators that cannot be expressed ends it with status 2, after a table of its problems. Raises
    ModelError for another that cannot be imported."""
    try:
        with counting(as_json, "planning") as progress:
            found = inspect_model(read(), told(), costs=costs, progress=progress)
    except UnsupportedError as error:
        _show_problems(error, as_json)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(to_json(found), end="")
    else:
        render_inspection(found, output)


def _show_problems(error: UnsupportedError, as_json: bool) -> None:
    """Print the problems, and of the message, which lists them too, the first line."""
    summary = str(error).split("\n", 1)[0]
    if as_json:
        rows = [{field: getattr(problem, field, None) for field in PROBLEM_FIELDS} for problem in error.problems]
        print(to_json({"schema": 1, "error": summary, "problems": rows}), end="")
    else:
        render_problems(error.problems, output)
    print(f"mcutrain: {summary}", file=sys.stderr)
