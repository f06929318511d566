"""The way from a model file to a folder of C: load, train, lower, plan, emit; a function a stage, a value between."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mcutrain import planner
from mcutrain.artifact.folder import METADATA, PLAN, REPORT_HTML, REPORT_JSON, check_replaceable, to_json, write_folder
from mcutrain.firmware.toolchain import RUNTIME
from mcutrain.frontends import as_model
from mcutrain.options import DEFAULTS, PlanOptions
from mcutrain.planner.errors import BudgetError, ModelError
from mcutrain.planner.model import Graph, Plan
from mcutrain.planner.policy import Policy, default, named
from mcutrain.planner.rematerialise import Rematerialisation
from mcutrain.report.build import plan_report, with_artifact, without_clock
from mcutrain.report.page import render_html
from mcutrain.results import FIRMWARE_BYTES, Artifact, PlannedModel
from mcutrain.targets import board as boards
from mcutrain.targets.board import AnyBoard, Board
from mcutrain.units import parse_bytes

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `boards` and `--help` without it
    from mcutrain.tvm_ext.emit.sources import Source as CSource
    from mcutrain.tvm_ext.lower.graph import Lowered
    from mcutrain.tvm_ext.model import Model, Source

Progress = Callable[[str], None]
DEFAULT_BUDGET = "256KB"
KEPT = f"{FIRMWARE_BYTES:,} B are kept for the firmware's stack and data"
RUNTIME_FILES = ("include/*.h", "kernels/*.c", "kernels/*.h", "src/*.c", "src/*.h", "link.ld.in")


def plan(
    model: Model | Source,
    scheme: str | Policy | None = None,
    budget: int | str = DEFAULT_BUDGET,
    *,
    board: AnyBoard | None = None,
    momentum: float = 0.0,
    accumulate: int = 1,
    seed: int = 1,
    seconds: float = 20.0,
    stream: bool = True,
    recompute: bool = False,
    progress: Progress | None = None,
) -> PlannedModel:
    """Extend the model by its backward pass and find every tensor's place in SRAM; needs no compiler and no emulator.

    model: a loaded one, or what load() reads with its defaults. scheme: a published name (49kb, ...), full, bias_only,
    head_only, last_k=K, inference (no training at all), a policy file, or a Policy; by default 49kb where it is
    published for the network, else last_k=2. budget: bytes of SRAM for everything, or text such as "256KB".
    board: the forward pass as this one computes it: without an FPU by integers alone. By default as one with an FPU.
    momentum to recompute: see PlanOptions. progress: called with one line of text a stage.
    Raises PolicyError, BudgetError (with what cannot live together), and what load() raises."""
    options = PlanOptions(momentum, accumulate, seed, seconds, stream, recompute)
    return planned_step(as_model(model), scheme, budget, options, board, progress)


def compile(
    model: Model | Source,
    scheme: str | Policy | None = None,
    board: AnyBoard = "stm32f746",
    budget: int | str | None = None,
    out: str | os.PathLike[str] = "out",
    *,
    name: str | None = None,
    table: str | os.PathLike[str] | None = None,
    momentum: float = 0.0,
    accumulate: int = 1,
    seed: int = 1,
    seconds: float = 20.0,
    stream: bool = True,
    recompute: bool = False,
    progress: Progress | None = None,
) -> Artifact:
    """Plan, and write C11 sources in Model Library Format to the folder `out` (and `out`.tar beside it).

    model, scheme: see plan(). board: a name of `boards`, a TOML file, or a Board; without an FPU its forward pass is
    integers alone. budget: bytes of SRAM for everything, or text such as "256KB"; by default the board's. out: made
    new, or an earlier artifact, which is replaced. name: the C name of the model, by default its file's. table: the
    file of instruction counts, made by `mcutrain tune`, by which variants of kernels are chosen; by default the
    installed one.
    momentum to recompute: see PlanOptions. progress: called with one line of text a stage.
    Raises what plan() raises, ModelError for a damaged table, and OutputError; then nothing was written."""
    options = PlanOptions(momentum, accumulate, seed, seconds, stream, recompute)
    return compiled(as_model(model), scheme, board, budget, Path(out), options, name, table, progress)


def lowered_step(
    model: Model,
    scheme: str | Policy | None = None,
    options: PlanOptions = DEFAULTS,
    board: AnyBoard | None = None,
    progress: Progress | None = None,
) -> Lowered:
    """The training step as kernel calls, not planned yet. The arguments are plan()'s. Raises PolicyError."""
    from mcutrain.tvm_ext.lower.graph import lower
    from mcutrain.tvm_ext.train.integer_forward import integer_forward
    from mcutrain.tvm_ext.train.training import inference, train

    say = progress or _silent
    if board is not None and not boards.get(board).core.has_fpu:
        model = integer_forward(model)
    say("building the training graph")
    scheme = default(model.layers) if scheme is None else scheme
    if scheme == "inference":
        training = inference(model)
    else:
        policy = named(scheme, model.layers) if isinstance(scheme, str) else scheme
        training = train(model, policy, options.momentum, options.accumulate, options.seed)
    say("lowering to kernels")
    return lower(training)


