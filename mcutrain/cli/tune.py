"""`mcutrain tune`: measure the variants of a model's kernels on the emulated core, for later compiles to choose by."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mcutrain.artifact.folder import to_json
from mcutrain.cli.console import line, output, working
from mcutrain.cli.options import Board, Classes, CountTable, Head, InputSize, Json, Logits, Loss, Model, Params, Scheme
from mcutrain.frontends import load
from mcutrain.pipeline import lowered_step
from mcutrain.targets import board as boards

if TYPE_CHECKING:
    from mcutrain.firmware.measure_variants import Tuned

NO_CHOICE = (
    "A choice is there for dense convolutions that round to even (on cores with an FPU) over all of int8, with an "
    "output whose width is a multiple of 4, and with constant weights that no gradient reads. `mcutrain compile` needs "
    "no counts for this network."
)


def tune(
    model: Model,
    scheme: Scheme = None,
    board: Board = "stm32f746",
    table: CountTable = None,
    again: Annotated[bool, typer.Option("--again", help="Measure what is known, too.")] = False,
    input_size: InputSize = None,
    classes: Classes = None,
    head: Head = None,
    logits: Logits = None,
    loss: Loss = None,
    params: Params = None,
    as_json: Json = False,
) -> None:
    """Measure each variant of a model's kernels on the emulated core; later compiles choose by these counts.

    They take a variant that costs flash where a byte of it saves enough instructions of an inference.

    Without it a compile is right all the same: kernels that were never measured run in their first variant.

    Example: `mcutrain tune mcunet.pkl --board nrf52840`
    """
    from mcutrain.firmware.measure_variants import tune as run
    from mcutrain.tvm_ext.lower.variants import TUNED, WORTH

    core = boards.get(board).core.name
    with working(as_json) as say:
        say("reading the model")
        network = load(model, input_size, classes, head, logits, loss=loss, params=params)
        found = run(lowered_step(network, scheme, board=board, progress=say), board, table, again, say)
    if as_json:
        print(to_json(_as_dict(found, core)), end="")
        return
    _show(found, core)
    if found.measured:
        rule = f"compile takes wide weights where a byte of flash saves at least {WORTH} instructions of an inference"
        line(f"counts are in {table or TUNED}; {rule}")
    given: dict[str, object] = {"--scheme": scheme, "--board": board, "--input-size": input_size, "--classes": classes}
    given |= {"--head": head, "--logits": logits, "--loss": loss, "--params": params}
    given["--table"] = table
    words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    line(f"next: {shlex.join(['mcutrain', 'compile', str(model), *words])}")


def _as_dict(found: Tuned, core: str) -> dict[str, Any]:
    too_large = [{"kernel": t.kernel, "layers": list(t.layers), "nbytes": t.nbytes} for t in found.too_large]
    measured = sorted(found.measured)
    return {"schema": 1, "core": core, "kernels": found.counts, "measured": measured, "too_large": too_large}


def _show(found: Tuned, core: str) -> None:
    from mcutrain.firmware.measure_variants import MEMORY

    if not found.counts and not found.too_large:
        line(f"no kernel of this network has a choice on {core}: nothing was measured. {NO_CHOICE}")
        return
    shown = Table("kernel", "variant", "instructions", title=f"{len(found.counts)} kernels with a choice, {core}")
    for kernel, counts in sorted(found.counts.items()):
        for variant, instructions in counts.items():
            shown.add_row(kernel, variant, f"{instructions:,}")
    output.print(shown)
    for one in found.too_large:
        line(
            f"not measured, and so left in its first variant: {', '.join(one.layers)} ({one.kernel}), whose arrays "
            f"take {one.nbytes:,} B of the {MEMORY:,} B that a measurement has"
        )
    known = len(found.counts) - len(found.measured)
    line(f"{len(found.measured)} measured, {known} known before, {len(found.too_large)} too large")
