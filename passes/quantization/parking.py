"""Runs of many samples side by side in the memory of one: the values of those that wait lie in a temporary file."""

from __future__ import annotations

import bisect
import os
import tempfile
import weakref
from collections.abc import Iterable
from typing import IO, Any, cast

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.passes.quantization.statistics import Execution

SMALL = 1 << 12
"""Bytes up to which a value stays in memory: a file would only make it slower."""
PAGE = 1 << 12
"""Places in the file are multiples of it, so that one that was left fits others."""


@attrs.frozen
class Place:
    """Where an array lies in the file."""

    offset: int
    room: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@attrs.define(eq=False)
class Store:
    """Arrays in a temporary file, whose places are used again.

    Attributes:
        file: the file.
        end: where its last place ends.
    """

    file: IO[bytes] = attrs.Factory(lambda: cast("IO[bytes]", tempfile.TemporaryFile(prefix="uair-")))
    end: int = 0
    _left: list[tuple[int, int]] = attrs.Factory(list["tuple[int, int]"])
    """(room, offset) of the places that were left, sorted."""

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, self.file.close)

    def put(self, array: Array) -> Place:
        """Write an array. OSError when the disk is full."""
        room = -(-array.nbytes // PAGE) * PAGE
        i = bisect.bisect_left(self._left, (room, 0))
        if i < len(self._left) and self._left[i][0] <= 2 * room:
            room, offset = self._left.pop(i)
        else:
            offset, self.end = self.end, self.end + room
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        done = 0
        while done < len(raw):
            done += os.pwrite(self.file.fileno(), raw[done:], offset + done)
        return Place(offset, room, array.dtype, array.shape)

    def get(self, place: Place) -> Array:
        """Read an array."""
        array = np.empty(place.shape, place.dtype)
        raw = array.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(raw):
            got = os.preadv(self.file.fileno(), [raw[done:]], place.offset + done)
            if not got:
                raise OSError(f"a temporary file ends at {place.offset + done}")
            done += got
        return array

    def free(self, place: Place) -> None:
        """Let others have the place."""
        bisect.insort(self._left, (place.room, place.offset))


@attrs.define(eq=False)
class ParkedRun:
    """A run whose values are in memory only where they are about to be used.

    Attributes:
        run: the run.
        store: where its other values are.
    """

    run: Execution
    store: Store
    _parked: dict[Tensor, Place] = attrs.Factory(dict[Tensor, Place])

    def fetch(self, tensors: Iterable[Tensor]) -> None:
        """Have the values of tensors in memory, those that are still needed."""
        held = self.run.held
        for tensor in tensors:
            place = self._parked.get(tensor)
            if place is not None and tensor not in held:
                held[tensor] = self.store.get(place)

    def replace(self, tensor: Tensor, value: Any) -> None:
        """Let what comes use another value for a tensor that is in memory."""
        self._forget(tensor)
        self.run.replace(tensor, value)

    def park(self, used: Iterable[Tensor]) -> None:
        """Have no value in memory; `used` are those that were fetched, some of which were needed for the last time."""
        self.run.forget_feeds()
        held = self.run.held
        for tensor in used:
            if tensor not in held:
                self._forget(tensor)
        for tensor, value in list(held.items()):
            if tensor.data is not None:
                del held[tensor]  # a constant, which is had anew
            elif isinstance(value, np.ndarray) and value.nbytes > SMALL and value.dtype != object:
                if tensor not in self._parked:
                    self._parked[tensor] = self.store.put(value)
                del held[tensor]

    def _forget(self, tensor: Tensor) -> None:
        place = self._parked.pop(tensor, None)
        if place is not None:
            self.store.free(place)
