"""The token cursor of the text parser; its errors name the file and the line."""

from __future__ import annotations

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.read.lexer import Token, Tokens

MAX_DEPTH = 100


def printable(text: str) -> str:
    """Show the beginning of a piece of the file in a message: one line that a terminal can show."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text[:40].split()))


class Cursor:
    """Walks over tokens; every error names the file and the line. Nesting is bounded by MAX_DEPTH."""

    def __init__(self, tokens: Tokens, source: str, constants: list[np.ndarray] | None = None) -> None:
        """constants: what meta[relay.Constant][i] stands for, None without a metadata section."""
        self.all, self.source, self.constants = tokens, source, constants
        self.tokens = tokens.tokens
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def at(self) -> str:
        return self.place(self.tokens[self.index])

    def place(self, token: Token) -> str:
        return f"line {self.all.line(token.pos)}"

    def error(self, message: str, token: Token | None = None) -> ModelError:
        """Make an error. token: where, if not at the token under the cursor."""
        return ModelError(f"{self.source}, {self.place(token or self.token)}: {message}")

    def next(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.index += 1
        return token

    def sees(self, text: str, ahead: int = 0) -> bool:
        """Say whether the token is this mark or word (and no string or variable of that spelling)."""
        token = self.tokens[self.index + ahead]
        return token.text == text and token.kind in ("mark", "name")

    def accept(self, text: str) -> bool:
        token = self.tokens[self.index]
        if token.text == text and token.kind in ("mark", "name"):
            self.index += 1
            return True
        return False

    def expect(self, text: str, context: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected '{text}' {context}, found {self.shown()}")

    def shown(self) -> str:
        return "the end of the text: truncated?" if self.token.kind == "end" else f"'{printable(self.token.text)}'"

    def note(self) -> str:
        """Return the ty= or span= comment behind the token that was read last, or ""."""
        return self.all.notes.get(self.index - 1, "")

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep; bind inner expressions to %0, %1, ...")

    def leave(self) -> None:
        self.depth -= 1
