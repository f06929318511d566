"""Relay text -> tokens with their places, the `/* ... */` notes behind them, and the metadata section as it stands."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from mcutrain.planner.errors import ModelError

# A name holds `:`, `/` and `-` as TFLite's and ONNX's names do, but `:` ends it before a type, and nothing ends in one.
_VAR = r"%(?:[\w.]|:(?!(?:Tensor\b|fn\b|bool\b|u?int\d+\b|b?float\d+\b))(?=[\w:])|/(?=[\w.])|-(?=[\w.]))+"
_DIGITS = r"\d+(?:\.\d+|\.(?![\w.]))?(?:[eE][+-]?\d+)?(?:f(?:16|32|64)?|[iu](?:8|16|32|64))?(?!\w)"
_NUMBER = rf"-?(?:(?:inf|nan)f(?:16|32|64)?\b|{_DIGITS})"
# Space goes with the token behind it; a comment that holds another one is found by _comment_end.
_TOKEN = re.compile(
    rf"\s*(?:(?P<var>{_VAR})|(?P<mark>->|[()\[\]{{}}=,;:?])|(?P<number>{_NUMBER})"
    r"|(?P<comment>/\*[^*/]*(?:(?:\*(?!/)|/(?!\*))[^*/]*)*\*/|/(?=\*)|//[^\n]*)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<global>@[\w.:/-]+)"
    r'|(?P<string>"(?:[^"\\]|\\.)*")|(?P<hash>#\[[^\]\n]*\])|(?P<projection>\.\d+(?!\w))|(?P<end>\Z))',
    re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'"}
INFIX = frozenset("+-*/<>=!")


class Token(NamedTuple):
    """kind: var, number, name, global, string, hash, projection, mark, or end. text: as written (a var without %).
    pos: its offset in the text."""

    kind: str
    text: str
    pos: int


@dataclass(frozen=True)
class Tokens:
    """tokens end with two of kind "end". notes: index of a token -> the ty= or span= comment behind it. metadata: the
    JSON text behind `#[metadata]`, or None. breaks: where lines end; first_line: the number of the first line."""

    tokens: list[Token]
    notes: dict[int, str]
    metadata: str | None
    breaks: list[int]
    first_line: int

    def line(self, pos: int) -> int:
        """Return the line of an offset."""
        return self.first_line + bisect.bisect_left(self.breaks, pos)


def tokenize(text: str, source: str, first_line: int = 1) -> Tokens:
    """Cut the text into tokens, in time linear in its length.

    Raises ModelError with the line of what no token begins with."""
    out = Tokens([], {}, None, [m.start() for m in re.finditer("\n", text)], first_line)
    tokens, pos = out.tokens, 0
    while match := _TOKEN.match(text, pos):
        kind = match.lastgroup or "end"
        start, pos = match.span(kind)
        if kind == "comment":
            if pos - start == 1:
                pos = _comment_end(text, start, f"{source}, line {out.line(start)}")
            note = text[start + 2 : pos - 2].strip()
            if text[start + 1] == "*" and note.startswith(("ty=", "span=")):
                out.notes[len(tokens) - 1] = note
            continue
        found = text[start:pos]
        if kind == "hash" and found[2:-1].strip() == "metadata":
            tokens += [Token("end", "", start)] * 2
            return replace(out, metadata=text[pos:])
        if kind == "end":
            tokens += [Token("end", "", start)] * 2
            return out
        tokens.append(Token(kind, found[1:] if kind in ("var", "global") else found, start))
    pos += len(text[pos:]) - len(text[pos:].lstrip())
    raise ModelError(f"{source}, line {out.line(pos)}: {_unknown(text, pos)}")


def _comment_end(text: str, pos: int, where: str) -> int:
    """Find the position after a comment, which may hold others."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, pos):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise ModelError(f"{where}: the comment is not closed: truncated?")


def _unknown(text: str, pos: int) -> str:
    if text[pos] == '"':
        return "the string is not closed: truncated?"
    if text[pos] in INFIX:
        return f"infix operator '{text[pos]}' is not supported; write the call, such as add(%a, %b)"
    if text[pos].isdigit():
        return f"'{text[pos : pos + 20].split()[0]}' is no number of Relay (2.5f, 1.5f16, 7, -5i64)"
    return f"unexpected {text[pos]!r}"


def unquote(text: str) -> str:
    """Return the value of a string token."""
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group()), text[1:-1], flags=re.DOTALL)
