"""Streaming statistics equal those of all values at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.ir.dtype import Array, DType
from uair.quant.errors import QuantizationError
from uair.quant.observers import BINS, RangeObserver
from uair.quant.parameters import activation_parameters
from uair.quant.ranges import MOST_OUTSIDE, entropy_range, minmax_range, mse_range, percentile_range
from uair.quant.scheme import Scheme

FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)
BATCHES = st.lists(st.lists(FLOATS, min_size=1, max_size=30), min_size=1, max_size=8)


def observer_of(*batches: Any, bins: int = BINS) -> RangeObserver:
    observer = RangeObserver("t", bins)
    for batch in batches:
        observer.observe(np.asarray(batch, np.float32))
    return observer


def same(a: RangeObserver, b: RangeObserver) -> bool:
    x, y = a.histogram(), b.histogram()
    limits = (a.minimum, a.maximum, a.count, a.exponent) == (b.minimum, b.maximum, b.count, b.exponent)
    return limits and all(np.array_equal(p, q) for p, q in zip(x, y, strict=True))


@settings(deadline=None)
@given(BATCHES, st.sampled_from([2, 3, 16, 2048]))
def test_streaming_equals_one_shot_in_any_order(batches: list[list[float]], bins: int) -> None:
    whole = observer_of([v for batch in batches for v in batch], bins=bins)
    assert same(observer_of(*batches, bins=bins), whole)
    assert same(observer_of(*batches[::-1], bins=bins), whole)
    assert whole.counts.sum() == whole.count
    assert len(whole.counts) <= bins


@settings(deadline=None)
@given(BATCHES, BATCHES)
def test_merging_equals_observing_both(left: list[list[float]], right: list[list[float]]) -> None:
    merged = observer_of(*left, bins=64)
    other = observer_of(*right, bins=64)
    before = other.counts.copy()
    merged.merge(other)
    assert same(merged, observer_of(*left, *right, bins=64))
    assert np.array_equal(other.counts, before)


def test_memory_does_not_grow_with_the_samples() -> None:
    rng = np.random.default_rng(0)
    observer = RangeObserver()
    for scale in range(200):
        observer.observe(rng.normal(size=1000).astype(np.float32) * (1 + scale))
    assert observer.count == 200_000
    assert BINS / 2 - 2 <= len(observer.counts) <= BINS


def test_every_value_lies_in_its_bin() -> None:
    values = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    observer = observer_of(values[:100], values[100:])
    index = np.floor(values.astype(np.float64) / 2.0**observer.exponent).astype(int) - observer.first
    assert np.array_equal(np.bincount(index, minlength=len(observer.counts)), observer.counts)


@pytest.mark.parametrize("kind", ["bell", "uniform", "gate", "used"])
def test_many_values_have_the_ends_and_great_magnitudes_of_all(kind: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.uniform(-4, 4, (1, 9, 150, 150)) if kind == "uniform" else rng.normal(size=(1, 9, 150, 150))
    values = (values * np.clip(values + 3, 0, 6) if kind == "gate" else values).astype(np.float32)
    least, greatest = (-1.5, 3.5) if kind == "used" else (-np.inf, np.inf)
    observer, exact = RangeObserver(), RangeObserver()
    observer.observe(values, least, greatest)
    for part in np.split(values.reshape(-1), 9):
        exact.observe(part, least, greatest)  # each has too few for one to count for several
    assert (observer.minimum, observer.maximum, observer.exponent) == (exact.minimum, exact.maximum, exact.exponent)
    assert observer.is_consistent() and observer.count == observer.counts.sum()
    assert abs(observer.count / values.size - 1) < 0.01
    edge = 0.5 * max(-exact.minimum, exact.maximum) + 2.0**exact.exponent
    far = np.abs(np.ldexp(np.arange(len(exact.counts)) + exact.first + 0.5, exact.exponent)) > edge
    assert far.sum() > 100
    assert np.array_equal(observer.counts[far][1:-1], exact.counts[far][1:-1])
    assert percentile_range(observer, 99.0) == pytest.approx(percentile_range(exact, 99.0), rel=0.02)
    assert (observer.counts != exact.counts).any() == (kind != "uniform")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_the_histogram_of_f32_is_that_of_the_same_numbers_in_f64(numbers: list[float]) -> None:
    values = np.array([*numbers, -1e-45, 1e-45, -0.0], np.float32)
    single, double = observer_of(values), observer_of(values.astype(np.float64))
    assert (single.exponent, single.first) == (double.exponent, double.first)
    assert np.array_equal(single.counts, double.counts)


def test_zero_and_constant_tensors() -> None:
    zeros = observer_of(np.zeros(5), np.zeros(3))
    assert minmax_range(zeros) == (0, 0)
    assert mse_range(zeros, Scheme()) == entropy_range(zeros, Scheme()) == (0, 0)
    assert zeros.histogram()[1].tolist() == [8]
    threes = observer_of(np.full(4, 3.0))
    assert minmax_range(threes) == (3, 3)
    zeros.observe(np.array([1e6], np.float32))
    assert zeros.histogram()[1].tolist() == [8, 1]


def test_nothing_observed() -> None:
    observer = RangeObserver()
    observer.observe(np.zeros((0, 3), np.float32))
    assert observer.count == 0
    assert minmax_range(observer) == percentile_range(observer, 99.0) == (0.0, 0.0)
    assert entropy_range(observer, Scheme()) == (0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(QuantizationError, match="'act'"):
        RangeObserver("act").observe(np.array([1.0, value], np.float32))


def test_percentile_cuts_both_tails() -> None:
    values = np.linspace(-1, 1, 20001)
    low, high = percentile_range(observer_of(values), 90.0)
    assert low == pytest.approx(-0.9, abs=2e-3)
    assert high == pytest.approx(0.9, abs=2e-3)
    assert percentile_range(observer_of(values), 100.0) == (-1, 1)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [DType.I8, DType.U8])
def test_mse_range_is_not_worse_than_minmax_on_the_values(*, symmetric: bool, dtype: DType) -> None:
    mass = np.random.default_rng(2).uniform(-1, 1, 400_000)
    values = np.concatenate([mass, [6.0]]).astype(np.float32)
    observer = observer_of(values)
    scheme = Scheme(activation=dtype, symmetric=symmetric)

    def error(low: float, high: float) -> float:
        rounded = activation_parameters(low, high, scheme).rounded(values)
        return float(np.square(rounded - values).mean())

    assert error(*mse_range(observer, scheme)) < 0.8 * error(*minmax_range(observer))


# ------------------------------------------------------------------------------------------------------------- entropy
def divergence(bins: list[float], start: int, end: int, levels: int) -> float:
    """The Kullback-Leibler divergence of bins start to end (exclusive), spread over levels, from all bins."""
    size = end - start
    inside = bins[start:end]
    p = list(inside)
    p[0] += sum(bins[:start])
    p[-1] += sum(bins[end:])
    q = [0.0] * size
    for level in range(levels):
        members = [j for j in range(size) if j * levels // size == level]
        filled = [j for j in members if p[j] > 0]
        for j in filled:
            q[j] = sum(inside[m] for m in members) / len(filled)
    total, held = sum(p), sum(q)
    result = 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            if b == 0:
                return float("inf")
            result += a / total * float(np.log((a / total) / (b / held)))
    return result


def bins_around_zero(observer: RangeObserver) -> tuple[list[float], int, float]:
    """Counts of bins from the least (or 0) to the greatest value (or 0), the number of 0's, and their width."""
    centres, counts = observer.histogram()
    width = 2.0**observer.exponent
    places = np.floor(centres / width).astype(int)
    first, last = min(int(places[0]), 0), max(int(places[-1]), 0)
    bins = [0.0] * (last - first + 1)
    for place, count in zip(places, counts, strict=True):
        bins[place - first] += float(count)
    return bins, -first, width


