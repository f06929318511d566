"""The way from a model file to a folder of C: load, train, lower, plan, emit; a function a stage, a value between."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain import planner
from mcutrain.artifact.folder import METADATA, PLAN, REPORT_HTML, REPORT_JSON, check_replaceable, to_json, write_folder
from mcutrain.firmware.toolchain import RUNTIME
from mcutrain.frontends import load
from mcutrain.planner.errors import BudgetError, McutrainError, ModelError
from mcutrain.planner.model import Plan
from mcutrain.planner.policy import Policy, default, named
from mcutrain.report.build import plan_report
from mcutrain.report.page import render_html
from mcutrain.targets import board as boards
from mcutrain.units import parse_bytes

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `boards` and `--help` without it
    from mcutrain.tvm_ext.emit.sources import Source
    from mcutrain.tvm_ext.lower.graph import Lowered
    from mcutrain.tvm_ext.model import Model

Progress = Callable[[str], None]
DEFAULT_BUDGET = "256KB"
FIRMWARE_BYTES = 1024  # of the budget, kept at plan time; the verify firmware's stack, data and bss measure about 600
KEPT = f"{FIRMWARE_BYTES:,} B are kept for the firmware's stack and data"
RUNTIME_FILES = ("include/*.h", "kernels/*.c", "kernels/*.h", "src/*.c", "src/*.h", "link.ld.in")


@dataclass(frozen=True)
class PlannedModel:
    """A model with its training step planned. report: the dict behind text, JSON and page (docs/FORMATS.md)."""

    lowered: Lowered
    plan: Plan
    budget: int
    report: dict

    @property
    def fits(self) -> bool:
        return self.plan.height + FIRMWARE_BYTES <= self.budget


@dataclass(frozen=True)
class Artifact:
    """A compiled model: the folder and its planned step."""

    directory: Path
    planned: PlannedModel

    @property
    def report(self) -> dict:
        return self.planned.report


def lowered_step(
    model: Model,
    scheme: str | Policy | None = None,
    momentum: float = 0.0,
    accumulate: int = 1,
    seed: int = 1,
    progress: Progress | None = None,
    board: str | None = None,
) -> Lowered:
    """The training step as kernel calls, not planned yet. The arguments are plan()'s. Raises PolicyError."""
    from mcutrain.tvm_ext.lower.graph import lower
    from mcutrain.tvm_ext.train.integer_forward import integer_forward
    from mcutrain.tvm_ext.train.training import inference, train

    say = progress or (lambda _: None)
    if board is not None and not boards.get(board).has_fpu:
        model = integer_forward(model)
    say("building the training graph")
    scheme = default(model.layers) if scheme is None else scheme
    if scheme == "inference":
        training = inference(model)
    else:
        policy = named(scheme, model.layers) if isinstance(scheme, str) else scheme
        training = train(model, policy, momentum, accumulate, seed)
    say("lowering to kernels")
    return lower(training)


def plan(
    model: Model,
    scheme: str | Policy | None = None,
    budget: int | str = DEFAULT_BUDGET,
    *,
    momentum: float = 0.0,
    accumulate: int = 1,
    seed: int = 1,
    seconds: float = 20.0,
    stream: bool = True,
    recompute: bool = False,
    board: str | None = None,
    progress: Progress | None = None,
) -> PlannedModel:
    """Extend the model by its backward pass and find every tensor's place in SRAM; needs no compiler and no emulator.

    scheme: a published name (49kb, ...), full, bias_only, head_only, last_k=K, inference (no training at all), a policy
    file, or a Policy; by default 49kb where it is published for the network, else last_k=2.
    budget: bytes, or text such as "256KB". seconds: about as long at most for the solver.
    stream: run ops row by row, or by blocks of channels, where that lowers the peak. recompute: where the budget cannot
    hold otherwise, run cheap ops of the forward pass a second time instead of keeping what they made.
    board: the forward pass as this one computes it: without an FPU by integers alone. By default as one with an FPU.
    Raises PolicyError and BudgetError (with what cannot live together)."""
    from mcutrain.tvm_ext.lower.rematerialised import with_recomputed

    say = progress or (lambda _: None)
    budget = parse_bytes(budget)
    if budget <= FIRMWARE_BYTES:
        raise BudgetError(f"a budget of {budget:,} B leaves nothing for a network: {KEPT}; give a larger one")
    lowered = lowered_step(model, scheme, momentum, accumulate, seed, say, board)
    graph = (lowered.train_step or lowered.infer).graph
    say(f"planning {len(graph.ops)} ops and {len(graph.tensors)} tensors")
    started = time.monotonic()
    try:
        options = {"capacity": budget - FIRMWARE_BYTES, "seconds": seconds, "stream": stream, "progress": say}
        again: tuple = ()
        if recompute:  # `infer` is the forward part of a training step, and runs nothing again
            step = lowered.train_step
            forward = {c.op.name for c in step.calls if c.phase == "forward"} if step else ()
            again, found = planner.plan_rematerialised(graph, untouched=forward, **options)
        else:
            found = planner.plan(graph, **options)
    except BudgetError as error:
        raise BudgetError(_over_budget(budget, error), error.nbytes) from None
    elapsed = time.monotonic() - started
    lowered = with_recomputed(lowered, again)
    report = {**plan_report(lowered, found, budget, elapsed, again), "board": board}
    return PlannedModel(lowered, found, budget, report)


