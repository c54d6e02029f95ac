"""What is kept of an activation's channels, against sums in f64."""

from __future__ import annotations

import numpy as np
import pytest

from uair.ir.dtype import Array
from uair.quant.channel_range import LONG, ChannelRange


def squares(values: Array, axis: int) -> Array:
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    return np.asarray(np.square(values.astype(np.float64)).sum(axis=others))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 5, 7, 9), 1), ((3, 11, 6), -1), ((1, 4, 1, 1), 1), ((1, 3, LONG), 1), ((1, 3, LONG - 1), 1)],
)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ends_and_squares_of_channels(shape: tuple[int, ...], axis: int, dtype: type) -> None:
    values: Array = np.random.default_rng(0).normal(0.5, 2, shape).astype(dtype)
    seen, signal = ChannelRange.empty(axis, shape[axis]), ChannelRange.empty(axis, shape[axis])
    for _ in range(2):
        seen.observe(values)
        signal.observe_signal(values)
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    np.testing.assert_allclose(seen.energy, 2 * squares(values, axis), rtol=1e-5)
    np.testing.assert_array_equal(seen.low, np.minimum(values.min(axis=others), 0))
    np.testing.assert_array_equal(seen.high, np.maximum(values.max(axis=others), 0))
    np.testing.assert_array_equal(signal.mean_square, seen.mean_square)
    assert seen.count == signal.count == 2 * values.size // shape[axis]
    assert not signal.magnitude.any()


@pytest.mark.parametrize("extent", [3, 2 * LONG])
def test_squares_beyond_f32_are_added_in_f64(extent: int) -> None:
    values = np.full((1, 2, extent), 1e25, np.float32)
    values[:, 1] = 1
    seen = ChannelRange.empty(1, 2)
    seen.observe(values)
    np.testing.assert_allclose(seen.energy, [extent * 1e50, extent], rtol=1e-5)


def test_what_is_not_finite_stays_so() -> None:
    values = np.ones((1, 3, LONG), np.float32)
    values[0, 1, 2] = np.nan
    values[0, 2, 3] = np.inf
    seen = ChannelRange.empty(1, 3)
    seen.observe_signal(values)
    assert np.isfinite(seen.energy).tolist() == [True, False, False]
