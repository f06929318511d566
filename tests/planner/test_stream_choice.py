"""Runs over blocks of channels: when they are chosen, how they end, and what the checker refuses of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain import planner
from mcutrain.planner import Graph, Op, Overlap, Plan, PlanError, RowAccess, Tensor, check
from mcutrain.planner.model import ChannelForm, Stream
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.rewrite import by_channel, eager, with_streams

RUN = ("expand", "mask", "depth", "rescale", "bias", "weight", "reduce", "update")
HIDDEN = ("g_expand", "g_masked", "g_depth", "g_hidden")


def backward(
    side: int = 8, narrow: int = 8, wide: int = 64, block: int = 8, window: int = 5, extra: tuple[Op, ...] = ()
) -> Graph:
    """The backward pass of an inverted bottleneck of side x side positions, float32: g of `narrow` channels, hidden
    gradients of `wide`, weight and bias of the expansion, g_x of `narrow`. `extra` stands before the updates."""
    positions, blocks = side * side, wide // block
    sizes = {"x": positions * narrow, "g": 4 * positions * narrow, "g_x": 4 * positions * narrow}
    sizes |= {"w": narrow * wide, "w_depth": window * window * wide, "w_project": narrow * wide, "b": 4 * wide}
    sizes |= {"g_w": 4 * narrow * wide, "g_b": 4 * wide} | dict.fromkeys(HIDDEN, 4 * positions * wide)
    kinds = {"x": "input", "g": "input", "w": "state", "b": "state", "w_depth": "constant", "w_project": "constant"}
    sizes |= {name: 4 for op in extra for name in op.outputs}
    kinds |= dict.fromkeys(("g_x", *(o for op in extra for o in op.outputs)), "output")
    tensors = tuple(Tensor(name, n, kind=kinds.get(name, "gradient")) for name, n in sizes.items())

    def rowwise(name: str, inputs: tuple[str, ...], output: str, forms: tuple[ChannelForm, ...], **more: object) -> Op:
        more = {"reads": (RowAccess(inputs[0], side),), "by_channel": forms, **more}
        return Op(name, inputs, (output,), rows=side, **more)

    def made(*reads: str) -> ChannelForm:
        return ChannelForm(blocks, reads)

    def total(*reads: str) -> ChannelForm:
        return ChannelForm(blocks, reads, accumulates=True)

    covering = (RowAccess("g_masked", side, 1, window, window // 2, transposed=True),)
    masks = [Overlap(a, b, 0) for a, b in (("g_expand", "g_masked"), ("g_depth", "g_hidden"))]
    ops = (
        rowwise("expand", ("g", "w_project"), "g_expand", (made(),)),
        rowwise("mask", ("g_expand",), "g_masked", (made("g_expand"),), overlaps=(masks[0],)),
        rowwise("depth", ("g_masked", "w_depth"), "g_depth", (made("g_masked", "w_depth"),), reads=covering),
        rowwise("rescale", ("g_depth",), "g_hidden", (made("g_depth"),), overlaps=(masks[1],)),
        rowwise("bias", ("g_hidden",), "g_b", (total("g_hidden"),), accumulates=True),
        rowwise("weight", ("g_hidden", "x"), "g_w", (made("g_hidden"), total("g_hidden")), accumulates=True),
        rowwise("reduce", ("g_hidden", "w"), "g_x", (total("g_hidden", "w"),)),
        *extra,
        Op("update", ("w", "g_w"), (), mutates=("w",), rows=blocks, by_channel=(made("g_w"),)),
        Op("update_bias", ("b", "g_b"), (), mutates=("b",)),
    )
    return Graph(tensors, ops)


def streamed(graph: Graph) -> Plan:
    """The plan with streams, which must pass both checkers."""
    found = planner.plan(graph, stream=True)
    check(with_streams(eager(graph), found.streams), found)
    check_streams(graph, found)
    return found


def wide_weight(extra: tuple[Op, ...] = ()) -> Graph:
    """Few positions, many channels: the weight's gradient is the largest tensor, as in the late blocks of a network."""
    return backward(side=4, narrow=32, wide=192, extra=extra)


