"""Arrays read from .npy and .npz files a few entries of the first axis at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.quant.errors import CalibrationDataError

UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What NumPy and zipfile raise on files that are none; RuntimeError: encrypted."""


@attrs.define(eq=False)
class ArrayStream:
    """An array of which the next entries along the first axis can be read.

    Attributes:
        shape: shape of the whole array.
        dtype: its element type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _array: Array | None
    _file: IO[bytes] | None
    _path: str
    _at: int = 0

    @staticmethod
    def of(array: Array) -> ArrayStream:
        """A stream over an array in memory."""
        return ArrayStream(tuple(array.shape), array.dtype, array, None, "")

    @staticmethod
    def open(file: IO[bytes], path: str, size: int) -> ArrayStream:
        """A stream over a file in NumPy's format of `size` bytes.

        Raises:
            CalibrationDataError: it is none, holds Python objects, or is shorter than its header says.
        """
        try:
            shape, fortran, dtype = read_header(file)
        except UNREADABLE as error:
            raise CalibrationDataError(f"{path} is no readable array: {error}", place=path) from error
        if dtype.hasobject:
            raise CalibrationDataError(f"{path} holds Python objects, not numbers", place=path)
        if math.prod(shape) * dtype.itemsize > size:
            raise CalibrationDataError(f"{path} is cut off: its header announces {dtype}{list(shape)}", place=path)
        stream = ArrayStream(tuple(shape), dtype, None, file, path)
        if fortran:
            flat = stream._bytes(math.prod(shape))
            return ArrayStream(tuple(shape), dtype, flat.reshape(shape[::-1]).transpose(), None, path)
        return stream

    def read(self, rows: int | None) -> Array:
        """The next `rows` entries of the first axis, or with None the whole array."""
        if self._array is not None:
            if rows is None:
                return self._array
            self._at += rows
            return self._array[self._at - rows : self._at]
        shape = self.shape if rows is None else (rows, *self.shape[1:])
        return self._bytes(math.prod(shape)).reshape(shape)

    def _bytes(self, count: int) -> Array:
        assert self._file is not None
        try:
            raw = self._file.read(count * self.dtype.itemsize)
        except UNREADABLE as error:
            raise CalibrationDataError(f"{self._path} cannot be read: {error}", place=self._path) from error
        if len(raw) != count * self.dtype.itemsize:
            raise CalibrationDataError(f"{self._path} is cut off", place=self._path)
        return np.frombuffer(raw, self.dtype, count)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the last axis varies slowest, and dtype of the array in NumPy's format that `file` begins.

    Raises:
        ValueError: it is none.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


@contextmanager
def read_streams(path: Path) -> Generator[dict[str, ArrayStream], None, None]:
    """Streams over the arrays of a .npz file by name, or over the one of a .npy file under the name "".

    Raises:
        CalibrationDataError: the file cannot be read.
    """
    with ExitStack() as stack:
        try:
            if path.suffix.lower() == ".npy":
                file = stack.enter_context(path.open("rb"))
                opened = [("", cast("IO[bytes]", file), path.stat().st_size)]
            else:
                archive = stack.enter_context(zipfile.ZipFile(path))
                opened = [
                    (entry.filename.removesuffix(".npy"), stack.enter_context(archive.open(entry)), entry.file_size)
                    for entry in archive.infolist()
                ]
        except UNREADABLE as error:
            raise CalibrationDataError(f"{path} cannot be read: {error}", place=str(path)) from error
        streams = {
            name: ArrayStream.open(file, f"{path.name}: {name}" if name else path.name, size)
            for name, file, size in opened
            if not name.startswith("__")
        }
        yield streams
