"""Damages files for the fuzz run: bytes of any file, tokens of a text.

Each mutator is a function of content and a random.Random, and gives the same for the same."""

from __future__ import annotations

import base64
import random
import re
import struct

WORDS = (0, 1, 2, 3, 8, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
         0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000, 0xBF800000, 0x00000001, 0x7F7FFFFF)  # fmt: skip
NUMBERS = ("0", "-0", "1", "2", "-1", "-5", "127", "-129", "65536", "2147483648", "4294967296", "9223372036854775807",
           "-9223372036854775808", "99999999999999999999", "1e400", "1e-40", "nan", "inf", "0x10", "1_000", "007",
           "1.5", "9" * 5000)  # fmt: skip
CHARACTERS = "%@(){}[]<>,;:=\"'0-.#/*\\\n\t\x00\x1b\u00e9\ufeff\u2028"
ARRAY = '"([A-Za-z0-9+/=]{60,})"'
TOKENS = {
    "numeral": r'(?<=")-?\d+(?=")',  # a JSON graph has its numbers in quotes
    "number": r"-?\b\d+(?:\.\d+)?(?:e[-+]?\d+)?",
    "name": r"[%@]?[A-Za-z_][\w.]*",
    "string": r'"[^"\n]*"',
    "bracket": r"[(){}\[\]]",
    "value": r"(?<==)\s*(?:\[[^\[\]\n]*\]|\"[^\"\n]*\"|[\w.+-]+)",  # of an attribute
}


# --------------------------------------------------------------------------- bytes
def damaged(data: bytes, rng: random.Random) -> bytes:
    """Mutates bytes one to four times."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(BYTES)(data or b"\0", rng)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Chooses a place mostly where names and small numbers are, that is in tables rather than in weights."""
    spots = [rng.randrange(len(data)) for _ in range(8 if rng.random() < 0.75 else 1)]
    return max(spots, key=lambda at: sum(b == 0 or 32 < b < 127 for b in data[max(0, at - 16) : at + 16]))


def _replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _flip(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = _place(data, rng)
        data = _replaced(data, at, bytes([data[at] ^ (1 << rng.randrange(8) if rng.random() < 0.7 else 0xFF)]))
    return data


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] if rng.random() < 0.5 else data[: -rng.randrange(1, 65)]


def _chunk(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[at : at + rng.choice((1, 4, 16, 64, 1024))]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    new = rng.choice((_chunk(data, rng), bytes(rng.choice((1, 2, 4, 32))), rng.randbytes(rng.choice((1, 4, 33)))))
    return data[:at] + new + data[at:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, chunk = _place(data, rng), _chunk(data, rng)
    return data[:at] + chunk * rng.choice((2, 3, 50)) + data[at:]


def _drop(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 8, 64, 1000)) :]


def _exchange(data: bytes, rng: random.Random) -> bytes:
    """Exchanges two words."""
    a, b = sorted(_place(data, rng) & ~3 for _ in range(2))
    return _replaced(_replaced(data, a, data[b : b + 4]), b, data[a : a + 4])


def _extreme(data: bytes, rng: random.Random) -> bytes:
    at, count = _place(data, rng) & ~3, rng.choice((1, 1, 2))
    return _replaced(data, at, b"".join(struct.pack("<I", rng.choice(WORDS)) for _ in range(count)))


def _length(data: bytes, rng: random.Random) -> bytes:
    """Moves a number that can be a length or an offset, of 1, 4 or 8 bytes, a little or far off."""
    width, code = rng.choice(((1, "<B"), (4, "<I"), (4, "<I"), (8, "<Q")))
    top = (1 << 8 * width) - 1
    for _ in range(200):
        at = _place(data, rng) & ~(width - 1)
        if at + width > len(data):
            continue
        (value,) = struct.unpack_from(code, data, at)
        if 0 < value <= len(data):
            others = (value - 1, value + 1, value * 2, value + 4, len(data), top, top >> 1, 0, 1 << 20)
            return _replaced(data, at, struct.pack(code, min(rng.choice(others), top)))
    return _flip(data, rng)


BYTES = (_flip, _truncate, _insert, _repeat, _drop, _exchange, _extreme, _extreme, _length, _length)


# --------------------------------------------------------------------------- text
def text(data: bytes, rng: random.Random) -> bytes:
    """Mutates tokens one to four times; sometimes bytes, UTF-8 or not. Arrays in base64 are one token each, and are
    sometimes damaged inside."""
    if rng.random() < 0.05:
        return damaged(data, rng)
    arrays: list[str] = []

    def kept(match: re.Match[str]) -> str:
        arrays.append(match.group(1))
        return f'"ARRAY{len(arrays) - 1}"'

    content = re.sub(ARRAY, kept, data.decode())
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(TEXT)(content or " ", rng)
    if arrays and rng.random() < 0.2:
        at = rng.randrange(len(arrays))
        arrays[at] = base64.b64encode(damaged(base64.b64decode(arrays[at]), rng)).decode()
    return re.sub('"ARRAY(\\d+)"', lambda m: f'"{arrays[int(m.group(1)) % len(arrays)]}"', content).encode()


def _token(content: str, rng: random.Random) -> str:
    """Makes a token another of its kind, a number sometimes one that no file should have."""
    kind, head = rng.choice(tuple(TOKENS)), content.find("#[metadata]")
    found = list(re.finditer(TOKENS[kind], content[:head] if head > 0 and rng.random() < 0.8 else content))
    if not found:
        return content
    match, other = rng.choice(found), rng.choice(found).group()
    new = rng.choice(NUMBERS) if kind in ("number", "numeral", "value") and rng.random() < 0.5 else other
    new = rng.choice((new, new, new, "", match.group() * 2)) if kind == "bracket" else new
    return content[: match.start()] + new + content[match.end() :]


def _characters(content: str, rng: random.Random) -> str:
    at = rng.randrange(len(content))
    return content[:at] + rng.choice(CHARACTERS) + content[at + rng.randrange(2) :]


def _span(content: str, rng: random.Random) -> str:
    """Takes out, doubles or moves a few characters or lines."""
    at, size = rng.randrange(len(content)), rng.choice((1, 8, 40, 200))
    span, rest = content[at : at + size], content[:at] + content[at + size :]
    to = rng.randrange(len(rest) + 1)
    return rng.choice((rest, content[:at] + span + content[at:], rest[:to] + span + rest[to:], content[:at]))


def _nested(content: str, rng: random.Random) -> str:
    at = rng.randrange(len(content))
    return content[:at] + rng.choice("([{-!") * rng.choice((50, 5000)) + content[at:]


TEXT = (*(_token,) * 12, _characters, _span, _span, _nested)
