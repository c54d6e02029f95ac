"""What the channels of an activation showed over samples."""

from __future__ import annotations

import math

import attrs
import numpy as np

from uair.ir.dtype import Array

LONG = 16
"""Neighbours of one channel from which on a product of vectors adds squares sooner than `np.einsum`."""
LEAST_ROOM = 1.1
MOST_ROOM = 4.0
"""What magnitudes of other samples may be expected to be at least and at most, as multiples of those seen."""


@attrs.define(eq=False)
class ChannelRange:
    """Least and greatest value and mean square of each channel.

    Attributes:
        axis: the axis of the channels.
        low: [C], at most 0; 0 where only signals were looked at.
        high: [C], at least 0; 0 where only signals were looked at.
        energy: [C], sums of squares.
        count: values per channel.
        parts: [2, C], the greatest magnitudes in every second sample, and in the others.
        samples: how many there were.
    """

    axis: int
    low: Array
    high: Array
    energy: Array
    parts: Array
    count: int = 0
    samples: int = 0

    @staticmethod
    def empty(axis: int, channels: int) -> ChannelRange:
        """Of no values."""
        low, high, energy = np.zeros((3, channels))
        return ChannelRange(axis, low, high, energy, np.zeros((2, channels)))

    def observe(self, values: Array) -> None:
        """Take in the values of one sample."""
        if not values.size:
            return
        parts = self._parts(values)
        low, high = parts.min(axis=(0, 2)), parts.max(axis=(0, 2))
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        part = self.parts[self.samples % 2]
        np.maximum(part, np.maximum(-low, high), out=part)
        self.samples += 1
        self._add_energy(parts)

    def observe_signal(self, values: Array) -> None:
        """Take in the squares of the values of one sample, and not how far they go."""
        if values.size:
            self._add_energy(self._parts(values))

    def _parts(self, values: Array) -> Array:
        """[B, C, R], a view where possible."""
        at = self.axis % values.ndim
        return values.reshape(math.prod(values.shape[:at]), values.shape[at], -1)

    def _add_energy(self, parts: Array) -> None:
        """Add squares in f32, a quarter of the time that f64 takes, unless they are beyond it."""
        energy = _squares(parts.astype(np.result_type(parts, np.float32), copy=False))
        if not math.isfinite(float(energy.sum())):
            energy = _squares(parts.astype(np.float64))
        self.energy = self.energy + energy
        self.count += parts.shape[0] * parts.shape[2]

    @property
    def magnitude(self) -> Array:
        """The greatest magnitude of each channel."""
        return np.maximum(-self.low, self.high)

    @property
    def expected(self) -> Array:
        """The magnitude that other samples are expected to reach.

        It is greater than what was seen, by the ratio of what one half of the samples reached to what the other did. A
        channel that fills the range of an activation leaves it as soon as another sample goes further.
        """
        lesser, greater = self.parts.min(axis=0), self.parts.max(axis=0)
        ratio = np.divide(greater, lesser, out=np.full_like(greater, MOST_ROOM), where=lesser > 0)
        return np.asarray(self.magnitude * np.clip(ratio, LEAST_ROOM, MOST_ROOM))

    @property
    def mean_square(self) -> Array:
        """Of each channel."""
        return self.energy / max(self.count, 1)


def _squares(parts: Array) -> Array:
    """[C]: the sum of the squares of [B, C, R]."""
    with np.errstate(all="ignore"):
        if parts.shape[2] < LONG:
            return np.asarray(np.einsum("bcr,bcr->c", parts, parts))
        return np.asarray(np.matmul(parts[:, :, None], parts[..., None])[..., 0, 0].sum(axis=0))
