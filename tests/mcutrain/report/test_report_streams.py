"""Streams, bounds and ops computed again in the reports: each figure is the plan's or the dict's."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

import mcutrain
from mcutrain.planner.stream.rewrite import members
from mcutrain.report.files import ReportError
from mcutrain.report.streams import bounds, given, rematerialised_macs, runs
from mcutrain.schema.report import Report, Ring
from tests.mcutrain import tiny
from tests.mcutrain.report.report_samples import html_of, make_report, recomputed, text_of, typed, without_streams
from tests.mcutrain.report.test_report import Page

UNITS_OF = {"full": {"rows"}, "last_k=1": {"rows", "filters"}, "last_k=2": {"channels", "filters"}}  # by scheme
AXIS_OF_SHAPE = {"rows": 1, "channels": -1, "filters": 0}


@pytest.fixture(scope="module")
def report() -> dict:
    return make_report()


@pytest.fixture(scope="module", params=UNITS_OF)
def planned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> mcutrain.PlannedModel:
    return mcutrain.plan(tiny.load(tmp_path_factory.mktemp("model")), request.param)


def rings_of(report: Report) -> list[Ring]:
    return [ring for stream in report.streams for ring in stream.rings]


def test_streams_of_the_report_are_the_plans(planned: mcutrain.PlannedModel) -> None:
    calls = {c.op.name: c for c in planned.lowered.train_step.calls}
    streams = {tuple(s.ops): s for s in planned.plan.streams}
    assert streams and {tuple(s.ops) for s in planned.report.streams} == set(streams)
    for shown in planned.report.streams:
        stream = streams[tuple(shown.ops)]
        assert {ring.tensor for ring in shown.rings} == dict(stream.rings).keys()
        for name, op in zip(shown.ops, planned.report.ops[shown.first :], strict=False):
            assert (op.name, op.op) == (calls[name].layer, calls[name].kind)
        inner = dict(enumerate(members({n: c.op for n, c in calls.items()}, stream), shown.first))
        for ring in shown.rings:
            assert ring.tensor == inner[ring.op].outputs[0]
            assert ring.held * inner[ring.op].rows == dict(stream.rings)[ring.tensor] * ring.whole
            assert ring.nbytes * ring.whole == ring.held * ring.whole_nbytes


def test_rings_count_channels_rows_or_filters_of_their_tensor(planned: mcutrain.PlannedModel) -> None:
    values, seen = planned.lowered.train_step.values, set()
    for ring in rings_of(planned.report):
        assert ring.whole == values[ring.tensor].shape[AXIS_OF_SHAPE[ring.unit]]
        assert (ring.unit == "filters") == ring.tensor.endswith(":g_weight")
        seen.add(ring.unit)
    assert seen == UNITS_OF[planned.report.scheme]


def test_a_ring_lies_in_the_arena_with_its_own_bytes(planned: mcutrain.PlannedModel) -> None:
    placed = {t.name: t for t in planned.report.tensors}
    for stream in planned.report.streams:
        column = (stream.first, stream.first + len(stream.ops))
        for ring in stream.rings:
            if ring.in_ring_of is not None:
                assert ring.tensor not in placed and ring.in_ring_of in placed
                continue
            box = placed[ring.tensor]
            assert (box.nbytes, box.first, box.last) == (ring.nbytes, *column)
            assert box.kind in ("activation", "gradient")


def test_an_op_touches_what_a_ring_holds(planned: mcutrain.PlannedModel) -> None:
    step = planned.lowered.train_step
    held = {ring.tensor: ring.nbytes for ring in rings_of(planned.report)}
    calls = {c.op.name: c.op for c in step.calls}
    smaller = 0
    for stream in planned.report.streams:
        for position, name in enumerate(stream.ops, stream.first):
            op, shown = calls[name], planned.report.ops[position]
            for names, key in ((op.inputs, "bytes_in"), (op.outputs or op.mutates, "bytes_out")):
                whole = [step.values[n].tensor.nbytes for n in names]
                assert getattr(shown, key) == sum(held.get(n, nbytes) for n, nbytes in zip(names, whole, strict=True))
                smaller += getattr(shown, key) < sum(whole)
    assert smaller >= len(held)


def test_a_plan_of_whole_tensors_has_no_streams(tmp_path: Path) -> None:
    report = mcutrain.plan(tiny.load(tmp_path), "last_k=3", stream=False).report
    assert report.streams == ()
    assert "Streamed" not in text_of(report)
    page = html_of(report)
    assert 'id="streams"' not in page and "streamed run" not in page
    assert "whole tensors, each computed once" in page and "whole tensors, each computed once" in text_of(report)


def test_the_page_lists_every_op_with_its_ring(report: dict) -> None:
    page = Page(html_of(report))
    ring, guest, last = report["streams"][0]["rings"]
    held, alone = ([f"{r[key]:,}" for key in ("nbytes", "whole_nbytes")] for r in (ring, last))
    wanted = [["3", "conv3:qconv2d", "3 of 24 rows", *held, ring["tensor"]],
              ["4", "conv4:mask", "3 of 24 rows", "in place", "", guest["tensor"]],
              ["5", "conv5:qconv2d", "1 of 24 rows", *alone, last["tensor"]],
              ["6", "conv6:qconv2d", "", "", "", ""]]  # fmt: skip
    at = next(i for i, row in enumerate(page.rows) if row == wanted[0])
    assert page.rows[at : at + 4] == wanted


def test_the_text_has_a_line_for_each_run(report: dict) -> None:
    text, page = text_of(report), Page(html_of(report))
    for run in runs(typed(report)):
        layer = report["ops"][run.members[0].position]["name"]
        line = rf"^{run.title} +{re.escape(layer)} +{run.nbytes:,} +{run.whole_nbytes:,}"
        assert re.search(line, text, re.MULTILINE)
    assert all(title in text + page.text for title in ("ops 3 to 6, row by row", "ops 81 to 82, by filters"))


def test_a_tensor_in_place_counts_in_no_sum(report: dict) -> None:
    rows, filters = runs(typed(report))
    own = [ring for ring in report["streams"][0]["rings"] if ring["in_ring_of"] is None]
    assert (rows.nbytes, rows.whole_nbytes) == tuple(sum(r[k] for r in own) for k in ("nbytes", "whole_nbytes"))
    total, whole = rows.nbytes + filters.nbytes, rows.whole_nbytes + filters.whole_nbytes
    flat = " ".join(text_of(report).split())
    assert f"all rings {total:,} {whole:,} less than whole by {whole - total:,}" in flat
    closing = [row for row in Page(html_of(report)).rows if row and row[0].startswith(("all rings", "less than"))]
    assert [row[1:-1] for row in closing] == [[f"{total:,}", f"{whole:,}"], [f"{whole - total:,}"]]


@pytest.mark.parametrize(("bound", "order_bound", "here", "anywhere"), [
    (0, 0, "proven: this order needs as much", "proven: every order needs as much"),
    (0, 1024, "proven: this order needs as much", "in any order 1,024 B less at most"),
    (512, 1536, "in this order 512 B less at most", "in any order 1,536 B less at most"),
])  # fmt: skip
def test_bounds_say_how_low_the_arena_could_be(
    report: dict, bound: int, order_bound: int, here: str, anywhere: str
) -> None:
    height, above = report["plan"]["height"], "what the plan needs"
    plan = report["plan"] | {"bound": height - bound, "order_bound": height - order_bound}
    report = report | {"plan": plan}
    assert [(b.nbytes, b.gap, b.meaning) for b in bounds(typed(report))] == [
        (height, None, above), (height - bound, bound, here), (height - order_bound, order_bound, anywhere)
    ]  # fmt: skip
    rows = Page(html_of(report)).rows
    for label, key, gap, said in (("bound for this order", "bound", bound, here),
                                  ("bound over every order", "order_bound", order_bound, anywhere)):  # fmt: skip
        nbytes = plan[key]
        assert [label, f"{nbytes:,}", f"{gap:,}", said] in rows
        assert re.search(rf"^{label} +{nbytes:,} +{gap:,} +{re.escape(said)}", text_of(report), re.MULTILINE)


def test_bounds_are_for_what_was_chosen(report: dict) -> None:
    assert given(typed(report)) == "Bounds for these 2 streamed runs; over other such choices none is known."
    assert "these 2 streamed runs and 2 ops computed again;" in given(typed(recomputed(report)))
    assert "these 2 ops computed again;" in given(typed(without_streams(recomputed(report))))
    assert given(typed(without_streams(report))) == "Bounds for whole tensors, each computed once."


def test_what_is_computed_again_is_shown_with_its_part_of_the_step(report: dict) -> None:
    again = recomputed(report)
    percent = 100 * 8_000_000 / sum(op["macs"] for op in report["ops"])
    assert rematerialised_macs(typed(again)) == (8_000_000, pytest.approx(percent))
    text, page = text_of(again), Page(html_of(again))
    assert re.search(rf"^in all +{percent:.1f}% of the step's MACs +8,000,000 ", text, re.MULTILINE)
    assert f"8,000,000 MACs more: {percent:.1f} % of the step's." in page.text
    assert ["conv5:qconv2d", "conv5:qconv2d.2", "5,000,000", "20,480"] in page.rows
    assert re.search(r"^conv5:qconv2d +conv5:qconv2d\.2 +5,000,000 +20,480", text, re.MULTILINE)
    for nothing in (report, report | {"recomputed": []}):
        assert "Computed again" not in text_of(nothing) + Page(html_of(nothing)).text


@pytest.mark.parametrize(("key", "value", "message"), [
    ("axis", "diagonals", r"streams\[0\].axis is 'diagonals', not one of rows, channels"),
    ("first", 10_000, r"streams\[0\] is of ops 10000 to 10003 of "), ("ops", [], r"streams\[0\] is of ops 3 to 2 of "),
    ("held", 25, r"rings\[0\]: 25 of 24 rows of op 3 cannot be"), ("op", 7, r"rings\[0\]: 3 of 24 rows of op 7"),
    ("unit", "cats", r"rings\[0\].unit is 'cats'"),
    ("rings", {"conv": 3}, r"streams\[0\].rings is an object, not a list"),
])  # fmt: skip
def test_malformed_streams_are_named(report: dict, key: str, value: object, message: str) -> None:
    broken = copy.deepcopy(report)
    stream = broken["streams"][0]
    (stream if key in stream else stream["rings"][0])[key] = value
    with pytest.raises(ReportError, match=message):
        html_of(broken)


def test_malformed_recomputed_is_named(report: dict) -> None:
    with pytest.raises(ReportError, match=r"report.recomputed\[0\].again is missing"):
        html_of(report | {"recomputed": [{"op": "conv3"}]})
