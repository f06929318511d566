"""`mcutrain plan`: the memory-budget report of a training step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcutrain.artifact.folder import replace_file
from mcutrain.cli.console import notice, working
from mcutrain.cli.options import (
    Accumulate,
    Budget,
    Classes,
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
from mcutrain.cli.refusal import refusing
from mcutrain.cli.report import show
from mcutrain.frontends import load
from mcutrain.inspection.text import autoencoder_hint
from mcutrain.options import PlanOptions
from mcutrain.pipeline import planned_step
from mcutrain.report.page import render_html

if TYPE_CHECKING:
    from mcutrain.tvm_ext.model import Model as Network


def plan(
    model: Model,
    scheme: Scheme = None,
    budget: Budget = "256KB",
    board: Annotated[
        str | None,
        typer.Option(help="As this board computes it: by integers without an FPU.", show_default=False),
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
    html: Annotated[Path | None, typer.Option(help="Also write the report page here.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """The memory-budget report of a training step. Needs no cross compiler and no emulator.

    Example: `mcutrain plan mcunet.pkl --scheme 49kb --budget 256KB`
    """
    options = PlanOptions(momentum, accumulate, seed, seconds, stream, recompute)
    read = partial(load, model, classes=classes, head=head, logits=logits, loss=loss, params=params, softmax=softmax)
    with refusing(read, scheme, budget, input_size, options, as_json), working(as_json) as say:
        say("reading the model")
        network = hinted(read(input_size))
        planned = planned_step(network, scheme, budget, options, board, say)
        if html is not None:
            replace_file(html, render_html(planned.report))
    show(planned.report, as_json)


def hinted(model: Network) -> Network:
    """The model, after a line on standard error where it looks like an autoencoder under another loss."""
    hint = autoencoder_hint(model.loss, model.input_shape, model.classes)
    if hint:
        notice(hint)
    return model
