"""Problem files: what is read, and one line of error for everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcutrain.planner import BudgetError, Buffer, PlanError
from mcutrain.planner.errors import OutputError
from mcutrain.planner.packing import csvfile

HEAD = b"id,lower,upper,size\n"
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"p\.csv is empty: give a CSV with the columns"),
    "blank lines": (b"\n\n", r"p\.csv is empty"),
    "no rows": (HEAD, r"p\.csv holds no buffers"),
    "missing column": (b"id,lower,upper\na,0,1\n", r"p\.csv:1: the header lacks size"),
    "no header": (b"a,0,1,4\n", r"p\.csv:1: the header lacks id, lower, upper, size"),
    "column twice": (b"id,lower,upper,size,size\na,0,1,4,4\n", r"p\.csv:1: the header names size more than once"),
    "too few fields": (HEAD + b"a,0,1\n", r"p\.csv:2: buffer 'a' has 3 fields, the header 4"),
    "too many fields": (HEAD + b"a,0,1,4,5\n", r"p\.csv:2: buffer 'a' has 5 fields, the header 4"),
    "no id": (HEAD + b",0,1,4\n", r"p\.csv:2: the row has no id"),
    "negative size": (HEAD + b"a,0,1,4\nb,0,1,-4\n", r"p\.csv:3: buffer 'b' has the size -4"),
    "lower at upper": (HEAD + b"a,1,1,4\n", r"p\.csv:2: buffer 'a' lives in \[1, 1\), which is empty"),
    "lower above upper": (HEAD + b"a,2,1,4\n", r"p\.csv:2: buffer 'a' lives in \[2, 1\)"),
    "duplicate": (HEAD + b"a,0,1,4\n\na,1,2,4\n", r"p\.csv:4: buffer 'a' stands in line 2, too"),
    "size of 2^31": (HEAD + b"a,0,1,2147483648\n", r"p\.csv:2: buffer 'a': size is 2147483648, beyond the largest"),
    "huge lower": (HEAD + b"a,-99999999999,1,4\n", r"p\.csv:2: buffer 'a': lower is -99999999999, beyond"),
    "endless number": (HEAD + b"a,0,1," + b"9" * 5000 + b"\n", r"p\.csv:2: buffer 'a': size is 9+, beyond"),
    "word": (HEAD + b"a,0,1,four\n", r"p\.csv:2: buffer 'a': size is 'four', which is no whole number"),
    "fraction": (HEAD + b"a,0,1.5,4\n", r"p\.csv:2: buffer 'a': upper is '1\.5', which is no whole number"),
    "underscore": (HEAD + b"a,0,1,1_000\n", r"p\.csv:2: buffer 'a': size is '1_000'"),
    "other digits": (HEAD + "a,0,1,٤\n".encode(), r"p\.csv:2: buffer 'a': size is '٤'"),
    "no number": (HEAD + b"a,,1,4\n", r"p\.csv:2: buffer 'a': lower is '', which is no whole number"),
    "alignment 0": (b"id,lower,upper,size,alignment\na,0,1,4,0\n", r"p\.csv:2: buffer 'a' has the alignment 0"),
    "gaps": (b"id,lower,upper,size,gaps\na,0,9,4,1-2\n", r"p\.csv:2: buffer 'a' has gaps, which are not supported"),
    "NUL": (HEAD + b"a,0,1,4\nb,0,1\0,4\n", r"p\.csv:3: a NUL byte"),
    "not UTF-8": (HEAD + b"a\xff,0,1,4\n", r"p\.csv:2: byte 0xff is no UTF-8"),
    "UTF-16": ("id,lower,upper,size\na,0,1,4\n".encode("utf-16"), r"p\.csv:1: byte 0xff is no UTF-8"),
    "open quote": (HEAD + b'"a,0,1,4\n', r"p\.csv:2: unexpected end of data"),
    "long field": (HEAD + b"a" * 200_000 + b",0,1,4\n", r"p\.csv:2: field larger than field limit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_line_errors(case: str, tmp_path: Path) -> None:
    content, message = BAD[case]
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(PlanError, match=message) as caught:
        csvfile.read(tmp_path / "p.csv")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_folder_missing_file_and_unwritable_target_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"cannot read .*: Is a directory"):
        csvfile.read(tmp_path)
    with pytest.raises(PlanError, match=r"cannot read .*: No such file"):
        csvfile.read(tmp_path / "none.csv")
    with pytest.raises(OutputError, match="cannot write"):
        csvfile.write_rows([], tmp_path / "no" / "plan.csv")


def test_buffer_larger_than_the_capacity_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(HEAD + b"a,0,1,4\nb,2,3,9\n")
    with pytest.raises(BudgetError, match=r"p\.csv:3: buffer 'b' alone has 9 bytes, more than the capacity of 8"):
        csvfile.read(tmp_path / "p.csv", capacity=8)


def test_what_spreadsheets_and_minimalloc_write_is_read(tmp_path: Path) -> None:
    text = '\ufeffid,lower,upper,size,alignment,offset,gaps\r\n"a,1",-2, 3 ,+4,,7,\r\n\r\nb,0,1,2147483647,8,,\r\n'
    (tmp_path / "p.csv").write_bytes(text.encode())
    assert csvfile.read(tmp_path / "p.csv").buffers == (Buffer("a,1", -2, 3, 4), Buffer("b", 0, 1, 2**31 - 1, 8))