def planned_step(
    model: Model,
    scheme: str | Policy | None,
    budget: int | str,
    options: PlanOptions = DEFAULTS,
    board: AnyBoard | None = None,
    progress: Progress | None = None,
) -> PlannedModel:
    """Do the work of plan(), with its options as one value."""
    from mcutrain.tvm_ext.emit.placement import placements
    from mcutrain.tvm_ext.lower.rematerialised import with_recomputed

    say = progress or _silent
    budget = parse_bytes(budget)
    if budget <= FIRMWARE_BYTES:
        raise BudgetError(f"a budget of {budget:,} B leaves nothing for a network: {KEPT}; give a larger one")
    lowered = lowered_step(model, scheme, options, board, say)
    graph = (lowered.train_step or lowered.infer).graph
    say(f"planning {len(graph.ops)} ops and {len(graph.tensors)} tensors")
    started = time.monotonic()
    # `infer` is the forward part of a training step, and rematerialises nothing
    forward = {c.op.name for c in lowered.train_step.calls if c.phase == "forward"} if lowered.train_step else set()
    rematerialised, found = _planned(graph, budget, forward, options, say)
    elapsed = time.monotonic() - started
    lowered = with_recomputed(lowered, rematerialised)
    infer, _ = placements(lowered, found)
    name = boards.get(board).name if board else None
    report = plan_report(lowered, found, infer, budget, elapsed, rematerialised, name)
    return PlannedModel(lowered, found, budget, report)


def _planned(
    graph: Graph, budget: int, forward: set[str], options: PlanOptions, say: Progress
) -> tuple[tuple[Rematerialisation, ...], Plan]:
    """Return the rematerialised ops, and the plan. Raises BudgetError in the budget's own terms."""
    capacity, seconds, stream = budget - FIRMWARE_BYTES, options.seconds, options.stream
    try:
        if options.recompute:
            return planner.plan_rematerialised(
                graph, capacity, seconds=seconds, stream=stream, untouched=forward, progress=say
            )
        return (), planner.plan(graph, capacity=capacity, seconds=seconds, stream=stream, progress=say)
    except BudgetError as error:
        raise BudgetError(_over_budget(budget, error), error.nbytes) from None


def _over_budget(budget: int, error: BudgetError) -> str:
    """In the budget's own terms first, then why the arena is as large as it is."""
    needed = error.nbytes + FIRMWARE_BYTES
    asked = f"a budget of {budget:,} B is too small: the best plan that was found needs {needed:,} B in all"
    return f"{asked}\n  {error.nbytes:,} B of arena; {KEPT}\n{textwrap.indent(str(error), '  ')}"


def compiled(
    model: Model,
    scheme: str | Policy | None,
    board: AnyBoard,
    budget: int | str | None,
    out: Path,
    options: PlanOptions = DEFAULTS,
    name: str | None = None,
    table: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Do the work of compile(), with its options as one value."""
    from mcutrain.tvm_ext.emit.names import c_name
    from mcutrain.tvm_ext.emit.sources import emit
    from mcutrain.tvm_ext.lower.variants import flash_allowance, read_counts, tuned

    target, say = boards.get(board), progress or _silent
    name = name or c_name(model.name)
    if name != c_name(name):
        raise ModelError(f"name '{name}' is not a C identifier; try '{c_name(name)}'")
    check_replaceable(out.absolute())  # before the long work, not behind it
    counts = read_counts(target.core.counts, None if table is None else Path(table))
    planned = planned_step(model, scheme, target.budget_bytes if budget is None else budget, options, target, say)
    lowered, widened = tuned(planned.lowered, counts, flash_allowance(planned.lowered, target.flash_bytes))
    planned = replace(planned, lowered=lowered, report=with_artifact(planned.report, name, widened))
    say("writing C")
    source = emit(planned.lowered, planned.plan, name)
    return Artifact(write_folder(out, _artifact_files(planned, source, name, target), with_tar=True), planned)


def _artifact_files(planned: PlannedModel, source: CSource, name: str, board: Board) -> dict[str, str | bytes]:
    from mcutrain.tvm_ext.emit import mlf

    about = mlf.About(name, board.name, planned.budget, board.defines)
    step = planned.lowered.train_step or planned.lowered.infer
    runtime = sorted(p for pattern in RUNTIME_FILES for p in RUNTIME.glob(pattern))
    report = without_clock(planned.report)
    return {
        METADATA: to_json(mlf.metadata(planned.lowered, planned.plan, source, about)),
        **source.files,
        f"parameters/{name}.params": mlf.parameters_bytes(planned.lowered),
        f"src/{name}.relax": mlf.relax_text(planned.lowered),
        **{f"runtime/{p.relative_to(RUNTIME)}": p.read_bytes() for p in runtime},
        boards.FILE: board.to_toml(),
        PLAN: planner.csvfile.text(planned.plan, planner.planned_graph(step.graph, planned.plan)),
        REPORT_JSON: to_json(report),
        REPORT_HTML: render_html(report),
    }


def _silent(_: str) -> None:
    pass
