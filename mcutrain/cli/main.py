"""The command line. Exit status: 0 done, 1 over budget or device and twin differ, 2 bad input or a missing tool."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import mcutrain
from mcutrain.artifact.folder import REPORT_HTML, REPORT_JSON, read_json, replace_file, to_json
from mcutrain.cli.console import messages, output, working
from mcutrain.cli.inspect import inspect
from mcutrain.cli.options import (
    Accumulate,
    Board,
    Budget,
    Classes,
    CountTable,
    Head,
    InputSize,
    Json,
    Logits,
    Loss,
    Model,
    Momentum,
    Out,
    Params,
    Recompute,
    Scheme,
    Seconds,
    Seed,
    Softmax,
    Stream,
)
from mcutrain.cli.profile import profile
from mcutrain.cli.quantize import quantize
from mcutrain.cli.refusal import OVER_BUDGET, refusing
from mcutrain.cli.train import train
from mcutrain.cli.tune import tune
from mcutrain.inspection.text import autoencoder_hint
from mcutrain.pipeline import FIRMWARE_BYTES
from mcutrain.planner.errors import BudgetError, McutrainError
from mcutrain.report.figures import finite
from mcutrain.report.page import render_html, render_text
from mcutrain.targets import board as known_boards
from mcutrain.units import format_bytes

BAD_INPUT = 2
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train int8 networks on microcontrollers: plan, compile to C, verify on an emulated core, inside a budget.",
)


def plan(
    model: Model,
    scheme: Scheme = None,
    budget: Budget = "256KB",
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
    options = {"momentum": momentum, "accumulate": accumulate, "seed": seed, "seconds": seconds}
    options |= {"stream": stream, "recompute": recompute}
    load = partial(
        mcutrain.load, model, classes=classes, head=head, logits=logits, loss=loss, params=params, softmax=softmax
    )
    with refusing(load, scheme, budget, input_size, options, as_json), working(as_json) as say:
        say("reading the model")
        network = _hinted(load(input_size))
        planned = mcutrain.plan(network, scheme, budget, progress=say, **options)
        if html is not None:
            replace_file(html, render_html(planned.report))
    _show(planned.report, as_json)


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
    options = {"momentum": momentum, "accumulate": accumulate, "seed": seed, "seconds": seconds}
    options |= {"stream": stream, "recompute": recompute}
    load = partial(
        mcutrain.load, model, classes=classes, head=head, logits=logits, loss=loss, params=params, softmax=softmax
    )
    limit = known_boards.get(board).sram_bytes if budget is None else budget
    with refusing(load, scheme, limit, input_size, options, as_json), working(as_json) as say:
        say("reading the model")
        network = _hinted(load(input_size))
        more = {"name": name, "table": table, "progress": say}
        artifact = mcutrain.compile(network, scheme, board, limit, out, **more, **options)
    _show(artifact.report, as_json)
    shortage = known_boards.shortage(known_boards.get(board), artifact.planned.plan.height + FIRMWARE_BYTES)
    if shortage:
        messages.print(f"mcutrain: this plan's {shortage}", highlight=False, soft_wrap=True)
    if not as_json:
        step = "train" if shortage else "verify"
        output.print(f"\nwrote {artifact.directory}; next: mcutrain {step} {out}", highlight=False, soft_wrap=True)


def verify(
    out: Out,
    steps: Annotated[int, typer.Option(min=0, help="Training steps to run on the emulated core.")] = 3,
    as_json: Json = False,
) -> None:
    """Build the firmware, run it on the emulated core inside the budget, compare it bit for bit with the host twin.

    Inputs and labels are random: the run measures and compares; its losses say nothing about learning.

    Example: `mcutrain verify out/ --steps 20 --json`
    """
    from mcutrain.firmware.verification import verify as run

    with working(as_json) as say:
        measurement = run(out, steps, progress=say)
    if as_json:
        print(json.dumps(finite(measurement)))
    else:
        render_text(read_json(out / REPORT_JSON, "the report"), output)
        if measurement["losses"]:
            output.print("\nInputs and labels of this run are random: its losses say nothing about learning.")
    if not measurement["fits"] or not measurement["host_equals_device"]:
        raise typer.Exit(OVER_BUDGET)


def report(out: Out, as_json: Json = False) -> None:
    """The report of a compiled (and perhaps verified) folder; `out/report.html` is the page with the pictures.

    Example: `mcutrain report out/`
    """
    content = read_json(out / REPORT_JSON, "the report")
    _show(content, as_json)
    if not as_json:
        output.print(f"\npicture: {out / REPORT_HTML}", highlight=False, soft_wrap=True)
    if not content["fits"]:
        raise typer.Exit(OVER_BUDGET)


def boards(as_json: Json = False) -> None:
    """The boards that are known.

    Example: `mcutrain boards`
    """
    if as_json:
        rows = [
            {
                "name": b.name,
                "core": b.core,
                "sram_bytes": b.sram_bytes,
                "ram_bytes": b.ram_bytes,
                "flash_bytes": b.flash_bytes,
                "machine": b.machine,
            }
            for b in known_boards.BOARDS.values()
        ]
        print(json.dumps({"boards": rows}))
        return
    table = Table("board", "core", "SRAM budget", "flash", "emulated by", "what it is")
    for b in known_boards.BOARDS.values():
        sizes = (format_bytes(b.sram_bytes), format_bytes(b.flash_bytes))
        table.add_row(b.name, b.core, *sizes, b.machine, b.description)
    output.print(table)


def _hinted(model: object) -> object:
    hint = autoencoder_hint(model.loss, model.input_shape, model.classes)
    if hint:
        messages.print(f"mcutrain: {hint}", highlight=False, soft_wrap=True)
    return model


def _show(content: dict, as_json: bool) -> None:
    if as_json:
        print(to_json(content), end="")
    else:
        render_text(content, output)


for command in (inspect, quantize, plan, compile, verify, profile, report, train, tune, boards):
    app.command()(command)


def main() -> None:
    """Run the command line; every error of ours is one line on standard error."""
    try:
        app(prog_name="mcutrain")
    except BudgetError as error:
        _fail(error, OVER_BUDGET)
    except McutrainError as error:
        _fail(error, BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except ImportError as error:
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory on this machine", BAD_INPUT)


def _fail(message: object, status: int) -> None:
    print(f"mcutrain: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
