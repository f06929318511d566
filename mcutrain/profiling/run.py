"""Profiles an artifact on the emulated core: instructions of each op and each function, and an estimate of cycles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from mcutrain.artifact.folder import REPORT_HTML, REPORT_JSON, replace_file, to_json
from mcutrain.artifact.metadata import read_metadata
from mcutrain.firmware import emulator
from mcutrain.firmware.toolchain import Image
from mcutrain.planner.errors import OutputError
from mcutrain.profiling import attribution, cycle_model
from mcutrain.profiling.counting import RUN_SECONDS, OpCounts, PluginError, count_ops, find_host_compiler
from mcutrain.report.files import read_report
from mcutrain.report.page import render_html
from mcutrain.report.profile.picture import render_svg
from mcutrain.schema.metadata import Metadata
from mcutrain.schema.profile import CallProfile, CycleModel, OpProfile, Profile
from mcutrain.schema.report import Report
from mcutrain.schema.words import Phase
from mcutrain.targets import board as boards
from mcutrain.verification import ROUND_RATES, Samples, build, layout, random_samples, write_samples

__all__ = ["PROFILE_SVG", "profile"]

PROFILE_SVG = "profile.svg"
EntryPoint = Literal["infer", "train_step"]


class Named(NamedTuple):
    """An op as the report names it."""

    name: str
    op: str
    phase: Phase
    macs: int


Calls = Mapping[EntryPoint, Sequence[Named]]


def profile(
    out: str | os.PathLike[str], *, infer_only: bool = False, progress: Callable[[str], None] | None = None
) -> Profile:
    """Run one inference and, unless infer_only, one training step of the artifact `out`; returns the profile and puts
    it into the folder's report.json, report.html and profile.svg.

    out: an Artifact or its folder. progress: called with one line of text a stage.
    Without the host's gcc, and where this QEMU takes no plugins, the counts are the timer's, in steps of 40
    or 50 instructions, and nothing is known of functions. Raises OutputError for a folder that is no artifact,
    ToolError for a missing tool, BudgetError where the firmware does not link inside the budget, DeviceError where it
    faults."""
    out, say = Path(out), progress or (lambda _: None)
    meta = read_metadata(out)
    report = read_report(out)
    trains = meta.train is not None and not infer_only
    calls: dict[EntryPoint, Sequence[Named]] = {"infer": _inference_ops(out, meta, report)}
    if trains:
        calls["train_step"] = [Named(op.name, op.op, op.phase, op.macs) for op in report.ops]
    board = boards.in_folder(out, meta.board)
    emulator.find_emulator()  # a missing tool is said before the minutes that a build can take
    why = _why_no_plugin(say)
    say("building the profile firmware")
    image = build(out, board, meta.budget_bytes, "profile", ("MCU_PROFILE",))
    samples = random_samples(meta, 1)
    fed = samples if trains else Samples(samples.images[:0], ())
    work = write_samples(image, meta, samples.images, fed, np.asarray(ROUND_RATES, np.float32))
    say(f"counting instructions on the emulated {board.core.name}")
    found = _counted(image, meta, work, calls, why, say)
    report = replace(report, profile=found)
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


def _counted(
    image: Image, meta: Metadata, work: Path, calls: Calls, why: str | None, say: Callable[[str], None]
) -> Profile:
    """Count by the plugin, or by the timer where it cannot be: for the reason `why`, or for the one that QEMU gives."""
    if why is None:
        try:
            counted = count_ops(image.elf, image.board, work, layout(meta).infer_ops + layout(meta).train_ops)
            return _by_plugin(image, calls, counted)
        except PluginError as error:
            why = str(error)
            say(f"counting with the timer: {why}")
    return _by_timer(image, meta, work, calls, why)


def _inference_ops(out: Path, meta: Metadata, report: Report) -> list[Named]:
    """List each op of the inference, in order. Raises OutputError where the report lacks them."""
    if report.infer_ops is None:
        said = "was made by an older version of mcutrain, which did not name the ops of an inference"
        raise OutputError(f"{out}: {REPORT_JSON} {said}; compile again")
    if len(report.infer_ops) != meta.infer_ops:
        raise OutputError(f"{out}: {REPORT_JSON}: infer_ops are not the {meta.infer_ops} ops; compile again")
    return [Named(op.name, op.op, "forward", op.macs) for op in report.infer_ops]


def _by_plugin(image: Image, calls: Calls, counted: OpCounts) -> Profile:
    core = image.board.core
    firmware = attribution.read_firmware(image.elf, core.cycles)
    pages, first = [], 0
    for what, ops in calls.items():
        scopes, visits = counted.by_op[first : first + len(ops)], counted.visits[first:]
        first += len(ops)
        rows = tuple(
            OpProfile(
                **op._asdict(),
                visits=seen,
                instructions=sum(scope.values()),
                cycles=attribution.cycles(scope, firmware),
                mix=attribution.mix(scope, firmware),
                kernel=attribution.kernel(scope, firmware),
            )
            for op, scope, seen in zip(ops, scopes, visits, strict=False)
        )
        pages.append(_call(what, rows, attribution.total_of(scopes), firmware))
    model = cycle_model.CORES.get(core.cycles or "")
    return Profile(
        schema=1,
        board=image.board.name,
        core=core.name,
        method="plugin",
        step=1,
        why=None,
        cycles=CycleModel(source=model.source, assumes=model.assumes) if model else None,
        calls=tuple(pages),
    )


def _call(
    what: EntryPoint, rows: tuple[OpProfile, ...], whole: attribution.Executions, firmware: attribution.Firmware
) -> CallProfile:
    return CallProfile(
        what=what,
        instructions=sum(whole.values()),
        # not those of `whole`, so that the ops' cycles add up
        cycles=None if firmware.priced is None else sum(row.cycles or 0 for row in rows),
        mix=attribution.mix(whole, firmware),
        ops=rows,
        functions=attribution.function_rows(whole, firmware),
    )


def _by_timer(image: Image, meta: Metadata, work: Path, calls: Calls, why: str) -> Profile:
    emulator.run(image.elf, image.board, work, RUN_SECONDS)
    results = emulator.decode_results((work / emulator.RESULTS).read_bytes(), layout(meta))
    counts = {"infer": results.infer_op_instructions, "train_step": results.train_op_instructions}
    pages = []
    for what, ops in calls.items():
        rows = tuple(
            OpProfile(**op._asdict(), visits=None, instructions=int(n), cycles=None, mix=None, kernel=None)
            for op, n in zip(ops, counts[what], strict=True)
        )
        total = sum(row.instructions for row in rows)
        pages.append(CallProfile(what=what, instructions=total, cycles=None, mix=None, ops=rows, functions=()))
    return Profile(
        schema=1,
        board=image.board.name,
        core=image.board.core.name,
        method="timer",
        step=image.board.core.machine.instructions_per_tick,
        why=why,
        cycles=None,
        calls=tuple(pages),
    )
