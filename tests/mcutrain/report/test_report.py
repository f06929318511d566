"""The report: every figure on the page and in the terminal is the file's, hostile names stay text."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import pytest
from rich.cells import cell_len

from mcutrain.artifact.folder import to_json
from mcutrain.report.figures import budget_parts, verdict
from mcutrain.report.files import ReportError
from tests.mcutrain.report.report_samples import (
    CASES,
    HOSTILE,
    hostile,
    html_of,
    make_report,
    plan_only,
    text_of,
    typed,
)


class Page(HTMLParser):
    """The page as a browser would split it: tags with attributes, table rows as lists of cell texts, the headline."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self._in_cell = self._in_cell or tag in ("td", "th")
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._in_cell and tag in ("td", "th"):
            self.rows[-1][-1] = self.rows[-1][-1].rstrip()
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).lstrip()


@pytest.fixture(scope="module")
def report() -> dict:
    return make_report()


def test_page_shows_the_dicts_figures(report: dict) -> None:
    page = Page(html_of(report))
    parts = {a["data-part"]: None for _, a in page.tags if "data-part" in a}
    assert list(parts) == ["state", "working", "data", "bss", "stack", "free", "budget"]
    by_label = {row[0]: row[1] for row in page.rows if len(row) > 1}
    sram, plan = report["sram"], report["plan"]
    state = sum(t["nbytes"] for t in report["tensors"] if t["kind"] == "state")
    shown = {
        "state (trained weights, optimiser)": state, "activations, gradients, scratch": sram["arena"] - state,
        "data": sram["data"], "bss": sram["bss"], "stack (static bound)": sram["stack_bound"],
        "free": report["budget_bytes"] - sram["total"], "budget": report["budget_bytes"], "actual: total": None,
        "bound: least arena for this order": plan["bound"], "actual: height of the arena": plan["height"],
        "bound: least arena for this order + the rest": sram["total"] - plan["height"] + plan["bound"],
        "bound over every order": plan["order_bound"], "text code": report["flash"]["text"],
        "rodata frozen weights and tables": report["flash"]["rodata"], "bound: trained parameters": state,
        "actual: state in the arena": state,
    }  # fmt: skip
    assert {k: by_label[k] for k in shown if shown[k] is not None} == {
        k: f"{v:,}" for k, v in shown.items() if v is not None
    }
    # Two tables end in "actual: total": SRAM and flash.
    assert [r[1] for r in page.rows if r and r[0] == "actual: total"] == [
        f"{sram['total']:,}",
        f"{report['flash']['total']:,}",
    ]
    assert f"{report['instructions']['train_step']:,}" in page.text
    assert f"{report['instructions']['infer']:,}" in page.text
    over = plan["height"] - plan["bound"]
    assert by_label[f"overhead ({over / plan['bound']:.1%})"] == f"{over:,}"


def test_page_has_one_row_an_op(report: dict) -> None:
    rows = [row for row in Page(html_of(report)).rows if len(row) == 10 and row[0] != "#"]
    total = sum(op["instructions"] for op in report["ops"])
    wanted = []
    for i, op in enumerate(report["ops"]):
        per_mac = f"{op['instructions'] / op['macs']:,.2f}" if op["macs"] else "–"
        nbytes = op["bytes_in"] + op["bytes_out"] + op["scratch"]
        wanted.append([str(i), op["name"], op["op"], op["phase"], op["out_shape"], f"{nbytes:,}", f"{op['macs']:,}",
                       f"{op['instructions']:,}", per_mac, f"{100 * op['instructions'] / total:.1f} %"])  # fmt: skip
    assert rows == wanted


@pytest.mark.parametrize("case", CASES)
def test_page_is_self_contained(report: dict, case: str) -> None:
    page = Page(html_of(CASES[case](report)))
    assert not [t for t, a in page.tags if t in ("img", "link", "iframe", "object") or "src" in a or "href" in a]
    assert [a.get("type") for t, a in page.tags if t == "script"] == ["application/json", None]
    assert not [a for _, a in page.tags for key in a if key.startswith("on")]