# --------------------------------------------------------------------------- what is chosen
def test_an_inverted_bottleneck_runs_over_channels_and_ends_in_the_update() -> None:
    graph = wide_weight()
    found = streamed(graph)
    (run,) = found.streams
    assert run.axis == "channels" and set(run.ops) == set(RUN) and run.ops[-1] == "update"
    assert dict(run.rings) == dict.fromkeys((*HIDDEN, "g_w"), 1)
    assert dict(run.shared) == {"g_masked": "g_expand", "g_hidden": "g_depth"}
    whole = planner.plan(graph)
    assert found.height < whole.height - 4 * 32 * 192, "at the least the weight's gradient is never whole"
    block = sum(graph.by_name[t].nbytes for t in ("g_expand", "g_depth", "g_w")) // 24
    around = sum(graph.by_name[t].nbytes for t in ("x", "g", "w", "b", "g_b", "g_x"))
    assert found.height == found.bound == block + around


def test_the_bias_gradient_stays_whole() -> None:
    found = streamed(wide_weight())
    assert "g_b" not in dict(found.streams[0].rings) and "g_b" in found.offsets
    assert found.order == (found.streams[0].name, "update_bias")


def test_who_reads_the_weight_later_reads_it_before_the_run_that_updates_it() -> None:
    late = Op("late", ("w", "g_x"), ("later",))
    found = streamed(wide_weight((late,)))
    updating = next(run for run in found.streams if "update" in run.ops)
    assert found.order.index(updating.name) > found.order.index("late")


def test_a_weight_that_was_read_before_the_run_is() -> None:
    graph = wide_weight()
    first = Op("forward", ("x", "w"), ("y",))
    found = streamed(Graph((*graph.tensors, Tensor("y", 4, kind="output")), (first, *graph.ops)))
    assert found.streams[0].ops[-1] == "update"


@pytest.mark.parametrize("tensor", HIDDEN)
def test_a_hidden_gradient_that_somebody_else_reads_lies_whole(tensor: str) -> None:
    found = streamed(wide_weight((Op("probe", (tensor,), ("seen",)),)))
    assert all(tensor not in dict(run.rings) and "probe" not in run.ops for run in found.streams)
    assert tensor in found.offsets


def test_rows_win_where_channels_are_few_and_the_image_is_large() -> None:
    found = streamed(backward(side=32, narrow=4, wide=16))
    assert found.streams and {run.axis for run in found.streams} == {"rows"}


BLOCKS = st.integers(1, 6)


@given(st.integers(1, 12), st.integers(1, 12), BLOCKS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 3, 5, 7]))
@settings(max_examples=40, deadline=None)
def test_streams_are_never_worse_and_always_the_same(
    side: int, narrow: int, blocks: int, block: int, window: int
) -> None:
    graph = backward(side, narrow, blocks * block, block, window)
    found = streamed(graph)
    assert found.height <= planner.plan(graph).height
    assert found == planner.plan(graph, stream=True, workers=1)


def test_an_op_without_the_form_that_its_place_asks_for() -> None:
    op = wide_weight().ops[0]
    assert by_channel(op, {"g_expand"}).rows == 24
    with pytest.raises(PlanError, match="op 'expand' cannot make its output whole in a run over channels"):
        by_channel(op, ())
    with pytest.raises(PlanError, match="op 'update_bias' cannot make its output block by block in a run over channe"):
        by_channel(wide_weight().ops[-1], ())


# --------------------------------------------------------------------------- what the checker refuses
SOUND = streamed(wide_weight())


def forged(found: Plan, **changes: object) -> Plan:
    """The plan with its one run changed."""
    (run,) = found.streams
    return replace(found, streams=(replace(run, **changes),))


