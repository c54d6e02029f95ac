"""Reads `.keras` archives and legacy `.h5` files, without Keras: a configuration in JSON, and variables in HDF5.

Nothing of a file is executed or unpacked onto the disk. A variable that lies in one piece in the file, which is how
Keras writes them, is a reference into the mapped file; others are read when somebody asks. HDF5 can point to other
files (external links, external and virtual storage): such pointers are refused.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from typing_extensions import Buffer

from uair.frontends.common.errors import MissingFrameworkError, SourceFileError
from uair.frontends.keras.config import parse_model
from uair.frontends.keras.errors import KerasModelError
from uair.frontends.keras.model import Layer
from uair.frontends.keras.variables import legacy_row_of
from uair.frontends.keras.weights import Row, fill_by_path, fill_by_row
from uair.ir.data import ComputedData, Data, MappedData, MappedFile
from uair.ir.dtype import Array, DType
from uair.ir.module import Origin

MAX_CONFIG = 256 << 20
"""Bytes of a configuration; the largest of keras.applications has 1 MiB."""
MAX_RATIO = 1000
"""Bytes of compressed data become at most so many; weights compress to no less than a few percent."""
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_SAVE_AGAIN = "the file is damaged or incomplete: copy or save it again"
_HDF5 = b"\x89HDF\r\n\x1a\n"


@attrs.frozen
class Loaded:
    """A model file's content: the model with its weights in place, and where it came from."""

    model: Layer
    origin: Origin


def read_file(path: Path) -> Loaded:
    """The model in a `.keras` or `.h5` file, which is told by its content.

    Raises:
        MissingFrameworkError: h5py is not installed.
        SourceFileError: the file is damaged.
        KerasModelError: it holds weights alone, or a model that is no graph of layers.
        UnsafeModelError: the model carries code.
        KerasWeightsError: the variables are not those of the layers.
    """
    try:
        file = MappedFile(path)
    except (OSError, ValueError) as error:
        raise SourceFileError(f"{path.name} cannot be read: {error}", place=str(path), hint=_SAVE_AGAIN) from error
    head = bytes(file.view(0, min(8, file.size)))
    if head == _HDF5:
        return _legacy(file, path)
    if head[:2] == b"PK":
        return _archive(file, path)
    raise SourceFileError(
        f"{path.name} is neither a .keras archive nor an HDF5 file", place=str(path), hint=_SAVE_AGAIN
    )


def _origin(path: Path, version: str) -> Origin:
    def digest() -> str:
        result = hashlib.sha256()
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                result.update(block)
        return result.hexdigest()

    producer = f"keras {version}".strip()
    return Origin("keras", path.name, digest, producer=producer, versions=(("keras", version),) if version else ())


