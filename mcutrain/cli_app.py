"""What every command prints with: the two consoles, a spinner for long work, JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

messages = Console(stderr=True)
output = Console()


@contextmanager
def working(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner on standard error with what is being done; plain lines where that is no terminal."""
    if quiet or not messages.is_terminal:
        yield (lambda _: None) if quiet else (lambda text: messages.print(f"... {text}", highlight=False))
        return
    with messages.status("starting") as status:
        yield lambda text: status.update(text)
