"""Reports for the tests, as report.json holds them: a realistic one from a seed, and variants to be survived."""

from __future__ import annotations

import copy
import io
import itertools
import random

from rich.console import Console

from mcutrain.report.files import report_from
from mcutrain.report.page import render_html
from mcutrain.report.text import render_text
from mcutrain.schema.report import Report

HOSTILE = [
    "<script>throw new Error('name ran')</script>", '"><img src=x onerror=alert(1)>', "</script><script>x=1</script>",
    "a" * 200, "{{ 7*7 }}", "[bold red]markup[/]", "esc\x1b[31mred\x07", "bidi\u202egnp.exe", "\ud800lone", "层" * 120,
]  # fmt: skip


def make_report(layers: int = 80, seed: int = 7) -> dict:
    """A realistic report: a chain of convolutions, its backward and updates, tensors placed first-fit."""
    rng = random.Random(seed)
    ops, tensors = [], []
    trained = list(range(layers * 7 // 10, layers))
    backward = [(i, phase) for i in reversed(range(trained[0], layers)) for phase in ("gx", "gw", "update")]
    n = layers + len(backward)
    birth = {step: layers + k for k, step in enumerate(backward)}

    def op(name: str, kind: str, phase: str, nbytes: int) -> None:
        macs = 0 if phase == "update" else nbytes * rng.choice((16, 72, 240))
        count = macs * rng.randint(12, 30) // 10 + 4000
        ops.append({"name": name, "op": kind, "phase": phase, "out_shape": f"(1, {nbytes // 16}, 16)", "macs": macs,
                    "bytes_in": nbytes, "bytes_out": nbytes // 2, "scratch": 512, "instructions": count})  # fmt: skip

    def tensor(name: str, kind: str, nbytes: int, first: int, last: int) -> None:
        taken = sorted(
            (t["offset"], t["offset"] + t["nbytes"]) for t in tensors if t["first"] < last and first < t["last"]
        )
        offset = 0
        for low, high in taken:
            if offset + nbytes <= low:
                break
            offset = max(offset, high)
        tensors.append({"name": name, "kind": kind, "nbytes": nbytes, "offset": offset, "first": first, "last": last})

    for i in trained:
        tensor(f"stage{i // 8}/conv{i}/weight", "state", 4 * rng.randint(100, 900), 0, n)
        tensor(f"stage{i // 8}/conv{i}/bias", "state", 4 * rng.randint(8, 96), 0, n)
    tensor("image", "input", 49152, 0, 1)
    for i in range(layers):
        size = 4 * max(400, int(16000 * 0.93**i * rng.uniform(0.6, 1.2)))
        op(f"stage{i // 8}/conv{i}", "qconv2d" if i % 3 else "qdepthwise", "forward", size)
        tensor(f"stage{i // 8}/conv{i}/out", "activation", size, i, birth.get((i, "gw"), i + 2) + (i in trained))
        tensor(f"stage{i // 8}/conv{i}/rows", "scratch", 512, i, i + 1)
    for i, phase in backward:
        at, size = birth[i, phase], 4 * rng.randint(500, 4500)
        op(f"stage{i // 8}/conv{i}/{phase}", f"qconv2d_{phase}", "update" if phase == "update" else "backward", size)
        if phase != "update":
            tensor(f"stage{i // 8}/conv{i}/{phase}", "gradient", size, at, min(at + (3 if phase == "gx" else 2), n))
    tensor("logits", "output", 40, layers - 1, n)

    live = [sum(t["nbytes"] for t in tensors if t["first"] <= p < t["last"]) for p in range(n)]
    height = max(t["offset"] + t["nbytes"] for t in tensors)
    total = height + 1320 + 2212 + 3096
    layer = [{"layer": f"stage{i // 8}/conv{i}", "bias": True, "weight": f"{i // 2} of {i} input channels" if i % 2 else
              "none", "nbytes": sum(t["nbytes"] for t in tensors if f"conv{i}/" in t["name"] and t["kind"] == "state")}
             for i in trained]  # fmt: skip
    all_ops = sum(o["instructions"] for o in ops)
    return {
        "schema": 1, "name": "mcunet-5fps", "model": "models/mcunet-5fps_vww.tflite", "scheme": "49kb", "fits": True,
        "board": "stm32f746", "budget_bytes": 262144,
        "sram": {"arena": height, "data": 1320, "bss": 2212, "stack_peak": 2784, "stack_bound": 3096, "total": total},
        "flash": {"text": 61234, "rodata": 481120, "data": 1320, "total": 543674},
        "plan": {"status": "FEASIBLE", "order_status": "OPTIMAL", "height": height, "bound": max(live),
                 "order_bound": max(live) - 1024, "seconds": 2.34},
        "tensors": tensors, "live": live, "ops": ops, "trained": layer, "streams": make_streams(tensors, layers),
        "instructions": {"infer": sum(o["instructions"] for o in ops[:layers]), "train_step": 21000 + all_ops},
        "losses": [2.3 * 0.96**k * rng.uniform(0.85, 1.1) for k in range(60)], "host_equals_device": True,
    }  # fmt: skip


def make_streams(tensors: list[dict], layers: int) -> list[dict]:
    """Three forward ops row by row, and a weight gradient filter by filter with its update. The tensors inside become
    rings; a mask lies in place in one of them, without a box of its own."""
    size = {t["name"]: t["nbytes"] for t in tensors}

    def ring(tensor: str, op: int, part: tuple[int, int, str], owner: str | None = None) -> dict:
        held, whole, unit = part
        nbytes = size[owner or tensor]
        return {"tensor": tensor, "op": op, "unit": unit, "held": held, "whole": whole, "nbytes": nbytes,
                "whole_nbytes": nbytes * whole // held, "in_ring_of": owner}  # fmt: skip

    first = f"stage{(layers - 1) // 8}/conv{layers - 1}"
    made = [ring("stage0/conv3/out", 3, (3, 24, "rows")), ring("stage0/conv4/mask", 4, (3, 24, "rows"),
            "stage0/conv3/out"), ring("stage0/conv5/out", 5, (1, 24, "rows"))]  # fmt: skip
    return [
        {"axis": "rows", "first": 3, "ops": ["conv3:qconv2d", "conv4:mask", "conv5:qconv2d", "conv6:qconv2d"],
         "rings": made},
        {"axis": "channels", "first": layers + 1, "ops": [f"{first}/gw:qconv2d_gw", f"{first}.weight:sgd"],
         "rings": [ring(f"{first}/gw", layers + 1, (8, 240, "filters"))]},
    ]  # fmt: skip


def without_streams(report: dict) -> dict:
    """The same report of ops that all run whole."""
    return copy.deepcopy(report) | {"streams": []}


def recomputed(report: dict) -> dict:
    """The same report with two ops that are computed again."""
    ops = [{"op": f"conv{i}:qconv2d", "again": f"conv{i}:qconv2d.2", "macs": 1_000_000 * i, "saved_bytes": 4096 * i}
           for i in (3, 5)]  # fmt: skip
    return copy.deepcopy(report) | {"recomputed": ops}


def plan_only(report: dict) -> dict:
    """The same report before the firmware was built: nothing measured."""
    report = copy.deepcopy(report)
    report["sram"] |= dict.fromkeys(("data", "bss", "stack_peak", "stack_bound", "total"))
    report |= dict.fromkeys(("flash", "instructions", "losses", "host_equals_device", "board"))
    for op in report["ops"]:
        op["instructions"] = None
    return report


def hostile(report: dict) -> dict:
    """The same report with every name that a model file chooses replaced by one that attacks the reader."""
    report = recomputed(report)
    report |= {"name": HOSTILE[0], "model": HOSTILE[6], "scheme": HOSTILE[1], "board": HOSTILE[9]}
    for key, fields in (("tensors", ["name"]), ("ops", ["name", "op", "out_shape"]),
                        ("trained", ["layer", "weight"]), ("recomputed", ["op", "again"])):  # fmt: skip
        for i, item in enumerate(report[key]):
            item |= {field: HOSTILE[(i + k) % len(HOSTILE)] for k, field in enumerate(fields)}
    names = itertools.cycle(HOSTILE)
    for stream in report["streams"]:
        stream["ops"] = [next(names) for _ in stream["ops"]]
        for ring in stream["rings"]:
            ring |= {"tensor": next(names), "in_ring_of": ring["in_ring_of"] and next(names)}
    return report


def empty(report: dict) -> dict:
    """A report without any op, tensor or trained layer."""
    plan = {"status": "UNKNOWN", "order_status": "UNKNOWN", "height": 0, "bound": 0, "order_bound": 0, "seconds": None}
    sram = plan_only(report)["sram"] | {"arena": 0}
    lists: dict = {"tensors": [], "ops": [], "live": [], "trained": [], "losses": [], "streams": []}
    return plan_only(report) | lists | {"sram": sram, "plan": plan, "fits": False}


CASES = {"measured": lambda r: r, "plan only": plan_only, "hostile": hostile, "empty": empty,
         "without streams": without_streams, "recomputed": recomputed}  # fmt: skip


def typed(report: Report | dict) -> Report:
    return report if isinstance(report, Report) else report_from(report)


def html_of(report: Report | dict) -> str:
    return render_html(typed(report))


def text_of(report: Report | dict, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    render_text(typed(report), Console(file=stream, width=width))
    stream.flush()
    return raw.getvalue().decode(encoding)
