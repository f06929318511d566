"""Byte counts: what is read, what is refused, what is written."""

from __future__ import annotations

import pytest

from mcutrain.units import UnitsError, format_bytes, parse_bytes


@pytest.mark.parametrize(("text", "nbytes"), [
    ("256KB", 262144), ("1MB", 1048576), ("64KiB", 65536), ("120000", 120000), ("0", 0),
    (4096, 4096), (" 20 kb ", 20480),    ("1.5K", 1536), ("7 B", 7), ("2GiB", 2 << 30),
])  # fmt: skip
def test_parse_bytes(text: str | int, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(
    "text", ["", "KB", "-1", -1, "12 apples", "1e6", "0.3KB", "1.5", "1,000", "٣KB", True, None, 2.0]
)
def test_parse_bytes_says_what_to_write(text: object) -> None:
    with pytest.raises(UnitsError, match=r"byte count .*: write ") as caught:
        parse_bytes(text)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_format_bytes() -> None:
    wanted = {0: "0 B", 1023: "1023 B", 1024: "1 KB", 1536: "1.5 KB", 262144: "256 KB", 262145: "256.0 KB",
              1048575: "1.0 MB", 3 << 20: "3 MB", 5 << 30: "5 GB", -1536: "-1.5 KB"}  # fmt: skip
    assert {n: format_bytes(n) for n in wanted} == wanted
    assert all(parse_bytes(format_bytes(n << 10)) == n << 10 for n in range(1, 1024))
