"""The sidecar: large constants in a .safetensors file, each under the sha256 of its bytes.

The file is written tensor by tensor, so that one constant at a time is in memory, and read by memory mapping. Equal
constants are written once. The text states element type and shape; the sidecar's own header describes the same bytes
for other tools (types that safetensors lacks, and those packed below a byte, as plain bytes).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import safetensors

from uair.atomic import atomic_file
from uair.ir.data import ArrayData, Data, MappedData, MappedFile, unpack_bytes
from uair.ir.dtype import DType
from uair.ir.module import Module
from uair.text.errors import WeightsError
from uair.text.printer import module_constants
from uair.text.spelling import is_large

SUFFIX = ".safetensors"
_CHUNK = 1 << 24
_NAMES = {
    DType.BOOL: "BOOL", DType.I8: "I8", DType.U8: "U8", DType.I16: "I16", DType.U16: "U16", DType.I32: "I32",
    DType.U32: "U32", DType.I64: "I64", DType.U64: "U64", DType.F8E4M3: "F8_E4M3", DType.F8E5M2: "F8_E5M2",
    DType.F16: "F16", DType.BF16: "BF16", DType.F32: "F32", DType.F64: "F64",
}  # fmt: skip


class Weights:
    """Constants by hash: of a sidecar, or held in memory.

    Args:
        data: by sha256 of `Data.tobytes()`, in hex.
        file: for messages.
    """

    def __init__(self, data: Mapping[str, Data], file: str = "") -> None:
        self.data = data
        self.file = file

    def get(self, sha256: str, dtype: DType, shape: tuple[int, ...]) -> Data:
        """The constant of that hash, as an array of the given type and shape.

        Raises:
            WeightsError: it is not there, or has another number of bytes.
        """
        found = self.data.get(sha256)
        if found is None:
            raise WeightsError(
                f"{self.file or 'the weights'} has no constant with sha256 {sha256}",
                hint="text and sidecar must come from the same `save`",
            )
        if found.dtype is dtype and found.shape == shape:
            return found
        size = 1
        for extent in shape:
            size *= extent
        nbytes = (size * dtype.bits + 7) // 8
        if nbytes != found.nbytes:
            raise WeightsError(
                f"the constant has {found.nbytes} bytes in {self.file or 'the weights'}, {nbytes} in the text"
            )
        if isinstance(found, MappedData):
            return MappedData(found.file, found.offset, dtype, shape)
        return ArrayData(unpack_bytes(found.tobytes(), dtype, shape), dtype)


def weights_of(module: Module) -> dict[str, Data]:
    """The constants that the text of a module refers to by hash, in order of first use."""
    found: dict[str, Data] = {}
    for tensor in module_constants(module):
        assert tensor.data is not None
        if is_large(tensor.data):
            found.setdefault(tensor.data.sha256, tensor.data)
            tensor.data.release()
    return found


# ---------------------------------------------------------------------- writing
def write_weights(weights: Mapping[str, Data], path: str | os.PathLike[str]) -> None:
    """Write constants to a .safetensors file, one after the other.

    Wide elements come first, so that every tensor is aligned to its element.

    Raises:
        OutputError: the file cannot be written.
        WeightsError: a constant's bytes do not have the hash it is called by.
    """
    ordered = sorted(weights.items(), key=lambda item: -item[1].dtype.bits)
    entries: dict[str, Any] = {}
    offset = 0
    for name, data in ordered:
        known = _NAMES.get(data.dtype)
        entries[name] = {
            "dtype": known or "U8",
            "shape": list(data.shape) if known else [data.nbytes],
            "data_offsets": [offset, offset + data.nbytes],
        }
        offset += data.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with atomic_file(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, data in ordered:
            content = data.tobytes()
            if hashlib.sha256(content).hexdigest() != name:
                raise WeightsError(f"constant {name} changed while it was written")
            file.write(content)
            del content
            data.release()


# ---------------------------------------------------------------------- reading
def open_weights(path: str | os.PathLike[str], *, check: bool = True) -> Weights:
    """Map a sidecar.

    Args:
        path: the .safetensors file.
        check: compute every hash and compare it with the name: one pass over the file, whose pages are dropped again.

    Raises:
        WeightsError: the file is missing, is not in the format, or (with `check`) holds other bytes than its names say.
    """
    shown = Path(path).name
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise WeightsError(f"{shown} is not a regular file")
        entries = _header(path, shown)
        mapped = MappedFile(os.fspath(path))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the sidecar {shown} cannot be read: {error}", hint="keep it beside the text, under the text's name"
        ) from error
    data: dict[str, Data] = {}
    for name, begin, end in entries:
        try:
            data[name] = MappedData(mapped, begin, DType.U8, (end - begin,))
        except ValueError as error:
            raise WeightsError(f"the sidecar {shown} is damaged: {error}") from error
        if check:
            _check_hash(mapped, name, begin, end, shown)
    return Weights(data, shown)


def _check_hash(mapped: MappedFile, name: str, begin: int, end: int, shown: str) -> None:
    digest = hashlib.sha256()
    for at in range(begin, end, _CHUNK):
        length = min(_CHUNK, end - at)
        digest.update(mapped.view(at, length))
        mapped.release(at, length)
    if digest.hexdigest() != name:
        raise WeightsError(
            f"the sidecar {shown} is damaged: the bytes called {name} have sha256 {digest.hexdigest()}",
            hint="copy or save it again",
        )


def _header(path: str | os.PathLike[str], shown: str) -> Iterator[tuple[str, int, int]]:
    """Name and place of each tensor. The library checks that sizes, offsets and the file agree, without gaps."""
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy"):
            pass
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{shown} is no valid .safetensors file: {error}") from error
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    start = 8 + length
    return _entries(header.items(), start)


def _entries(items: Iterable[tuple[str, Any]], start: int) -> Iterator[tuple[str, int, int]]:
    for name, entry in items:
        if name != "__metadata__":
            begin, end = cast("list[int]", entry["data_offsets"])
            yield name, start + begin, start + end
