"""Weights kept in files beside the model.

A model comes from strangers, and what it says about its external data decides which file is opened. So a location must
be a relative path without `..`; every folder on the way and the file itself must be real (no symbolic link), and the
file must be a regular one with a single name (no hard link). The number of bytes must be exactly that of the tensor.

Some caches keep weights as links. A user who knows such a folder names it as `external_data_root`; then links are
followed, and `..` and absolute paths are allowed, as long as the file lies inside that folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import attrs

from uair.frontends.onnx.errors import OnnxExternalDataError
from uair.ir.data import MappedFile

_NAME_IT = "name the one that holds it by --external-data-root, external_data_root of uair.load"
_MAX_DIGITS = 19
"""Digits of the greatest offset that a 64-bit system knows."""


@attrs.define(eq=False)
class ExternalFiles:
    """Opens external data for one model; each file is mapped once.

    Attributes:
        folder: the folder of the model file; None for a model given as bytes.
        root: the folder that the user trusts, links included.
    """

    folder: Path | None = None
    root: Path | None = None
    _open: dict[str, MappedFile] = attrs.Factory(dict[str, MappedFile])

    def locate(self, entries: Mapping[str, str], nbytes: int, place: str) -> tuple[MappedFile, int]:
        """The file and the offset of a tensor's data.

        Args:
            entries: the tensor's `external_data`.
            nbytes: size of the tensor by its shape and type.
            place: the tensor, for messages.

        Raises:
            OnnxExternalDataError: the location is not allowed, the file is missing or short, or its size is wrong.
        """
        location = entries.get("location", "")
        file = self._mapped(location, place)
        offset = _number(entries, "offset", place, 0)
        length = _number(entries, "length", place, max(file.size - offset, 0))
        if length != nbytes:
            raise OnnxExternalDataError(
                f"external data {location!r} holds {length} bytes for a tensor of {nbytes} bytes",
                place=place,
                hint="the file does not belong to this model, or was cut short; export the model again",
            )
        if offset + length > file.size:
            raise OnnxExternalDataError(
                f"bytes {offset} to {offset + length} lie outside external data {location!r} of {file.size} bytes",
                place=place,
                hint="the file was cut short; copy it again",
            )
        return file, offset

    def _mapped(self, location: str, place: str) -> MappedFile:
        if location not in self._open:
            path = self._trusted(location, place) if self.root is not None else self._checked(location, place)
            try:
                self._open[location] = MappedFile(path)
            except (OSError, ValueError) as error:
                reason = f"external data {location!r} cannot be read: {error}"
                raise OnnxExternalDataError(reason, place=place) from None
        return self._open[location]

    def _checked(self, location: str, place: str) -> Path:
        """The path of a plain file under the model's folder, reached through no link."""
        if self.folder is None:
            raise OnnxExternalDataError(
                f"a model given as bytes has no folder for external data {location!r}",
                place=place,
                hint="load it from its file, or name the folder as external_data_root",
            )
        _check_form(location, place)
        parts = PurePosixPath(location.replace("\\", "/")).parts
        if ".." in parts:
            raise _outside(location, place)
        path = self.folder.resolve()
        for part in parts:
            path /= part
            info = _status(path, location, place)
            if stat.S_ISLNK(info.st_mode):
                raise OnnxExternalDataError(
                    f"external data {location!r} is reached through a symbolic link, {path.name!r}",
                    place=place,
                    hint=f"if you trust the folder it points into, {_NAME_IT}",
                )
        _check_regular(_status(path, location, place), location, place, links=False)
        return path

    def _trusted(self, location: str, place: str) -> Path:
        """The path of a regular file that lies under the folder the user named, wherever links lead on the way."""
        _check_named(location, place)
        assert self.root is not None
        root = self.root.resolve()
        path = ((self.folder or root) / location).resolve()
        if not path.is_relative_to(root):
            raise OnnxExternalDataError(
                f"external data {location!r} lies outside the folder that is named as trusted",
                place=place,
                hint=f"the file is {path}, the folder {root}: {_NAME_IT}",
            )
        _check_regular(_status(path, location, place), location, place, links=True)
        return path


def _check_named(location: str, place: str) -> None:
    if not location or "\0" in location:
        raise OnnxExternalDataError("external data without a file name", place=place, hint="export the model again")


def _check_form(location: str, place: str) -> None:
    _check_named(location, place)
    windows = PureWindowsPath(location)
    if PurePosixPath(location).is_absolute() or windows.drive or windows.root:
        raise _outside(location, place)


def _outside(location: str, place: str) -> OnnxExternalDataError:
    return OnnxExternalDataError(
        f"external data {location!r} points outside the model's folder",
        place=place,
        hint=f"put the file beside the model with a relative location or, if you trust its folder, {_NAME_IT}",
    )


def _status(path: Path, location: str, place: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OnnxExternalDataError(
            f"external data {location!r} cannot be read: {reason}",
            place=place,
            hint=f"copy the file to {path.parent}, beside the model",
        ) from None


def _check_regular(info: os.stat_result, location: str, place: str, *, links: bool) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise OnnxExternalDataError(f"external data {location!r} is not a regular file", place=place)
    if info.st_nlink > 1 and not links:
        raise OnnxExternalDataError(
            f"external data {location!r} is a hard link: the same file has a name elsewhere",
            place=place,
            hint=f"copy the file or, if you trust its folder, {_NAME_IT}",
        )


def _number(entries: Mapping[str, str], key: str, place: str, default: int) -> int:
    text = entries.get(key)
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        raise OnnxExternalDataError(f"{key} of external data is {text[:40]!r}, not a number of bytes", place=place)
    return int(text)
