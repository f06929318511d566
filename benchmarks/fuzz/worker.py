"""Imports untrusted files, each in a child process of its own, and tells what came of it.

    python benchmarks/fuzz/worker.py    (paths on standard input, a JSON verdict a line on standard output)

The process loads everything once and forks for each file: a crash ends the child alone, and the kernel counts the
child's own CPU time and peak memory. It must have one thread only: OPENBLAS_NUM_THREADS=1."""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import mcutrain
from mcutrain.frontends import FORMATS
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.function import well_formed
from mcutrain.tvm_ext.importers.pickle import load as mcunet  # noqa: F401  so that no child spends its time on loading it
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.train.training import inference

CPU_SECONDS, NBYTES = 10, 2 << 30
HANG_SECONDS = 120  # by the clock, for what waits without working; generous, since the machine can be busy
MESSAGE_LENGTH = 20_000
INPUT_SIZE = 32  # of network pickles
PAGE = os.sysconf("SC_PAGE_SIZE")
# what a reader of files has no business with; the names are those of Python's audit events
FORBIDDEN = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
             "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "socket.bind",
             "ctypes.dlopen")  # fmt: skip


def main() -> None:
    faulthandler.enable()
    frontends = (f"mcutrain.tvm_ext.importers.{kind}.load" for kind in FORMATS if kind != "torch")
    for name in (*frontends, "onnx.numpy_helper", "tvm.script"):
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit("fuzz: more than one thread, so it cannot fork; set OPENBLAS_NUM_THREADS=1")
    for line in sys.stdin:
        print(json.dumps(examine(Path(line.rstrip("\n")))), flush=True)


def examine(path: Path) -> dict:
    """Imports one file in a child. outcome: "imported", "refused" or "failed"; why: the message, or all that is known
    of the failure; cpu_seconds; nbytes: how far the child's memory grew; peak: with that of this process, all that an
    import needs."""
    before = path.read_bytes()
    told, printed = os.memfd_create("verdict"), os.memfd_create("output")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _child(path, told, printed)
    status, usage, limit = _wait(child)
    verdict = json.loads(os.pread(told, 1 << 24, 0) or b"{}")
    output = os.pread(printed, 4000, 0).decode(errors="replace")
    os.close(told)
    os.close(printed)
    grown = max(0, usage.ru_maxrss * 1024 - verdict.pop("start", 0))
    verdict |= {"cpu_seconds": usage.ru_utime + usage.ru_stime, "nbytes": grown, "peak": grown + _nbytes("self")}
    problem = limit or _ending(status, verdict["peak"]) or _left_behind(path, before)
    if output and not problem:
        problem = "prints instead of raising"
    if problem or "outcome" not in verdict:
        verdict |= {"outcome": "failed", "why": f"{problem}\n{output}\n{verdict.get('why', '')}".strip()}
    return verdict


def _wait(child: int) -> tuple[int, resource.struct_rusage, str]:
    """Returns (exit status, usage, which limit it was killed for)."""
    limit, started = "", time.monotonic()
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return status, usage, limit
        if _nbytes(child) > NBYTES:
            limit = f"more than {NBYTES >> 30} GB of memory"
        elif time.monotonic() - started > HANG_SECONDS:
            limit = f"no end after {HANG_SECONDS} s"
        if limit:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.004)


def _nbytes(process: int | str) -> int:
    """Returns the resident memory in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


def _ending(status: int, peak: int) -> str:
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"more than {CPU_SECONDS} s of CPU time" if name == "SIGXCPU" else f"dies of {name}"
    if os.WEXITSTATUS(status):
        return f"exits with status {os.WEXITSTATUS(status)}"
    return f"more than {NBYTES >> 30} GB of memory" if peak > NBYTES else ""


def _left_behind(path: Path, before: bytes) -> str:
    """Says what is wrong in the folder, which is the working directory and where the mutant must stand alone,
    unchanged."""
    found = [str(p) for p in path.parent.rglob("*") if p != path]
    if not path.is_file() or path.read_bytes() != before:
        return "changes the file that it reads"
    return f"leaves files behind: {', '.join(found[:5])}" if found else ""


# --------------------------------------------------------------------------- in the child
def _child(path: Path, told: int, printed: int) -> None:
    """Imports the file and ends the process."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    start = _nbytes("self")  # less than the parent's: pages of files are mapped again when they are needed
    os.pwrite(told, json.dumps({"start": start}).encode(), 0)
    for stream in (0, 1, 2):
        os.dup2(printed if stream else os.open(os.devnull, os.O_RDONLY), stream)
    touched = _watched()
    try:
        verdict = _outcome(path)
    except BaseException:
        verdict = {"outcome": "failed", "why": traceback.format_exc(limit=-12)[-6000:]}
    if touched:
        verdict = {"outcome": "failed", "why": f"touches what it should not: {touched[:5]}\n{verdict['why']}"}
    sys.stdout.flush()
    sys.stderr.flush()
    os.pwrite(told, json.dumps({"start": start, **verdict}).encode(), 0)
    os._exit(0)


def _watched() -> list[str]:
    """Notes from now on every file that Python opens to write, and every other process that it starts."""
    touched: list[str] = []
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def hook(event: str, arguments: tuple) -> None:
        if event in FORBIDDEN or (event == "open" and len(arguments) > 2 and (arguments[2] or 0) & writing):
            touched.append(f"{event} {arguments[:2]!r:.200}")

    sys.addaudithook(hook)
    return touched


def _outcome(path: Path) -> dict:
    stage = "import"
    try:
        model = mcutrain.load(path, INPUT_SIZE if path.suffix == ".pkl" else None)
        stage = "lowering"
        well_formed(model.module)
        lower(inference(model))
    except ModelError as error:
        message = str(error)
        unclean = _unclean(message, path if stage == "import" else None)
        why = f"its message {unclean}\n{message!r:.2000}" if unclean else message[:2000]
        return {"outcome": "failed" if unclean else "refused", "why": why, "stage": stage}
    return {"outcome": "imported", "why": "", "stage": stage}


def _unclean(message: str, path: Path | None) -> str:
    """Says what is wrong with a message, which must name the file and be fit for a terminal."""
    if path is not None and str(path) not in message:
        return "does not name the file"
    if bad := sorted({c for c in message if not (c.isprintable() or c == "\n")}):
        return f"holds the characters {bad[:5]!a}"
    if any(text in message for text in ("Traceback", 'File "', "Stack trace")):
        return "holds a traceback"
    return f"has {len(message)} characters" if len(message) > MESSAGE_LENGTH else ""


if __name__ == "__main__":
    main()
