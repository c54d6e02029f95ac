"""Statistics of tensors in one pass over the samples, in memory that does not depend on how many there are.

A `RangeObserver` keeps the least and greatest value and a histogram of at most 2048 bins. Bins are the intervals
[i * 2^k, (i + 1) * 2^k) of one exponent k. When a sample leaves what 2048 of them can cover, k grows by one and
neighbouring bins (2j, 2j + 1) merge into j, exactly. The histogram after many samples therefore equals the one made of
all their values at once, in any order.

Of a sample of many values the ends are exact, and so are the counts of great magnitudes; of small ones, which are most,
every second, third, ... stands for its neighbours: binning takes ten times as long as looking for the ends.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.quant.errors import QuantizationError

BINS = 2048
FINEST = -40
"""Bins are not narrower than 2^-40 of the greatest magnitude: finer than f32 resolves."""
LEAST_EXPONENT = -120
CHUNK = 1 << 15
"""Values binned at a time: they stay in a core's cache."""
ENOUGH = 1 << 15
"""Values of a sample from which on one counts for several: for two where there are twice as many, and so on."""
FAR = 0.5
"""Of the greatest magnitude: what is less is counted so. What is more decides where a range should end: it counts as it
is, and where it is more than `MOST_FAR` of all values everything does."""
MOST_FAR = 1 / 16


