"""What every command prints with: the two consoles, a spinner for long work, JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

_PIPED_WIDTH = 120  # columns of what is written to a file or a pipe: a row of each table fits in one line


def output_console() -> Console:
    """Standard output: as wide as the terminal, or as COLUMNS says, or _PIPED_WIDTH."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH
    return console


messages = Console(stderr=True)
output = output_console()


@contextmanager
def working(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error with what is being done; plain lines where that is no terminal."""
    if quiet or not messages.is_terminal:
        yield (
            (lambda _: None) if quiet else (lambda text: messages.print(f"... {text}", highlight=False, soft_wrap=True))
        )
        return
    with messages.status("starting") as status:
        yield lambda text: status.update(text)
