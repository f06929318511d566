"""`mcutrain train`: a training run on the host twin."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import mcutrain
from mcutrain.artifact.folder import replace_file
from mcutrain.cli.console import messages, output, working
from mcutrain.cli.options import Json, Out
from mcutrain.planner.errors import OutputError
from mcutrain.report.figures import finite
from mcutrain.twin.data import read_data
from mcutrain.twin.learning import learn


def train(
    out: Out,
    data: Annotated[Path, typer.Argument(help=".npz with x_train, y_train, x_test, y_test.", show_default=False)],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training part.")] = 2,
    learning_rate: Annotated[float, typer.Option("--lr", help="Learning rate of the network.")] = 0.001,
    head_rate: Annotated[float, typer.Option("--head-lr", help="Learning rate of the head.")] = 0.01,
    schedule: Annotated[str, typer.Option(help="cosine or constant.")] = "cosine",
    seed: Annotated[int, typer.Option(help="Of the order of the samples.")] = 0,
    save: Annotated[
        Path | None, typer.Option(help="Write the trained parameters to this .npz.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Train on the host twin (the same C, the same bits as the device), with the accuracy before and after.

    Example: `mcutrain train out/ data.npz --epochs 2 --lr 0.001 --head-lr 0.01`
    """
    if save is not None and not save.parent.is_dir():  # said before the training, not after it
        raise OutputError(f"{save}: its folder does not exist; choose another place")
    with working(as_json) as say:
        say("building the host twin")
        twin = mcutrain.host(out)
    samples = read_data(data, twin)
    with _bar(as_json) as progress:
        learnt = learn(twin, samples, epochs, (learning_rate, head_rate), schedule, seed, progress)
    if save is not None:
        _save(save, twin.state())
    if as_json:
        result = {learnt.metric.replace(" ", "_"): learnt.scores, "losses": learnt.losses, "steps": learnt.steps}
        print(json.dumps(finite(result)))
        return
    table = Table("epoch", "mean loss", f"test {learnt.metric}", title=f"{learnt.steps} steps at batch 1")
    for epoch, score in enumerate(learnt.scores):
        loss = f"{learnt.losses[epoch - 1]:.4f}" if epoch else "-"
        shown = f"{score:.1%}" if learnt.metric == "accuracy" else f"{score:.6g}"
        table.add_row(str(epoch) if epoch else "before", loss, shown)
    output.print(table)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    if quiet or not messages.is_terminal:
        yield None if quiet else _say_tenths
        return
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, console=messages, transient=True) as progress:
        task = progress.add_task("training")
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _say_tenths(done: int, total: int) -> None:
    """A plain line at every tenth of the work, for logs."""
    if done * 10 // total > (done - 1) * 10 // total:
        messages.print(f"... training {done}/{total}", highlight=False)


def _save(path: Path, state: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    replace_file(path if path.suffix == ".npz" else path.with_name(path.name + ".npz"), buffer.getvalue())
