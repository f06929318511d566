"""Looks for what fits where a plan does not: other options, smaller schemes and inputs, each with the SRAM it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mcutrain.options import DEFAULTS, PlanOptions
from mcutrain.pipeline import Progress, planned_step
from mcutrain.planner.errors import BudgetError, McutrainError
from mcutrain.planner.policy import default, smaller
from mcutrain.results import FIRMWARE_BYTES

if TYPE_CHECKING:
    from mcutrain.tvm_ext.model import Model

SECONDS = 0.5  # of solver work for each: these are offers, the plan itself is made when one is taken
STEP = 8  # pixels between the input sizes that are tried
WITHOUT_LIMIT = 1 << 40


@dataclass(frozen=True)
class Alternative:
    """option: what to add to the command. nbytes: SRAM that its plan needs, 1,024 B for the firmware included."""

    option: str
    nbytes: int
    fits: bool


def alternatives(
    load: Callable[[int | None], Model],
    scheme: str | None,
    budget: int,
    input_size: int | None,
    options: PlanOptions = DEFAULTS,
    progress: Progress | None = None,
) -> Iterator[Alternative]:
    """Find the nearest things that fit `budget` bytes, one for each way to give something up; a way on which nothing
    fits ends with its least. load(input size): reads the model. The others: as plan() takes them."""
    say, options = progress or (lambda _: None), replace(options, seconds=SECONDS)
    model = load(input_size)
    scheme = default(model.layers) if scheme is None else scheme

    def tried(option: str, model: Model, scheme: str, stream: bool = options.stream) -> Alternative:
        say(f"looking for what fits: {option}")
        chosen = replace(options, stream=stream, recompute=False)
        nbytes = planned_step(model, scheme, WITHOUT_LIMIT, chosen).plan.height + FIRMWARE_BYTES
        return Alternative(option, nbytes, nbytes <= budget)

    if not options.stream:
        yield tried("--stream", model, scheme, stream=True)
    yield from _first_fit(tried(f"--scheme {name}", model, name) for name in smaller(scheme, model.layers))
    if scheme != "inference":
        body = sum(not layer.is_head for layer in model.layers)
        schemes = {0: "head_only", **{k: f"last_k={k}" for k in range(1, body)}}
        yield from _largest_fit(lambda k: tried(f"--scheme {schemes[k]}", model, schemes[k]), list(schemes))
    sizes = list(range(STEP, model.input_shape[1], STEP))
    yield from _largest_fit(lambda size: tried(f"--input-size {size}", load(size), scheme), sizes)
    if not options.recompute:
        yield _rematerialised(model, scheme, budget, options, say)


def _rematerialised(model: Model, scheme: str, budget: int, options: PlanOptions, say: Progress) -> Alternative:
    say("looking for what fits: --recompute")
    try:
        found = planned_step(model, scheme, budget, replace(options, recompute=True))
    except BudgetError as error:
        return Alternative("--recompute", error.nbytes + FIRMWARE_BYTES, False)
    return Alternative("--recompute", found.plan.height + FIRMWARE_BYTES, True)


def _first_fit(offers: Iterator[Alternative]) -> Iterator[Alternative]:
    """Yields the first that fits; where none does, the last."""
    seen: list[Alternative] = []
    for offer in offers:
        seen.append(offer)
        if offer.fits:
            break
    yield from seen[-1:]


def _largest_fit(offer: Callable[[int], Alternative], values: list[int]) -> Iterator[Alternative]:
    """Yields the largest value that fits, found by bisection; where none does, the smallest."""
    best: Alternative | None = None
    tried: dict[int, Alternative] = {}
    while values:
        middle = len(values) // 2
        try:
            tried[values[middle]] = offer(values[middle])
        except McutrainError:  # the model has no such form
            values = values[middle + 1 :]
            continue
        if tried[values[middle]].fits:
            best, values = tried[values[middle]], values[middle + 1 :]
        else:
            values = values[:middle]
    if best is None and tried:
        best = tried[min(tried)]
    if best is not None:
        yield best
