"""Samples that come only once, kept in a file, so that they can be read as often as needed in little memory."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any, cast

import attrs
import numpy as np

from uair.ir.dtype import Array

IN_MEMORY = 1 << 22
"""Bytes that are kept in memory before a temporary file is made."""


@attrs.frozen
class _Stored:
    """Where an array lies."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@attrs.define(eq=False)
class Spool:
    """What an iterator of samples gives, as often as one likes; nothing is drawn from it before it is asked for."""

    _source: Iterator[tuple[dict[str, Array], str]]
    _file: IO[bytes] = attrs.Factory(lambda: cast("IO[bytes]", tempfile.SpooledTemporaryFile(IN_MEMORY)))
    _index: list[tuple[list[_Stored], str]] = attrs.Factory(list["tuple[list[_Stored], str]"])
    _end: int = 0

    def __attrs_post_init__(self) -> None:
        weakref.finalize(self, self._file.close)

    def __iter__(self) -> Iterator[tuple[dict[str, Array], str]]:
        """The samples from the first on, each with its place."""
        at = 0
        while True:
            if at == len(self._index):
                item = next(self._source, None)
                if item is None:
                    return
                self._write(*item)
                yield item
            else:
                yield self._read(at)
            at += 1

    def _write(self, feeds: dict[str, Array], place: str) -> None:
        stored: list[_Stored] = []
        self._file.seek(self._end)
        for name, array in feeds.items():
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._file.write(raw.data)
            stored.append(_Stored(name, array.dtype, array.shape, self._end, raw.nbytes))
            self._end += raw.nbytes
        self._index.append((stored, place))

    def _read(self, at: int) -> tuple[dict[str, Array], str]:
        stored, place = self._index[at]
        feeds: dict[str, Array] = {}
        for each in stored:
            self._file.seek(each.offset)
            raw = self._file.read(each.nbytes)
            feeds[each.name] = np.frombuffer(raw, each.dtype).reshape(each.shape)
        return feeds, place
