"""Which range of values an activation's integers should cover."""

from __future__ import annotations

import numpy as np

from uair.ir.dtype import Array
from uair.quant.observers import RangeObserver
from uair.quant.scheme import Scheme

FRACTIONS = np.linspace(1.0, 0.05, 96)
"""Fractions of an end of the observed range that are tried as the end of the range that is kept."""


def minmax_range(observer: RangeObserver) -> tuple[float, float]:
    """The observed range; (0, 0) when nothing was observed."""
    if not observer.count:
        return 0.0, 0.0
    return observer.minimum, observer.maximum


def percentile_range(observer: RangeObserver, percentile: float) -> tuple[float, float]:
    """The range that holds the central `percentile` per cent of the values, to the width of a bin.

    Each side may lose half of what is left out; an end that lies on the far side of 0 is drawn to 0.
    """
    if not observer.count:
        return 0.0, 0.0
    centres, counts = observer.histogram()
    below = np.cumsum(counts)
    spare = observer.count * (100.0 - percentile) / 200.0
    low = centres[min(int(np.searchsorted(below, spare, side="right")), len(centres) - 1)]
    high = centres[min(int(np.searchsorted(below, observer.count - spare)), len(centres) - 1)]
    return (
        observer.minimum if low == centres[0] else float(low),
        observer.maximum if high == centres[-1] else float(high),
    )


def mse_range(observer: RangeObserver, scheme: Scheme) -> tuple[float, float]:
    """The range whose quantization has the least mean squared error over the histogram.

    The ends are searched one after the other, twice, among `FRACTIONS` of the observed ends (both together when the
    scheme is symmetric).
    """
    low, high = (float(v) for v in minmax_range(observer))
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return low, high
    centres, counts = observer.histogram()
    if scheme.symmetric:
        bound = max(-low, high)
        limits = bound * FRACTIONS
        best = limits[int(np.argmin(_errors(centres, counts, -limits, limits, scheme)))]
        return max(low, -float(best)), min(high, float(best))
    kept_low, kept_high = low, high
    for _ in range(2):
        highs = high * FRACTIONS if high > 0 else np.zeros(1)
        lows = np.full(len(highs), kept_low)
        kept_high = float(highs[int(np.argmin(_errors(centres, counts, lows, highs, scheme)))])
        lows = low * FRACTIONS if low < 0 else np.zeros(1)
        highs = np.full(len(lows), kept_high)
        kept_low = float(lows[int(np.argmin(_errors(centres, counts, lows, highs, scheme)))])
    return kept_low, kept_high


def _errors(centres: Array, counts: Array, lows: Array, highs: Array, scheme: Scheme) -> Array:
    """Squared error of the histogram's values under each of several ranges."""
    least, greatest = scheme.activation.range
    if scheme.symmetric:
        zero = np.full(len(lows), float(scheme.zero_point))
        steps = scheme.allowed(np.maximum(-lows, highs) / (greatest - zero))
    else:
        steps = (highs - lows) / (greatest - least)
        steps = scheme.allowed(np.where(steps > 0, steps, 1.0))
        zero = np.clip(np.rint(least - lows / steps), least, greatest)
    scaled = centres[None, :] / steps[:, None]
    np.rint(scaled, out=scaled)
    np.clip(scaled, (least - zero)[:, None], (greatest - zero)[:, None], out=scaled)
    scaled *= steps[:, None]
    scaled -= centres[None, :]
    scaled *= scaled
    errors: Array = scaled @ counts
    return errors