def _over_budget(budget: int, error: BudgetError) -> str:
    """In the budget's own terms first, then why the arena is as large as it is."""
    needed = error.nbytes + FIRMWARE_BYTES
    asked = f"a budget of {budget:,} B is too small: the best plan that was found needs {needed:,} B in all"
    return f"{asked}\n  {error.nbytes:,} B of arena; {KEPT}\n{textwrap.indent(str(error), '  ')}"


def compile(
    model: Model,
    scheme: str | Policy | None = None,
    board: str = "stm32f746",
    budget: int | str | None = None,
    out: str | Path = "out",
    *,
    name: str | None = None,
    table: str | Path | None = None,
    progress: Progress | None = None,
    **options: object,
) -> Artifact:
    """Plan, and write C11 sources in Model Library Format to the folder `out` (and `out`.tar beside it).

    budget: by default the board's. name: the C name of the model, by default its file's. table: the file of
    instruction counts, made by `mcutrain tune`, by which forms of kernels are chosen; by default the installed one.
    options: see plan(). For a board without an FPU the forward pass is turned into integers alone.
    Raises what plan() raises, ModelError for a damaged table, and OutputError."""
    from mcutrain.tvm_ext.emit.sources import c_name, emit
    from mcutrain.tvm_ext.lower.variants import flash_allowance, read_counts, tuned

    target = boards.get(board)
    budget = parse_bytes(target.sram_bytes if budget is None else budget)
    name = name or c_name(model.name)
    if name != c_name(name):
        raise ModelError(f"name '{name}' is not a C identifier; try '{c_name(name)}'")
    check_replaceable(Path(out).absolute())  # before the long work, not behind it
    counts = read_counts(target.core, None if table is None else Path(table))
    planned = plan(model, scheme, budget, board=board, progress=progress, **options)
    lowered, widened = tuned(planned.lowered, counts, flash_allowance(planned.lowered, target.flash_bytes))
    planned = replace(planned, lowered=lowered)
    (progress or (lambda _: None))("writing C")
    source = emit(planned.lowered, planned.plan, name)
    planned.report.update(name=name, wide_weights=[asdict(one) for one in widened])
    files = _artifact_files(planned, source, name, board)
    return Artifact(write_folder(out, files, with_tar=True), planned)


def _artifact_files(planned: PlannedModel, source: Source, name: str, board: str) -> dict[str, str | bytes]:
    from mcutrain.tvm_ext.emit import mlf

    extra = {
        "board": board,
        "budget_bytes": planned.budget,
        "defines": list(boards.get(board).defines),
        "plan": {"height": planned.plan.height, "bound": planned.plan.bound, "status": planned.plan.status},
        "symbols": source.symbols,
    }
    step = planned.lowered.train_step or planned.lowered.infer
    runtime = sorted(p for pattern in RUNTIME_FILES for p in RUNTIME.glob(pattern))
    # a report that two runs write alike has no clock in it
    report = {**planned.report, "plan": {**planned.report["plan"], "seconds": None}}
    return {
        METADATA: to_json(mlf.metadata(planned.lowered, planned.plan, name, extra)),
        **source.files,
        f"parameters/{name}.params": mlf.parameters_bytes(planned.lowered),
        f"src/{name}.relax": mlf.relax_text(planned.lowered),
        **{f"runtime/{p.relative_to(RUNTIME)}": p.read_bytes() for p in runtime},
        PLAN: planner.csvfile.text(planned.plan, planner.planned_graph(step.graph, planned.plan)),
        REPORT_JSON: to_json(report),
        REPORT_HTML: render_html(report),
    }


__all__ = ["Artifact", "McutrainError", "PlannedModel", "compile", "load", "plan"]