SHAPES: dict[str, Callable[[np.random.Generator], Array]] = {
    "normal": lambda rng: rng.normal(size=3000),
    "relu": lambda rng: np.maximum(rng.normal(size=3000), 0),
    "negative": lambda rng: -np.abs(rng.normal(size=3000)),
    "laplace": lambda rng: rng.laplace(size=3000),
    "away from 0": lambda rng: rng.uniform(3, 5, 3000),
    "few values": lambda rng: rng.integers(0, 40, 3000) / 8.0,
    "outliers": lambda rng: np.concatenate([rng.normal(size=3000), [9.0, -14.0]]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_of_magnitudes_is_the_published_search(shape: str) -> None:
    """Symmetric: every number of bins is tried; the slow search gives no smaller divergence than the one chosen."""
    observer = observer_of(SHAPES[shape](np.random.default_rng(3)), bins=256)
    bins, zero, width = bins_around_zero(observer)
    above, below = bins[zero:], bins[:zero][::-1]
    size = max(len(above), len(below))
    bins = [sum(half[i] for half in (above, below) if i < len(half)) for i in range(size)]
    bins[0] = bins[1]
    found = {n: divergence(bins, 0, n, 128) for n in range(128, size + 1) if sum(bins[n:]) <= MOST_OUTSIDE * sum(bins)}
    low, high = entropy_range(observer, Scheme(symmetric=True))
    bound = max(-low, high)
    is_whole = (low, high) == (min(observer.minimum, 0.0), max(observer.maximum, 0.0))
    chosen = size if is_whole else round(bound / width)
    if size < 128:
        assert is_whole
    else:
        assert found[chosen] <= min(found.values()) + 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_of_two_ends_is_best_for_each_given_the_other(shape: str) -> None:
    observer = observer_of(SHAPES[shape](np.random.default_rng(4)), bins=400)
    bins, zero, width = bins_around_zero(observer)
    if zero + 1 < len(bins):
        bins[zero] = bins[zero + 1]
    elif zero:
        bins[zero] = bins[zero - 1]

    def left_out(start: int, end: int) -> float:
        return sum(bins[:start]) + sum(bins[end:])

    def search(start: int) -> tuple[int, int]:
        ends = [e for e in range(len(bins), max(start + 256, zero + 1) - 1, -1) if is_tried(start, e)]
        end = min(ends, key=lambda e: divergence(bins, start, e, 256), default=len(bins))
        starts = [s for s in range(min(zero, end - 256) + 1) if is_tried(s, end)]
        return min(starts, key=lambda s: divergence(bins, s, end, 256), default=0), end

    def is_tried(start: int, end: int) -> bool:
        return left_out(start, end) <= MOST_OUTSIDE * sum(bins)

    start, end = search(search(0)[0])
    low, high = entropy_range(observer, Scheme())
    assert low == pytest.approx(max(observer.minimum, (start - zero) * width) if start or zero else 0.0, abs=1e-9)
    assert high == pytest.approx(max(min(observer.maximum, (end - zero) * width), 0.0), abs=1e-9)


@pytest.mark.parametrize("symmetric", [False, True])
def test_entropy_cuts_a_long_tail_and_keeps_what_is_uniform(*, symmetric: bool) -> None:
    rng, scheme = np.random.default_rng(5), Scheme(symmetric=symmetric)
    values = rng.uniform(-1, 1, 200_000)
    assert entropy_range(observer_of(values), scheme) == minmax_range(observer_of(values.astype(np.float32)))
    tail = np.concatenate([rng.normal(size=200_000), rng.uniform(4, 40, 100)])
    high = entropy_range(observer_of(tail), scheme)[1]
    assert 3 < high < 25


def test_entropy_with_scales_that_are_powers_of_two_counts_what_they_cover() -> None:
    values = np.random.default_rng(6).uniform(-1, 1, 50_000)
    low, high = entropy_range(observer_of(values), Scheme(symmetric=True, power_of_two=True))
    assert activation_parameters(low, high, Scheme(symmetric=True, power_of_two=True)).range[1] > 0.98
    assert (low, high) == minmax_range(observer_of(values))


def test_entropy_never_leaves_out_what_many_values_are() -> None:
    """Plainly applied, the search gathers everything in one bin, where P and Q agree."""
    saturated = np.minimum(np.maximum(np.random.default_rng(7).normal(size=20_000) * 4, 0), 6)
    for symmetric in (False, True):
        assert entropy_range(observer_of(saturated), Scheme(symmetric=symmetric)) == (0, 6)


def test_wide_activations_keep_the_observed_range() -> None:
    """More levels than bins: nothing is gained by leaving anything out."""
    observer = observer_of(np.random.default_rng(8).standard_cauchy(10_000))
    scheme = Scheme(activation=DType.I16, symmetric=True)
    assert entropy_range(observer, scheme) == minmax_range(observer)
