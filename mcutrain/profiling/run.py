"""Profiles an artifact on the emulated core: instructions of each op and each function, and an estimate of cycles."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mcutrain.artifact.folder import REPORT_HTML, REPORT_JSON, read_json, replace_file, to_json
from mcutrain.artifact.metadata import read_metadata
from mcutrain.firmware import emulator
from mcutrain.firmware.flash_map import function_kind, functions_of
from mcutrain.firmware.instructions import GROUPS, MIX, Instruction
from mcutrain.firmware.linked import Symbol, disassemble, symbols
from mcutrain.firmware.toolchain import Image
from mcutrain.firmware.verification import ROUND_RATES, Samples, build, layout, random_samples, write_samples
from mcutrain.planner.errors import OutputError
from mcutrain.profiling import cycle_model
from mcutrain.profiling.counting import RUN_SECONDS, OpCounts, PluginError, count_ops, find_host_compiler
from mcutrain.profiling.cycle_model import Price
from mcutrain.report.figures import check_report
from mcutrain.report.page import render_html
from mcutrain.report.profile_svg import render_svg
from mcutrain.targets import board as boards

__all__ = ["PROFILE_SVG", "profile"]

PROFILE_SVG = "profile.svg"
_ENTRY = re.compile(r"_(infer|train)_(ops|arena)\b")
_INFER_OP = {"name": str, "op": str, "macs": int}


def profile(
    out: str | os.PathLike[str], infer_only: bool = False, progress: Callable[[str], None] | None = None
) -> dict:
    """Run one inference and, unless infer_only, one training step of the artifact `out`; returns the profile
    (docs/FORMATS.md) and puts it into the folder's report.json, report.html and profile.svg.

    out: an Artifact or its folder. progress: called with one line of text a stage.
    Without the host's gcc, and where this QEMU takes no plugins, the counts are the timer's, in steps of 40
    or 50 instructions, and nothing is known of functions. Raises OutputError for a folder that is no artifact,
    ToolError for a missing tool, BudgetError where the firmware does not link inside the budget, DeviceError where it
    faults."""
    out, say = Path(out), progress or (lambda _: None)
    meta = read_metadata(out)
    report = read_json(out / REPORT_JSON, "the report")
    check_report(report)
    trains = meta["train"] is not None and not infer_only
    named = {"infer": _inference_ops(out, meta, report)} | ({"train_step": report["ops"]} if trains else {})
    board = boards.in_folder(out, meta["board"])
    emulator.find_emulator()  # a missing tool is said before the minutes that a build can take
    why = _why_no_plugin(say)
    say("building the profile firmware")
    image = build(out, board, meta["budget_bytes"], "profile", ("MCU_PROFILE",))
    samples = random_samples(meta, 1)
    fed = samples if trains else Samples(samples.images[:0], ())
    work = write_samples(image, meta, samples.images, fed, np.asarray(ROUND_RATES, np.float32))
    say(f"counting instructions on the emulated {board.core.name}")
    found = _counted(image, meta, work, named, why, say)
    found = {"schema": 1, "board": board.name, "core": board.core.name, **found}
    report["profile"] = found
    page, picture = render_html(report), render_svg(found)  # both, before either file is replaced
    replace_file(out / REPORT_JSON, to_json(report))
    replace_file(out / REPORT_HTML, page)
    replace_file(out / PROFILE_SVG, picture)
    return found


def _why_no_plugin(say: Callable[[str], None]) -> str | None:
    try:
        find_host_compiler()
    except PluginError as error:
        say(f"counting with the timer: {error}")
        return str(error)
    return None


def _counted(image: Image, meta: dict, work: Path, named: Mapping, why: str | None, say: Callable[[str], None]) -> dict:
    """By the plugin, or by the timer where it cannot be: for the reason `why`, or for the one that QEMU gives."""
    if why is None:
        try:
            counted = count_ops(image.elf, image.board, work, layout(meta).infer_ops + layout(meta).train_ops)
            return _by_plugin(image, named, counted)
        except PluginError as error:
            why = str(error)
            say(f"counting with the timer: {why}")
    return _by_timer(image, meta, work, named, why)


def _inference_ops(out: Path, meta: dict, report: dict) -> list[dict]:
    """Name, kind and MACs of each op of the inference, in order. Raises OutputError where the report lacks them."""
    ops = report.get("infer_ops")
    if ops is None:
        said = "was made by an older version of mcutrain, which did not name the ops of an inference"
        raise OutputError(f"{out}: {REPORT_JSON} {said}; compile again")
    if not isinstance(ops, list) or len(ops) != meta["infer_ops"] or not all(map(_is_infer_op, ops)):
        raise OutputError(f"{out}: {REPORT_JSON}: infer_ops are not the {meta['infer_ops']} ops; compile again")
    return [{**op, "phase": "forward"} for op in ops]


def _is_infer_op(op: object) -> bool:
    return isinstance(op, dict) and all(isinstance(op.get(key), kind) for key, kind in _INFER_OP.items())


def _by_plugin(image: Image, named: Mapping[str, Sequence[Mapping]], counted: OpCounts) -> dict:
    code = {i.address: i for i in disassemble(image.elf)}
    priced = cycle_model.prices(list(code.values()), image.board.core.cycles)
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
    model = cycle_model.CORES.get(image.board.core.cycles or "")
    cycles = {"source": model.source, "assumes": model.assumes} if model else None
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
    return {
        "method": "timer",
        "step": image.board.core.machine.instructions_per_tick,
        "why": why,
        "cycles": None,
        "calls": calls,
    }


def _op(op: Mapping) -> dict:
    return {key: op[key] for key in ("name", "op", "phase", "macs")}


def _figures(
    executions: Mapping[int, int], code: Mapping[int, Instruction], priced: Mapping[int, Price] | None
) -> dict:
    mix = dict.fromkeys(MIX, 0)
    for address, times in executions.items():
        mix[GROUPS[code[address].kind]] += times
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
