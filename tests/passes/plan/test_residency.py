"""The fit of a model on a chip without a memory behind it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from uair.passes.plan.residency import Piece, fit

pieces = st.lists(
    st.builds(
        Piece,
        name=st.just("n"),
        weights=st.integers(0, 90),
        live=st.integers(1, 60),
        seconds=st.floats(0, 5),
        given=st.integers(0, 50),
    ),
    min_size=1,
    max_size=20,
)


def test_a_model_that_fits_is_one_stage() -> None:
    found = fit([Piece("a", 50, 10, 1.0, 10), Piece("b", 30, 20, 1.0, 0)], 100, 20)
    assert found.fits and len(found.stages) == 1 and found.stages[0].nodes == 2
    assert "fit the 100 bytes on the chip" in found.note


def test_a_model_that_does_not_is_a_pipeline_of_the_fewest_chips() -> None:
    found = fit([Piece(f"n{i}", 40, 10, 1.0, 7) for i in range(4)], 100, 10)
    assert not found.fits
    assert [(s.first, s.last, s.given) for s in found.stages] == [("n0", "n1", 7), ("n2", "n3", 7)]
    assert "a pipeline of 2 chips does" in found.note


def test_stages_are_balanced_in_time() -> None:
    times = [4.0, 1.0, 1.0, 1.0, 1.0]
    found = fit([Piece(f"n{i}", 30, 10, t, 0) for i, t in enumerate(times)], 135, 10)
    assert [s.seconds for s in found.stages] == [4.0, 4.0]


def test_a_node_that_is_too_large_alone_is_named() -> None:
    found = fit([Piece("giant", 200, 10, 1.0, 0)], 100, 10)
    assert found.too_large == ("giant",) and not found.stages and "giant alone is too large" in found.note


@given(made=pieces, capacity=st.integers(150, 400))
@settings(max_examples=100, deadline=None)
def test_every_stage_fits_and_none_is_lost(made: list[Piece], capacity: int) -> None:
    found = fit(made, capacity, max(p.live for p in made))
    assert sum(s.nodes for s in found.stages) == len(made)
    assert sum(s.weights for s in found.stages) == found.weights == sum(p.weights for p in made)
    assert all(s.weights + s.activations <= capacity for s in found.stages)
