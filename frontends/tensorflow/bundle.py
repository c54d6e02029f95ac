"""Reads the weights beside a SavedModel: a "tensor bundle", variables.index and variables.data-NNNNN-of-NNNNN.

The index is a table of LevelDB's format (https://github.com/google/leveldb/blob/main/doc/table_format.md) from names to
BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto); the data files hold the tensors' bytes one after the
other. Blocks of the index are checked by their CRC-32C; tensors stay in the mapped files.
"""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.tensors import MAX_ELEMENTS, dtype_name, dtype_of, shape_of
from uair.frontends.tensorflow.wire import Message, Source
from uair.ir.data import ArrayData, Data, MappedData, MappedFile
from uair.ir.dims import static
from uair.ir.dtype import DType

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # of a block: how it is compressed, and its checksum
_MASK_DELTA = 0xA282EAD8
MAX_INDEX = 1 << 28
MAX_SHARDS = 1 << 16
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def _crc_table() -> list[int]:
    table: list[int] = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ 0x82F63B78 if i & 1 else i >> 1
        table.append(i)
    return table


_CRC = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """The checksum of a block as LevelDB stores it (Castagnoli's polynomial, rotated and shifted)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def table_entries(source: Source) -> dict[bytes, tuple[Source, int, int]]:
    """The entries of a LevelDB table: keys, and where their values lie.

    Raises:
        SourceFileError: it is damaged, or its blocks are compressed.
    """
    size = len(source.buffer)
    if size < _FOOTER or int.from_bytes(source.buffer[-8:], "little") != _MAGIC:
        source.fail("the index of the weights is damaged or truncated", max(size - 8, 0))
    if size > MAX_INDEX:
        source.fail(f"the index of the weights has {size} bytes", 0)
    at = size - _FOOTER
    for _ in range(2):  # offset and length of the meta index, which is not needed
        _, at = source.varint(at, size)
    offset, at = source.varint(at, size)
    length, _ = source.varint(at, size)
    entries: dict[bytes, tuple[Source, int, int]] = {}
    for start, end in _block(source, offset, length).values():
        block_offset, after = source.varint(start, end)
        block_length, _ = source.varint(after, end)
        for key, (begin, stop) in _block(source, block_offset, block_length).items():
            entries[key] = (source, begin, stop)
    return entries


def _block(source: Source, offset: int, length: int) -> dict[bytes, tuple[int, int]]:
    """Keys of a block and the ranges of their values."""
    end = offset + length
    if end + _TRAILER > len(source.buffer) or length < 4:
        source.fail("a block of the index lies outside of it", min(offset, len(source.buffer)))
    if source.buffer[end]:
        source.fail("the index of the weights is compressed, which TensorFlow does not do", offset)
    stored = int.from_bytes(source.buffer[end + 1 : end + _TRAILER], "little")
    if masked_crc32c(bytes(source.buffer[offset : end + 1])) != stored:
        source.fail("a block of the index is damaged: its checksum is wrong", offset)
    restarts = int.from_bytes(source.buffer[end - 4 : end], "little")
    stop = end - 4 - 4 * restarts
    if stop < offset:
        source.fail("a block of the index is damaged", offset)
    at, key, found = offset, b"", dict[bytes, tuple[int, int]]()
    while at < stop:
        shared, at = source.varint(at, stop)
        added, at = source.varint(at, stop)
        size, at = source.varint(at, stop)
        if shared > len(key) or added > stop - at or size > stop - at - added:
            source.fail("a block of the index is damaged", at)
        key = key[:shared] + bytes(source.buffer[at : at + added])
        found[key] = (at + added, at + added + size)
        at += added + size
    return found


@attrs.define(eq=False)
class Bundle:
    """The weights of a SavedModel by the names that the checkpoint gives them."""

    prefix: Path
    root: Path
    entries: dict[str, Message]
    shards: int
    _files: dict[int, MappedFile] = attrs.Factory(dict[int, MappedFile])

    @staticmethod
    def open(prefix: Path, root: Path) -> Bundle:
        """Read the index of `prefix`.index; no file outside of `root` is read.

        Raises:
            SourceFileError: it cannot be read.
        """
        file = mapped(prefix.with_name(prefix.name + ".index"), root)
        table = table_entries(Source(file.view(0, file.size), Path(file.path).name, file))
        try:
            entries = {key.decode(): Message(source, start, end) for key, (source, start, end) in table.items()}
        except UnicodeDecodeError:
            raise SourceFileError("a name in the index of the weights is no text", place=file.path) from None
        header = entries.pop("", None)
        if header is None or header.integer(2):
            what = "no header" if header is None else "big-endian numbers"
            raise SourceFileError(f"the index of the weights has {what}", place=Path(file.path).name)
        return Bundle(prefix, root, entries, header.integer(1))

    def data(self, key: str) -> Data:
        """The values of a tensor, by reference.

        Raises:
            SourceFileError: they are not there, or do not fit the shape.
        """
        entry = self.entries.get(key)
        place = f"tensor {key!r} of {self.prefix.name}.index"
        if entry is None:
            raise SourceFileError("the weights have no such tensor", place=place)
        name, extents = dtype_name(entry.integer(1)), shape_of(entry.message(2))
        dtype = dtype_of(name, place)
        if extents is None or None in extents or entry.has(7):
            raise SourceFileError("the tensor is stored in slices or without a shape", place=place)
        shape = static(extents)
        offset, size = entry.integer(4), entry.integer(5)
        file = self._shard(entry.integer(3), place)
        if offset < 0 or size < 0 or offset + size > file.size or math.prod(shape) > MAX_ELEMENTS:
            raise SourceFileError(
                f"bytes {offset} to {offset + size} lie outside of a file of {file.size}", place=place
            )
        if dtype is DType.STRING:
            return _strings(Source(file.view(offset, size), Path(file.path).name), shape)
        if size != math.prod(shape) * max(dtype.bits // 8, 1):
            raise SourceFileError(f"a tensor {name}{list(shape)} has {size} bytes", place=place)
        if dtype.bits < 8:
            return ArrayData(np.frombuffer(file.view(offset, size), np.int8).astype(dtype.numpy).reshape(shape), dtype)
        return MappedData(file, offset, dtype, shape)

    def _shard(self, number: int, place: str) -> MappedFile:
        if not 0 <= number < self.shards <= MAX_SHARDS:
            raise SourceFileError(f"it lies in file {number} of {self.shards}", place=place)
        if number not in self._files:
            name = f"{self.prefix.name}.data-{number:05}-of-{self.shards:05}"
            self._files[number] = mapped(self.prefix.with_name(name), self.root)
        return self._files[number]


def _strings(source: Source, shape: tuple[int, ...]) -> Data:
    """A tensor of strings: their lengths, a checksum, then all of them."""
    count, at, end = math.prod(shape), 0, len(source.buffer)
    lengths: list[int] = []
    for _ in range(count):
        length, at = source.varint(at, end)
        lengths.append(length)
    at += 4
    values = np.empty(count, object)
    for i, length in enumerate(lengths):
        if length > end - at:
            source.fail("the file is truncated: a string is not complete", at)
        values[i] = bytes(source.buffer[at : at + length]).decode("utf-8", "surrogateescape")
        at += length
    return ArrayData(values.reshape(shape), DType.STRING)


def mapped(path: Path, root: Path | None = None) -> MappedFile:
    """A regular file, mapped; inside of the folder `root` when that is given.

    Raises:
        SourceFileError: it is not there, empty, a link that leads out of the folder, or cannot be read.
    """
    try:
        if root is not None and not path.resolve().is_relative_to(root.resolve()):
            raise SourceFileError(
                f"{path.name} is a link that leads out of the model's folder",
                hint="copy the model with its links resolved (cp -rL)",
            )
        if not path.is_file():
            raise SourceFileError(f"{str(path)!r} is {'no regular file' if path.exists() else 'not there'}")
        if path.stat().st_size == 0:
            raise SourceFileError("the file is empty", place=path.name)
        return MappedFile(path)
    except (OSError, ValueError) as error:
        raise SourceFileError(f"{str(path)!r} cannot be read: {error}") from None
