"""Input files given on the command line: arrays and images."""

from __future__ import annotations

import zipfile
from collections.abc import Container, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from uair.errors import UairError
from uair.preprocess import IMAGE_SUFFIXES, Preprocess
from uair.quant.npy import UNREADABLE, read_header

if TYPE_CHECKING:
    from uair.ir.dtype import Array


class InputFileError(UairError):
    """An input file given on the command line cannot be read or belongs to no input."""

    code = "UAIR-E0901"
    title = "Input cannot be read"


@attrs.frozen
class InputReader:
    """Reads `x=file.npy`, `x=picture.png`, or one .npz file with all inputs; `s=file.npz` gives a sequence its arrays.

    Attributes:
        shapes: shape by input name; None for an unknown rank, what is no number for an open size.
        preprocess: how images become inputs, by input name.
        option: the option that the files are given with, for messages.
        sequences: the inputs that are sequences.
    """

    shapes: Mapping[str, Sequence[Any] | None]
    preprocess: Mapping[str, Preprocess]
    option: str = "--input"
    sequences: Container[str] = ()

    def read(self, given: Sequence[str]) -> dict[str, Any]:
        """Arrays for all inputs.

        Raises:
            InputFileError: a file cannot be read or belongs to no input, or an input is left without one.
            ImageError, PreprocessError: an image cannot be read or does not fit.
        """
        feeds: dict[str, Any] = {}
        for text in given:
            feeds |= self._read_one(text)
        missing = [name for name in self.shapes if name not in feeds]
        if missing:
            raise InputFileError(
                f"input {missing[0]!r} has no value",
                hint="give " + " ".join(f"{self.option} {name}=FILE" for name in missing) + " (.npy, .npz or an image)",
            )
        return feeds

    def _read_one(self, text: str) -> dict[str, Any]:
        name, separator, file = text.partition("=")
        path = Path(file if separator else text)
        if not path.is_file():
            raise InputFileError(f"there is no file {str(path)!r}", hint=f"{self.option} NAME=FILE")
        names = ", ".join(self.shapes)
        if not separator:
            if path.suffix.lower() == ".npz":
                return load_npz(path)
            if len(self.shapes) != 1:
                hint = f"{self.option} {next(iter(self.shapes), 'NAME')}={path}"
                raise InputFileError(f"{path}: say for which of the inputs {names} it is", hint=hint)
            name = next(iter(self.shapes))
        if name not in self.shapes:
            raise InputFileError(f"there is no input {name!r}", hint=f"the inputs are {names}")
        if name in self.sequences:
            return {name: list(load_npz(path).values())}
        return {name: self._array(name, path)}

    def _array(self, name: str, path: Path) -> Array:
        """One array from a file."""
        suffix = path.suffix.lower()
        if suffix == ".npz":
            arrays = load_npz(path)
            if name not in arrays:
                raise InputFileError(f"{path} holds {', '.join(arrays) or 'nothing'}, not {name!r}")
            return arrays[name]
        if suffix in IMAGE_SUFFIXES:
            return self.preprocess.get(name, Preprocess()).load(path, self._image_shape(name))
        return load_npy(path, f"save it with numpy.save; images end in {', '.join(sorted(IMAGE_SUFFIXES))}")

    def _image_shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes[name] or ("?",)
        known = tuple(size for size in shape if isinstance(size, int))
        if len(known) != len(shape):
            raise InputFileError(
                f"an image needs an input of known size, {name!r} is [{','.join(map(str, shape))}]",
                hint=f"--shape {name}=1,3,224,224",
            )
        return known


def array_shapes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays in files given with their inputs' names: `x=file.npy`, `x=all.npz`, and all of an .npz.

    Only their headers are read: the arrays follow once, when they are fed.

    Raises:
        InputFileError: a file is none of NumPy's.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in given:
        name, separator, file = text.partition("=")
        path = Path(file if separator else text)
        suffix = path.suffix.lower()
        if not path.is_file():
            continue  # `InputReader` says so
        if suffix == ".npz":
            shapes = _npz_shapes(path)
            found |= {key: shape for key, shape in shapes.items() if key == name} if separator else shapes
        elif separator and suffix == ".npy":
            with _reading_npy(path), path.open("rb") as stream:
                found[name] = read_header(stream)[0]
    return found


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    with _reading_npz(path), zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            with archive.open(entry) as stream:
                shapes[entry.removesuffix(".npy")] = read_header(stream)[0]
    return shapes


def load_npy(path: Path, hint: str = "save it with numpy.save") -> Array:
    """The array of an .npy file.

    Raises:
        InputFileError: it is none.
    """
    with _reading_npy(path, hint):
        array: Any = np.load(path, allow_pickle=False)
    return np.asarray(array)


def load_npz(path: Path) -> dict[str, Array]:
    """All arrays of an .npz file.

    Raises:
        InputFileError: it is none.
    """
    with _reading_npz(path), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


@contextmanager
def _reading_npy(path: Path, hint: str = "save it with numpy.save") -> Generator[None, None, None]:
    try:
        yield
    except (OSError, ValueError, EOFError) as error:
        raise InputFileError(f"{path} cannot be read as an array: {error}", hint=hint) from error


@contextmanager
def _reading_npz(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except (*UNREADABLE, AttributeError, TypeError) as error:
        raise InputFileError(f"{path} cannot be read: {error}", hint="save it with numpy.savez") from error
