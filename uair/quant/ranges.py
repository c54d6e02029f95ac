"""Which range of values an activation's integers should cover."""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.quant.observers import RangeObserver
from uair.quant.scheme import Scheme

FRACTIONS = np.linspace(1.0, 0.05, 96)
"""Fractions of an end of the observed range that are tried as the end of the range that is kept."""
MOST_OUTSIDE = 1e-3
"""Part of the values (but zeros) that a range of least divergence may leave out."""
RANGES_AT_A_TIME = 16
"""Ranges whose errors over a histogram are computed at once."""
RUNS_AT_A_TIME = 256
"""Runs of bins whose divergence is computed at once: the arrays stay in a core's cache."""


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
        before = kept_low
        highs = high * FRACTIONS if high > 0 else np.zeros(1)
        lows = np.full(len(highs), kept_low)
        kept_high = float(highs[int(np.argmin(_errors(centres, counts, lows, highs, scheme)))])
        lows = low * FRACTIONS if low < 0 else np.zeros(1)
        highs = np.full(len(lows), kept_high)
        kept_low = float(lows[int(np.argmin(_errors(centres, counts, lows, highs, scheme)))])
        if kept_low == before:
            break  # the next search would find the same
    return kept_low, kept_high


def entropy_range(observer: RangeObserver, scheme: Scheme) -> tuple[float, float]:
    """The range that loses least information: of least Kullback-Leibler divergence over the histogram.

    A range is a run of bins. P is the histogram with what lies outside added to the outermost bins of the run. Q
    spreads the run over the integers (n bins over L levels: bin j belongs to level floor(j * L / n)), without what lies
    outside, and gives every bin of a level in which P has something the same share of the level. What is least is

        KL(P, Q) = sum over the bins of P log(P / Q),  P and Q divided by their sums,

    which is infinite where a level that holds nothing gets what lies outside. Runs of fewer bins than levels, and those
    that leave out more than `MOST_OUTSIDE`, are not tried: where few values are taken, or many are the greatest one,
    clipping everything to one bin has divergence 0. Of equal divergences the widest range's counts. The bin of the real
    0 counts like its neighbour, since every scheme has 0 exactly and the zeros behind a ReLU would decide alone.

    Symmetric schemes: bins of magnitudes, all runs from 0 on, L = 128 for 8 bits. Others: L = 256, and the two ends are
    searched one after the other, twice. With scales that are powers of two, the run is the one that the scale covers.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017 (S7310), slides on entropy calibration, which have
    the symmetric case without the bound on what is left out; the bin of 0 as in NVIDIA's pytorch-quantization.
    """
    low, high = (float(v) for v in minmax_range(observer))
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return low, high
    least, greatest = scheme.activation.range
    first, counts, width = observer.histogram_with_zero()
    zero = -first
    if scheme.symmetric:
        runs = _Runs.of(_magnitudes(counts, zero), 0, greatest - scheme.zero_point + 1, width, scheme)
        bound = float(runs.best_end(0)) * width
        return max(low, -bound), min(high, bound)
    runs = _Runs.of(counts, zero, greatest - least + 1, width, scheme)
    start, end = 0, len(counts)
    for _ in range(2):
        end = runs.best_end(start)
        start = runs.best_start(end)
    return max(low, (start + first) * width), min(high, (end + first) * width)


def _magnitudes(counts: Array, zero: int) -> Array:
    """Counts of the bins [i * w, (i + 1) * w) of magnitudes; the real 0 begins bin number `zero`."""
    below, above = counts[:zero][::-1], counts[zero:]
    result = np.zeros(max(len(below), len(above)), counts.dtype)
    result[: len(below)] += below
    result[: len(above)] += above
    return result