@attrs.define(eq=False)
class RangeObserver:
    """Least and greatest value and histogram of a tensor.

    Attributes:
        name: the tensor, for messages.
        bins: greatest number of bins, at least 2.
        minimum: least value so far.
        maximum: greatest value so far.
        count: number of values so far; about, where one counts for several.
        exponent: bins are 2^exponent wide.
        first: number i of the first bin.
        counts: values per bin.
    """

    name: str = ""
    bins: int = BINS
    minimum: float = math.inf
    maximum: float = -math.inf
    count: int = 0
    exponent: int = LEAST_EXPONENT
    first: int = 0
    counts: Array = attrs.field(factory=lambda: np.zeros(0, np.int64))

    def observe(self, values: Array, least: float = -math.inf, greatest: float = math.inf) -> None:
        """Take in the values of one sample.

        Args:
            values: of any shape.
            least: what is below counts as this.
            greatest: what is above counts as this.

        Raises:
            QuantizationError: a value is NaN or infinite.
        """
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            wrong = high if math.isfinite(low) else low
            raise QuantizationError(
                f"tensor {self.name!r} takes the value {wrong} on the calibration data",
                hint="check the calibration data, or leave what uses it in float with skip",
            )
        is_cut = low < least or high > greatest
        if is_cut:
            low, high = (float(values.dtype.type(min(max(end, least), greatest))) for end in (low, high))
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._coarsen(_exponent(self.minimum, self.maximum, self.bins))
        start = math.floor(math.ldexp(low, -self.exponent))
        size = math.floor(math.ldexp(high, -self.exponent)) - start + 1
        counts = self._counted(values.reshape(-1), (low, high), start, size, is_cut=is_cut)
        self.count += int(counts.sum())
        self._add(start, counts)

    def _counted(self, flat: Array, ends: tuple[float, float], start: int, size: int, *, is_cut: bool) -> Array:
        """How many values lie in each of `size` bins; the first is number `start`. See `ENOUGH`."""
        kept = ends if is_cut else None
        step = _step(flat.size)
        edge = math.ceil(math.ldexp(FAR * max(-ends[0], ends[1]), -self.exponent))
        limit = flat.dtype.type(math.ldexp(edge, self.exponent))
        is_far = flat >= limit if step > 1 else np.zeros(0, np.bool_)
        if step > 1 and ends[0] < -limit:
            is_far |= flat < -limit
        if step == 1 or np.count_nonzero(is_far) > MOST_FAR * flat.size:
            return self._binned(flat, kept, start, size)
        counts = self._binned(flat[np.flatnonzero(is_far)], kept, start, size)
        near = slice(max(-edge - start, 0), max(edge - start, 0))
        counts[near] = step * self._binned(flat[step // 2 :: step], kept, start, size)[near]
        counts[[0, -1]] = np.maximum(counts[[0, -1]], 1)  # the ends lie there
        return counts

    def _binned(self, flat: Array, ends: tuple[float, float] | None, start: int, size: int) -> Array:
        """How many values, moved between the ends if given, lie in each of `size` bins."""
        # A product with a power of two is exact, but for numbers next to 0 that get smaller; so is the difference of
        # whole numbers that are bins apart.
        single = flat.dtype == np.float32 and self.exponent <= 0
        kind = np.float32 if single else np.float64
        scale, offset = kind(math.ldexp(1.0, -self.exponent)), kind(start)
        counts = np.zeros(size, np.int64)
        for begin in range(0, flat.size, CHUNK):
            index = flat[begin : begin + CHUNK].astype(kind)
            if ends is not None:
                np.clip(index, *ends, out=index)
            index *= scale
            np.floor(index, out=index)
            index -= offset
            counts += np.bincount(index.astype(np.int32), minlength=size)
        return counts

    def _coarsen(self, exponent: int) -> None:
        """Merge bins until they are 2^exponent wide."""
        if not self.counts.size:
            self.exponent = exponent
        while self.exponent < exponent:
            start = self.first >> 1
            padded = np.zeros(2 * (((self.first + len(self.counts) - 1) >> 1) - start + 1), np.int64)
            padded[self.first - 2 * start :][: len(self.counts)] = self.counts
            self.counts, self.first = padded.reshape(-1, 2).sum(axis=1), start
            self.exponent += 1

    def _add(self, start: int, counts: Array) -> None:
        """Add counts of bins that begin with number `start`."""
        if not self.counts.size:
            self.first, self.counts = start, counts
            return
        first = min(self.first, start)
        last = max(self.first + len(self.counts), start + len(counts))
        total = np.zeros(last - first, np.int64)
        total[self.first - first :][: len(self.counts)] += self.counts
        total[start - first :][: len(counts)] += counts
        self.first, self.counts = first, total

    def merge(self, other: RangeObserver) -> None:
        """Take in what another observer has seen."""
        if not other.count:
            return
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.count += other.count
        exponent = max(_exponent(self.minimum, self.maximum, self.bins), other.exponent)
        copy = attrs.evolve(other, counts=other.counts.copy())
        copy._coarsen(exponent)
        self._coarsen(exponent)
        self._add(copy.first, copy.counts)

    def clipped(self, least: float, greatest: float) -> RangeObserver:
        """What the observer would be if values outside of a range counted as its ends, to the width of a bin."""
        low, high = (min(max(end, least), greatest) for end in (self.minimum, self.maximum))
        result = attrs.evolve(self, counts=self.counts.copy())
        if not self.count or (low, high) == (self.minimum, self.maximum):
            return result
        result.minimum, result.maximum = low, high
        first, last = (math.floor(math.ldexp(end, -self.exponent)) for end in (low, high))
        places = np.clip(np.arange(len(self.counts)) + self.first, first, last) - first
        result.counts = np.bincount(places, self.counts, minlength=last - first + 1).astype(np.int64)
        result.first = first
        return result

    def is_consistent(self) -> bool:
        """Whether the range is that of the histogram: its ends lie in bins, and the outermost bins hold something."""
        if not self.minimum <= self.maximum:
            return False
        low, high = (math.floor(math.ldexp(end, -self.exponent)) for end in (self.minimum, self.maximum))
        filled = np.flatnonzero(self.counts)
        return bool(len(filled)) and (low, high) == (self.first + int(filled[0]), self.first + int(filled[-1]))

    def histogram(self) -> tuple[Array, Array]:
        """Centres and counts of the bins that hold something, f64. A bin's centre lies inside [minimum, maximum]."""
        filled = np.flatnonzero(self.counts)
        centres = np.ldexp(filled + self.first + 0.5, self.exponent)
        return np.clip(centres, self.minimum, self.maximum), self.counts[filled].astype(np.float64)

    def histogram_with_zero(self) -> tuple[int, Array, float]:
        """At most `bins` bins that cover the range widened to hold 0: number i of the first, counts, and width w.

        Bin number i is [i * w, (i + 1) * w): the real 0 begins bin 0, or ends the last one.
        """
        low, high = min(self.minimum, 0.0), max(self.maximum, 0.0)
        copy = attrs.evolve(self, counts=self.counts.copy())
        copy._coarsen(max(_exponent(low, high, self.bins), self.exponent))
        first, end = min(copy.first, 0), max(copy.first + len(copy.counts), 0)
        counts = np.zeros(end - first, np.int64)
        counts[copy.first - first :][: len(copy.counts)] = copy.counts
        return first, counts, math.ldexp(1.0, copy.exponent)


def _step(size: int) -> int:
    """How many values one of so many counts for; no multiple of it is the extent of an axis: all places are met."""
    step = max(size // ENOUGH, 1)
    while step > 1 and math.gcd(step, size) > 1:
        step += 1
    return step


def _exponent(low: float, high: float, bins: int) -> int:
    """The least exponent of bins of which `bins` cover [low, high]; it never shrinks when the range grows."""
    magnitude = max(abs(low), abs(high))
    finest = max(math.frexp(magnitude)[1] + FINEST, LEAST_EXPONENT) if magnitude else LEAST_EXPONENT
    exponent = finest
    if high > low:
        exponent = max(math.frexp((high - low) / bins)[1] - 1, finest)
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) + 1 > bins:
        exponent += 1
    return exponent
