"""`mcutrain tune`: measure the forms of a model's kernels on the emulated core, for later compiles to choose by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import mcutrain
from mcutrain import boards
from mcutrain.cli_app import output, working
from mcutrain.cli_options import Classes, Head, InputSize, Json, Logits, Loss, Model, Params, Scheme
from mcutrain.folder import to_json
from mcutrain.pipeline import lowered_step


def tune(
    model: Model,
    scheme: Scheme = None,
    board: Annotated[str, typer.Option(help="Whose core is measured; `mcutrain boards` lists them.")] = "stm32f746",
    table: Annotated[
        Path | None, typer.Option(help="File of counts; by default the one that compiles read.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure what is known, too.")] = False,
    input_size: InputSize = None,
    classes: Classes = None,
    head: Head = None,
    logits: Logits = None,
    loss: Loss = None,
    params: Params = None,
    as_json: Json = False,
) -> None:
    """Measure each form of a model's kernels on the emulated core; later compiles take the cheapest.

    Without it a compile is right all the same: kernels that were never measured run in their first form.

    Example: `mcutrain tune mcunet.pkl --board nrf52840`
    """
    from mcutrain.tuning import tune as run
    from mcutrain.tuning import write
    from tvm_ext.tuning import TUNED, read_counts

    core, path = boards.get(board).core, TUNED if table is None else table
    known = read_counts(core, path)
    with working(as_json) as say:
        say("reading the model")
        network = mcutrain.load(model, input_size, classes, head, logits, loss=loss, params=params)
        found = run(lowered_step(network, scheme, progress=say), board, {} if again else known, say)
    write(path, core, found)
    if as_json:
        print(to_json({"schema": 1, "core": core, "kernels": found}), end="")
        return
    shown = Table("kernel", "form", "instructions", title=f"{len(found)} kernels with a choice, {core}")
    for kernel, counts in sorted(found.items()):
        for form, instructions in counts.items():
            shown.add_row(kernel, form, f"{instructions:,}")
    output.print(shown)
    output.print(f"{sum(k not in known for k in found)} measured, the others were known; written to {path}")
