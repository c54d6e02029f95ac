"""The zip archive that a `.pt2` file is, read without trust.

`torch.export.save` stores its entries uncompressed, so weights are bytes of the file. Nothing is ever unpacked or
unpickled, and no name from the archive becomes a path: entries are looked up by their names.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

from uair.frontends.common.errors import SourceFileError
from uair.ir.data import MappedFile

SAVE_AGAIN = "the file was cut short or changed on the way: copy it again, or save it again with torch.export.save"
MAX_ENTRIES = 1_000_000
MAX_JSON = 1 << 30
"""Bytes of the program's description; that of a model of a billion parameters has some millions."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Container:
    """An archive: its entries, and where each lies in the file.

    Attributes:
        path: of the file.
        names: of the entries, without the folder that all of them are in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except OSError as error:
            raise SourceFileError(f"{path} cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error, OverflowError) as error:
            self.fail(f"is no zip archive, or a damaged one: {error}")
        if min((entry.header_offset for entry in entries), default=0):
            self.fail("is cut short: what is left ends in an archive that was one of its entries")
        if len(entries) > MAX_ENTRIES:
            self.fail(f"has {len(entries)} entries")
        self.file = MappedFile(path)
        folder = self._folder([entry.filename for entry in entries])
        self.names: Mapping[str, zipfile.ZipInfo] = {entry.filename.removeprefix(folder): entry for entry in entries}
        if len(self.names) < len(entries):
            self.fail("has two entries of one name")

    @staticmethod
    def _folder(names: list[str]) -> str:
        """The folder that all entries are in, with its slash."""
        first, slash, _ = names[0].partition("/") if names else ("", "", "")
        folder = first + slash
        is_own = folder not in ("models/", "data/")
        return folder if slash and is_own and all(name.startswith(folder) for name in names) else ""

    def fail(self, message: str) -> NoReturn:
        """The file is damaged.

        Raises:
            SourceFileError: always.
        """
        raise SourceFileError(f"{self.path.name} {message}", place=str(self.path), hint=SAVE_AGAIN)

    def span(self, name: str) -> tuple[int, int]:
        """Offset and length of the bytes of an entry, which must be stored as they are.

        Raises:
            SourceFileError: there is no such entry, it is compressed or encrypted, or leaves the file.
        """
        entry = self.names.get(name)
        if entry is None:
            self.fail(f"lacks the entry {name!r}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            self.fail(f"holds {name!r} compressed or encrypted; torch.export.save stores entries as they are")
        header = entry.header_offset
        if header < 0 or header + _LOCAL_HEADER.size > self.file.size:
            self.fail(f"places {name!r} outside of the file")
        magic, name_length, extra_length = _LOCAL_HEADER.unpack(self.file.view(header, _LOCAL_HEADER.size))
        start = header + _LOCAL_HEADER.size + name_length + extra_length
        if magic != b"PK\x03\x04" or start + entry.file_size > self.file.size:
            self.fail(f"places {name!r} where no entry is, or outside of the file")
        return start, entry.file_size

    def text(self, name: str) -> str:
        """The text of an entry.

        Raises:
            SourceFileError: see `span`; or it is no UTF-8, too long, or its checksum is wrong.
        """
        start, length = self.span(name)
        if length > MAX_JSON:
            self.fail(f"holds {name!r} of {length} bytes")
        raw = bytes(self.file.view(start, length))
        if zlib.crc32(raw) != self.names[name].CRC:
            self.fail(f"holds {name!r} with a wrong checksum")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"holds {name!r}, which is no text")

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object in an entry.

        Raises:
            SourceFileError: see `text`; or it is no JSON object.
        """
        text = self.text(name)
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.fail(f"holds {name!r}, which is no JSON: {str(error)[:100]}")
        if not isinstance(found, dict):
            self.fail(f"holds {name!r}, which is no JSON object")
        return cast("dict[str, Any]", found)
