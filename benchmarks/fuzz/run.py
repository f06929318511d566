"""Measures robustness: damaged files of every format, each of which must end in one clear error or in a valid import.

    python benchmarks/fuzz/run.py [--count N] [--only FORMAT] [--replay FILE]

No crash, no traceback, nothing printed, nothing written, at most 10 s of CPU time and 2 GB of memory. A mutant that
fails is kept in out/bench/fuzz/ for --replay. Exit status 1 where one fails."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from benchmarks.bars import DATA, OUT, ROOT, Bar, Progress, Table, at_most
from benchmarks.fuzz.seeds import Mutant, Seed, all_seeds, mutants
from benchmarks.fuzz.worker import CPU_SECONDS, NBYTES

COUNT, AT_A_TIME = 500, 2
KEPT = OUT / "fuzz"
WORKER = Path(__file__).with_name("worker.py")
COMMAND = "benchmarks/run.py --only robustness"
TITLES = {"tflite": "TFLite", "onnx": "ONNX", "relay": "Relay", "pickle": "pickle", "relax": "Relax"}


@dataclass(frozen=True)
class Verdict:
    """Says what came of one file. outcome: imported, refused or failed; why: the message, or what failed; nbytes:
    growth of the process; peak: all of it."""

    name: str
    outcome: str
    why: str
    cpu_seconds: float
    nbytes: int
    peak: int


class Worker:
    """Runs a process that imports one file at a time, and its folder, where nothing but that file may be."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
        self._start()

    def _start(self) -> None:
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        own = {"HOME": str(self.folder), "TMPDIR": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, WORKER], env={**os.environ, **single, **own}, cwd=self.folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def examine(self, name: str, content: bytes) -> Verdict:
        for old in self.folder.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        path = self.folder / name
        path.write_bytes(content)
        to, back = self.process.stdin, self.process.stdout
        assert to is not None and back is not None  # they are pipes
        to.write(f"{path}\n")
        to.flush()
        line = back.readline()
        if not line:  # whatever ends the worker itself is no less a failure of this file
            status = self.process.wait()
            self._start()
            return Verdict(name, "failed", f"ends the worker with status {status}", 0.0, 0, 0)
        told = json.loads(line)
        return Verdict(name, *(told[key] for key in ("outcome", "why", "cpu_seconds", "nbytes", "peak")))

    def close(self) -> None:
        self.process.communicate()  # closes its input, which ends it
        shutil.rmtree(self.folder)


def examine(files: Sequence[Seed | Mutant]) -> Iterator[Verdict]:
    """Yields the verdict of each, in their order, two at a time."""
    free: SimpleQueue[Worker] = SimpleQueue()
    workers = [Worker() for _ in range(AT_A_TIME)]
    for worker in workers:
        free.put(worker)

    def one(file: Seed | Mutant) -> Verdict:
        worker = free.get()
        try:
            return worker.examine(file.name, file.content)
        finally:
            free.put(worker)

    try:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            yield from pool.map(one, files)
    finally:
        for worker in workers:
            worker.close()


def fuzz(seeds: dict[str, list[Seed]], count: int, keep: Path, progress: Progress) -> dict[str, list[Verdict]]:
    """Returns verdicts by format: of the undamaged seeds that are to be imported, under the name "seeds", and of
    `count` mutants of each format. keep: folder for the mutants that fail."""
    undamaged = [s for group in seeds.values() for s in group if s.is_readable]
    files: dict[str, Sequence[Seed | Mutant]] = {"seeds": undamaged}
    files |= {kind: mutants(group, count) for kind, group in seeds.items()}
    verdicts = examine([file for group in files.values() for file in group])
    found: dict[str, list[Verdict]] = {}
    for kind, group in files.items():
        progress(f"robustness: {len(group)} files, {TITLES.get(kind, kind)}")
        found[kind] = [verdict for _, verdict in zip(group, verdicts, strict=False)]
        for file, verdict in zip(group, found[kind], strict=True):
            if verdict.outcome == "failed":
                keep.mkdir(parents=True, exist_ok=True)
                (keep / file.name).write_bytes(file.content)
                (keep / f"{file.name}.txt").write_text(verdict.why + "\n", encoding="utf-8")
    return found


def run(progress: Progress, tables: list[Table], count: int = COUNT, only: str | None = None) -> list[Bar]:
    """Returns one bar a format, and of the costliest of all; the table has the counts. count: mutants of each
    format."""
    shutil.rmtree(KEPT, ignore_errors=True)
    seeds = {kind: group for kind, group in all_seeds(DATA).items() if only in (None, kind)}
    found = fuzz(seeds, count, KEPT, progress)
    refused = [v for v in found.pop("seeds") if v.outcome != "imported"]
    shown = ", ".join(v.name for v in refused) or "0"
    bars = [at_most("fuzz: undamaged files that are refused", len(refused), 0, shown, "0", COMMAND)]
    for kind, group in found.items():
        failed = sum(v.outcome == "failed" for v in group)
        shown = f"{failed} of {count}" + (f", kept in {KEPT.relative_to(ROOT)}" if failed else "")
        what = f"fuzz: {TITLES[kind]} files that are neither imported nor clearly refused"
        bars.append(at_most(what, failed, 0, shown, "0", COMMAND))
    seconds = max(v.cpu_seconds for group in found.values() for v in group)
    peak = max(v.peak for group in found.values() for v in group)
    bars.append(
        at_most("fuzz: CPU time of one file", seconds, CPU_SECONDS, f"{seconds:.1f} s", f"{CPU_SECONDS} s", COMMAND)
    )
    bars.append(at_most("fuzz: memory of an import", peak, NBYTES, f"{peak / 1e6:,.0f} MB", "2 GB", COMMAND))
    tables.append(table(found))
    return bars


def table(found: dict[str, list[Verdict]]) -> Table:
    """Tells counts and costs by format."""
    rows = []
    for kind, group in found.items():
        counts = Counter(v.outcome for v in group)
        seconds, nbytes = max(v.cpu_seconds for v in group), max(v.nbytes for v in group)
        outcomes = [str(counts[outcome]) for outcome in ("imported", "refused", "failed")]
        rows.append((TITLES[kind], str(len(group)), *outcomes, f"{seconds:.2f}", f"{nbytes / 1e6:,.0f}"))
    columns = ("format", "mutants", "imported", "refused", "failed", "slowest, CPU s", "memory grows by at most, MB")
    return Table("Damaged files of each format", columns, tuple(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description="Import damaged files.")
    parser.add_argument("--count", type=int, default=COUNT, help=f"mutants of each format ({COUNT})")
    parser.add_argument("--only", choices=TITLES, help="one format alone")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="import this file again and tell all")
    options = parser.parse_args()
    if options.replay is not None:
        worker = Worker()
        verdict = worker.examine(options.replay.name, options.replay.read_bytes())
        worker.close()
        print(f"{verdict.outcome}: {verdict.why}\n{verdict.cpu_seconds:.2f} s, {verdict.nbytes / 1e6:,.0f} MB")
        return int(verdict.outcome == "failed")
    tables: list[Table] = []
    bars = run(lambda text: print(f"... {text}", file=sys.stderr), tables, options.count, options.only)
    for row in (tables[0].columns, *tables[0].rows):
        print("  ".join(cell.rjust(12) for cell in row))
    for bar in bars:
        print(f"{'ok ' if bar.met else 'NO '} {bar.what}: {bar.shown} ({bar.limit})")
    return int(any(not bar.met for bar in bars))


if __name__ == "__main__":
    sys.exit(main())
