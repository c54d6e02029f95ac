"""Options of custom operators in FlexBuffers: a map of names to numbers.

Source: the format's description, FlexBuffers internals (flatbuffers.dev). The last two bits of a value's type say how
wide it is, or what it points to; in front of a map's values are the distance to the vector of its names and the width
in there.
"""

from __future__ import annotations

import struct
from typing import NoReturn

from uair.frontends.common.errors import SourceFileError

_INT, _UINT, _FLOAT, _MAP, _BOOL = 1, 2, 3, 9, 26
_FORMATS = {
    _INT: {1: "b", 2: "h", 4: "i", 8: "q"},
    _UINT: {1: "B", 2: "H", 4: "I", 8: "Q"},
    _FLOAT: {2: "e", 4: "f", 8: "d"},
    _BOOL: {1: "B", 2: "H", 4: "I", 8: "Q"},
}
_INDIRECT = {6: _INT, 7: _UINT, 8: _FLOAT}


def numbers(content: bytes) -> dict[str, float]:
    """The numbers of a map, by name; values of other kinds are left out.

    Raises:
        SourceFileError: the bytes are no map, or point outside of themselves.
    """
    reader = _Reader(content)
    if len(content) < 3 or content[-2] >> 2 != _MAP:
        reader.damaged()
    at = reader.target(len(content) - 2 - content[-1], content[-1])
    width = 1 << (content[-2] & 3)
    names_at = reader.target(at - 3 * width, width)
    names_width = reader.number(at - 2 * width, width, _UINT)
    count = reader.number(at - width, width, _UINT)
    found: dict[str, float] = {}
    for i in range(int(count)):
        name = reader.text(reader.target(names_at + i * int(names_width), int(names_width)))
        packed = int(reader.number(at + int(count) * width + i, 1, _UINT))
        value = reader.value(at + i * width, width, packed)
        if value is not None:
            found[name] = value
    return found


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def damaged(self) -> NoReturn:
        """Refuse the bytes."""
        raise SourceFileError("its options are no FlexBuffers map, or a damaged one", hint="convert the model again")

    def number(self, at: int, width: int, kind: int) -> float:
        """A number of one kind."""
        form = _FORMATS[kind].get(width)
        if form is None or not 0 <= at <= len(self.content) - width:
            self.damaged()
        value: float = struct.unpack_from(f"<{form}", self.content, at)[0]
        return value

    def target(self, at: int, width: int) -> int:
        """Where an offset points to: it counts backwards."""
        return at - int(self.number(at, width, _UINT))

    def text(self, at: int) -> str:
        """A name, which ends in a zero."""
        end = self.content.find(0, at) if at >= 0 else -1
        if end < 0:
            self.damaged()
        return self.content[at:end].decode("utf-8", "replace")

    def value(self, at: int, width: int, packed: int) -> float | None:
        """A value of a map whose values are `width` bytes apart; None when it is no number."""
        kind = packed >> 2
        if kind in _INDIRECT:
            return self.number(self.target(at, width), 1 << (packed & 3), _INDIRECT[kind])
        return self.number(at, width, kind) if kind in _FORMATS else None
