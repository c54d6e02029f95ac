"""Reading calibration samples: what a source is, and how its arrays become inputs."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.dims import Dim, static
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.preprocess import IMAGE_SUFFIXES, Preprocess
from uair.quant.errors import CalibrationDataError, CalibrationSourceError
from uair.quant.functions import failed, named_function
from uair.quant.looks import InputLook
from uair.quant.npy import ArrayStream, read_streams
from uair.quant.spool import Spool

ARRAY_SUFFIXES = (".npz", ".npy")
RAW_SUFFIXES = (".bin", ".raw")
LIST_SUFFIX = ".txt"
KINDS = "a folder of images, .npy, .npz or .bin files, one such file, a list of files, or an iterable of inputs"

Feeds: TypeAlias = "dict[str, Array]"


class Sample(dict[str, Array]):
    """The arrays of one calibration sample by input name, and where they are from, for messages."""

    __slots__ = ("place",)

    def __init__(self, feeds: Feeds, place: str) -> None:
        super().__init__(feeds)
        self.place = place


Samples: TypeAlias = "Callable[[], Iterator[tuple[Feeds, str]]]"
"""Begins to read; gives samples, each with its place for messages."""


# -------------------------------------------------------------------------------------------------------------- sources
@attrs.define(eq=False)
class SampleReader:
    """Turns a source into samples for inputs of these types.

    Attributes:
        types: of the inputs, by name.
        preprocess: how images and 8-bit pixels become inputs, by name.
        images: the inputs whose samples are image files.
        notes: what was left out of items.
    """

    types: dict[str, TensorType]
    preprocess: dict[str, Preprocess]
    images: set[str] = attrs.Factory(set[str])
    notes: list[str] = attrs.Factory(list[str])

    def look(self, name: str) -> InputLook:
        """What will look at an input's data."""
        return InputLook(name, self.types[name], self.preprocess.get(name), name in self.images)

    def open(self, source: Any) -> tuple[str, Samples]:
        """What the source is, and a function that begins to read it."""
        function = named_function(source) if isinstance(source, str) else None
        if function is not None:
            return self._open_function(cast(str, source), function)
        if isinstance(source, (str, os.PathLike)):
            return self._open_path(Path(cast("str | os.PathLike[str]", source)))
        if isinstance(source, Mapping):
            arrays = {str(k): _as_array(v, f"the array of {k!r}") for k, v in source.items()}
            return "arrays", lambda: self._from_streams({k: ArrayStream.of(v) for k, v in arrays.items()}, "arrays")
        if isinstance(source, np.ndarray):
            name, array = self._single("one array"), cast(Array, source)
            return "an array", lambda: self._from_streams({name: ArrayStream.of(array)}, "the array")
        if isinstance(source, Iterator):
            spool = Spool(self._from_items(source))
            return "an iterable", lambda: iter(spool)
        if isinstance(source, Iterable):
            return "an iterable", lambda: self._from_items(source)
        raise CalibrationSourceError(
            f"{type(source).__name__} is no calibration data", hint=f"calibration data is {KINDS}"
        )

    def _open_function(self, text: str, function: Callable[[], Any]) -> tuple[str, Samples]:
        """The samples that a function gives; it is called once for every pass over them."""

        def begin() -> Iterator[tuple[Feeds, str]]:
            try:
                yield from self.open(function())[1]()
            except UairError:
                raise
            except Exception as error:
                raise failed(text, error) from error

        return f"the function {text}", begin

    def _open_path(self, path: Path) -> tuple[str, Samples]:
        if path.is_dir():
            return self._open_folder(path)
        if not path.is_file():
            raise CalibrationSourceError(f"there is no calibration data {path}", hint=f"calibration data is {KINDS}")
        suffix = path.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            return f"the file {path.name}", lambda: self._from_file(path)
        if suffix in RAW_SUFFIXES:
            return f"the file {path.name}", lambda: self._from_raw(path)
        if suffix in IMAGE_SUFFIXES:
            self._image_input()
            return f"the image {path.name}", lambda: self._from_images([path])
        if suffix == LIST_SUFFIX:
            return self._open_list(path)
        raise CalibrationSourceError(f"{path} is of no known kind", hint=f"calibration data is {KINDS}")

    def _open_folder(self, path: Path) -> tuple[str, Samples]:
        if self.types and all((path / name).is_dir() for name in self.types) and not path.is_symlink():
            return self._open_folders(path)
        files = _files_below(path)
        kinds = {
            "images": [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES],
            "arrays": [p for p in files if p.suffix.lower() in ARRAY_SUFFIXES],
            "raw numbers": [p for p in files if p.suffix.lower() in RAW_SUFFIXES],
        }
        found = {kind: paths for kind, paths in kinds.items() if paths}
        if len(found) > 1:
            raise CalibrationSourceError(
                f"{path} holds {' and '.join(f'{kind} ({paths[0].name})' for kind, paths in found.items())}",
                hint="keep the calibration samples of one kind in a folder of their own",
            )
        if images := found.get("images"):
            self._image_input()
            return f"the folder {path.name} of {len(images)} images", lambda: self._from_images(images)
        if arrays := found.get("arrays"):
            return f"the folder {path.name} of {len(arrays)} array files", lambda: (
                sample for file in arrays for sample in self._from_file(file)
            )
        if raw := found.get("raw numbers"):
            return f"the folder {path.name} of {len(raw)} files of raw numbers", lambda: (
                sample for file in raw for sample in self._from_raw(file)
            )
        content = f"it has {len(files)} other files, such as {files[0].name}" if files else "it is empty"
        raise CalibrationSourceError(
            f"{path} holds no calibration samples: {content}",
            hint=f"looked for {', '.join(sorted((*IMAGE_SUFFIXES, *RAW_SUFFIXES)))}, .npy and .npz files, or a folder "
            f"for each of the inputs {', '.join(self.types)}",
        )

    def _alone(self, name: str) -> SampleReader:
        """A reader of one of the inputs."""
        chosen = {name: self.preprocess[name]} if name in self.preprocess else {}
        return SampleReader({name: self.types[name]}, chosen, self.images, self.notes)

    def _open_folders(self, path: Path) -> tuple[str, Samples]:
        """A folder for each input."""
        opened = {name: self._alone(name)._open_folder(path / name)[1] for name in self.types}
        return f"the folder {path.name} with one folder for each input", lambda: _side_by_side(
            {name: begin() for name, begin in opened.items()}, path.name
        )

    def _open_list(self, path: Path) -> tuple[str, Samples]:
        """A text that lists files: one sample a line, a file for each input."""
        lines = [line.strip() for line in path.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        return f"the list {path.name} of {len(lines)} samples", lambda: (
            sample for line in lines for sample in self._from_line(line, path)
        )

    # ---------------------------------------------------------------------------------------------------------- samples
    def _from_line(self, line: str, path: Path) -> Iterator[tuple[Feeds, str]]:
        """The sample of a line; file names are relative to the list's folder or to the current one."""
        names = [line] if len(self.types) == 1 else line.split()
        if len(names) != len(self.types):
            raise CalibrationDataError(
                f"a line of {path.name} names {len(names)} files, the model has {len(self.types)} inputs: {line!r}",
                place=path.name,
                hint=f"name a file for each of {', '.join(self.types)}, separated by blanks",
            )
        files = [next((p for p in (path.parent / name, Path(name)) if p.is_file()), None) for name in names]
        missing = [name for name, file in zip(names, files, strict=True) if file is None]
        if missing:
            raise CalibrationDataError(f"{path.name} names {missing[0]!r}, which is no file", place=path.name)
        begun = {
            name: self._alone(name)._open_path(file)[1]()
            for name, file in zip(self.types, files, strict=True)
            if file is not None
        }
        yield from _side_by_side(begun, line)

    def _from_raw(self, path: Path) -> Iterator[tuple[Feeds, str]]:
        """Samples of a file of bare numbers."""
        name = self._single(path.name)
        t = self.types[name]
        if not t.is_static:
            raise CalibrationSourceError(
                f"{path.name} holds bare numbers, and {name!r} is {t}: how many of them are a sample is open",
                hint=f"bind the shape with --shape {name}=1,3,224,224",
            )
        shape, raw = static(t.dims), path.read_bytes()
        count = math.prod(shape)
        size = count * t.dtype.numpy.itemsize
        if name in self.preprocess and t.dtype.is_float and len(raw) == count:
            array: Array = np.frombuffer(raw, np.uint8).reshape(shape)
        elif size and raw and len(raw) % size == 0:
            array = np.frombuffer(raw, t.dtype.numpy).reshape(-1, *shape)
        else:
            raise CalibrationDataError(
                f"{path.name} has {len(raw)} bytes, a sample of {name!r}, {t}, has {size}",
                place=path.name,
                hint="give whole samples in the type of the input, or 8-bit pixels of one sample and --preprocess",
            )
        yield from self._from_streams({name: ArrayStream.of(array)}, path.name)

    def _from_file(self, path: Path) -> Iterator[tuple[Feeds, str]]:
        with read_streams(path) as streams:
            named = streams if path.suffix.lower() == ".npz" else {self._single(path.name): streams[""]}
            yield from self._from_streams(named, path.name)

    def _from_streams(self, streams: Mapping[str, ArrayStream], place: str) -> Iterator[tuple[Feeds, str]]:
        """Samples along the first axes of arrays."""
        chosen = {name: stream for name, stream in streams.items() if not name.startswith("__")}
        self._require_names(chosen, place)
        plans = {name: _plan(self.types[name], stream.shape, name, place) for name, stream in chosen.items()}
        counts = {name: plan.count for name, plan in plans.items()}
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
            raise CalibrationDataError(f"the inputs have different numbers of samples: {shown}", place=place)
        number = next(iter(counts.values()), 0)
        for i in range(number):
            feeds = {name: self._convert(name, plan.take(chosen[name]), place) for name, plan in plans.items()}
            yield feeds, place if number == 1 else f"sample {i} of {place}"

    def _from_items(self, items: Iterable[Any]) -> Iterator[tuple[Feeds, str]]:
        for i, item in enumerate(items):
            place = f"calibration sample {i}"
            named = self._named(item, place)
            yield from self._from_streams({k: ArrayStream.of(v) for k, v in named.items()}, place)

    def _named(self, item: Any, place: str) -> dict[str, Array]:
        """The arrays of an item by input name; labels and what else a DataLoader gives are left out."""
        if isinstance(item, Mapping):
            given = {str(k): v for k, v in item.items()}
            rest = [name for name in given if name not in self.types]
            if rest and all(name in given for name in self.types):
                self._note(f"{', '.join(rest)} of the calibration items was left out: the model has no such input")
                given = {name: given[name] for name in self.types}
            return {name: _as_array(value, place) for name, value in given.items()}
        if isinstance(item, (tuple, list)):
            values = cast("Sequence[Any]", item)
            if len(values) > len(self.types) and all(hasattr(v, "shape") for v in values[: len(self.types)]):
                self._note(
                    f"calibration items have {len(values)} entries, the model {len(self.types)} input"
                    f"{'s' * (len(self.types) > 1)}: the first ones were taken"
                )
                values = values[: len(self.types)]
            if len(values) == len(self.types):
                return {name: _as_array(v, place) for name, v in zip(self.types, values, strict=True)}
        return {self._single(place): _as_array(item, place)}

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _from_images(self, paths: Sequence[Path]) -> Iterator[tuple[Feeds, str]]:
        name, preprocess = self._image_input()
        self.images.add(name)
        t = self.types[name]
        try:
            shape = static(t.dims)
        except (TypeError, ValueError):
            raise CalibrationSourceError(
                f"images need an input of known size, {name!r} is {t}", hint=f"bind it with --shape {name}=1,3,224,224"
            ) from None
        for path in paths:
            yield {name: preprocess.load(path, shape).astype(t.dtype.numpy, copy=False)}, path.name

    # ------------------------------------------------------------------------------------------------------------ names
    def _single(self, what: str) -> str:
        if len(self.types) != 1:
            raise CalibrationSourceError(
                f"{what} cannot feed a model with {len(self.types)} inputs",
                hint=f"give arrays by name in .npz files: {', '.join(self.types)}",
            )
        return next(iter(self.types))

    def _image_input(self) -> tuple[str, Preprocess]:
        """The one input that images are for: the one with preprocessing, or the only one."""
        name = next(iter(self.preprocess)) if len(self.preprocess) == 1 else self._single("a folder of images")
        if len(self.types) != 1:
            raise CalibrationSourceError(
                f"images feed {name!r} only, the model has the inputs {', '.join(self.types)}",
                hint="give arrays by name in .npz files",
            )
        return name, self.preprocess.get(name, Preprocess())

    def _require_names(self, given: Iterable[str], place: str) -> None:
        names = list(given)
        missing = [name for name in self.types if name not in names]
        unknown = [name for name in names if name not in self.types]
        if missing or unknown:
            detail = f"it lacks {missing[0]!r}" if missing else f"{unknown[0]!r} is no input"
            raise CalibrationDataError(
                f"the arrays {', '.join(names) or '(none)'} are not the model's inputs: {detail}",
                place=place,
                hint=f"the inputs are {', '.join(f'{n}: {t}' for n, t in self.types.items())}",
            )

    def _convert(self, name: str, array: Array, place: str) -> Array:
        """The array in the input's element type."""
        want = self.types[name].dtype
        if name in self.preprocess and array.dtype == np.uint8 and want.is_float:
            array = _normalised(array, self.preprocess[name])
        if array.dtype == want.numpy:
            return array
        source = _dtype_of(array, name, place)
        integers = source.is_integer or source is DType.BOOL
        if (want.is_float and (source.is_float or integers)) or (want.is_integer and integers and _holds(array, want)):
            return array.astype(want.numpy)
        raise CalibrationDataError(
            f"input {name!r} expects {want}, its calibration data is {source}", place=place, hint="convert the data"
        )


def _side_by_side(inputs: Mapping[str, Iterator[tuple[Feeds, str]]], place: str) -> Iterator[tuple[Feeds, str]]:
    """Samples of which each input's part is read by itself.

    Raises:
        CalibrationDataError: one input has more of them than another.
    """
    for i in itertools.count():
        parts = {name: next(iterator, None) for name, iterator in inputs.items()}
        ended = [name for name, part in parts.items() if part is None]
        if len(ended) == len(parts):
            return
        if ended:
            longer = next(name for name in parts if name not in ended)
            raise CalibrationDataError(
                f"input {ended[0]!r} has {i} samples, {longer!r} has more", place=place, hint="give one for each input"
            )
        found = [part for part in parts.values() if part is not None]
        yield {name: array for feeds, _ in found for name, array in feeds.items()}, ", ".join(at for _, at in found)


def _files_below(path: Path) -> list[Path]:
    """All files in a folder and its folders, by name, but for hidden ones."""
    return sorted(
        p for p in path.rglob("*")
        if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
    )  # fmt: skip


def _holds(array: Array, dtype: DType) -> bool:
    """Whether an integer type can hold all values."""
    low, high = dtype.range
    return not array.size or (int(array.min()) >= low and int(array.max()) <= high)


def _dtype_of(array: Array, name: str, place: str) -> DType:
    try:
        return DType.from_numpy(array.dtype)
    except TypeError as error:
        raise CalibrationDataError(f"input {name!r}: {error}", place=place) from None


def _normalised(array: Array, preprocess: Preprocess) -> Array:
    """Pixels of the right size minus mean, by standard deviation."""
    mean, std = (np.asarray(v, np.float32) for v in preprocess.per_channel())
    shape = (-1, 1, 1) if preprocess.layout == "NCHW" else (1, 1, -1)
    result: Array = (array.astype(np.float32) - mean.reshape(shape)) / std.reshape(shape)
    return result


def _as_array(value: Any, place: str) -> Array:
    """An array from whatever NumPy understands (PyTorch and TensorFlow tensors among it).

    Raises:
        CalibrationDataError: it is none.
    """
    if hasattr(value, "detach"):  # of PyTorch: NumPy takes only tensors that need no gradient, in main memory
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CalibrationDataError(f"{type(value).__name__} is no array: {error}", place=place) from error
    if array.dtype == object:
        raise CalibrationDataError(f"{type(value).__name__} is no array of numbers", place=place)
    return array


# -------------------------------------------------------------------------------------------------------------- shapes
@attrs.frozen
class _Plan:
    """How samples lie in an array: several, each of `rows` entries of the first axis, or the array is one sample.

    Attributes:
        count: number of samples.
        rows: entries of the first axis per sample; 0 when the array is one sample.
        shape: shape of a sample.
    """

    count: int
    rows: int
    shape: tuple[int, ...]

    def take(self, stream: ArrayStream) -> Array:
        """The next sample."""
        return stream.read(self.rows or None).reshape(self.shape)


def _plan(t: TensorType, shape: tuple[int, ...], name: str, place: str) -> _Plan:
    """How samples of type `t` lie in an array of that shape.

    Raises:
        CalibrationDataError: they cannot.
    """
    if t.shape is None:
        return _Plan(1, 0, shape)
    dims = t.shape
    batch = dims[0] if dims else 1
    rows = batch if isinstance(batch, int) else 1
    if len(shape) == len(dims) + 1 and _fits(shape[1:], dims):
        return _Plan(shape[0], 1, shape[1:])
    if len(shape) == len(dims) and dims and _fits(shape[1:], dims[1:]):
        if rows and shape[0] % rows == 0:
            return _Plan(shape[0] // rows, rows, (rows, *shape[1:]))
    elif not shape and not dims:
        return _Plan(1, 0, ())
    elif len(shape) == len(dims) - 1 and batch == 1 and _fits(shape, dims[1:]):
        return _Plan(1, 0, (1, *shape))
    raise CalibrationDataError(
        f"input {name!r} is {t}, its calibration data has shape {list(shape)}", place=place, hint=_advice(shape, dims)
    )


def _advice(shape: tuple[int, ...], dims: Sequence[Dim]) -> str:
    """What may be wrong about a shape."""
    image = shape[-len(dims) + 1 :] if len(dims) == 4 else ()
    if len(image) == 3 and image[2] != image[0]:
        moved = {"last": (image[2], *image[:2]), "first": (*image[1:], image[0])}
        for where, each in moved.items():
            if _fits(each, dims[1:]):
                other = "first" if where == "last" else "last"
                axes = "(0, 3, 1, 2)" if where == "last" else "(0, 2, 3, 1)"
                return f"the data has its channels {where}, the model takes them {other}: transpose it by {axes}"
    return "a sample has the input's shape; several samples lie along the first axis"


def _fits(shape: Sequence[int], dims: Sequence[Dim]) -> bool:
    return len(shape) == len(dims) and all(
        not isinstance(want, int) or got == want for got, want in zip(shape, dims, strict=True)
    )
