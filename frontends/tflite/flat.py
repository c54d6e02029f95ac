"""FlatBuffers, read with every access checked.

A FlatBuffer is tables that point at each other by offsets. The format's own Python package follows them without looking
whether they stay in the file; models come from strangers, so here a table, vector or string that does not lie in the
file whole is an error, and the number of elements read is limited by the file's size: a file in which many offsets lead
to the same place cannot make the reader work longer than it is large.

Source: FlatBuffers internals, https://flatbuffers.dev/internals/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.ir.dtype import Array

_HINT = "check that the file is complete, and that it is a .tflite model"
_SLACK = 4096

_STRUCTS = {kind: struct.Struct("<" + kind) for kind in "?bBhHiIqQf"}
_U16, _I32, _U32 = _STRUCTS["H"], _STRUCTS["i"], _STRUCTS["I"]


class FlatBuffer:
    """The bytes of a FlatBuffer.

    Attributes:
        view: the bytes.
        size: their number.
    """

    __slots__ = ("_left", "size", "view")

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.size = len(view)
        self._left = self.size + _SLACK

    def root(self, identifier: bytes) -> Table:
        """The root table.

        Raises:
            SourceFileError: the file has another identifier, or is too short.
        """
        if self.size < 8:
            self.damaged(f"the file has {self.size} bytes, a model has more")
        if bytes(self.view[4:8]) != identifier:
            raise SourceFileError(
                f"the file is no TFLite model: its identifier is {bytes(self.view[4:8])!r}, not {identifier!r}",
                hint="a model of another framework, or inside of an archive, is read under its own name",
            )
        return self.table(0)

    def damaged(self, what: str) -> NoReturn:
        """Say that the file is damaged.

        Raises:
            SourceFileError: always.
        """
        raise SourceFileError(f"the file is damaged: {what}", hint=_HINT)

    def spend(self, count: int) -> None:
        """Count elements that were read.

        Raises:
            SourceFileError: they are more than the file can hold.
        """
        self._left -= count
        if self._left < 0:
            self.damaged("its tables lead to the same places again and again")

    def unpack(self, form: struct.Struct, at: int) -> int:
        """The number at a place.

        Raises:
            SourceFileError: it does not lie in the file.
        """
        if at < 0 or at + form.size > self.size:
            self.damaged(f"it ends before byte {at + form.size}")
        value: int = form.unpack_from(self.view, at)[0]
        return value

    def follow(self, at: int) -> int:
        """Where the offset at a place leads."""
        return at + self.unpack(_U32, at)

    def table(self, at: int) -> Table:
        """The table that the offset at a place leads to."""
        self.spend(1)
        return Table(self, self.follow(at))

    def vector(self, at: int, width: int) -> tuple[int, int]:
        """Place of the first element, and number of elements, of the vector that the offset at a place leads to."""
        start = self.follow(at)
        count = self.unpack(_U32, start)
        if start + 4 + count * width > self.size:
            self.damaged(f"a list of {count} elements at byte {start} goes beyond its end")
        return start + 4, count


class Table:
    """One table. Fields are named by their slot, the place in the schema's declaration; absent ones have defaults."""

    __slots__ = ("_slots", "_vtable", "buffer", "extent", "position")

    def __init__(self, buffer: FlatBuffer, position: int) -> None:
        self.buffer = buffer
        self.position = position
        self._vtable = position - buffer.unpack(_I32, position)
        size = buffer.unpack(_U16, self._vtable)
        self.extent = buffer.unpack(_U16, self._vtable + 2)
        if size < 4 or self._vtable + size > buffer.size or position + self.extent > buffer.size:
            buffer.damaged(f"the table at byte {position} goes beyond its end")
        self._slots = (size - 4) // 2

    def _at(self, slot: int, width: int) -> int | None:
        """Place of a field of some bytes; None when it is absent."""
        offset = self.buffer.unpack(_U16, self._vtable + 4 + 2 * slot) if slot < self._slots else 0
        if not offset:
            return None
        if offset < 4 or offset + width > self.extent:
            self.buffer.damaged(f"field {slot} of the table at byte {self.position} lies outside of it")
        return self.position + offset

    def has(self, slot: int) -> bool:
        """Whether a field is there."""
        return self._at(slot, 1) is not None

    def number(self, slot: int, kind: str, default: int | float = 0) -> int | float:
        """A number of the `struct` module's kind."""
        form = _STRUCTS[kind]
        at = self._at(slot, form.size)
        return default if at is None else self.buffer.unpack(form, at)

    def integer(self, slot: int, kind: str = "i", default: int = 0) -> int:
        """A whole number."""
        return int(self.number(slot, kind, default))

    def flag(self, slot: int, default: bool = False) -> bool:
        """A truth value; any byte but 0 is true."""
        return bool(self.integer(slot, "B", int(default)))

    def bytes(self, slot: int) -> tuple[int, int] | None:
        """Place and length of a list of bytes; None when it is absent."""
        at = self._at(slot, 4)
        return None if at is None else self.buffer.vector(at, 1)

    def string(self, slot: int) -> str:
        """A text, empty when absent; what is no UTF-8 is replaced."""
        found = self.bytes(slot)
        if found is None:
            return ""
        start, count = found
        self.buffer.spend(count)
        return bytes(self.buffer.view[start : start + count]).decode("utf-8", "replace")

    def numbers(self, slot: int, dtype: str) -> Array | None:
        """A list of numbers of a NumPy type ("<i4"); None when it is absent."""
        at = self._at(slot, 4)
        if at is None:
            return None
        width = np.dtype(dtype).itemsize
        start, count = self.buffer.vector(at, width)
        self.buffer.spend(count)
        return np.frombuffer(self.buffer.view[start : start + count * width], dtype)

    def integers(self, slot: int) -> tuple[int, ...]:
        """A list of 32-bit numbers; empty when absent."""
        found = self.numbers(slot, "<i4")
        return () if found is None else tuple(found.tolist())

    def table(self, slot: int) -> Table | None:
        """The table that a field leads to, also one of a union; None when it is absent."""
        at = self._at(slot, 4)
        return None if at is None else self.buffer.table(at)

    def tables(self, slot: int) -> Iterator[Table]:
        """A list of tables."""
        at = self._at(slot, 4)
        if at is None:
            return
        start, count = self.buffer.vector(at, 4)
        for i in range(count):
            yield self.buffer.table(start + 4 * i)