@attrs.frozen(eq=False)
class _Runs:
    """Divergences of runs of bins of one histogram, from sums over its bins up to each one.

    Attributes:
        counts: [N], f64, the bin of 0 like its neighbour.
        zero: number of the bin that 0 begins; every run has it where there is one.
        levels: that a run is spread over.
        width: of a bin.
        scheme: what scales there are.
        below: [N + 1], counts of the bins before each one.
        filled: [N + 1], how many of these are not empty.
        terms: [N + 1], sums of count * log(count) of these.
    """

    counts: Array
    zero: int
    levels: int
    width: float
    scheme: Scheme
    below: Array
    filled: Array
    terms: Array

    @staticmethod
    def of(counts: Array, zero: int, levels: int, width: float, scheme: Scheme) -> _Runs:
        """The runs of a histogram."""
        values = counts.astype(np.float64)
        if zero + 1 < len(values):
            values[zero] = values[zero + 1]
        elif 0 < zero < len(values):
            values[zero] = values[zero - 1]
        sums = (np.concatenate([[0.0], np.cumsum(each)]) for each in (values, values > 0, _xlogx(values)))
        return _Runs(values, zero, levels, width, scheme, *sums)

    def best_end(self, start: int) -> int:
        """The end, exclusive, of the best run that begins with bin `start`."""
        ends = np.arange(len(self.counts), max(start + self.levels, min(self.zero + 1, len(self.counts))) - 1, -1)
        return int(self._best(np.full(len(ends), start), ends, ends)) if len(ends) else len(self.counts)

    def best_start(self, end: int) -> int:
        """The first bin of the best run that ends in front of bin `end`."""
        starts = np.arange(0, min(self.zero, end - self.levels) + 1)
        return int(self._best(starts, np.full(len(starts), end), starts)) if len(starts) else 0

    def _best(self, starts: Array, ends: Array, results: Array) -> int:
        """Of several runs the result of the one of least divergence; the first one is the widest."""
        if self.scheme.power_of_two:
            steps = self.levels - 1
            covered = self.scheme.allowed((ends - starts) * (self.width / steps)) * (steps / self.width)
            ends = np.minimum(starts + np.rint(covered).astype(np.int64), len(self.counts))
        held = self.below[ends] - self.below[starts]
        allowed = np.flatnonzero(self.below[-1] - held <= MOST_OUTSIDE * self.below[-1])
        starts, ends, results = starts[allowed], ends[allowed], results[allowed]
        found = [
            self._divergences(starts[i : i + RUNS_AT_A_TIME], ends[i : i + RUNS_AT_A_TIME])
            for i in range(0, len(starts), RUNS_AT_A_TIME)
        ]
        return int(results[int(np.argmin(np.concatenate(found)))])

    def _divergences(self, starts: Array, ends: Array) -> Array:
        """KL(P, Q) of each run, see `entropy_range`; infinite where Q has nothing for what P has."""
        total = self.below[-1]
        before, behind = self.below[starts], total - self.below[ends]
        first, last = self.counts[starts], self.counts[ends - 1]
        edges = starts[:, None] + -((ends - starts)[:, None] * -np.arange(self.levels + 1) // self.levels)
        inside = np.diff(self.below[edges], axis=1)
        filled = np.diff(self.filled[edges], axis=1)
        filled[:, 0] += (first == 0) & (before > 0)
        filled[:, -1] += (last == 0) & (behind > 0)
        clipped = inside.copy()
        clipped[:, 0] += before
        clipped[:, -1] += behind
        terms = self.terms[ends] - self.terms[starts]
        terms += _xlogx(first + before) - _xlogx(first) + _xlogx(last + behind) - _xlogx(last)
        held = self.below[ends] - self.below[starts]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(inside / (filled * held[:, None]))
            crossed = np.where(clipped > 0, clipped * spread, 0.0).sum(axis=1)
        divergences: Array = (terms - crossed) / total - np.log(total)
        return np.where(np.isnan(divergences), np.inf, divergences)


def _xlogx(x: Array) -> Array:
    """X * log(x), 0 for 0."""
    result: Array = x * np.log(np.where(x > 0, x, 1.0))
    return result


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
    errors = np.empty(len(lows))
    for start in range(0, len(lows), RANGES_AT_A_TIME):
        part = slice(start, start + RANGES_AT_A_TIME)
        scaled = centres[None, :] / steps[part, None]
        np.rint(scaled, out=scaled)
        np.clip(scaled, (least - zero)[part, None], (greatest - zero)[part, None], out=scaled)
        scaled *= steps[part, None]
        scaled -= centres[None, :]
        scaled *= scaled
        errors[part] = scaled @ counts
    return errors
