"""The picture of the arena: one box a tensor at its place, hostile names as text, no script."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

import mcutrain
from mcutrain.report import arena_svg
from mcutrain.report.arena_picture import Scale
from tests.mcutrain import tiny
from tests.mcutrain.report.report_samples import CASES, HOSTILE, hostile, make_report, typed, without_streams

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report() -> dict:
    return make_report()


def boxes(root: xml.Element) -> list[xml.Element]:
    return [rect for rect in root.iter(f"{SVG}rect") if (rect.get("class") or "").startswith("arena-box ")]


@pytest.mark.parametrize("case", CASES)
def test_it_is_one_standalone_picture(report: dict, case: str) -> None:
    content = CASES[case](report)
    root = xml.fromstring(arena_svg(typed(content)))
    assert len(boxes(root)) == len(content["tensors"])
    assert not [e for e in root.iter() if e.tag.removeprefix(SVG) in ("script", "image", "foreignObject", "a", "use")]
    keys = {key for element in root.iter() for key in element.attrib}
    assert not [key for key in keys if key.startswith("on") or key.endswith("href")]
    assert sum(rect.get("class") == "arena-run" for rect in root.iter(f"{SVG}rect")) == len(content["streams"])


def test_the_legend_tells_runs_and_rings_where_there_are_any(report: dict) -> None:
    said = {t.text for t in xml.fromstring(arena_svg(typed(report))).iter(f"{SVG}text")}
    none = {t.text for t in xml.fromstring(arena_svg(typed(without_streams(report)))).iter(f"{SVG}text")}
    words = {"streamed run of ops", "ring: a part of a tensor at a time"}
    assert words <= said and not words & none


def test_a_box_stands_for_the_tensors_bytes_and_life(report: dict) -> None:
    root = xml.fromstring(arena_svg(typed(report)))
    places = {box.find(f"{SVG}title").text: [float(box.get(key)) for key in ("x", "y", "width", "height")]
              for box in boxes(root)}  # fmt: skip
    scale = Scale(len(report["ops"]), report["plan"]["height"])
    for t in report["tensors"]:
        (title,) = [said for said in places if said.startswith(f"{t['name']}: ")]
        end = t["offset"] + t["nbytes"]
        assert f"{t['nbytes']:,} B at addresses {t['offset']:,} to {end:,}, ops {t['first']} to " in title
        x, y, width, height = places[title]
        assert (x, x + width) == pytest.approx((scale.x(t["first"]), scale.x(t["last"])), abs=0.11)
        assert y == pytest.approx(scale.y(end), abs=0.06)
        assert height == pytest.approx(max(scale.y(t["offset"]) - scale.y(end), 1.0), abs=0.06)
    ring = report["streams"][0]["rings"][0]
    assert any(said.startswith(f"{ring['tensor']}: activation, ring of 3 of 24 rows, ") for said in places)


def test_names_do_not_lie_over_each_other(tmp_path: Path) -> None:
    """Of a plan with large boxes, some of them in place."""
    planned = mcutrain.plan(tiny.load(tmp_path), "full").report
    root = xml.fromstring(arena_svg(planned))
    names = [t for t in root.iter(f"{SVG}text") if t.get("class") == "arena-name"]
    assert len(names) > 3
    for a, b in itertools.combinations(names, 2):
        size = float(a.get("style").removeprefix("font-size:").removesuffix("px"))
        dx, dy = (abs(float(a.get(key)) - float(b.get(key))) for key in ("x", "y"))
        assert dx > size * 0.25 * (len(a.text) + len(b.text)) or dy > size - 1, (a.text, b.text)


def test_hostile_names_are_text(report: dict) -> None:
    svg = arena_svg(typed(hostile(report)))
    assert "<script" not in svg and "<img" not in svg and "\x1b" not in svg and "\u202e" not in svg
    titles = [title.text for title in xml.fromstring(svg).iter(f"{SVG}title")]
    for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], "\\ud800lone", "esc\\x1b[31mred\\x07"):
        assert any(said.startswith(f"{name}: ") for said in titles)
