"""Arrays that wait for their use in a temporary file in the place of memory."""

from __future__ import annotations

import bisect
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeVar, cast

import attrs
import numpy as np

from uair.ir.data import ArrayData, Data
from uair.ir.dtype import Array, DType

SMALL = 1 << 12
"""Bytes up to which a value stays in memory: a file would only make it slower."""
PAGE = 1 << 12
"""Places in the file are multiples of it, so that one that was left fits others."""

Key = TypeVar("Key")


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


class Stored(Mapping[Key, Array]):
    """Arrays of which some lie in a file, from which every access reads them."""

    def __init__(self, store: Store, places: Mapping[Key, Array | Place]) -> None:
        self._store, self._places = store, places

    def __getitem__(self, key: Key) -> Array:
        """The array of a key."""
        place = self._places[key]
        return self._store.get(place) if isinstance(place, Place) else place

    def __iter__(self) -> Iterator[Key]:
        """The keys."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self._places)


class ParkedData(Data):
    """Values in a file, from which every access reads them."""

    __slots__ = ("place", "store")

    def __init__(self, store: Store, array: Array) -> None:
        """Write an array. OSError when the disk is full."""
        super().__init__(DType.from_numpy(array.dtype), array.shape)
        self.store, self.place = store, store.put(array)

    def array(self) -> Array:
        """The values."""
        array = self.store.get(self.place)
        array.flags.writeable = False
        return array


def parked(data: Data, store: Store) -> Data:
    """The same values in a file, if they are many and in memory."""
    return ParkedData(store, data.array()) if isinstance(data, ArrayData) and data.nbytes > SMALL else data