FORGERIES: dict[str, tuple[Callable[[], Plan], str]] = {
    "update first": (lambda: forged(SOUND, ops=("update", *RUN[:-1])), "op 'update' ran 0 of 24 rows"),
    "update before the last read": (
        lambda: forged(SOUND, ops=(*RUN[:5], "update", "weight", "reduce")),
        "op 'update' ran 0 of 24 rows",
    ),
    "no update": (lambda: forged(SOUND, ops=RUN[:-1]), "'g_w' lies in a ring, but 'update' reads it whole"),
    "no sum": (
        lambda: forged(SOUND, ops=tuple(name for name in RUN if name != "bias")),
        "'g_hidden' lies in a ring, but 'bias' reads it whole",
    ),
    "block by block what is only made whole": (
        lambda: forged(SOUND, rings=(*SOUND.streams[0].rings, ("g_b", 1))),
        "op 'bias' cannot run over channels",
    ),
    "whole what is only made block by block": (
        lambda: forged(SOUND, rings=SOUND.streams[0].rings[1:]),
        "op 'expand' cannot run over channels",
    ),
    "by rows": (lambda: forged(SOUND, axis="rows"), "'g_w' lies in a ring, but 'update' reads it whole"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_forged_run_is_refused(case: str) -> None:
    forge, message = FORGERIES[case]
    with pytest.raises(PlanError, match=message) as caught:
        check_streams(wide_weight(), forge())
    assert "\n" not in str(caught.value) and SOUND.streams[0].name in str(caught.value)


def test_the_update_of_a_weight_that_is_read_whole_beside_it_is_refused() -> None:
    """All blocks of g_hidden but the last need the weight as it was, and so does whoever takes it whole."""
    graph = wide_weight()
    ops = {op.name: op for op in graph.ops}
    forms = (ChannelForm(24, ("g_hidden",), accumulates=True),)
    reading = tuple(replace(op, by_channel=forms) if op is ops["reduce"] else op for op in graph.ops)
    careless = Graph(graph.tensors, reading)
    with pytest.raises(PlanError, match="'update' changes 'w', but 'reduce' reads it whole"):
        check_streams(careless, SOUND)
    assert all(not {"reduce", "update"} <= set(run.ops) for run in streamed(careless).streams)


@pytest.mark.parametrize(("window", "is_sound"), [(1, True), (3, False)])
def test_a_read_behind_the_update_of_the_same_block_is_refused(window: int, is_sound: bool) -> None:
    """An op that takes the blocks on either side of its own comes too late for the one before."""
    access = RowAccess("w", 4, 1, window, window // 2)
    ops = (
        Op("smooth", ("w",), ("near",), rows=4, reads=(access,)),
        Op("gradient", ("near",), ("g_w",), rows=4, reads=(RowAccess("near", 4),)),
        Op("update", ("w", "g_w"), (), mutates=("w",), rows=4, reads=(RowAccess("g_w", 4),)),
    )
    graph = Graph((Tensor("w", 16, kind="state"), Tensor("near", 16), Tensor("g_w", 16)), ops)
    run = Stream("run", ("smooth", "gradient", "update"), (("near", 1), ("g_w", 1)))
    found = replace(planner.plan(with_streams(graph, [run])), streams=(run,))
    if is_sound:
        check_streams(graph, found)
    else:
        with pytest.raises(PlanError, match="'smooth' reads row 0 of 'w' behind its update"):
            check_streams(graph, found)


BY_ROWS = backward(side=32, narrow=4, wide=16)


def test_a_ring_that_is_one_row_too_small_is_refused() -> None:
    """Be the plan made for it, or the sound one with fewer rows written into it."""
    found = streamed(BY_ROWS)
    ((run,), tried) = found.streams, 0
    owners = dict(run.shared)
    for tensor, rows in run.rings:
        if rows == 1 or tensor in owners:
            continue
        together = {tensor, *(name for name, owner in run.shared if owner == tensor)}
        small = replace(run, rings=tuple((name, n - (name in together)) for name, n in run.rings))
        for plan in (replace(found, streams=(small,)), _planned(BY_ROWS, small)):
            with pytest.raises(PlanError, match="which is overwritten"):
                check_streams(BY_ROWS, plan)
        tried += 1
    assert tried


def _planned(graph: Graph, run: Stream) -> Plan:
    return replace(planner.plan(with_streams(eager(graph), [run])), streams=(run,))


@pytest.mark.parametrize("graph", [wide_weight(), BY_ROWS], ids=["channels", "rows"])
def test_a_ring_that_lies_over_a_living_tensor_is_refused(graph: Graph) -> None:
    found = streamed(graph)
    fused = with_streams(eager(graph), found.streams)
    (run,) = found.streams
    position, rings = found.order.index(run.name), [t for t, _ in run.rings if t not in dict(run.shared)]
    alive = [t for t, (first, end) in found.lifetimes.items() if first <= position < end]
    assert set(rings) < set(alive)
    for ring in rings:
        for other in set(alive) - {ring}:
            moved = replace(found, offsets={**found.offsets, ring: found.offsets[other]})
            with pytest.raises(PlanError, match="share bytes while op"):
                check(fused, moved)


def test_a_ring_that_lies_over_rows_still_to_be_read_is_refused_by_the_replay_too() -> None:
    found = streamed(BY_ROWS)
    ring = next(name for name, _ in found.streams[0].rings)
    for rows_of in ("g", "g_x"):
        moved = replace(found, offsets={**found.offsets, ring: found.offsets[rows_of]})
        with pytest.raises(PlanError, match="which is overwritten"):
            check_streams(BY_ROWS, moved)


def test_a_ring_of_no_rows_is_refused() -> None:
    none = tuple((name, 0) for name, _ in SOUND.streams[0].rings)
    with pytest.raises(PlanError, match="ring"):
        check_streams(wide_weight(), forged(SOUND, rings=none))


def test_a_run_whose_driver_leaves_rows_of_a_sum_unasked_is_not_chosen() -> None:
    """A stride that skips the last row would leave the sum short: the graph still gets a plan."""
    tensors = [Tensor("x", 1600, 4, "input"), Tensor("wide", 6400), Tensor("half", 800), Tensor("total", 100)]
    tensors.append(Tensor("out", 4, 4, "output"))
    ops = [
        Op("make", ("x",), ("wide",), rows=16, reads=(RowAccess("x", 16),)),
        Op("sum", ("wide",), ("total",), rows=16, reads=(RowAccess("wide", 16),), accumulates=True),
        Op("half", ("wide",), ("half",), rows=8, reads=(RowAccess("wide", 16, stride=2),)),
        Op("end", ("half", "total"), ("out",)),
    ]
    found = planner.plan(Graph(tuple(tensors), tuple(ops)), stream=True)
    assert all("sum" not in s.ops or "half" not in s.ops for s in found.streams)


def test_a_stream_of_unknown_or_doubled_ops_is_refused() -> None:
    graph = Graph(
        (Tensor("x", 64, 4, "input"), Tensor("a", 64), Tensor("b", 64), Tensor("out", 4, 4, "output")),
        (
            Op("first", ("x",), ("a",), rows=4, reads=(RowAccess("x", 4),)),
            Op("second", ("a",), ("b",), rows=4, reads=(RowAccess("a", 4),)),
            Op("end", ("b",), ("out",)),
        ),
    )
    found = planner.plan(graph)
    run = Stream("run", ("first", "second"), (("a", 1),))
    for streams, words in (((replace(run, ops=("first", "nope")),), "unknown"), ((run, run), "more than once")):
        with pytest.raises(PlanError, match=words):
            check_streams(graph, replace(found, streams=streams))
