"""What is in a model, and what training its layers would cost: against sums by hand and against real plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import mcutrain
from mcutrain import planner
from mcutrain.inspection import costs as inspection_costs
from mcutrain.inspection.costs import training_part
from mcutrain.inspection.model import inspect_model
from mcutrain.planner.policy import Policy, Update
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.schema.inspection import Inspection
from mcutrain.tvm_ext.lower.graph import Lowered, lower
from mcutrain.tvm_ext.model import Model
from mcutrain.tvm_ext.train.training import train
from tests.mcutrain import tiny
from tests.mcutrain.inspection.inspections import rendered, with_softmax
from tests.tiny_network import CLASSES, LAYERS, SIZE, tiny_network

HEAD = "classifier"
ADDS = {"blocks.0.residual": "blocks.0.pointwise2", "blocks.2.residual": "blocks.2.pointwise2"}  # add -> layer before


@pytest.fixture(scope="module")
def inspected(tiny_model: Model) -> Inspection:
    return inspect_model(tiny_model, "pickle")


def convolutions() -> dict[str, tuple[dict, int]]:
    """Layer -> its entry in the file, and the pixels of its square output."""
    network, size = tiny_network(), SIZE
    parts = {"first_conv": network["first_conv"]}
    for i, block in enumerate(network["blocks"]):
        parts |= {f"blocks.{i}.{part}": block[part] for part in ("pointwise1", "depthwise", "pointwise2")}
    found = {}
    for name, conv in parts.items():
        size //= conv["stride"]
        found[name] = conv, size
    return found


# ---------------------------------------------------------------------- what is in the model
def test_layers_stand_in_order_and_in_words(inspected: Inspection) -> None:
    assert [(row.name, row.op) for row in inspected.layers] == [
        ("first_conv", "conv 3x3"),
        ("blocks.0.pointwise1", "conv 1x1"),
        ("blocks.0.depthwise", "depthwise 3x3"),
        ("blocks.0.pointwise2", "conv 1x1"),
        ("blocks.0.residual", "add"),
        ("blocks.1.pointwise1", "conv 1x1"),
        ("blocks.1.depthwise", "depthwise 5x5 s2"),
        ("blocks.1.pointwise2", "conv 1x1"),
        ("blocks.2.pointwise1", "conv 1x1"),
        ("blocks.2.depthwise", "depthwise 3x3"),
        ("blocks.2.pointwise2", "conv 1x1"),
        ("blocks.2.residual", "add"),
        ("global_pool", "global avg pool"),
        (HEAD, "dense"),
    ]


def test_figures_of_each_layer_are_those_of_the_file(inspected: Inspection) -> None:
    rows = {row.name: row for row in inspected.layers}
    for name, (conv, size) in convolutions().items():
        row, weight, channels = rows[name], conv["params"]["weight"], conv["out_channel"]
        taps = conv["kernel_size"][0] ** 2 * conv["in_channel"] // conv["groups"]
        assert (row.output_shape, row.output_bytes) == ((1, size, size, channels), size * size * channels)
        assert (row.macs, row.parameters) == (size * size * channels * taps, weight.size + channels)
        assert (row.weight_bytes, row.table_bytes) == (weight.size + 4 * channels, 4 * channels)
        assert row.is_trainable and not row.is_head and row.why_not is None
    for name, before in ADDS.items():
        assert (rows[name].output_shape, rows[name].macs) == (rows[before].output_shape, 0)
        assert (rows[name].weight_bytes, rows[name].is_trainable, rows[name].alone) == (0, False, None)
    head = rows[HEAD]  # a float32 one over the 12 features
    assert (head.macs, head.parameters, head.weight_bytes) == (12 * CLASSES, 13 * CLASSES, 4 * 13 * CLASSES)
    assert head.is_head and head.is_trainable


def test_totals(inspected: Inspection, tiny_model: Model) -> None:
    nbytes = {name: value.nbytes for name, value in tiny_model.params.items()}
    tables = sum(size for name, size in nbytes.items() if name.endswith(".scale"))
    assert (inspected.table_bytes, inspected.weight_bytes) == (tables, sum(nbytes.values()) - tables)
    assert inspected.parameters == sum(v.size for n, v in tiny_model.params.items() if not n.endswith(".scale"))
    by_hand = 12 * CLASSES
    for conv, size in convolutions().values():
        by_hand += size * size * conv["params"]["weight"].size  # each weight once a position
    assert inspected.macs == by_hand
    largest = inspected.largest_activation
    assert (largest.layer, largest.nbytes) == ("blocks.0.pointwise1", SIZE * SIZE * 16)


def test_what_goes_in_and_out(inspected: Inspection) -> None:
    first = tiny_network()["first_conv"]["params"]
    assert (inspected.name, inspected.frontend, inspected.input_shape) == ("tiny", "pickle", (1, SIZE, SIZE, 3))
    assert (inspected.input_dtype, inspected.input_scale, inspected.input_zero) == (
        "int8",
        pytest.approx(first["x_scale"]),
        first["x_zero"],
    )
    assert (inspected.classes, inspected.output_dtype) == (CLASSES, "float32")
    assert (inspected.loss, inspected.head) == ("cross_entropy", "float")


def test_a_convolution_over_its_whole_input_is_dense(tmp_path: Path) -> None:
    found = inspect_model(tiny.load(tmp_path, "int8-slice"), costs=False)
    assert (found.layers[-1].op, found.output_dtype, found.frontend) == ("dense", "int8", None)


def test_a_frontend_with_pools_and_odd_windows(data: Path) -> None:
    """The keyword spotter of MLPerf Tiny; its layers are published with the benchmark (DS-CNN)."""
    found = inspect_model(mcutrain.load(data / "mlperf_tiny/kws_ref_model.tflite"), "tflite", costs=False)
    separable = ["depthwise 3x3", "conv 1x1"] * 4
    assert [row.op for row in found.layers] == ["conv 10x4 s2", *separable, "global avg pool", "dense"]
    assert found.parameters == 64 * 40 + 64 + 4 * (64 * 9 + 64 + 64 * 64 + 64) + 12 * 64 + 12
    assert found.macs == 25 * 5 * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 12 * 64


# ---------------------------------------------------------------------- what training costs
@pytest.mark.parametrize("name", [*LAYERS, HEAD])
def test_costs_are_those_of_a_plan(inspected: Inspection, tiny_model: Model, name: str) -> None:
    """The graph is cut out of a larger one; a plan of the graph that is built for these layers alone says the same."""
    row = next(row for row in inspected.layers if row.name == name)
    alone = Policy("alone", (Update(name, True, 1.0),) if name != HEAD else ())
    assert row.last_k.k == (len(LAYERS) - LAYERS.index(name) if name != HEAD else 0)
    for scheme, found in ((alone, row.alone), (f"last_k={row.last_k.k}", row.last_k)):
        planned = mcutrain.plan(tiny_model, scheme, "1MB", seconds=0)
        assert found.sram_bytes == planned.plan.height + FIRMWARE_BYTES
        assert found.macs == sum(op.macs for op in planned.report.ops)


def test_a_long_plan_needs_no_more(inspected: Inspection, tiny_model: Model) -> None:
    for row in inspected.layers[-5:]:
        if row.last_k is not None:
            planned = mcutrain.plan(tiny_model, f"last_k={row.last_k.k}", "1MB", seconds=5)
            assert planned.plan.height + FIRMWARE_BYTES <= row.last_k.sram_bytes


@pytest.mark.parametrize("head", ["float", "int8-slice"])
@pytest.mark.parametrize("layers", [(), (0,), (4, 8), (2, 3, 7), tuple(range(10))])
def test_a_part_of_the_whole_training_graph_is_the_graph_built_for_it(
    tmp_path: Path, head: str, layers: tuple[int, ...]
) -> None:
    model = tiny.load(tmp_path, head)
    names = [LAYERS[i] for i in layers]
    whole, built = lowered(model, LAYERS), lowered(model, names).train_step.graph
    part = training_part(whole, {*names, HEAD})
    assert (part.ops, set(part.tensors)) == (built.ops, set(built.tensors))


def lowered(model: Model, names: Sequence[str]) -> Lowered:
    return lower(train(model, Policy("some", tuple(Update(name, True, 1.0) for name in names))))


def test_progress_counts_the_plans(tiny_model: Model) -> None:
    said: list[tuple[int, int]] = []
    inspection_costs.layer_costs(tiny_model, [LAYERS[-2], LAYERS[-1], HEAD], lambda *now: said.append(now))
    assert said == [(n, 4) for n in range(1, 5)]  # the head; the last layer; the one before it, alone and with it


def test_without_costs_nothing_is_planned(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "plan", lambda *_, **__: pytest.fail("planned"))
    found = inspect_model(tiny_model, "pickle", costs=False)
    assert all(row.alone is row.last_k is None for row in found.layers) and found.layers[0].is_trainable
    text = rendered(found, 80)
    assert "SRAM" not in text and "last_k" not in text and "first_conv" in text


def test_behind_a_layer_that_cannot_train_there_is_no_cost_of_all(tiny_model: Model) -> None:
    found = inspection_costs.layer_costs(tiny_model, [LAYERS[7], LAYERS[9], HEAD])  # and LAYERS[8] cannot
    assert found[LAYERS[7]].last_k is None
    planned = mcutrain.plan(tiny_model, "last_k=1", "1MB", seconds=0)
    assert found[LAYERS[9]].last_k.sram_bytes == planned.plan.height + FIRMWARE_BYTES


def test_layers_that_no_gradient_reaches(tiny_model: Model) -> None:
    broken = with_softmax(tiny_model, "blocks.2.depthwise")
    found = inspect_model(broken)
    rows = {row.name: row for row in found.layers}
    assert [name for name in (*LAYERS, HEAD) if rows[name].is_trainable] == ["blocks.2.pointwise2", HEAD]
    assert all("softmax" in rows[name].why_not and rows[name].alone is None for name in LAYERS[:-1])
    planned = mcutrain.plan(broken, "last_k=1", "1MB", seconds=0)
    row = rows["blocks.2.pointwise2"]
    assert (row.alone.sram_bytes, row.alone.macs) == (row.last_k.sram_bytes, row.last_k.macs)
    assert row.alone.sram_bytes == planned.plan.height + FIRMWARE_BYTES
    assert rows["softmax"].op == "softmax" and rows["softmax"].alone is None
    text = rendered(found, 80)
    assert "Cannot train: first_conv, " in text and "and 5 more" in text and "qsoftmax has no gradient" in text


def test_a_network_that_cannot_train_at_all(tmp_path: Path) -> None:
    found = inspect_model(with_softmax(tiny.load(tmp_path, "int8-slice"), HEAD))
    assert not any(row.is_trainable or row.alone for row in found.layers)
    assert "SRAM" not in rendered(found, 80)
