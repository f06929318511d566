"""The command line's answer where a training step does not fit: why, and the nearest things that would."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from mcutrain.artifact.folder import to_json
from mcutrain.inspection.alternatives import Alternative, alternatives
from mcutrain.options import PlanOptions
from mcutrain.pipeline import Progress
from mcutrain.planner.errors import BudgetError
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.units import parse_bytes

if TYPE_CHECKING:
    from mcutrain.tvm_ext.model import Model

OVER_BUDGET, BAD_INPUT = 1, 2  # exit statuses


@contextmanager
def refusing(
    load: Callable[[int | None], Model],
    scheme: str | None,
    budget: str | int,
    input_size: int | None,
    options: PlanOptions,
    as_json: bool,
) -> Iterator[None]:
    """End the command with status 1 where its body raises BudgetError, after saying what would fit."""
    try:
        yield
    except BudgetError as error:
        messages = Console(stderr=True, highlight=False, soft_wrap=True)
        print(f"mcutrain: {error}", file=sys.stderr)
        limit = parse_bytes(budget)
        with _looking(messages, as_json) as say:
            # where no plan was looked for, nothing can be offered
            offers = alternatives(load, scheme, limit, input_size, options, say) if error.nbytes else iter(())
            nearer = (row for row in offers if row.fits or row.nbytes < error.nbytes + FIRMWARE_BYTES)
            rows = list(_told(nearer, messages, as_json))
        if as_json:
            found = [{"option": a.option, "nbytes": a.nbytes, "fits": a.fits} for a in rows]
            print(to_json({"fits": False, "error": str(error), "budget_bytes": limit, "alternatives": found}), end="")
        elif error.nbytes and not any(row.fits for row in rows):
            messages.print("nothing of this fits: take a larger budget or a smaller model")
        raise typer.Exit(OVER_BUDGET) from None


def _told(rows: Iterator[Alternative], messages: Console, as_json: bool) -> Iterator[Alternative]:
    """Show each row as soon as it is known."""
    for number, row in enumerate(rows):
        if not as_json:
            if number == 0:
                messages.print("what it would need otherwise (SRAM in all, quick plans):")
            verdict = "fits" if row.fits else "does not fit"
            messages.print(f"  {row.option:<24}{row.nbytes:>12,} B  {verdict}")
        yield row


@contextmanager
def _looking(messages: Console, quiet: bool) -> Iterator[Progress]:
    if quiet or not messages.is_terminal:
        yield lambda _: None
        return
    with messages.status("looking for what fits") as status:
        yield status.update
