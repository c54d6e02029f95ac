"""Migration of pages: what is needed is there, and prefetch hides what can be hidden."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.passes.plan.pages import DoesNotFitPages, Migration, Use, simulate


def layers(count: int, weights: int = 4, seconds: float = 8.0) -> list[Use]:
    """Nodes that read the result of the one in front and weights of their own."""
    return [
        Use(f"n{i}", seconds, {f"t{i}": 1, f"w{i}": weights}, {f"t{i + 1}": 1})
        if i
        else Use("n0", seconds, {"x": 1, "w0": weights}, {"t1": 1})
        for i in range(count)
    ]


def test_without_prefetch_every_node_waits() -> None:
    run = simulate(layers(3), 100, 1.0, prefetch=False)
    assert run.stalled == 1 + 4 + 4 + 4  # the input, and the weights of every node
    assert run.seconds == 13 + 3 * 8


def test_prefetch_hides_the_copies_behind_arithmetic() -> None:
    run = simulate(layers(3), 100, 1.0, prefetch=True)
    assert run.stalled == 5  # only the first node waits
    assert [m.tensor for m in run.migrations] == ["x", "w0", "w1", "w2"]
    assert [(m.during, m.needed) for m in run.migrations][2:] == [(0, 1), (0, 2)]


def test_prefetch_does_not_help_where_there_is_no_room() -> None:
    without, with_ = (simulate(layers(4), 6, 1.0, prefetch=p) for p in (False, True))
    assert with_.peak_pages <= 6 and with_.seconds == without.seconds


def test_values_that_are_needed_again_are_written_back() -> None:
    uses = [
        Use("a", 1.0, {"x": 1}, {"kept": 2}),
        Use("b", 1.0, {"w": 3}, {"t": 1}),
        Use("c", 1.0, {"kept": 2, "t": 1}, {"y": 1}),
    ]
    run = simulate(uses, 4, 1.0, prefetch=False)
    assert Migration("kept", 2, "out", 0, -1) in run.migrations
    assert Migration("kept", 2, "in", 1, 2) in run.migrations


def test_a_node_that_is_larger_than_the_memory_is_named() -> None:
    with pytest.raises(DoesNotFitPages, match="n0 needs 6 pages, the fast memory has 5"):
        simulate(layers(1), 5, 1.0, prefetch=True)


@given(
    count=st.integers(1, 12),
    weights=st.integers(1, 6),
    seconds=st.floats(0.1, 10),
    capacity=st.integers(8, 40),
    page=st.floats(0.05, 3),
)
@settings(max_examples=100, deadline=None)
def test_prefetch_never_costs_time(count: int, weights: int, seconds: float, capacity: int, page: float) -> None:
    uses = layers(count, weights, seconds)
    without, with_ = (simulate(uses, capacity, page, prefetch=p) for p in (False, True))
    arithmetic = sum(u.seconds for u in uses)
    assert arithmetic <= with_.seconds + 1e-9 <= without.seconds + 2e-9
    assert max(with_.peak_pages, without.peak_pages) <= capacity
    for run in (without, with_):
        assert run.seconds == pytest.approx(arithmetic + run.stalled)
        resident: set[str] = set()
        for move in run.migrations:
            assert (move.tensor in resident) == (move.direction == "out") or move.tensor.startswith("t")
            (resident.add if move.direction == "in" else resident.discard)(move.tensor)
            assert move.direction == "out" or move.during < move.needed
