"""Wide weights in the reports: a row a layer with its price and its gain, and their sums."""

from __future__ import annotations

import pytest

from mcutrain.report import flash as report_flash
from mcutrain.report.files import ReportError
from tests.mcutrain.report.report_samples import HOSTILE, html_of, make_report, text_of, typed


def with_wide(layers: int, **changes: object) -> dict:
    rows = [{"layer": f"stage{i}/conv", "extra_bytes": 64 + i, "saved_instructions": 90_000 - i} for i in range(layers)]
    return {**make_report(), "wide_weights": rows, **changes}


@pytest.mark.parametrize("flash", [{"text": 9, "rodata": 8, "data": 7, "total": 24}, None], ids=["built", "compiled"])
def test_text_and_page_show_price_and_gain(flash: dict | None) -> None:
    report = with_wide(3, flash=flash)
    lines = [line.split() for line in text_of(report).splitlines()]
    assert ["stage1/conv", "65", "89,999"] in lines and ["all", "3", "195", "269,997"] in lines
    page = html_of(report)
    table = page.partition('id="wide-weights"')[2].partition("</table>")[0]
    assert table.count("<tr>") == 4 and '<td class="num">65</td><td class="num">89,999</td>' in table  # and the head
    assert '<th scope="row">all 3</th><td class="num">195</td><td class="num">269,997</td>' in table
    assert ('data-flash="text"' in page) == (flash is not None)


def test_many_layers_end_in_one_row() -> None:
    report = with_wide(30)
    wide = typed(report).wide_weights
    assert report_flash.wide_total(wide) == ("all 30", 30 * 64 + 435, 30 * 90_000 - 435)
    for most in (10, 20, 30):
        rows = report_flash.wide_rows(wide, most)
        assert len(rows) == most + (most < 30) and sum(row[1] for row in rows) == 30 * 64 + 435
    assert report_flash.wide_rows(wide, 29)[-1] == ("1 more", 64 + 29, 90_000 - 29)
    assert "20 more" in text_of(report) and "10 more" in html_of(report)


@pytest.mark.parametrize("report", [make_report(), with_wide(0)], ids=["planned", "none"])
def test_nothing_is_said_where_nothing_is_wide(report: dict) -> None:
    assert "int16" not in text_of(report) and "wide-weights" not in html_of(report)


def test_hostile_layers_are_shown_as_text() -> None:
    rows = [{"layer": name, "extra_bytes": 1, "saved_instructions": 1} for name in HOSTILE]
    report = {**make_report(), "wide_weights": rows}
    page = html_of(report)
    assert "<script>throw" not in page and "<img" not in page and "{{" not in page.replace("{{ 7*7 }}", "")
    assert "\x1b[31m" not in text_of(report) and max(map(len, text_of(report).splitlines())) <= 80


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "report.wide_weights is an object, not a list or null: make"),
        ([{"layer": "x", "extra_bytes": 1}], r"report.wide_weights\[0\].saved_instructions is missing"),
        (
            [{"layer": "x", "extra_bytes": "1", "saved_instructions": 1}],
            r"wide_weights\[0\].extra_bytes is '1', not a whole number",
        ),
    ],
)
def test_malformed_rows_are_named(rows: object, message: str) -> None:
    with pytest.raises(ReportError, match=message):
        html_of({**make_report(), "wide_weights": rows})
