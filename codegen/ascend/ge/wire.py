"""The protobuf wire format, as far as a GE IR file needs it, with the weights streamed.

A message is a list of pieces: bytes, and constants whose bytes are written when the file is. The result is what
protobuf itself would write: fields in the order in which they are added (callers add them by number), repeated numbers
packed. Source: the encoding chapter of protobuf's documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO

from uair.codegen.onnx.wire import write_data
from uair.ir.data import Data

VARINT, LENGTH_DELIMITED, FIXED32 = 0, 2, 5


def varint(value: int) -> bytes:
    """An integer in base 128, least significant digits first; negative ones as 64-bit two's complement."""
    left = value & 0xFFFFFFFFFFFFFFFF
    digits = bytearray()
    while left > 0x7F:
        digits.append(left & 0x7F | 0x80)
        left >>= 7
    digits.append(left)
    return bytes(digits)


class Message:
    """A message under construction.

    Attributes:
        nbytes: its length so far.
    """

    __slots__ = ("_pieces", "nbytes")

    def __init__(self) -> None:
        self._pieces: list[bytes | Data] = []
        self.nbytes = 0

    def _put(self, piece: bytes | Data) -> None:
        self._pieces.append(piece)
        self.nbytes += piece.nbytes if isinstance(piece, Data) else len(piece)

    def _head(self, field: int, length: int) -> None:
        self._put(varint(field << 3 | LENGTH_DELIMITED) + varint(length))

    def integer(self, field: int, value: int) -> None:
        """An integer, bool or enumeration."""
        self._put(varint(field << 3 | VARINT) + varint(value))

    def floating(self, field: int, value: float) -> None:
        """A float."""
        self._put(varint(field << 3 | FIXED32) + struct.pack("<f", value))

    def content(self, field: int, value: bytes | str | Data) -> None:
        """A string, or bytes; those of a constant are written later."""
        piece = value.encode() if isinstance(value, str) else value
        self._head(field, piece.nbytes if isinstance(piece, Data) else len(piece))
        self._put(piece)

    def integers(self, field: int, values: Iterable[int]) -> None:
        """Repeated integers; none at all leave no trace."""
        packed = b"".join(map(varint, values))
        if packed:
            self.content(field, packed)

    def floats(self, field: int, values: Iterable[float]) -> None:
        """Repeated floats."""
        packed = b"".join(struct.pack("<f", v) for v in values)
        if packed:
            self.content(field, packed)

    def message(self, field: int, value: Message) -> None:
        """A message within this one."""
        self._head(field, value.nbytes)
        self._pieces += value._pieces
        self.nbytes += value.nbytes

    def write(self, file: BinaryIO) -> None:
        """Write all pieces, letting go of each constant's memory when its bytes are out."""
        for piece in self._pieces:
            if isinstance(piece, Data):
                write_data(file, piece)
            else:
                file.write(piece)