def _json(text: bytes | str, what: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceFileError(f"{what} is no JSON: {error}", place=str(path), hint=_SAVE_AGAIN) from error


# ------------------------------------------------------------------- .keras
def _archive(file: MappedFile, path: Path) -> Loaded:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if _CONFIG not in names:
                raise SourceFileError(f"the archive holds no {_CONFIG}", place=str(path), hint=_SAVE_AGAIN)
            config = _json(_entry(archive, _CONFIG, MAX_CONFIG, path), _CONFIG, path)
            metadata = (
                _json(_entry(archive, _METADATA, MAX_CONFIG, path), _METADATA, path) if _METADATA in names else {}
            )
            model = parse_model(config, path.name)
            if _WEIGHTS not in names:
                raise SourceFileError(
                    f"the archive holds no {_WEIGHTS}", place=str(path), hint="save the weights in HDF5, in one piece"
                )
            weights = _stored(archive, file, path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, struct.error) as error:
        raise SourceFileError(
            f"{path.name} is a damaged archive: {error}", place=str(path), hint=_SAVE_AGAIN
        ) from error
    assert model.network is not None
    fill_by_path(model.network, weights.variables)
    version = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
    return Loaded(model, _origin(path, str(version)))


def _entry(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    """An archive's entry, read up to a limit whatever size it claims.

    Raises:
        SourceFileError: it is longer, or packed more densely than any model is.
    """
    info = archive.getinfo(name)
    if info.file_size > limit or info.file_size > MAX_RATIO * max(info.compress_size, 64):
        raise SourceFileError(f"{name} claims {info.file_size} bytes", place=str(path), hint="it is no model of Keras")
    with archive.open(info) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit or len(data) != info.file_size:
        raise SourceFileError(f"{name} is not of the size that it claims", place=str(path), hint=_SAVE_AGAIN)
    return data


def _stored(archive: zipfile.ZipFile, file: MappedFile, path: Path) -> Hdf5:
    """The HDF5 file in an archive: mapped when it is stored as it is, unpacked into memory when it is compressed."""
    info = archive.getinfo(_WEIGHTS)
    if info.compress_type != zipfile.ZIP_STORED:
        return Hdf5(io.BytesIO(_entry(archive, _WEIGHTS, max(MAX_CONFIG, MAX_RATIO * info.compress_size), path)), path)
    try:
        names = struct.unpack("<HH", file.view(info.header_offset + 26, 4))
        begin = info.header_offset + 30 + sum(names)
        file.view(begin, info.file_size)
    except (ValueError, struct.error) as error:
        raise SourceFileError(f"{_WEIGHTS} lies outside of the file", place=str(path), hint=_SAVE_AGAIN) from error
    return Hdf5(_Window(file, begin, info.file_size), path, file, begin)


class _Window(io.RawIOBase):
    """A part of a mapped file as a file."""

    def __init__(self, file: MappedFile, begin: int, size: int) -> None:
        super().__init__()
        self._view = file.view(begin, size)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        into = memoryview(buffer).cast("B")
        part = self._view[self._at : self._at + len(into)]
        into[: len(part)] = part
        self._at += len(part)
        return len(part)


# ------------------------------------------------------------------- HDF5
class Hdf5:
    """An HDF5 file that is read without following pointers out of it.

    Args:
        source: the file, or a file-like object over it.
        path: for messages.
        file: the mapping that it lies in, when variables can refer to it.
        begin: where it begins there.
    """

    def __init__(self, source: Any, path: Path, file: MappedFile | None = None, begin: int = 0) -> None:
        try:
            self._h5py: Any = importlib.import_module("h5py")
        except ImportError as error:
            raise MissingFrameworkError(
                f"{path.name} holds its weights in HDF5, which h5py reads",
                place=str(path),
                hint="pip install 'uair[keras]'",
            ) from error
        self._path = path
        self._mapping = file
        self._begin = begin
        self.root: Any = self._guarded(self._h5py.File, source, "r")

    def _guarded(self, read: Any, *args: Any) -> Any:
        """What a call into h5py gives.

        Raises:
            SourceFileError: h5py finds the file damaged; it says so by errors of many classes.
        """
        try:
            return read(*args)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
            raise SourceFileError(
                f"its HDF5 structure is damaged: {error}", place=str(self._path), hint=_SAVE_AGAIN
            ) from error

    def attribute(self, group: Any, name: str) -> Any:
        """An attribute of a group; None when it has none of the name."""
        return self._guarded(lambda: group.attrs[name] if name in group.attrs else None)

    def names(self, group: Any, name: str) -> list[str]:
        """An attribute that is a list of names; a long one is kept in parts, `name0`, `name1`, ..."""
        parts: list[Any] = []
        whole = self.attribute(group, name)
        if whole is not None:
            parts = list(np.asarray(whole).reshape(-1))
        else:
            while (part := self.attribute(group, f"{name}{len(parts)}")) is not None:
                parts.append(part)
            parts = [n for part in parts for n in np.asarray(part).reshape(-1)]
        return [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in parts]

    def member(self, path: str, group: Any = None) -> Any:
        """What lies at a path, or None; every step must be a plain link.

        Raises:
            SourceFileError: a step leads elsewhere: to another path or file.
        """
        here = self.root if group is None else group
        for part in filter(None, path.split("/")):
            link = self._link(here, part)
            if link is None:
                return None
            if not isinstance(link, self._h5py.HardLink):
                raise SourceFileError(
                    f"{path!r} is a link to another place or file, which is not followed",
                    place=str(self._path),
                    hint="Keras writes no such links; save the model again",
                )
            here = self._guarded(here.__getitem__, part)
        return here

    def _link(self, group: Any, name: str) -> Any:
        if not isinstance(group, self._h5py.Group):
            return None
        return self._guarded(lambda: group.get(name, getlink=True) if name in group else None)

    def variables(self, path: str) -> list[Data] | None:
        """The variables numbered 0, 1, ... in the group at a path."""
        group = self.member(path)
        if not isinstance(group, self._h5py.Group):
            return None
        result: list[Data] = []
        while (found := self.member(str(len(result)), group)) is not None:
            result.append(self.data(found, f"{path}/{len(result)}"))
        return result

    def data(self, dataset: Any, name: str) -> Data:
        """The values of a dataset, by reference.

        Raises:
            SourceFileError: it is none, lies outside of the file, or has no values.
        """
        if not isinstance(dataset, self._h5py.Dataset):
            raise SourceFileError(f"{name!r} is no array", place=str(self._path), hint=_SAVE_AGAIN)
        if dataset.is_virtual or dataset.external:
            raise SourceFileError(f"the values of {name!r} lie in another file", place=str(self._path))
        shape = self._guarded(lambda: tuple(int(d) for d in dataset.shape))
        stored: np.dtype[Any] = self._guarded(lambda: dataset.dtype)
        dtype = self._dtype(dataset, stored, name)
        nbytes = int(np.prod(shape, dtype=object)) * stored.itemsize if shape else stored.itemsize
        offset = self._guarded(dataset.id.get_offset)
        packed = self._guarded(dataset.id.get_storage_size)
        if nbytes > MAX_RATIO * max(packed, 1):
            raise SourceFileError(f"{name!r} has no values", place=str(self._path), hint=_SAVE_AGAIN)
        if offset is not None and self._mapping is not None and dataset.chunks is None and stored == dtype.numpy:
            return self._mapped(self._mapping, int(offset), dtype, shape, name)
        return ComputedData(functools.partial(self._read, dataset, name, dtype), (), dtype, shape)

    def _mapped(self, file: MappedFile, offset: int, dtype: DType, shape: tuple[int, ...], name: str) -> Data:
        try:
            return MappedData(file, self._begin + offset, dtype, shape)
        except ValueError as error:
            raise SourceFileError(
                f"{name!r} reaches behind the end of the file: {error}", place=str(self._path), hint=_SAVE_AGAIN
            ) from error

    def _dtype(self, dataset: Any, stored: np.dtype[Any], name: str) -> DType:
        if self.attribute(dataset, "dtype") == "bfloat16" and stored.itemsize == 2:
            return DType.BF16
        try:
            return DType.from_numpy(stored.newbyteorder("="))
        except (TypeError, ValueError, KeyError) as error:
            raise SourceFileError(
                f"{name!r} has the element type {stored}, which no variable has", place=str(self._path)
            ) from error

    def _read(self, dataset: Any, name: str, dtype: DType) -> Array:
        values: Array = np.asarray(self._guarded(dataset.__getitem__, ()))
        if values.dtype.kind == "V" or (dtype is DType.BF16 and values.dtype.itemsize == 2):
            return values.view(dtype.numpy)
        return values.astype(dtype.numpy, copy=False)


# ------------------------------------------------------------------- .h5
def _legacy(file: MappedFile, path: Path) -> Loaded:
    h5 = Hdf5(_Window(file, 0, file.size), path, file)
    text = h5.attribute(h5.root, "model_config")
    if text is None:
        raise KerasModelError(
            f"{path.name} holds weights alone, no architecture",
            place=str(path),
            hint="save the whole model (model.save), or build it in Python, load_weights, and give the model itself",
        )
    if len(text) > MAX_CONFIG:
        raise SourceFileError("model_config is too long", place=str(path))
    model = parse_model(_json(text, "model_config", path), path.name)
    assert model.network is not None
    group = h5.member("model_weights")
    names = h5.names(h5.root if group is None else group, "layer_names")
    rows = {name: _row(h5, h5.member(name, group), name) for name in names}
    fill_by_row(model.network, rows, legacy_row_of)
    version = h5.attribute(h5.root, "keras_version")
    return Loaded(model, _origin(path, version.decode() if isinstance(version, bytes) else str(version or "")))


def _row(h5: Hdf5, group: Any, layer: str) -> Row:
    """The variables of one layer, in the order of its `weight_names`."""
    row: list[tuple[str, Data]] = []
    for name in () if group is None else h5.names(group, "weight_names"):
        found = h5.member(name, group)
        if found is None:
            raise SourceFileError(f"the variable {name!r} of the layer {layer!r} is missing", hint=_SAVE_AGAIN)
        row.append((name, h5.data(found, name)))
    return row