def test_hostile_names_are_shown_as_text(report: dict) -> None:
    page = Page(html_of(hostile(report)))
    assert HOSTILE[0] in page.text
    assert HOSTILE[1] in page.text
    assert "{{ 7*7 }}" in page.text
    assert "esc\\x1b[31mred\\x07" in page.text
    assert "bidi\\u202egnp.exe" in page.text
    assert "\\ud800lone" in page.text
    text = text_of(hostile(report))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold red]markup[/]" in text
    assert "<script>throw" in text


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_text_fits_80_columns_without_colour(report: dict, case: str, encoding: str) -> None:
    text = text_of(CASES[case](report), encoding=encoding)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


def test_text_shows_the_dicts_figures(report: dict) -> None:
    text = text_of(report)
    sram = report["sram"]
    for nbytes in (sram["total"], sram["data"], sram["bss"], sram["stack_bound"], *report["flash"].values()):
        assert f"{nbytes:,}" in text
    ops = sorted(report["ops"], key=lambda op: -op["instructions"])
    shown = [op for op in ops if re.search(rf"^ *{re.escape(op['name'])} +{op['instructions']:,} ", text, re.MULTILINE)]
    assert shown == ops[:10]
    assert "not cycles" in text
    assert f"{report['instructions']['train_step']:,} a step" in text
    assert all(word in text for word in ("bound:", "actual:", "overhead", "Trained: 24 layers, 24 with bias"))


def test_before_the_build_only_the_arena_is_judged(report: dict) -> None:
    planned = plan_only(report)
    for text in (text_of(planned), Page(html_of(planned)).text):
        flat = " ".join(text.split())
        assert "Arena: fits" in flat
        assert "data, bss and stack come with `mcutrain verify`" in flat
        assert "not measured" in flat
        assert "not cycles" not in flat


def test_over_budget(report: dict) -> None:
    tight = copy.deepcopy(report) | {"budget_bytes": report["sram"]["total"] - 2048, "fits": False}
    said = verdict(typed(tight))
    assert said.headline.startswith("Does not fit, 2 KB over")
    assert "2,048 B too many" in said.detail
    page = html_of(tight)
    assert 'class="verdict bad"' in page
    assert 'class="limit"' in page
    assert 'data-part="free"' not in page
    widths = [float(w) for w in re.findall(r'<span class="c-\w+" style="width:([\d.]+)%', page)]
    assert sum(widths) == pytest.approx(100, abs=0.01)
    with pytest.raises(ReportError, match="fits is true"):
        html_of(tight | {"fits": True})


def test_stack_is_what_the_total_counts(report: dict) -> None:
    peak = copy.deepcopy(report)
    peak["sram"]["total"] += peak["sram"]["stack_peak"] - peak["sram"]["stack_bound"]
    assert [p.label for p in budget_parts(typed(peak))][-1] == "stack (measured peak)"
    assert sum(p.nbytes for p in budget_parts(typed(peak))) == peak["sram"]["total"]


def test_json_is_the_dict_with_null_for_what_json_lacks(report: dict) -> None:
    assert json.loads(to_json(typed(report))) == report
    diverged = report | {"losses": [2.0, float("nan"), float("inf")]}
    assert json.loads(to_json(typed(diverged)))["losses"] == [2.0, None, None]
    assert "not finite" in text_of(diverged)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "report.schema is 2, this version"),
        (("sram", "arena"), "big", "report.sram.arena is 'big', not a whole number: make the report again"),
        (("ops", 3, "macs"), True, r"report.ops\[3\].macs is true, not a whole number"),
        (("tensors", 0, "kind"), "ghost", "kind is 'ghost', not one of input, output, state"),
        (("sram", "total"), 5, "less than arena"),
        (("flash",), {"text": 1}, "report.flash.rodata is missing"),
    ],
)
def test_malformed_report_names_the_key(report: dict, path: tuple, value: object, message: str) -> None:
    broken = copy.deepcopy(report)
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ReportError, match=message):
        html_of(broken)
    del broken[path[0]]
    with pytest.raises(ReportError, match=f"report.{path[0]} is missing"):
        text_of(broken)
