"""Streaming statistics equal those of all values at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.ir.dtype import DType
from uair.quant.errors import QuantizationError
from uair.quant.observers import BINS, RangeObserver
from uair.quant.parameters import activation_parameters
from uair.quant.ranges import minmax_range, mse_range, percentile_range
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


def test_zero_and_constant_tensors() -> None:
    zeros = observer_of(np.zeros(5), np.zeros(3))
    assert minmax_range(zeros) == (0, 0)
    assert mse_range(zeros, Scheme()) == (0, 0)
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
