"""`mcutrain train`: a training run on the host twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mcutrain.cli.console import counting_apart, output, working
from mcutrain.cli.options import Json, Out
from mcutrain.planner.errors import OutputError
from mcutrain.schema.reading import plain
from mcutrain.twin.learning import TrainingResult
from mcutrain.twin.learning import train as run
from mcutrain.twin.twin import host


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
        twin = host(out)
    rates = (learning_rate, head_rate)
    with counting_apart(as_json, "training", "evaluating") as (step, scored):
        counts = {"progress": step, "evaluating": scored}
        trained = run(twin, data, epochs=epochs, learning_rate=rates, schedule=schedule, seed=seed, **counts)
    if save is not None:
        trained.save(save)
    if as_json:
        result = {trained.metric.replace(" ", "_"): trained.scores, "losses": trained.losses, "steps": trained.steps}
        print(json.dumps(plain(result)))
    else:
        _show(trained)


def _show(trained: TrainingResult) -> None:
    table = Table("epoch", "mean loss", f"test {trained.metric}", title=f"{trained.steps} steps at batch 1")
    for epoch, score in enumerate(trained.scores):
        loss = f"{trained.losses[epoch - 1]:.4f}" if epoch else "-"
        shown = f"{score:.1%}" if trained.metric == "accuracy" else f"{score:.6g}"
        table.add_row(str(epoch) if epoch else "before", loss, shown)
    output.print(table)
