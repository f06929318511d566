"""Measures the bars on time: compiling without verifying, and training steps a second of the host twin on one core."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

import mcutrain
from benchmarks.bars import CLASSES, INPUT_SIZE, OUT, Bar, Progress, at_least, at_most, network

COMPILE_SECONDS, STEPS_A_SECOND = 60.0, 28.0
WARM_UP, TIMED = 5, 150
COMMAND = "benchmarks/run.py --only speed"


def run(progress: Progress) -> list[Bar]:
    """Returns both bars, MCUNet-5fps 49kb."""
    out = OUT / "speed"
    progress("mcunet-5fps: compile, timed")
    command = [sys.executable, "-m", "mcutrain", "compile", network("mcunet-5fps"), "--scheme", "49kb",
               "--budget", "256KB", "-o", out, "--json"]  # fmt: skip
    started = time.monotonic()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    progress("mcunet-5fps: the host twin on one core")
    rate = steps_a_second(mcutrain.host(out))
    what = "training steps a second, host twin, one core"
    return [
        at_most(
            "compile, without verify",
            seconds,
            COMPILE_SECONDS,
            f"{seconds:.1f} s",
            "60 s",
            "time mcutrain compile",
            "20 s",
        ),
        at_least(what, rate, STEPS_A_SECOND, f"{rate:.1f}", "28", COMMAND),
    ]


def steps_a_second(twin: mcutrain.Twin) -> float:
    """Counts training steps a second of one core: its own time, so that what else the machine does is not in it."""
    cores = os.sched_getaffinity(0)
    random = np.random.default_rng(0)
    images = random.integers(-128, 128, (8, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.int8)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for i in range(WARM_UP):
            twin.train_step(images[i], i % CLASSES)
        started = time.process_time()
        for i in range(TIMED):
            twin.train_step(images[i % len(images)], i % CLASSES)
        return TIMED / (time.process_time() - started)
    finally:
        os.sched_setaffinity(0, cores)
