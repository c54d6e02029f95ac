"""Samples that come only once, kept in a file, so that they can be read as often as needed in little memory."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any, TypeAlias, cast

import attrs
import numpy as np

from uair.ir.dtype import Array

IN_MEMORY = 1 << 22
"""Bytes that are kept in memory before a temporary file is made."""


_Layout: TypeAlias = tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
"""Name, element type and shape of the arrays of a sample, which lie behind each other."""


@attrs.define(eq=False)
class Spool:
    """What an iterator of samples gives, as often as one likes; nothing is drawn from it before it is asked for."""

    _source: Iterator[tuple[dict[str, Array], str]]
    _file: IO[bytes] = attrs.Factory(lambda: cast("IO[bytes]", tempfile.SpooledTemporaryFile(IN_MEMORY)))
    _index: list[tuple[_Layout, int, str]] = attrs.Factory(list["tuple[_Layout, int, str]"])
    _layouts: dict[_Layout, _Layout] = attrs.Factory(dict["_Layout", "_Layout"])
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
        layout = tuple((name, array.dtype, array.shape) for name, array in feeds.items())
        self._index.append((self._layouts.setdefault(layout, layout), self._end, place))
        self._file.seek(self._end)
        for array in feeds.values():
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self._file.write(raw.data)
            self._end += raw.nbytes

    def _read(self, at: int) -> tuple[dict[str, Array], str]:
        layout, offset, place = self._index[at]
        feeds: dict[str, Array] = {}
        self._file.seek(offset)
        for name, dtype, shape in layout:
            raw = self._file.read(math.prod(shape) * dtype.itemsize)
            feeds[name] = np.frombuffer(raw, dtype).reshape(shape)
        return feeds, place
