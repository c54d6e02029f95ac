"""Outputs that are nobody else's memory: callers write into what they get."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

import numpy as np

from uair.ir.dtype import Array


class Owner:
    """Gives values out, each in memory that nothing before it lies in.

    The memory that is taken is kept as a sorted list of separate stretches, so that many outputs are asked about in
    as many searches.
    """

    def __init__(self, taken: Iterable[Any]) -> None:
        """With the values whose memory is taken from the start."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for value in taken:
            for array in _arrays(value):
                self._take(array)

    def own(self, value: Any) -> Any:
        """The value, with arrays copied that cannot be written to or share memory with those taken."""
        if isinstance(value, dict):
            return {key: self.own(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.own(item) for item in value]
        if value is None:
            return None
        if not value.flags.writeable or self._overlaps(value):
            value = value.copy()
        self._take(value)
        return value

    def _overlaps(self, array: Array) -> bool:
        if not array.size:
            return False
        start, end = np.lib.array_utils.byte_bounds(array)
        i = bisect_right(self._ends, start)
        return i < len(self._starts) and self._starts[i] < end

    def _take(self, array: Array) -> None:
        """Join an array's memory with the stretches that it overlaps."""
        if not array.size:
            return
        start, end = np.lib.array_utils.byte_bounds(array)
        first, behind = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first < behind:
            start, end = min(start, self._starts[first]), max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]


def _arrays(value: Any) -> list[Array]:
    """The arrays in a value."""
    if isinstance(value, dict):
        return [a for item in value.values() for a in _arrays(item)]
    if isinstance(value, list):
        return [a for item in value for a in _arrays(item)]
    return [] if value is None else [value]
