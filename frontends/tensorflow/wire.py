"""Reads protobuf messages out of a file without copying them.

A message is a range of bytes; its fields are found when one is asked for, and inner messages are ranges again. What is
never asked for is never read, and the bytes of a weight stay in the mapped file. Nothing recurses, every length is
checked against the range around it. Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NoReturn

import attrs
import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.ir.data import ArrayData, Data, MappedData, MappedFile
from uair.ir.dtype import Array, DType

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_HINT = "check that the file is complete and was written by TensorFlow"
MAX_TEXT = 1 << 20
"""Bytes of a name."""


@attrs.frozen(eq=False)
class Source:
    """The bytes of a file, or of a message in memory.

    Attributes:
        buffer: all bytes.
        name: of the file, for messages.
        file: the mapping, when the bytes are those of a file.
    """

    buffer: memoryview
    name: str
    file: MappedFile | None = None

    @property
    def message(self) -> Message:
        """The whole as one message."""
        return Message(self, 0, len(self.buffer))

    def fail(self, reason: str, at: int) -> NoReturn:
        """Say that the bytes make no sense.

        Raises:
            SourceFileError: always.
        """
        raise SourceFileError(reason, place=f"byte {at} of {self.name}", hint=_HINT)

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of variable length and the position behind it.

        Raises:
            SourceFileError: it is not complete, or longer than ten bytes.
        """
        buffer, value, shift = self.buffer, 0, 0
        while at < end:
            byte = buffer[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
            if shift >= 70:
                self.fail("the file is not a protobuf message: a number has no end", at)
        self.fail("the file is truncated: a number is not complete", at)

    def data(self, start: int, end: int, dtype: DType, shape: tuple[int, ...]) -> Data:
        """A range of bytes as a constant, by reference; the caller has checked its size."""
        if self.file is not None:
            return MappedData(self.file, start, dtype, shape)
        return ArrayData(np.frombuffer(self.buffer[start:end], dtype.numpy).reshape(shape), dtype)


@attrs.frozen(slots=True)
class Field:
    """One field: its wire type, its value when it is a number, its range otherwise."""

    wire_type: int
    start: int
    end: int
    value: int = 0


class Message:
    """A message in a file. Accessors take field numbers; a field that is absent has protobuf's default."""

    __slots__ = ("_fields", "end", "source", "start")

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.source = source
        self.start = start
        self.end = end
        self._fields: dict[int, list[Field]] | None = None

    @property
    def fields(self) -> dict[int, list[Field]]:
        """The fields by number, in order.

        Raises:
            SourceFileError: the range is no message.
        """
        if self._fields is None:
            self._fields = {}
            for number, field in self._scan():
                self._fields.setdefault(number, []).append(field)
        return self._fields

    def _scan(self) -> Iterator[tuple[int, Field]]:
        source, at, end = self.source, self.start, self.end
        while at < end:
            tag, after = source.varint(at, end)
            number, wire_type = tag >> 3, tag & 7
            if number == 0 or number >= 1 << 29:
                source.fail("the file is not a protobuf message: a field has no number", at)
            if wire_type == _VARINT:
                value, at = source.varint(after, end)
                yield number, Field(_VARINT, after, at, value)
                continue
            if wire_type == _BYTES:
                length, start = source.varint(after, end)
            elif wire_type in _FIXED:
                length, start = _FIXED[wire_type], after
            else:
                source.fail(f"the file is not a protobuf message: wire type {wire_type} does not occur", at)
            if length > end - start:
                source.fail(f"the file is truncated: a field of {length} bytes has {end - start} left", at)
            at = start + length
            yield number, Field(wire_type, start, at)

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return number in self.fields

    # ------------------------------------------------------------------ single fields
    def _last(self, number: int, wire_type: int) -> Field | None:
        found = self.fields.get(number)
        if not found:
            return None
        if found[-1].wire_type != wire_type:
            self.source.fail(f"field {number} has the wrong kind", found[-1].start)
        return found[-1]

    def unsigned(self, number: int, default: int = 0) -> int:
        """A number, as u64."""
        field = self._last(number, _VARINT)
        return default if field is None else field.value

    def integer(self, number: int, default: int = 0) -> int:
        """A number, as i64."""
        return signed(self.unsigned(number, default))

    def flag(self, number: int) -> bool:
        """A truth value."""
        return bool(self.unsigned(number))

    def number(self, number: int) -> float:
        """An f32."""
        field = self._last(number, _FIXED32)
        return 0.0 if field is None else float(struct.unpack("<f", self.source.buffer[field.start : field.end])[0])

    def bits32(self, number: int) -> int:
        """A fixed32."""
        field = self._last(number, _FIXED32)
        return 0 if field is None else int.from_bytes(self.source.buffer[field.start : field.end], "little")

    def span(self, number: int) -> tuple[int, int] | None:
        """Where the bytes of a field lie."""
        field = self._last(number, _BYTES)
        return None if field is None else (field.start, field.end)

    def raw(self, number: int) -> bytes:
        """The bytes of a field."""
        field = self._last(number, _BYTES)
        return b"" if field is None else bytes(self.source.buffer[field.start : field.end])

    def text(self, number: int) -> str:
        """A text."""
        field = self._last(number, _BYTES)
        return "" if field is None else self._text(field)

    def message(self, number: int) -> Message:
        """An inner message, empty when it is absent."""
        field = self._last(number, _BYTES)
        return Message(self.source, 0, 0) if field is None else Message(self.source, field.start, field.end)

    # ------------------------------------------------------------------ repeated fields
    def _ranges(self, number: int) -> list[Field]:
        found = self.fields.get(number, [])
        for field in found:
            if field.wire_type != _BYTES:
                self.source.fail(f"field {number} has the wrong kind", field.start)
        return found

    def texts(self, number: int) -> tuple[str, ...]:
        """All texts of a field."""
        return tuple(map(self._text, self._ranges(number)))

    def blobs(self, number: int) -> list[bytes]:
        """All byte strings of a field."""
        return [bytes(self.source.buffer[f.start : f.end]) for f in self._ranges(number)]

    def messages(self, number: int) -> list[Message]:
        """All messages of a field."""
        return [Message(self.source, f.start, f.end) for f in self._ranges(number)]

    def entries(self, number: int) -> dict[str, Message]:
        """A map from texts to messages."""
        return {entry.text(1): entry.message(2) for entry in self.messages(number)}

    def text_entries(self, number: int) -> dict[str, str]:
        """A map from texts to texts."""
        return {entry.text(1): entry.text(2) for entry in self.messages(number)}

    def unsigneds(self, number: int) -> list[int]:
        """All numbers of a field, packed or not, as u64."""
        values: list[int] = []
        for field in self.fields.get(number, []):
            if field.wire_type == _VARINT:
                values.append(field.value)
                continue
            if field.wire_type != _BYTES:
                self.source.fail(f"field {number} has the wrong kind", field.start)
            at = field.start
            while at < field.end:
                value, at = self.source.varint(at, field.end)
                values.append(value)
        return values

    def integers(self, number: int) -> list[int]:
        """All numbers of a field, packed or not, as i64."""
        return [signed(v) for v in self.unsigneds(number)]

    def fixed(self, number: int, dtype: str) -> Array:
        """All fixed-width numbers of a field, packed or not, as an array of a NumPy type."""
        width = np.dtype(dtype).itemsize
        parts: list[Array] = []
        for field in self.fields.get(number, []):
            size = field.end - field.start
            if field.wire_type == _VARINT or size % width:
                self.source.fail(f"field {number} has the wrong kind", field.start)
            parts.append(np.frombuffer(self.source.buffer[field.start : field.end], dtype))
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    def _text(self, field: Field) -> str:
        if field.end - field.start > MAX_TEXT:
            self.source.fail(f"a name has {field.end - field.start} bytes", field.start)
        try:
            return bytes(self.source.buffer[field.start : field.end]).decode()
        except UnicodeDecodeError:
            self.source.fail("a name is not text", field.start)


def signed(value: int) -> int:
    """A u64 as i64 of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value
