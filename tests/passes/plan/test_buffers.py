"""Offsets of activations: nothing that lives at one time overlaps, and no byte less than what lives is taken."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.plan.graphs import residual_block
from uair.passes.plan.buffers import Buffer, allocate, lifetimes, peak_live
from uair.targets import load_description
from uair.targets.steps import StepFinder


@st.composite
def buffers(draw: st.DrawFn) -> list[Buffer]:
    count = draw(st.integers(0, 24))
    made: list[Buffer] = []
    for i in range(count):
        first = draw(st.integers(-1, 20))
        made.append(Buffer(f"t{i}", 32 * draw(st.integers(1, 40)), first, first + draw(st.integers(0, 8))))
    return made


@given(buffers())
@settings(max_examples=150, deadline=None)
def test_live_buffers_never_overlap(made: list[Buffer]) -> None:
    found = allocate(made)
    assert sorted(b.name for b in found.buffers) == sorted(b.name for b in made)
    for i, a in enumerate(found.buffers):
        assert a.offset is not None and a.offset >= 0 and a.offset % 32 == 0 and a.end <= found.bytes
        for b in found.buffers[i + 1 :]:
            assert b.offset is not None
            assert not a.lives_with(b) or a.end <= b.offset or b.end <= a.offset
    assert found.lower_bound <= found.bytes <= sum(b.bytes for b in made)


@given(buffers())
@settings(max_examples=80, deadline=None)
def test_the_lower_bound_is_what_lives_at_the_fullest_node(made: list[Buffer]) -> None:
    at = range(-1, 30)
    expected = max((sum(b.bytes for b in made if b.first <= t <= b.last) for t in at), default=0)
    assert peak_live(made) == expected


def test_memory_is_reused_as_soon_as_it_is_free() -> None:
    found = allocate([Buffer("a", 64, 0, 1), Buffer("b", 64, 1, 2), Buffer("c", 64, 2, 3)])
    assert found.bytes == found.lower_bound == 128


def test_the_smallest_gap_that_is_large_enough_is_taken() -> None:
    found = allocate([Buffer("a", 96, 0, 5), Buffer("b", 64, 0, 1), Buffer("c", 64, 0, 5), Buffer("d", 64, 2, 5)])
    assert found.bytes == 96 + 64 + 64


def test_views_and_fused_nodes_have_no_buffer_of_their_own() -> None:
    module, nodes = residual_block()
    finder = StepFinder(load_description("rk3588"))
    finder.of_graph(module.main)
    found = lifetimes(module.main, finder)
    assert len(found.buffers) == 2
    conv, add, relu, flat = (found.of[n.output] for n in nodes)
    assert conv == add == relu == flat  # one buffer: Add and Relu are fused, Reshape is a view
    assert conv[0].last == len(module.main)  # it is an output of the model
    assert found.of[module.main.inputs[0]][0].last == 1  # the addition reads the input after the convolution


def test_sizes_are_those_of_the_device() -> None:
    module, nodes = residual_block()
    finder = StepFinder(load_description("rk3588"))
    finder.of_graph(module.main)
    (buffer,) = lifetimes(module.main, finder).of[nodes[0].output]
    assert buffer.bytes == 64 * 8 * 8 * 2  # float16
