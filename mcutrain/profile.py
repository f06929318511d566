"""Profiles an artifact on the emulated core: instructions of each op and each function, and an estimate of cycles."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mcutrain import boards, cycle_model, emulator
from mcutrain.counting import RUN_SECONDS, OpCounts, PluginError, count, count_ops
from mcutrain.cycle_model import MIX, Instruction, Price
from mcutrain.flash_map import function_kind, functions_of
from mcutrain.folder import REPORT_HTML, REPORT_JSON, read_json, replace_file, to_json
from mcutrain.linked import Symbol, disassemble, symbols
from mcutrain.metadata import read_metadata
from mcutrain.profile_svg import render_svg
from mcutrain.report import render_html
from mcutrain.report_view import check_report
from mcutrain.toolchain import Image
from mcutrain.verify import ROUND_RATES, Samples, build, layout, random_samples, write_samples

__all__ = ["PROFILE_SVG", "count", "count_ops", "profile"]

PROFILE_SVG = "profile.svg"
TIMER_STEP = 40  # instructions a tick, runtime_c/src/mcu_device.h
_ENTRY = re.compile(r"_(infer|train)_(ops|arena)\b")
_LISTED = re.compile(r"^    /\* (\S+):([^\s:]+): ", re.MULTILINE)  # what the emitted C says of an op above its call


def profile(out: str | Path, infer_only: bool = False, progress: Callable[[str], None] | None = None) -> dict:
    """Run one inference and, unless infer_only, one training step of the artifact `out`; returns the profile
    (docs/FORMATS.md) and puts it into the folder's report.json, report.html and profile.svg.

    Where this QEMU takes no plugins, the counts are the timer's, in steps of 40 instructions, and nothing is known of
    functions. Raises OutputError for a folder that is no artifact, ToolError for a missing tool, BudgetError where the
    firmware does not link inside the budget, DeviceError where it faults."""
    out, say = Path(out), progress or (lambda _: None)
    meta = read_metadata(out)
    report = read_json(out / REPORT_JSON, "the report")
    check_report(report)
    board = boards.get(meta["board"])
    emulator.find_emulator()  # a missing tool is said before the minutes that a build can take
    say("building the profile firmware")
    image = build(out, board, meta["budget_bytes"], "profile", ("MCU_PROFILE",))
    samples = random_samples(meta, 1)
    trains = meta["train"] is not None and not infer_only
    fed = samples if trains else Samples(samples.images[:0], ())
    work = write_samples(image, meta, samples.images, fed, np.asarray(ROUND_RATES, np.float32))
    say(f"counting instructions on the emulated {board.core}")
    named = {"infer": _inference_ops(out, meta, report)} | ({"train_step": report["ops"]} if trains else {})
    try:
        counted = count_ops(image.elf, board, work, layout(meta).infer_ops + layout(meta).train_ops)
        found = _by_plugin(image, named, counted)
    except PluginError as error:
        say("counting with the timer instead")
        found = _by_timer(image, meta, work, named, str(error))
    found = {"schema": 1, "board": board.name, "core": board.core, **found}
    report["profile"] = found
    page, picture = render_html(report), render_svg(found)  # both, before either file is replaced
    replace_file(out / REPORT_JSON, to_json(report))
    replace_file(out / REPORT_HTML, page)
    replace_file(out / PROFILE_SVG, picture)
    return found


def _inference_ops(out: Path, meta: dict, report: dict) -> Sequence[Mapping]:
    """Name, kind and MACs of each op of the inference. The report knows those of an artifact that only infers; of one
    that trains the emitted C names them, and the layers' MACs are those of the step's forward pass."""
    if meta["train"] is None:
        return report["ops"]
    sources = sorted((out / "codegen/host/src").glob("*_lib0.c"))
    text = sources[0].read_text(encoding="utf-8", errors="replace") if sources else ""
    body = text.partition("_infer_ops(void) {")[2].partition("\n}\n")[0]
    listed = _LISTED.findall(body)
    if len(listed) != meta["infer_ops"]:
        listed = [(f"op {i}", "") for i in range(meta["infer_ops"])]
    macs: Counter[str] = Counter()
    for op in report["ops"]:
        if op["phase"] == "forward":
            macs[op["name"]] = max(macs[op["name"]], op["macs"])
    return [{"name": name, "op": op, "phase": "forward", "macs": macs[name]} for name, op in listed]


def _by_plugin(image: Image, named: Mapping[str, Sequence[Mapping]], counted: OpCounts) -> dict:
    code = {i.address: i for i in disassemble(image.elf)}
    priced = cycle_model.prices(list(code.values()), image.board.core)
    functions = functions_of(symbols(image.elf))
    calls, first = [], 0
    for what, ops in named.items():
        scopes, visits = counted.by_op[first:], counted.visits[first:]
        first += len(ops)
        rows = [
            {**_op(op), "visits": seen, **_figures(scope, code, priced), "kernel": _kernel(scope, functions)}
            for op, scope, seen in zip(ops, scopes, visits, strict=False)
        ]
        whole: Counter[int] = Counter()
        for scope in scopes[: len(ops)]:
            whole.update(scope)
        table = _functions(whole, functions, code, priced)
        cycles = None if priced is None else sum(row["cycles"] for row in rows)
        figures = {**_figures(whole, code, priced), "cycles": cycles}  # so that the ops' cycles add up
        calls.append({"what": what, **figures, "ops": rows, "functions": table})
    model = cycle_model.CORES.get(image.board.core)
    cycles = {"source": model.source, "assumes": cycle_model.ASSUMES} if model else None
    return {"method": "plugin", "step": 1, "why": None, "cycles": cycles, "calls": calls}


def _by_timer(image: Image, meta: dict, work: Path, named: Mapping[str, Sequence[Mapping]], why: str) -> dict:
    emulator.run(image.elf, image.board, work, RUN_SECONDS)
    results = emulator.decode_results((work / emulator.RESULTS).read_bytes(), layout(meta))
    counts = {"infer": results.infer_op_instructions, "train_step": results.train_op_instructions}
    unknown = {"visits": None, "cycles": None, "mix": None, "kernel": None}
    calls = []
    for what, ops in named.items():
        rows = [{**_op(op), "instructions": int(n), **unknown} for op, n in zip(ops, counts[what], strict=True)]
        total = sum(row["instructions"] for row in rows)
        calls.append({"what": what, "instructions": total, "cycles": None, "mix": None, "ops": rows, "functions": []})
    return {"method": "timer", "step": TIMER_STEP, "why": why, "cycles": None, "calls": calls}


def _op(op: Mapping) -> dict:
    return {key: op[key] for key in ("name", "op", "phase", "macs")}


def _figures(
    executions: Mapping[int, int], code: Mapping[int, Instruction], priced: Mapping[int, Price] | None
) -> dict:
    mix = dict.fromkeys(MIX, 0)
    for address, times in executions.items():
        mix[cycle_model.GROUPS[code[address].kind]] += times
    cycles = None if priced is None else round(cycle_model.cycles(priced, executions))
    return {"instructions": sum(executions.values()), "cycles": cycles, "mix": mix}


def _by_function(executions: Mapping[int, int], functions: Sequence[Symbol]) -> dict[Symbol, dict[int, int]]:
    """The executions of each function that ran."""
    starts = [f.address for f in functions]
    split: dict[Symbol, dict[int, int]] = {}
    for address, times in executions.items():
        owner = functions[bisect_right(starts, address) - 1]
        split.setdefault(owner, {})[address] = times
    return split


def _kernel(executions: Mapping[int, int], functions: Sequence[Symbol]) -> str | None:
    """The emitted kernel that an op calls (it may hand its work on): not the entry point that calls all of them."""
    split = _by_function(executions, functions)
    emitted = [f for f in split if function_kind(f.name) == "model" and not _ENTRY.search(f.name)]
    return max(emitted or split, key=lambda f: (sum(split[f].values()), f.name)).name if split else None


def _functions(executions, functions: Sequence[Symbol], code, priced) -> list[dict]:
    """What each function ran, the most first. calls: how often its first instruction ran."""
    rows = [
        {
            "name": f.name,
            "kind": function_kind(f.name),
            "calls": own.get(f.address, 0),
            **_figures(own, code, priced),
            "nbytes": f.nbytes,
        }
        for f, own in _by_function(executions, functions).items()
    ]
    return sorted(rows, key=lambda row: (-row["instructions"], row["name"]))
