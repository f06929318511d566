"""Orders: the searches against all orders, the bound over every order, and the orders of real training steps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.planner import Graph, Op, Tensor
from mcutrain.planner.graph import dependencies, live_bytes
from mcutrain.planner.order.cpsat import lowest_peak as cpsat_lowest_peak
from mcutrain.planner.order.model import OrderModel, needed_anyway
from mcutrain.planner.order.schedule import schedule
from mcutrain.planner.order.search import Incumbent, greedy, is_valid, lowest_peak
from tests.planner.brute import valid_orders
from tests.planner.graphs import random_graph, training_step


def model_of(graph: Graph) -> OrderModel:
    return OrderModel(graph, dependencies(graph))


def true_peak(graph: Graph, model: OrderModel) -> int:
    """The lowest peak of live bytes over all valid orders."""
    return min(model.peak([model.names.index(name) for name in order]) for order in valid_orders(graph))


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_search_finds_and_proves_the_lowest_peak(seed: int) -> None:
    graph = random_graph(seed, most_ops=5, most_bytes=9)
    model, least = model_of(graph), true_peak(graph, model_of(graph))
    given_order = list(range(len(graph.ops)))
    anyway = needed_anyway(graph, model)
    assert anyway <= least
    found = lowest_peak(model, Incumbent(given_order, model.peak(given_order), 0), states=10_000)
    assert is_valid(model, found.order) and is_valid(model, greedy(model))
    assert found.bound <= least <= found.peak == model.peak(found.order)
    if not model.unread:
        assert found.bound == least == found.peak


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_cpsat_finds_and_proves_the_lowest_peak(seed: int) -> None:
    graph = random_graph(seed, most_ops=5, most_bytes=9)
    model, least = model_of(graph), true_peak(graph, model_of(graph))
    given_order = list(range(len(graph.ops)))
    found = cpsat_lowest_peak(graph, model, Incumbent(given_order, model.peak(given_order), 0), seconds=2)
    assert is_valid(model, found.order)
    assert found.bound <= least <= found.peak
    if not model.unread and all(len(op.overlaps) < 2 for op in graph.ops):
        assert found.bound == least == found.peak


def test_peak_of_the_model_is_the_bound_of_the_order() -> None:
    graph = training_step(5, 2, 16)
    model = model_of(graph)
    order = greedy(model)
    assert model.padding == 0
    assert model.peak(order) == max(live_bytes(graph, [model.names[v] for v in order]))


def test_search_and_cpsat_agree_on_a_training_step() -> None:
    graph = training_step(4, 1, 16)
    model = model_of(graph)
    start = Incumbent(list(range(len(graph.ops))), model.peak(range(len(graph.ops))), 0)
    by_search = lowest_peak(model, start, states=20_000)
    by_cpsat = cpsat_lowest_peak(graph, model, start, seconds=5)
    assert by_search.bound == by_search.peak
    assert by_cpsat.bound <= by_search.peak <= by_cpsat.peak


def test_search_that_runs_out_of_states_stays_honest() -> None:
    graph = wide(9)
    model = model_of(graph)
    start = Incumbent(list(range(len(graph.ops))), model.peak(range(len(graph.ops))), 0)
    cut = lowest_peak(model, start, states=3)
    full = lowest_peak(model, start, states=100_000)
    assert full.bound == full.peak
    assert cut.bound <= full.peak <= cut.peak


def wide(branches: int) -> Graph:
    """Branches that each grow before they shrink, and all meet in the end."""
    tensors, ops = [Tensor("x", 3, 1, "input")], []
    for k in range(branches):
        big, small = 5 + (k * 7) % 11, 1 + (k * 5) % 7
        tensors += [Tensor(f"a{k}", big, 1), Tensor(f"b{k}", small, 1)]
        ops += [Op(f"grow{k}", ("x",), (f"a{k}",)), Op(f"shrink{k}", (f"a{k}",), (f"b{k}",))]
    ops.append(Op("meet", tuple(f"b{k}" for k in range(branches)), ()))
    return Graph(tuple(tensors), tuple(ops))


def test_schedule_offers_the_best_order_first() -> None:
    result = schedule(training_step(6, 0, 32))
    assert list(result.peaks) == sorted(result.peaks)
    assert result.status == "OPTIMAL" and result.peaks[0] - 3 <= result.bound <= result.peaks[0]  # 3: padding
    assert result.peaks[0] < result.peaks[-1]  # updates at the end, as given, keep all gradients
