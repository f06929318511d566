"""Measures the bars on packing: MiniMalloc's instances at 1 MiB within seconds, and random problems against an
independent checker.

python benchmarks/minimalloc.py [--seeds N]    # the bars; with N, the CPU seconds of N seeds for each instance"""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import product

from benchmarks.bars import DATA, Bar, Progress, at_most, not_measured
from mcutrain.planner import Allocation, Buffer, Overlap, Problem, check_allocation, solve
from mcutrain.planner.errors import PlanError
from mcutrain.planner.packing import bound, csvfile

INSTANCES = ("A", "C", "E", "G", "I", "K")
CAPACITY = 1 << 20  # bytes
EACH_SECONDS, ALL_SECONDS = 30.0, 40.0
WORK_SECONDS = 120.0  # of one core; counted, so that a bar is missed on time and not by giving up
COMMAND = "benchmarks/minimalloc.py"
RANDOM, LEAST_ROOM = 10_000, 6  # problems; the most buffers of one that is compared with exhaustive search


def run(progress: Progress) -> list[Bar]:
    """Returns one bar for each instance, one for their sum, one for the random problems."""
    return [*instances(progress), random_problems(progress)]


def instances(progress: Progress) -> list[Bar]:
    """Measures wall seconds of solve() with two threads. An allocation that the checker refuses, or that is too high,
    counts as infinitely slow."""
    folder = DATA / "minimalloc"
    if not folder.is_dir():
        return [not_measured("MiniMalloc's instances", f"<= {ALL_SECONDS:g} s", f"{folder} is not there")]
    bars, total = [], 0.0
    for name in INSTANCES:
        progress(f"minimalloc: {name}")
        problem = csvfile.read(folder / f"{name}.{CAPACITY}.csv")
        started = time.monotonic()
        found = solve(problem, capacity=CAPACITY, seconds=WORK_SECONDS, workers=2)
        seconds = time.monotonic() - started
        fits = _sound(problem, found) and found.height <= CAPACITY
        shown = f"{seconds:.1f} s, {found.height:,} B, {found.status}" + ("" if fits else ", NOT SOLVED")
        what = f"packing MiniMalloc {name} ({len(problem.buffers)} buffers) into {CAPACITY:,} B"
        measured = seconds if fits else float("inf")
        bars.append(at_most(what, measured, EACH_SECONDS, shown, f"{EACH_SECONDS:g} s", COMMAND))
        total += measured
    what = f"packing MiniMalloc {' '.join(INSTANCES)}, in all"
    return [*bars, at_most(what, total, ALL_SECONDS, f"{total:.1f} s", f"{ALL_SECONDS:g} s", COMMAND)]


def _sound(problem: Problem, found: Allocation) -> bool:
    try:
        check_allocation(problem, found)
    except PlanError:
        return False
    return True


def random_problems(progress: Progress, count: int = RANDOM) -> Bar:
    """Counts how many of `count` random problems have an unsound allocation, a bound above the true optimum, or a
    status that is wrong; small ones are compared with exhaustive search."""
    faults = compared = optimal = 0
    for seed in range(count):
        if seed % 1000 == 0:
            progress(f"minimalloc: random problem {seed:,} of {count:,}")
        problem = random_problem(seed)
        found = solve(problem, seconds=0.2 if seed % 20 == 0 else 0.0, seed=seed, workers=1)
        wrong = not _sound(problem, found) or found.height < bound.problem_bound(problem)
        if len(problem.buffers) <= LEAST_ROOM:
            compared += 1
            least = lowest_height(problem)
            wrong |= not found.bound <= least <= found.height
        faults += wrong
        optimal += found.status == "OPTIMAL"
    shown = f"{faults} ({optimal:,} proven optimal, {compared:,} compared with exhaustive search)"
    return at_most(f"faults in {count:,} random packings", faults, 0, shown, "0", COMMAND)


def random_problem(seed: int) -> Problem:
    """Makes up to 40 buffers, mostly few, with odd and empty sizes, mixed alignments and overlap pairs of every
    distance."""
    source = random.Random(seed)
    small = source.random() < 0.5
    moments = source.randint(1, 5 if small else 16)
    aligns = source.choice(((1,), (1,), (2,), (4,), (1, 2), (4, 8)))
    most = 6 if small else source.choice((9, 64, 5000))
    buffers = []
    for k in range(source.randint(1, LEAST_ROOM) if small else source.randint(7, 40)):
        lower = source.randrange(moments)
        upper = source.randint(lower + 1, moments)
        buffers.append(Buffer(f"b{k}", lower, upper, source.randint(0, most), source.choice(aligns)))
    pairs = [(a, b) for a, b in product(buffers, repeat=2) if a is not b and a.upper == b.lower + 1]
    one_way = [(a, b) for a, b in pairs if a.lower < b.lower]
    chosen = [pair for pair in one_way if source.random() < 0.3]
    overlaps = (Overlap(a.id, b.id, source.randint(-most, most + 2)) for a, b in chosen)
    return Problem(tuple(buffers), tuple(overlaps))


def lowest_height(problem: Problem) -> int:
    """Finds the least height of any allocation, by trying every offset of every buffer."""
    buffers = sorted((b for b in problem.buffers if b.size > 0), key=lambda b: -b.size)
    height = max((b.size for b in buffers), default=0)
    least = {(pair.input, pair.output): pair.distance for pair in problem.overlaps}
    while not _fits(buffers, least, height, {}):
        height += 1
    return height


def _fits(buffers: list[Buffer], least: dict[tuple[str, str], int], height: int, placed: dict[str, int]) -> bool:
    if len(placed) == len(buffers):
        return True
    a = buffers[len(placed)]
    for x in range(0, height - a.size + 1, a.align):
        free = all(_apart(a, x, b, placed[b.id], least) for b in buffers[: len(placed)])
        if free and _fits(buffers, least, height, {**placed, a.id: x}):
            return True
    return False


def _apart(a: Buffer, x: int, b: Buffer, y: int, least: dict[tuple[str, str], int]) -> bool:
    if a.upper <= b.lower or b.upper <= a.lower or x + a.size <= y or y + b.size <= x:
        return True
    over, under = least.get((a.id, b.id)), least.get((b.id, a.id))
    return (over is not None and x - y >= over) or (under is not None and y - x >= under)


def spread(seeds: int) -> None:
    """Prints, for each instance, the CPU seconds of each seed: how far the default one is luck."""
    for name in INSTANCES:
        problem = csvfile.read(DATA / "minimalloc" / f"{name}.{CAPACITY}.csv")
        used = []
        for seed in range(seeds):
            started = time.process_time()
            found = solve(problem, capacity=CAPACITY, seconds=WORK_SECONDS, seed=seed)
            used.append(time.process_time() - started if found.height <= CAPACITY else float("inf"))
        figures = " ".join(f"{value:.1f}" for value in used)
        print(f"{name}: median {sorted(used)[seeds // 2]:.1f}, most {max(used):.1f} of {figures}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=0)
    options = parser.parse_args()
    if options.seeds:
        spread(options.seeds)
    else:
        for bar in run(lambda line: print(line, file=sys.stderr)):
            print(f"{'ok' if bar.met else 'MISSED'}  {bar.what}: {bar.shown} ({bar.limit})")
