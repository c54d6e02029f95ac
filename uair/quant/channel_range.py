"""What the channels of an activation showed over samples."""

from __future__ import annotations

import math

import attrs
import numpy as np

from uair.ir.dtype import Array

FAR = 1e15
"""Magnitude up to which the squares of one sample are added in f32, a quarter of the time that f64 takes."""
LEAST_ROOM = 1.1
MOST_ROOM = 4.0
"""What magnitudes of other samples may be expected to be at least and at most, as multiples of those seen."""


@attrs.define(eq=False)
class ChannelRange:
    """Least and greatest value and mean square of each channel.

    Attributes:
        axis: the axis of the channels.
        low: [C], at most 0.
        high: [C], at least 0.
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
        at = self.axis % values.ndim
        parts = values.reshape(math.prod(values.shape[:at]), values.shape[at], -1)
        low, high = parts.min(axis=(0, 2)), parts.max(axis=(0, 2))
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        part = self.parts[self.samples % 2]
        np.maximum(part, np.maximum(-low, high), out=part)
        self.samples += 1
        is_far = max(-float(low.min()), float(high.max())) > FAR
        precision = np.float64 if is_far else np.result_type(values, np.float32)
        self.energy = self.energy + np.einsum("bcr,bcr->c", parts, parts, dtype=precision)
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
