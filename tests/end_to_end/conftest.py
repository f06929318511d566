"""Shared by the end-to-end tests: MCUNet compiled and verified once.

All tests on the compiled MCUNet stand in one file: `pytest -n 2 --dist loadfile` compiles it once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
STEPS = 20


def mcutrain_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as a user has it."""
    script = Path(sys.executable).with_name("mcutrain")
    return subprocess.run(
        [script, *map(str, arguments)], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@dataclass(frozen=True)
class Verified:
    """The main job's artifact after `mcutrain compile` and `mcutrain verify --json`."""

    out: Path
    measurement: dict
    progress: str


@pytest.fixture(scope="session")
def mcunet(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """MCUNet-5fps, scheme 49kb, 128x128, float head, on the STM32F746 within 256 KB; 20 steps on the emulated core."""
    out = tmp_path_factory.mktemp("mcunet") / "out"
    model = data / "mcunet/mcunet-5fps.pkl"
    compiled = mcutrain_command(
        "compile", model, "--scheme", "49kb", "--budget", "256KB", "--board", "stm32f746", "-o", out
    )
    assert compiled.returncode == 0, compiled.stderr
    verified = mcutrain_command("verify", out, "--steps", STEPS, "--json")
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""
    return Verified(out, json.loads(verified.stdout), compiled.stderr)
