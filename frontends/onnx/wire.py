"""Finds the weights inside an ONNX file without copying them.

A walk over the protobuf wire format of `ModelProto` that steps into the messages that can hold tensors and over
everything else. The large fields of each tensor are cut out of what onnx is given to parse; a marker of a few bytes
stands in their place and leads back to their position in the file, so that a constant can be a view of the mapped file.
So are long lists of attributes: a number in one takes protobuf several times its bytes in the file.
Wire format: https://protobuf.dev/programming-guides/encoding/; field numbers: onnx.proto of onnx 1.23.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import numpy as np
from onnx import AttributeProto

from uair.frontends.onnx.errors import OnnxModelError
from uair.ir.dtype import Array

Schema = dict[int, "Schema | None"]
Chunk = bytes | memoryview

SMALL = 1024
"""Messages and fields of fewer bytes are left as they are: copying them costs less than cutting them out."""

MAX_DEPTH = 96
"""Nesting of messages; protobuf's own parsers give up at 100."""

MAX_SKELETON = (1 << 31) - 1
"""Protobuf's limit on the size of a message."""

# The fields that hold messages with tensors inside, by number.
_TENSOR: Schema = {}
_SPARSE: Schema = {1: _TENSOR, 2: _TENSOR}
_GRAPH: Schema = {}
_ATTRIBUTE: Schema = {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE}
_NODE: Schema = {5: _ATTRIBUTE}
_GRAPH.update({1: _NODE, 5: _TENSOR, 15: _SPARSE})
_FUNCTION: Schema = {7: _NODE, 11: _ATTRIBUTE}
_MODEL: Schema = {7: _GRAPH, 20: None, 25: _FUNCTION}  # None: training information, left out of the skeleton

RUN = 32
"""Fields of one number after which the walk looks for more of them at once: lists are written number by number."""

RAW_DATA = 9
BULK_FIELDS = {4: "float_data", 5: "int32_data", 7: "int64_data", 9: "raw_data", 10: "double_data", 11: "uint64_data"}
LIST_FIELDS = {7: "floats", 8: "ints", 9: "strings"}
LIST_TYPES: dict[int, int] = {AttributeProto.FLOATS: 7, AttributeProto.INTS: 8, AttributeProto.STRINGS: 9}
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TYPE = 5, 20
_FIXED = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2
_BLOCK = 1 << 18
"""Bytes or fields of a run that are looked at together; bounds the memory."""


@attrs.frozen
class Bulk:
    """What was cut out: where its bytes lie in the file, and which field it is.

    One of `BULK_FIELDS` is a field of `TensorProto`, without tag and length. One of `LIST_FIELDS` is the list of an
    `AttributeProto`: all its fields, tags included.
    """

    offset: int
    nbytes: int
    field: str


@attrs.frozen
class Skeleton:
    """A model file without its large fields.

    Attributes:
        data: the serialized `ModelProto`; `raw_data` of a tensor whose bytes were cut out is `marker` and a number. An
            attribute whose list was cut out holds such a tensor instead, and its type is still that of the list.
        bulk: the fields cut out, by that number.
        marker: bytes drawn at random, so that no file can forge one.
    """

    data: bytes
    bulk: tuple[Bulk, ...]
    marker: bytes

    def find(self, raw: bytes) -> Bulk | None:
        """The field that a tensor's `raw_data` stands for; None when these are data themselves."""
        if len(raw) != len(self.marker) + 4 or not raw.startswith(self.marker):
            return None
        return self.bulk[int.from_bytes(raw[-4:], "little")]


def split(buffer: memoryview, release: Callable[[int, int], None] | None = None) -> Skeleton:
    """Separate the large fields of a serialized `ModelProto` from the rest.

    Args:
        buffer: the file.
        release: called with offset and size of each field cut out, so that pages touched on the way can be dropped.

    Raises:
        OnnxModelError: the bytes are no protobuf message: a length points past the end, a tag is wrong, the nesting is
            too deep.
    """
    walker = Walker(buffer, os.urandom(16), release)
    chunks = walker.message(0, len(buffer), _MODEL, 0)
    size = len(buffer) if chunks is None else sum(len(c) for c in chunks)
    if size > MAX_SKELETON:
        raise OnnxModelError(
            f"the model without its weights has {size} bytes; a protobuf message ends at {MAX_SKELETON}",
            hint="store the weights as raw_data or as external data",
        )
    data = bytes(buffer) if chunks is None else b"".join(chunks)
    return Skeleton(data, tuple(walker.bulk), walker.marker)


