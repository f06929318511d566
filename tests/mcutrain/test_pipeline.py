"""load, plan, compile: what they return, what they refuse, and that the same input gives the same bytes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import BudgetError, McutrainError, ModelError, OutputError, PolicyError, planner
from mcutrain.planner.check import check
from mcutrain.planner.policy import Policy, Update
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.targets import board as boards
from tests import tiny_network as network
from tests.mcutrain import tiny

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> object:
    return tiny.load(tmp_path_factory.mktemp("model"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_load_describes_the_network(model: object) -> None:
    assert model.name == "tiny" and model.head == "float"
    assert model.input_shape == (1, network.SIZE, network.SIZE, network.CHANNELS)
    assert [layer.name for layer in model.layers] == [*network.LAYERS, "classifier"]
    assert [layer.is_head for layer in model.layers] == [False] * tiny.CONVS + [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "softmax"}, "unknown head 'softmax'; use model, float, int8-slice"),
        ({"logits": "log"}, "unknown logits 'log'; use raw, dequantized"),
        ({"input_size": 0}, "input size 0: need 1 or more"),
        ({"classes": 1}, "1 classes: need 2 or more"),
        ({"classes": 7, "head": "int8-slice"}, "classifier: has 6 classes, 7 were asked for; use the float head"),
    ],
)
def test_load_refuses(options: dict, message: str, pickle_file: Path) -> None:
    with pytest.raises(ModelError, match=message) as error:
        mcutrain.load(pickle_file, **options)
    assert "\n" not in str(error.value)


def test_plan_is_sound_and_reports_what_it_says(model: object) -> None:
    planned = mcutrain.plan(model, tiny.MIXED, "64KB")
    graph = planned.lowered.train_step.graph
    check(planner.planned_graph(graph, planned.plan), planned.plan)
    assert planned.fits and planned.budget == 65536
    assert 4096 < planned.plan.bound <= planned.plan.height < 14692  # below the plan of the full scheme
    assert planned.report.sram.arena == planned.plan.height == max(planned.report.live)
    assert {row.layer: row.weight for row in planned.report.trained} == {
        "blocks.0.pointwise2": "-",
        "blocks.1.pointwise1": "4 of 8 input channels",
        "blocks.1.depthwise": "4 of 16 channels",
        "blocks.2.pointwise1": "12 of 12 input channels",
        "blocks.2.depthwise": "24 of 24 channels",
        "blocks.2.pointwise2": "12 of 24 input channels",
        "classifier": "12 of 12 input channels",
    }


def test_more_training_needs_more_memory(model: object) -> None:
    heights = [mcutrain.plan(model, s).plan.height for s in ("inference", "head_only", "last_k=3", "bias_only", "full")]
    assert heights == sorted(heights) and len(set(heights)) == len(heights)


def test_momentum_and_accumulation_cost_state(model: object) -> None:
    def state(**options: object) -> int:
        return sum(t.nbytes for t in plan_graph(model, **options).tensors if t.kind == "state")

    plain = state()
    trained = 8 + (16 * 4 + 16) + (4 * 25 + 16) + 12 * 24 + (24 * 9 + 24) + (12 * 12 + 12) + (12 * 4 + 4)
    assert state(momentum=0.9) >= plain + 4 * trained
    assert state(accumulate=2) >= plain + 4 * trained


def plan_graph(model: object, **options: object) -> object:
    return mcutrain.plan(model, tiny.MIXED, **options).lowered.train_step.graph


def test_over_budget_at_plan_time_names_what_cannot_live_together(model: object) -> None:
    least = mcutrain.plan(model, "full").plan
    assert mcutrain.plan(model, "full", least.height + FIRMWARE_BYTES).fits
    with pytest.raises(BudgetError) as error:
        mcutrain.plan(model, "full", least.bound - 1 + FIRMWARE_BYTES)
    asked, kept, verdict, place, *tensors, advice = str(error.value).splitlines()
    budget, needed = least.bound - 1 + FIRMWARE_BYTES, error.value.nbytes + FIRMWARE_BYTES
    assert asked == f"a budget of {budget:,} B is too small: the best plan that was found needs {needed:,} B in all"
    assert kept.endswith("1,024 B are kept for the firmware's stack and data")
    assert verdict.startswith(f"  no plan for an arena of {least.bound - 1:,} B was found: the best, with ")
    assert place.startswith("  at op ") and " B have to give: " in advice
    assert any(re.fullmatch(r"    blocks\.\d\.\w+:g_\w+ +[\d,]+ B  gradient", line) for line in tensors)
    assert mcutrain.plan(model, "full", needed).fits


@pytest.mark.parametrize("budget", [0, "1KB"])
def test_a_budget_that_the_firmware_takes_alone(model: object, budget: object) -> None:
    with pytest.raises(BudgetError, match=r"^a budget of [\d,]+ B leaves nothing for a network: 1,024 B are kept"):
        mcutrain.plan(model, "full", budget)


def test_without_streams_the_bound_is_over_every_order(model: object) -> None:
    least = mcutrain.plan(model, "full", stream=False).plan
    with pytest.raises(BudgetError, match=f"no plan can fit an arena of {least.bound - 1:,} B: every order needs "):
        mcutrain.plan(model, "full", least.bound - 1 + FIRMWARE_BYTES, stream=False)


def test_streams_lower_the_arena(model: object) -> None:
    streamed, whole = (mcutrain.plan(model, "full", stream=s).plan for s in (True, False))
    assert streamed.streams and streamed.height < whole.height


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("49kb", "unknown scheme '49kb' for a network of 10 layers before its head; use full, bias_only"),
        ("last_k=11", r"K must be a number from 0 to 10"),
        ("last_k=", r"K must be a number from 0 to 10"),
        ("nowhere/policy.json", r"policy file nowhere/policy\.json: No such file or directory; give"),
        (Policy("p", (Update("10"),)), "layer index 10 is out of range; the layers before the head are numbered"),
        (Policy("p", (Update("-1"),)), "layer index -1 is out of range"),
        (Policy("p", (Update("head"),)), "no layer is called 'head'; the layers before the head are first_conv, "),
        (Policy("p", (Update("classifier"),)), "policy 'p': classifier is the head, which always trains; leave it out"),
        (Policy("p", (Update("first_conv", True, 1.5),)), r"weight ratio 1\.5 is not between 0 and 1"),
        (Policy("p", (Update("0"), Update("first_conv"))), "layer first_conv appears twice"),
    ],
)
def test_policies_that_do_not_fit(scheme: object, message: str, model: object) -> None:
    with pytest.raises(PolicyError, match=message):
        mcutrain.plan(model, scheme)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": float("nan")}, "momentum"),
        ({"accumulate": 0}, "accumulate"),
        ({"accumulate": 1 << 40}, "accumulate"),
    ],
)
def test_training_options_out_of_range(options: dict, message: str, model: object) -> None:
    with pytest.raises(PolicyError, match=message):
        mcutrain.plan(model, "head_only", **options)


def test_policy_file_gives_the_plan_of_the_same_policy(model: object, tmp_path: Path) -> None:
    entries = [
        {"layer": u.layer, "bias": u.bias, "weight": u.weight_ratio, "select": u.select} for u in tiny.MIXED.updates
    ]
    file = tmp_path / "mixed.json"
    file.write_text(json.dumps(entries))
    by_file, by_value = mcutrain.plan(model, str(file)), mcutrain.plan(model, tiny.MIXED)
    assert by_file.plan == by_value.plan and by_file.lowered.training.policy == tiny.MIXED


def test_unknown_board_and_bad_name(model: object, tmp_path: Path) -> None:
    known = ", ".join(sorted(boards.BOARDS))
    with pytest.raises(McutrainError, match=f"board 'pdp11' is not known: choose one of {known}"):
        mcutrain.compile(model, "head_only", "pdp11", out=tmp_path / "out")
    with pytest.raises(ModelError, match="name 'a-b' is not a C identifier; try 'a_b'"):
        mcutrain.compile(model, "head_only", out=tmp_path / "out", name="a-b")
    assert list(tmp_path.iterdir()) == []


def test_name_and_board_reach_the_artifact(model: object, tmp_path: Path) -> None:
    artifact = mcutrain.compile(model, "head_only", "mps2-an385", "100KB", tmp_path / "out", name="other")
    meta = json.loads((artifact.directory / "metadata.json").read_text())["mcutrain"]
    assert (meta["name"], meta["board"], meta["budget_bytes"]) == ("other", "mps2-an385", 102400)
    assert meta["defines"] == ["MCU_HAS_FMA=0"]  # the Cortex-M3 has no fused multiply-add
    assert "int32_t tvmgen_other_run(" in (artifact.directory / "codegen/host/include/tvmgen_other.h").read_text()


def test_progress_tells_each_stage(model: object, tmp_path: Path) -> None:
    said: list[str] = []
    mcutrain.compile(model, "head_only", out=tmp_path / "out", progress=said.append)
    stages = [line.split()[0] for line in said if not line.startswith(("order:", "arena:"))]  # the solver's own lines
    assert stages == ["building", "lowering", "planning", "writing"]


def test_compile_replaces_an_artifact_and_nothing_else(model: object, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mcutrain.compile(model, "head_only", out=out)
    first = tree(out)
    (out / "build").mkdir()
    mcutrain.compile(model, "bias_only", out=out)
    assert tree(out) != first and not (out / "build").exists()  # a stale firmware would speak of another network
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.tar"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"mine: holds other files and no metadata\.json; choose a new folder"):
        mcutrain.compile(model, "head_only", out=mine)
    assert tree(mine) == {"thesis.txt": b"years of work"}


def test_same_input_same_bytes(pickle_file: Path, tmp_path: Path) -> None:
    """Two processes with other hash seeds, other working folders and other output paths write the same bytes."""
    outputs = []
    for seed, place in (("0", "here/out"), ("4242", "elsewhere/deep/result")):
        out = tmp_path / place
        out.parent.mkdir(parents=True)
        arguments = ("compile", pickle_file, "--scheme", "full", *tiny.OPTIONS, "-o", out, "--momentum", "0.9")
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPO)}
        subprocess.run(
            [sys.executable, "-m", "mcutrain", *map(str, arguments)], cwd=out.parent, env=environment, check=True,
            capture_output=True,
        )  # fmt: skip
        outputs.append((tree(out), out.with_name(out.name + ".tar").read_bytes()))
    (first, first_tar), (second, second_tar) = outputs
    assert first.keys() == second.keys() and len(first) > 20
    assert [name for name in first if first[name] != second[name]] == []
    assert first_tar == second_tar
    assert not any(str(tmp_path).encode() in content for content in first.values())


def test_seed_changes_the_rounding_and_nothing_of_the_plan(model: object) -> None:
    one, two = (mcutrain.plan(model, tiny.MIXED, seed=seed) for seed in (1, 2))
    assert one.plan == two.plan
    differing = [n for n in one.lowered.state if not np.array_equal(one.lowered.state[n], two.lowered.state[n])]
    assert len(differing) == 1  # the counter's seed
