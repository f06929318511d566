"""`mcutrain inspect`: what is in a model, what training its layers would cost, or why it cannot be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import mcutrain
from mcutrain import frontends as front_doors
from mcutrain.artifact.folder import to_json
from mcutrain.cli.console import messages, output
from mcutrain.cli.options import Classes, Head, InputSize, Json, Logits, Loss, Model, Params
from mcutrain.inspection.model import inspect_model, to_dict
from mcutrain.inspection.text import PROBLEM_FIELDS, render_inspection, render_problems
from mcutrain.planner.errors import ModelError

if TYPE_CHECKING:
    from mcutrain.tvm_ext.model import Model as Network

BAD_INPUT = 2


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
    """What is in a model, layer by layer, and what training from each layer on would need, before you choose a scheme.

    Example: `mcutrain inspect mcunet.pkl`
    """
    load = partial(mcutrain.load, model, input_size, classes, head, logits, loss=loss, params=params)
    show_inspection(load, lambda: front_doors.told(model)[0], costs, as_json)


def show_inspection(load: Callable[[], Network], front_door: Callable[[], str], costs: bool, as_json: bool) -> None:
    """The command behind its options. front_door: tells the model's format, a key of front_doors.FORMATS.

    A model that cannot be imported ends it with status 2, after a table of its problems where the ModelError has
    them. Raises ModelError where it has none."""
    try:
        with _progress(as_json) as progress:
            found = inspect_model(load(), front_door(), costs=costs, progress=progress)
    except ModelError as error:
        if not getattr(error, "problems", ()):
            raise
        _show_problems(error, as_json)
        raise typer.Exit(BAD_INPUT) from None
    if as_json:
        print(to_json(to_dict(found)), end="")
    else:
        render_inspection(found, output)


def _show_problems(error: ModelError, as_json: bool) -> None:
    """The message lists the problems, too, so that only its first line is shown beside them."""
    summary = str(error).split("\n", 1)[0]
    if as_json:
        rows = [{field: getattr(problem, field, None) for field in PROBLEM_FIELDS} for problem in error.problems]
        print(to_json({"schema": 1, "error": summary, "problems": rows}), end="")
    else:
        render_problems(error.problems, output)
    print(f"mcutrain: {summary}", file=sys.stderr)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error; where that is no terminal, a plain line at every tenth of the work."""
    if quiet or not messages.is_terminal:
        yield None if quiet else _say_tenths
        return
    columns = (TextColumn("planning"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say_tenths(done: int, total: int) -> None:
    if done * 10 // total > (done - 1) * 10 // total:
        messages.print(f"... planning {done}/{total}", highlight=False)
