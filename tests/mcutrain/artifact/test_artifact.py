"""The folder that compile writes: Model Library Format, a tar that equals it, C that others can build and call."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import planner
from mcutrain.firmware import toolchain
from mcutrain.planner.packing import csvfile
from mcutrain.targets import board as boards
from tests import tiny_network as network
from tests.cores import BOARDS
from tests.mcutrain import tiny

MAIN = """
#include <stdio.h>
#include "tvmgen_tiny.h"
static int8_t image[8 * 8 * 3];
int main(void) {
    float logits[4];
    float loss = 0.0f;
    int32_t label = 1;
    struct tvmgen_tiny_inputs in = {image};
    struct tvmgen_tiny_outputs out = {logits};
    struct tvmgen_tiny_train_inputs train_in = {image, &label};
    struct tvmgen_tiny_train_outputs train_out = {&loss, NULL};
    if (fread(image, 1, sizeof image, stdin) != sizeof image) return 1;
    tvmgen_tiny_init();
    tvmgen_tiny_learning_rate()[0] = tvmgen_tiny_learning_rate()[1] = 0.5f;
    for (int step = 0; step < 3; step++) {
        if (tvmgen_tiny_train_step(&train_in, &train_out) != 0) return 2;
        printf("%a\\n", (double)loss);
    }
    if (tvmgen_tiny_run(&in, &out) != 0) return 3;
    for (int i = 0; i < 4; i++) printf("%a\\n", (double)logits[i]);
    label = 4;
    printf("%d\\n", (int)tvmgen_tiny_train_step(&train_in, &train_out));
    label = -1;
    printf("%d\\n", (int)tvmgen_tiny_train_step(&train_in, &train_out));
    label = 0;
    train_in.input = NULL;
    printf("%d\\n", (int)tvmgen_tiny_train_step(&train_in, &train_out));
    printf("%d\\n", (int)tvmgen_tiny_train_step(NULL, &train_out));
    printf("%d\\n", (int)tvmgen_tiny_run(&in, NULL));
    in.input = NULL;
    printf("%d\\n", (int)tvmgen_tiny_run(&in, &out));
    return 0;
}
"""
HOST_FLAGS = [*toolchain.COMMON_FLAGS, "-Werror", "-O1"]


@pytest.fixture(scope="module")
def out(compiled: mcutrain.Artifact) -> Path:
    return compiled.directory


def sources(out: Path) -> list[Path]:
    return [p for folder in ("codegen/host/src", "runtime/kernels") for p in sorted((out / folder).glob("*.c"))]


def includes(out: Path) -> list[str]:
    """What a user of the folder puts on the include path: nothing from this repository."""
    return [f"-I{out / folder}" for folder in ("codegen/host/include", "codegen/host/src", "runtime/include")]


def files(out: Path) -> set[str]:
    return {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.relative_to(out).parts[0] != "build"}


def test_layout(out: Path) -> None:
    expected = {
        "metadata.json", "board.toml", "plan.csv", "report.json", "report.html", "parameters/tiny.params",
        "src/tiny.relax",
        "codegen/host/src/tiny_lib0.c", "codegen/host/src/tiny_lib1.c", "codegen/host/src/tvmgen_tiny_kernels.h",
        "codegen/host/include/tvmgen_tiny.h", "codegen/host/include/mcu_model.h",
        "runtime/include/mcu_runtime.h", "runtime/include/mcu_math.h", "runtime/include/mcu_kernels.h",
        "runtime/link.ld.in",
        "runtime/src/startup.c", "runtime/src/verify_main.c",
    }  # fmt: skip
    present = files(out)
    assert expected <= present
    rest = {name for name in present - expected if not name.startswith("runtime/")}
    assert all(re.fullmatch(r"codegen/host/src/tiny_lib\d+\.c", name) for name in rest), rest  # more of the kernels


def test_metadata_has_the_keys_of_version_7(out: Path) -> None:
    meta = json.loads((out / "metadata.json").read_text())
    assert meta["version"] == 7 and list(meta["modules"]) == ["tiny"]
    module = meta["modules"]["tiny"]
    assert module["model_name"] == "tiny" and module["executors"] == ["aot"] and module["target"] == ["c"]
    assert module["style"] == "full-model" and module["export_datetime"] == "1970-01-01 00:00:00Z"
    (main,) = module["memory"]["functions"]["main"]
    assert main["workspace_size_bytes"] == meta["mcutrain"]["arena_bytes"]
    assert main["inputs"] == {"x": {"dtype": "int8", "shape": [1, 8, 8, 3], "size": 192}}
    assert main["outputs"]["output"]["size"] == 4 * network.CLASSES
    assert main["io_size_bytes"] == 192 + 4 * network.CLASSES
    assert meta["mcutrain"]["schema"] == 1 and meta["mcutrain"]["scheme"] == "mixed"


def test_tar_equals_the_folder(out: Path) -> None:
    with tarfile.open(out.with_name("out.tar")) as archive:
        members = archive.getmembers()
        packed = {m.name.removeprefix("./"): archive.extractfile(m).read() for m in members}
    assert packed.keys() == files(out)
    assert [name for name, content in packed.items() if (out / name).read_bytes() != content] == []
    assert {(m.mtime, m.uid, m.gid, m.mode) for m in members} == {(0, 0, 0, 0o644)}


def test_parameters_are_readable_by_tvm(out: Path, twin: mcutrain.Twin) -> None:
    import tvm

    values = tvm.runtime.load_param_dict((out / "parameters/tiny.params").read_bytes())
    state = twin.state()
    np.testing.assert_array_equal(values["blocks.2.pointwise1.weight"].numpy().transpose(0, 3, 1, 2),
                                  state["blocks.2.pointwise1.weight"])  # fmt: skip
    trained, frozen = (values[f"blocks.1.pointwise1.weight.{part}"].numpy() for part in ("trained", "frozen"))
    assert trained.shape == frozen.shape == (16, 1, 1, 4)
    assert {str(values[name].dtype) for name in values.keys()} >= {"int8", "int32", "float32"}


def test_relax_text_holds_both_entry_points(out: Path) -> None:
    text = (out / "src/tiny.relax").read_text()
    assert "def infer(" in text and "def train_step(" in text and "first_conv" in text


def test_plan_csv_is_the_plan(compiled: mcutrain.Artifact, out: Path) -> None:
    text = (out / "plan.csv").read_text()
    rows = [
        (r["id"], *(int(r[k]) for k in ("lower", "upper", "size", "offset"))) for r in csv.DictReader(io.StringIO(text))
    ]
    assert text.splitlines()[0] == "id,lower,upper,size,offset"
    arena = max(offset + size for _, _, _, size, offset in rows)
    lib0 = (out / "codegen/host/src/tiny_lib0.c").read_text()
    assert f"uint8_t tvmgen_tiny_arena[{arena}];" in lib0
    assert csvfile.read(out / "plan.csv").buffers[0].id == rows[0][0]
    graph = planner.planned_graph(compiled.planned.lowered.train_step.graph, compiled.planned.plan)
    permitted = {frozenset((o.input, o.output)) for op in graph.ops for o in op.overlaps}
    shared = 0
    for a, b in itertools.combinations(rows, 2):
        in_time = max(a[1], b[1]) < min(a[2], b[2])
        if in_time and a[4] < b[4] + b[3] and b[4] < a[4] + a[3]:
            shared += 1
            assert frozenset((a[0], b[0])) in permitted, f"{a[0]} and {b[0]} share bytes"
    assert shared > 0  # in-place ops are there, so the check has something to refuse


def test_c_is_clean_for_the_host(out: Path, tmp_path: Path) -> None:
    for source in sources(out):
        command = ["gcc", *HOST_FLAGS, *includes(out), "-c", source, "-o", tmp_path / "x.o"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("board", BOARDS)
def test_c_is_clean_for_arm(board: str, out: Path, tmp_path: Path) -> None:
    target = boards.get(board)
    defines = [f"-D{macro}" for macro in target.defines]
    for source in sources(out):
        command = ["arm-none-eabi-gcc", *HOST_FLAGS, *target.core.flags, *defines, *includes(out), "-c", source]
        done = subprocess.run([*command, "-o", tmp_path / "x.o"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_program_of_twenty_lines_trains(language: str, out: Path, twin: mcutrain.Twin, tmp_path: Path) -> None:
    compiler, suffix, flags = {
        "c": ("gcc", "c", HOST_FLAGS),
        "c++": ("g++", "cpp", ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]),
    }[language]
    main = tmp_path / f"main.{suffix}"
    main.write_text(MAIN)
    compile_one = [compiler, *flags, *includes(out), "-c", main, "-o", tmp_path / "main.o"]
    subprocess.run(compile_one, check=True)
    inputs = [*includes(out), *sources(out), tmp_path / "main.o"]
    subprocess.run(["gcc", *HOST_FLAGS, "-DMCU_HAS_FMA=1", *inputs, "-lm", "-o", tmp_path / "main"], check=True)
    image = tiny.image(3)
    ran = subprocess.run([tmp_path / "main"], input=image.tobytes(), capture_output=True, check=True)
    lines = ran.stdout.decode().splitlines()
    twin.learning_rate = 0.5
    losses = [twin.train_step(image, 1) for _ in range(3)]
    assert [float.fromhex(line) for line in lines[:3]] == losses and losses[2] < losses[0]
    assert [float.fromhex(line) for line in lines[3:7]] == twin.infer(image).tolist()
    assert lines[7:] == ["-2", "-2", "-1", "-1", "-1", "-1"]  # MCU_ERROR_LABEL, MCU_ERROR_NULL


def test_every_call_says_what_it_does(out: Path) -> None:
    """Each call stands under a comment with op, shapes and offsets, and the offsets are those of the plan."""
    lib0 = (out / "codegen/host/src/tiny_lib0.c").read_text()
    offsets = {r["id"]: r["offset"] for r in csv.DictReader(io.StringIO((out / "plan.csv").read_text()))}
    comments = re.findall(r"/\* (\S+:\S+): (.*?) \*/", lib0)
    assert len(comments) == lib0.count("MCU_OP(") > 40
    places = {m for _, text in comments for m in re.findall(r"(\S+) \w+ \S+ @(\d+)", text)}
    assert len(places) > 40 and all(offsets[name] == offset for name, offset in places if name in offsets)
    assert sum(name in offsets for name, _ in places) > 40
