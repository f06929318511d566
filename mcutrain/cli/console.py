"""Printing, shared by the commands: two consoles, plain lines, a spinner for long work, a bar for counted work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_PIPED_WIDTH = 120  # columns of what is written to a file or a pipe: a row of each table fits in one line
Count = Callable[[int, int], None]  # called with what is done, and of how much


def output_console() -> Console:
    """Standard output: as wide as the terminal, or as COLUMNS says, or _PIPED_WIDTH."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH
    return console


messages = Console(stderr=True)
output = output_console()


def line(text: str) -> None:
    """Print to standard output as it is: no colours, no wrapping, no markup in names."""
    output.print(text, highlight=False, soft_wrap=True, markup=False)


def notice(text: str) -> None:
    """Print a line to standard error, beside the result."""
    messages.print(f"mcutrain: {text}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def working(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show a spinner on standard error with what is being done; plain lines where that is no terminal."""
    if quiet or not messages.is_terminal:
        yield (lambda _: None) if quiet else _say
        return
    with messages.status("starting") as status:
        yield lambda text: status.update(text)


def _say(text: str) -> None:
    messages.print(f"... {text}", highlight=False, soft_wrap=True, markup=False)


@contextmanager
def counting(quiet: bool, what: str) -> Iterator[Count | None]:
    """Show a bar on standard error; where that is no terminal, a plain line at every tenth of the work."""
    with counting_apart(quiet, what) as (count,):
        yield count


@contextmanager
def counting_apart(quiet: bool, *texts: str) -> Iterator[list[Count | None]]:
    """Show a bar for each kind of work, as counting() does; yields what counts each."""
    if quiet or not messages.is_terminal:
        yield [None if quiet else partial(_say_tenths, what) for what in texts]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True) as bar:
        yield [partial(_advance, bar, bar.add_task(what, total=None)) for what in texts]


def _advance(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def _say_tenths(what: str, done: int, total: int) -> None:
    if done * 10 // total > (done - 1) * 10 // total:
        _say(f"{what} {done}/{total}")
