"""The report page in a real browser: its script runs to the end, draws every tensor and answers the reader."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mcutrain.report.report_samples import CASES, empty, html_of, make_report


def dump_dom(page: str, folder: Path) -> str:
    """The DOM after the page's script ran in headless chromium; AssertionError on any exception or console error."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: apt-get install chromium"
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    quiet = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
             "disable-component-update", "disable-sync", "enable-logging=stderr", "dump-dom"]  # fmt: skip
    command = [chromium, "--headless", *(f"--{flag}" for flag in quiet), f"--user-data-dir={folder / 'profile'}"]
    run = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    errors = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, "the page's script or content failed:\n" + "\n".join(errors)
    assert '<html lang="en" data-ready="true"' in run.stdout, "the page's script did not reach its last line"
    return run.stdout


@pytest.fixture(scope="module")
def report() -> dict:
    return make_report()


@pytest.mark.parametrize("case", CASES)
def test_page_script_runs_and_draws_every_tensor(report: dict, case: str, tmp_path: Path) -> None:
    report = CASES[case](report)
    dom = dump_dom(html_of(report), tmp_path)
    assert len(re.findall(r'<rect class="box ', dom)) == len(report["tensors"])
    assert ('id="loss-svg"' in dom) == bool(report["losses"])
    assert len(re.findall(r'<rect class="column"', dom)) == len(report["streams"])
    own = {ring["tensor"] for s in report["streams"] for ring in s["rings"]}
    assert len(re.findall(r'<rect class="stripes"', dom)) == sum(t["name"] in own for t in report["tensors"])


def test_a_script_exception_is_noticed(report: dict, tmp_path: Path) -> None:
    page = html_of(empty(report)).replace('"use strict";', '"use strict"; nowhere();')
    with pytest.raises(AssertionError, match="nowhere is not defined"):
        dump_dom(page, tmp_path)


def test_a_ring_says_what_it_holds(report: dict, tmp_path: Path) -> None:
    """Its box is labelled where there is room, and readout and tooltip tell rows, bytes and who shares it."""
    i = next(i for i, t in enumerate(report["tensors"]) if t["name"] == "stage0/conv3/out")
    drive = f"""<script>
      byId("zoom").value = "4"; byId("zoom").dispatchEvent(new Event("change"));
      const out = document.documentElement.dataset, box = document.querySelector(`[data-i="{i}"]`);
      box.focus(); out.tensor = byId("at-tensor").textContent; out.tip = box.querySelector("title").textContent;
      out.op = byId("at-op").textContent; out.label = box.nextSibling.nextSibling.textContent;
      out.runs = [...document.querySelectorAll(".run-name")].map((n) => n.textContent).join();
    </script></body>"""
    root = dump_dom(html_of(report).replace("</body>", drive), tmp_path).split("<head>")[0]
    said = {key: html.unescape(value) for key, value in re.findall(r'data-([a-z]+)="([^"]*)"', root)}
    ring = report["streams"][0]["rings"][0]
    held = f"ring, 3 of 24 rows: {ring['nbytes']:,} of {ring['nbytes'] * 8:,} B, shared in place with stage0/conv4/mask"
    assert said["tensor"].startswith(f"stage0/conv3/out: activation, {held}, {ring['nbytes']:,} B at addresses ")
    assert said["tip"] == f"stage0/conv3/out\n{held}"
    assert ", in the run of ops 3 to 6, row by row: " in said["op"]
    assert said["label"] == "3/24"  # its box lives for two ops of many: no room for more
    assert said["runs"] == "row by row"  # the other run is too narrow for its name


def test_page_answers_the_reader(report: dict, tmp_path: Path) -> None:
    """Focus names the tensor and its ops, find and sort work, arrow keys move on: driven by a script of the test."""
    drive = """<script>
      const out = document.documentElement.dataset, i = 3, box = document.querySelector(`[data-i="${i}"]`);
      box.focus(); out.tensor = byId("at-tensor").textContent; out.op = byId("at-op").textContent;
      box.dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}));
      out.end = document.activeElement.dataset.i;
      byId("find").value = "BIAS"; byId("find").dispatchEvent(new Event("input"));
      out.found = byId("found").textContent;
      out.bright = document.querySelectorAll(".box:not(.faint)").length;
      opTable.querySelectorAll("thead button")[7].click();
      out.sorted = [...opTable.tBodies[0].rows].map((row) => row.cells[0].textContent).join();
      opTable.querySelectorAll("thead button")[1].click(); out.first = opTable.tBodies[0].rows[0].cells[1].textContent;
      byId("zoom").value = "4"; byId("zoom").dispatchEvent(new Event("change"));
      out.zoomed = document.querySelectorAll(".box").length + " " + (byId("arena-svg").getAttribute("width") >= 2560);
    </script></body>"""
    dom = dump_dom(html_of(report).replace("</body>", drive), tmp_path)
    root = dom.split("<head>")[0]
    said = {key: html.unescape(value) for key, value in re.findall(r'data-([a-z]+)="([^"]*)"', root)}
    t, ops, n = report["tensors"][3], report["ops"], len(report["tensors"])
    assert said["tensor"] == (
        f"{t['name']}: {t['kind']}, {t['nbytes']:,} B at addresses {t['offset']:,} to {t['offset'] + t['nbytes']:,}, "
        f"alive from op 0: {ops[0]['name']} ({ops[0]['op']}, forward) "
        f"to the end of op {len(ops) - 1}: {ops[-1]['name']} ({ops[-1]['op']}, update)"
    )
    assert said["op"].endswith(f"{report['live'][0]:,} B alive")
    assert int(said["end"]) == max(
        range(n), key=lambda i: (report["tensors"][i]["first"], report["tensors"][i]["offset"])
    )
    biases = sum("bias" in t["name"] for t in report["tensors"])
    assert said["found"] == f"{biases} of {n} tensors"
    assert said["bright"] == str(biases)
    by_count = sorted(range(len(ops)), key=lambda i: (-ops[i]["instructions"], i))
    assert said["sorted"] == ",".join(map(str, by_count))
    assert said["first"] == min(op["name"] for op in ops)
    assert said["zoomed"] == f"{n} true"
