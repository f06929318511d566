"""The package as users get it: built, installed outside the checkout, run from another folder."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]
DIGITS = REPO / "examples/digits/digits_int8.pkl"
OPTIONS = ("--input-size", "16", "--head", "int8-slice", "--logits", "dequantized", "--scheme", "last_k=2")
VERSION = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process without the checkout on its path, unless `environment` puts it there."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def build(source: Path, folder: Path, *kinds: str) -> list[Path]:
    """The distributions that the build backend makes of `source`, without the network and without isolation."""
    targets = [word for kind in kinds for word in ("-t", kind)]
    run(sys.executable, "-m", "hatchling", "build", *targets, "-d", folder, cwd=source)
    return sorted(folder.iterdir())


@dataclass(frozen=True)
class Installed:
    """A folder with the package alone, as site-packages would be, and an empty one to work in."""

    site: Path
    work: Path

    def python(self, *arguments: object, cwd: Path | None = None) -> str:
        return run(sys.executable, *arguments, cwd=cwd or self.work, PYTHONPATH=str(self.site)).stdout

    def command(self, *arguments: object) -> str:
        return self.python(self.site / "bin/mcutrain", *arguments)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, sdist) of the checkout."""
    sdist, wheel = sorted(build(REPO, tmp_path_factory.mktemp("dist"), "wheel", "sdist"), key=lambda p: p.suffix)
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a folder of its own. Its dependencies are those of the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    site, work = folder / "site", folder / "work"
    work.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    run(*pip, "--target", site, distributions[0], cwd=work)
    return Installed(site, work)


def names(wheel: Path) -> dict[str, int]:
    """File -> checksum, RECORD left out, which lists them."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("RECORD")}


def test_the_wheel_owns_one_name(installed: Installed) -> None:
    assert sorted(p.name for p in installed.site.iterdir()) == ["bin", "mcutrain", f"mcutrain-{VERSION}.dist-info"]
    package = installed.site / "mcutrain"
    for place in ("py.typed", "__init__.pyi", "planner/__init__.py", "tvm_ext/__init__.py", "runtime_c/link.ld.in"):
        assert (package / place).is_file() and not (package / place).parent.is_symlink(), place
    tests_or_caches = [p for p in package.rglob("*") if p.name in ("tests", "benchmarks", "examples")]
    assert tests_or_caches == []


def test_the_sdist_builds_the_same_wheel(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = distributions
    with tarfile.open(sdist) as archive:
        assert not any(member.issym() or member.islnk() for member in archive.getmembers())
        archive.extractall(tmp_path, filter="data")
    (again,) = build(tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "dist", "wheel")
    assert again.name == wheel.name and names(again) == names(wheel) and len(names(wheel)) > 150


def test_every_public_name_is_there(installed: Installed) -> None:
    found = installed.python(
        "-c", "import mcutrain; print(mcutrain.__file__, *(type(getattr(mcutrain, n)) for n in mcutrain.__all__))"
    )
    assert found.startswith(str(installed.site / "mcutrain/__init__.py"))
    assert installed.command("--version") == f"mcutrain {VERSION}\n"
    (distribution,) = importlib.metadata.distributions(path=[str(installed.site)])
    assert (distribution.name, distribution.version) == ("mcutrain", VERSION)


@pytest.mark.slow
def test_plan_compile_verify_and_train(installed: Installed) -> None:
    """On the digits network, from a folder that is no checkout, with paths relative to it."""
    planned = json.loads(installed.command("plan", DIGITS, *OPTIONS, "--json"))
    installed.command("compile", DIGITS, *OPTIONS, "--budget", "96KB", "-o", "out")
    verified = json.loads(installed.command("verify", "out", "--steps", 1, "--json"))
    assert verified["host_equals_device"] and verified["fits"] and verified["arena_bytes"] == planned["plan"]["height"]
    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(-128, 128, (4, 16, 16, 1), dtype=np.int8) for part in ("train", "test")}
    arrays |= {f"y_{part}": rng.integers(0, 10, 4) for part in ("train", "test")}
    np.savez(installed.work / "data.npz", **arrays)
    trained = json.loads(installed.command("train", "out", "data.npz", "--epochs", 1, "--json"))
    assert trained["steps"] == 4 and len(trained["accuracy"]) == 2
    (installed.work / "p.csv").write_text("id,lower,upper,size\na,0,2,4\nb,1,3,4\n")
    assert installed.command("pack", "p.csv", "--output", "s.csv") == "OPTIMAL: 8 bytes, at least 8\n"


def test_a_users_own_files_shadow_nothing(installed: Installed, tmp_path: Path) -> None:
    """Names that the checkout has at its top are free for scripts: Python finds what stands beside a script first."""
    for name in ("planner", "tvm_ext", "runtime_c", "report", "units"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not mcutrain')\n")
    script = tmp_path / "script.py"
    script.write_text(f"import mcutrain\nprint(mcutrain.plan({str(DIGITS)!r}, 'head_only').fits)\n")
    assert installed.python(script, cwd=tmp_path) == "True\n"