class Walker:
    """One walk; `bulk` grows."""

    def __init__(self, buffer: memoryview, marker: bytes, release: Callable[[int, int], None] | None) -> None:
        self.buffer = buffer
        self.marker = marker
        self.release = release
        self.bulk: list[Bulk] = []

    def message(self, start: int, end: int, schema: Schema, depth: int) -> list[Chunk] | None:
        """The message at [start, end) with large fields cut out, in pieces; None when nothing was."""
        if depth > MAX_DEPTH:
            raise OnnxModelError(f"messages are nested more than {MAX_DEPTH} deep", place=f"byte {start}")
        if schema is _TENSOR:
            return self.tensor(start, end)
        if schema is _ATTRIBUTE and (without := self.listed(start, end)) is not None:
            return without
        return self.parent(start, end, schema, depth)

    def parent(self, start: int, end: int, schema: Schema, depth: int) -> list[Chunk] | None:
        """`message` for one that has others inside."""
        chunks: list[Chunk] = []
        kept = at = start
        first, alike = -1, 0
        while at < end:
            field_start = at
            alike = alike + 1 if self.buffer[at] == first else 0
            first = self.buffer[at]
            if alike == RUN:
                alike = 0
                at = self.pass_run(at, end)
                continue
            number, wire_type, at = self.tag(at, end)
            if wire_type != _BYTES:
                at = self.skip(wire_type, at, end)
                continue
            length, at = self.varint(at, end)
            stop = self.bounded(at, length, end)
            if length >= SMALL and number in schema:
                inner = schema[number]
                replaced = [] if inner is None else self.message(at, stop, inner, depth + 1)
                if replaced is not None:
                    chunks.append(self.buffer[kept:field_start])
                    if inner is not None:
                        chunks.append(_header(number, sum(len(c) for c in replaced)))
                        chunks += replaced
                    kept = stop
            at = stop
        if not chunks:
            return None
        chunks.append(self.buffer[kept:end])
        return chunks

    def tensor(self, start: int, end: int) -> list[Chunk] | None:
        """A `TensorProto` without its data, when these are one large field."""
        found: list[tuple[int, int, int, int]] = []
        at = start
        while at < end:
            field_start = at
            number, wire_type, at = self.tag(at, end)
            if wire_type != _BYTES:
                if number in BULK_FIELDS:
                    return None  # numbers written one by one: left to protobuf
                at = self.skip(wire_type, at, end)
                continue
            length, at = self.varint(at, end)
            stop = self.bounded(at, length, end)
            if number in BULK_FIELDS:
                found.append((field_start, at, stop, number))
            at = stop
        if len(found) != 1:
            return None
        field_start, first, stop, number = found[0]
        if stop - first < SMALL:
            return None
        marker = self.cut(first, stop, BULK_FIELDS[number])
        return [self.buffer[start:field_start], marker, self.buffer[stop:end]]

    def listed(self, start: int, end: int) -> list[Chunk] | None:
        """An `AttributeProto` without its list, when that is long and of the type that is stated."""
        found: tuple[int, int, int] | None = None
        stated = 0
        at = start
        while at < end:
            field_start = at
            number, wire_type, at = self.tag(at, end)
            if number in LIST_FIELDS:
                if found is not None:
                    return None
                at = self.list_end(field_start, end)
                found = field_start, at, number
            elif number == _ATTRIBUTE_TENSOR:
                return None
            elif number == _ATTRIBUTE_TYPE and wire_type == _VARINT:
                stated, at = self.varint(at, end)
            else:
                at = self.behind(wire_type, at, end)
        if found is None or found[1] - found[0] < SMALL or LIST_TYPES.get(stated) != found[2]:
            return None
        first, stop, number = found
        marker = self.cut(first, stop, LIST_FIELDS[number])
        return [self.buffer[start:first], _header(_ATTRIBUTE_TENSOR, len(marker)), marker, self.buffer[stop:end]]

    def list_end(self, at: int, end: int) -> int:
        """The position behind the fields at `at` that begin with the same byte."""
        first = self.buffer[at]
        while at < end and self.buffer[at] == first:
            passed = self.pass_run(at, end)
            if passed == at:
                _, wire_type, at = self.tag(at, end)
                passed = self.behind(wire_type, at, end)
            at = passed
        return at

    def cut(self, first: int, stop: int, field: str) -> bytes:
        """Cut [first, stop) out: the field of a `TensorProto` that stands for it."""
        marker = self.marker + len(self.bulk).to_bytes(4, "little")
        self.bulk.append(Bulk(first, stop - first, field))
        if self.release is not None:
            self.release(first, stop - first)
        return _header(RAW_DATA, len(marker)) + marker

    def pass_run(self, at: int, end: int) -> int:
        """The position behind the complete small fields at `at` that begin with the same byte.

        None of them can hold a tensor to cut out. A field that is large, not complete or malformed ends the run: it is
        left to the walk field by field, which says what is wrong with it.
        """
        tag = self.buffer[at]
        if not 8 <= tag < 0x80:
            return at
        if tag & 7 == _BYTES:
            return self._pass_texts(tag, at, end)
        if tag & 7 == _VARINT:
            return self._pass_numbers(tag, at, end)
        step = 1 + _FIXED.get(tag & 7, end)
        block = RUN
        while (count := min(block, (end - at) // step)) > 0:
            other = np.flatnonzero(np.frombuffer(self.buffer, np.uint8, count * step, at)[::step] != tag)
            if other.size:
                return at + int(other[0]) * step
            at += count * step
            block = min(2 * block, _BLOCK)
        return at

    def _pass_numbers(self, tag: int, at: int, end: int) -> int:
        """`pass_run` for numbers of variable length: a tag of one byte is one as well, so every second is a tag."""
        block = 4 * RUN
        while at < end:
            data = np.frombuffer(self.buffer, np.uint8, min(block, end - at), at)
            ends = np.flatnonzero(data < 0x80)
            ends = ends[: len(ends) // 2 * 2]
            lengths = np.diff(ends, prepend=-1)
            whole = (lengths[::2] == 1) & (data[ends[::2]] == tag) & (lengths[1::2] <= 10)
            count = int(whole.argmin()) if not whole.all() else len(whole)
            if not count:
                break
            at += int(ends[2 * count - 1]) + 1
            if count < len(whole):
                break
            block = min(2 * block, _BLOCK)
        return at

    def _pass_texts(self, tag: int, at: int, end: int) -> int:
        """`pass_run` for fields of bytes whose length takes one byte."""
        buffer = self.buffer
        following = at
        while following + 1 < end and buffer[following] == tag and buffer[following + 1] < 0x80:
            at = following
            following += 2 + buffer[following + 1]
        return following if following <= end else at

    # ------------------------------------------------------------------ elements
    def tag(self, at: int, end: int) -> tuple[int, int, int]:
        """Field number, wire type, and the position behind the tag."""
        value, after = self.varint(at, end)
        number, wire_type = value >> 3, value & 7
        if number == 0 or number >= 1 << 29:
            raise OnnxModelError("the file is not a protobuf message: a field has no number", place=f"byte {at}")
        return number, wire_type, after

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of variable length and the position behind it."""
        buffer = self.buffer
        value = shift = 0
        while True:
            if at >= end:
                raise OnnxModelError("the file is truncated: a number is not complete", place=f"byte {at}")
            byte = buffer[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift >= 70:
                raise OnnxModelError("the file is not a protobuf message: a number has no end", place=f"byte {at}")

    def behind(self, wire_type: int, at: int, end: int) -> int:
        """The position behind a value."""
        if wire_type != _BYTES:
            return self.skip(wire_type, at, end)
        length, at = self.varint(at, end)
        return self.bounded(at, length, end)

    def skip(self, wire_type: int, at: int, end: int) -> int:
        """The position behind a value that is no length-delimited field."""
        if wire_type == _VARINT:
            return self.varint(at, end)[1]
        if wire_type not in _FIXED:
            raise OnnxModelError(
                f"the file is not an ONNX model: wire type {wire_type} does not occur in one", place=f"byte {at}"
            )
        return self.bounded(at, _FIXED[wire_type], end)

    def bounded(self, at: int, length: int, end: int) -> int:
        """The end of a field of `length` bytes at `at`."""
        if length > end - at:
            raise OnnxModelError(
                f"the file is truncated: a field of {length} bytes starts {end - at} bytes before its message ends",
                place=f"byte {at}",
            )
        return at + length


def _header(number: int, length: int) -> bytes:
    """Tag and length of a length-delimited field."""
    return _encoded(number << 3 | _BYTES) + _encoded(length)


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def count_varints(raw: memoryview) -> int:
    """How many numbers a packed field of varints holds.

    Raises:
        OnnxModelError: the last one is not complete.
    """
    if len(raw) and raw[-1] >= 0x80:
        raise OnnxModelError("a packed field is truncated: its last number is not complete")
    return int(np.count_nonzero(np.frombuffer(raw, np.uint8) < 0x80))


def decode_varints(raw: memoryview) -> Array:
    """The numbers of a packed field of varints as u64; the bits of bytes beyond the tenth are dropped.

    Raises:
        OnnxModelError: a number is not complete, or longer than ten bytes.
    """
    count = count_varints(raw)
    data = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1]) if count else ends
    lengths = ends - starts + 1
    if count and int(lengths.max()) > 10:
        raise OnnxModelError("a packed field holds a number longer than ten bytes")
    values = np.zeros(count, np.uint64)
    for i in range(int(lengths.max()) if count else 0):
        has = np.flatnonzero(lengths > i)
        values[has] |= (data[starts[has] + i] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * i)
    return values
