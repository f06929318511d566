"""`mcutrain compile`: plan, and write a folder of C."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mcutrain.cli.console import line, notice, working
from mcutrain.cli.options import (
    Accumulate,
    Board,
    Classes,
    CountTable,
    Head,
    InputSize,
    Json,
    Logits,
    Loss,
    Model,
    Momentum,
    Params,
    Recompute,
    Scheme,
    Seconds,
    Seed,
    Softmax,
    Stream,
)
from mcutrain.cli.plan import hinted
from mcutrain.cli.refusal import refusing
from mcutrain.cli.report import show
from mcutrain.frontends import load
from mcutrain.options import PlanOptions
from mcutrain.pipeline import compiled
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.targets import board as boards
from mcutrain.units import parse_bytes


def compile(
    model: Model,
    scheme: Scheme = None,
    board: Board = "stm32f746",
    budget: Annotated[
        str | None, typer.Option(help="SRAM for everything; by default the board's.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; a tar stands beside it.")] = Path("out"),
    name: Annotated[
        str | None, typer.Option(help="C name of the model, by default its file's.", show_default=False)
    ] = None,
    input_size: InputSize = None,
    classes: Classes = None,
    head: Head = None,
    logits: Logits = None,
    loss: Loss = None,
    params: Params = None,
    softmax: Softmax = False,
    momentum: Momentum = 0.0,
    accumulate: Accumulate = 1,
    seed: Seed = 1,
    seconds: Seconds = 20.0,
    stream: Stream = True,
    recompute: Recompute = False,
    table: CountTable = None,
    as_json: Json = False,
) -> None:
    """Plan, and write C11 sources in Model Library Format.

    Example: `mcutrain compile mcunet.pkl --scheme 49kb --budget 256KB --board stm32f746 -o out/`
    """
    target = boards.get(board)
    limit = target.budget_bytes if budget is None else budget
    if promised := boards.too_large(target, parse_bytes(limit)):  # before the long work
        notice(promised)
    options = PlanOptions(momentum, accumulate, seed, seconds, stream, recompute)
    read = partial(load, model, classes=classes, head=head, logits=logits, loss=loss, params=params, softmax=softmax)
    with refusing(read, scheme, limit, input_size, options, as_json), working(as_json) as say:
        say("reading the model")
        network = hinted(read(input_size))
        artifact = compiled(network, scheme, board, limit, out, options, name, table, say)
    show(artifact.report, as_json)
    shortage = boards.shortage(target, artifact.planned.plan.height + FIRMWARE_BYTES)
    if shortage:
        notice(f"this plan's {shortage}")
    if not as_json:
        step = "train" if shortage else "verify"
        line(f"\nwrote {artifact.directory}; next: mcutrain {step} {out}")
