"""Calibration data: samples from files, folders, images or Python objects, read one at a time.

    samples = open_calibration("calib/", types, preprocess={"x": Preprocess(mean=127.5, std=127.5)}, limit=64)
    for feeds in samples: ...           # arrays by input name, of exactly the inputs' types

A source is recognised by what it is:

- a .npz file: arrays by input name, the first axis is the sample; a .npy file: the same for a model with one input;
- a folder of .npz or .npy files, in order of their names, read the same way (usually one sample a file);
- a folder of images, or one image, for a model with one image input, made by its `Preprocess`;
- a mapping of arrays by input name, or one array: as a .npz or .npy file;
- any other iterable: every item is a mapping by input name, a sequence in the inputs' order, or one array.

An array fits an input when it has its shape; or lacks its batch axis of extent 1; or holds several samples along the
first axis, which are taken apart. Numbers of another type are converted when that loses nothing that matters (float64
to float32, integers to floats); an array of 8-bit pixels for an input with a `Preprocess` gets its mean and standard
deviation.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np

from uair.ir.dims import Dim, static
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.preprocess import IMAGE_SUFFIXES, Preprocess
from uair.quant.errors import CalibrationDataError, CalibrationSourceError, EmptyCalibrationError
from uair.quant.npy import ArrayStream, read_streams

ARRAY_SUFFIXES = (".npz", ".npy")
KINDS = "a folder of images, .npy or .npz files, one such file, or an iterable of inputs"
FEW_SAMPLES = 8

Feeds = dict[str, Array]


def open_calibration(
    source: Any,
    types: Mapping[str, TensorType],
    *,
    preprocess: Mapping[str, Preprocess] | None = None,
    limit: int = 64,
) -> Calibration:
    """The samples of a source.

    Args:
        source: see the module's documentation.
        types: the model's inputs.
        preprocess: how images and 8-bit pixels become inputs, by input name.
        limit: how many samples are used at most.

    Raises:
        CalibrationSourceError: there is no such source, or it is of no known kind. Faults of single samples are raised
            while they are read.
    """
    if limit < 1:
        raise CalibrationSourceError(f"{limit} calibration samples were asked for", hint="use at least one")
    known = dict(preprocess or {})
    unknown = sorted(set(known) - set(types))
    if unknown:
        raise CalibrationSourceError(
            f"preprocessing is given for {unknown[0]!r}, which is no input", hint=f"the inputs are {', '.join(types)}"
        )
    reader = _Reader(dict(types), known)
    description, samples = reader.open(source)
    return Calibration(description, reader, samples, limit)


@attrs.define(eq=False)
class Calibration:
    """Samples, an iterable of arrays by input name. They can be iterated over again: what an iterator gave is kept.

    Attributes:
        description: what the source is, for reports.
        count: number of samples of the last complete iteration.
        notes: what looks wrong about the data, in sentences; known after an iteration.
        first: the first sample, once one was read.
    """

    description: str
    _reader: _Reader
    _samples: Callable[[], Iterator[tuple[Feeds, str]]]
    limit: int
    count: int = 0
    notes: list[str] = attrs.Factory(list[str])
    first: Feeds | None = None
    _digest: str = ""

    def __iter__(self) -> Iterator[Feeds]:
        digest = hashlib.sha256()
        looks = {name: _Look() for name in self._reader.types}
        count = 0
        for feeds, place in itertools.islice(self._samples(), self.limit):
            for name in sorted(feeds):
                _check_finite(name, feeds[name], place)
                looks[name].see(feeds[name])
                digest.update(f"{name} {feeds[name].dtype} {feeds[name].shape}\n".encode())
                digest.update(np.ascontiguousarray(feeds[name]).reshape(-1).view(np.uint8).data)
            if self.first is None:
                self.first = feeds
            count += 1
            yield feeds
        if not count:
            raise EmptyCalibrationError(f"{self.description} has no samples", hint=f"calibration data is {KINDS}")
        self.count, self._digest = count, digest.hexdigest()
        self.notes = self._judge(looks)

    def digest(self) -> str:
        """sha256 over names, types, shapes and values of the samples used; reads them if that was not done yet."""
        if not self._digest:
            for _ in self:
                pass
        return self._digest

    def _judge(self, looks: Mapping[str, _Look]) -> list[str]:
        notes = [note for name, look in looks.items() for note in look.notes(name, self._reader, self.count)]
        if self.count < FEW_SAMPLES:
            notes.append(f"only {self.count} calibration samples: 32 or more give steadier ranges")
        return notes


@attrs.define(eq=False)
class _Look:
    """What an input's calibration data look like."""

    low: float = math.inf
    high: float = -math.inf
    whole: bool = True

    def see(self, array: Array) -> None:
        if array.size and array.dtype.kind in "fiu":
            self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
            self.whole = self.whole and bool((array == np.floor(array)).all())

    def notes(self, name: str, reader: _Reader, count: int) -> Iterator[str]:
        t = reader.types[name]
        if not t.dtype.is_float or self.low > self.high:
            return
        if self.whole and self.low >= 0 and 64 < self.high <= 255 and name not in reader.preprocess:
            yield (
                f"input {name!r} gets whole numbers from {self.low:g} to {self.high:g}: if they are pixels that the "
                "model expects scaled, give their preprocessing"
            )
        if self.low == self.high and count > 1:
            yield f"input {name!r} is {self.low:g} in all samples"


@attrs.define(eq=False)
class _Kept:
    """What an iterator gives, as often as one likes; nothing is read before it is asked for."""

    _source: Iterator[Any]
    _seen: list[Any] = attrs.Factory(list[Any])

    def __iter__(self) -> Iterator[Any]:
        for i in itertools.count():
            if i == len(self._seen):
                try:
                    self._seen.append(next(self._source))
                except StopIteration:
                    return
            yield self._seen[i]


def _check_finite(name: str, array: Array, place: str) -> None:
    dtype = DType.from_numpy(array.dtype)
    if dtype.is_float and array.size and not np.isfinite(array.astype(np.float32, copy=False)).all():
        raise CalibrationDataError(f"input {name!r} has NaN or infinite values", place=place)


# -------------------------------------------------------------------------------------------------------------- sources
@attrs.define(eq=False)
class _Reader:
    """Turns a source into samples for inputs of these types."""

    types: dict[str, TensorType]
    preprocess: dict[str, Preprocess]

    def open(self, source: Any) -> tuple[str, Callable[[], Iterator[tuple[Feeds, str]]]]:
        """What the source is, and a function that begins to read it."""
        if isinstance(source, (str, os.PathLike)):
            return self._open_path(Path(cast("str | os.PathLike[str]", source)))
        if isinstance(source, Calibration):
            again = source
            return again.description, lambda: ((feeds, again.description) for feeds in again)
        if isinstance(source, Mapping):
            arrays = {str(k): _as_array(v, f"the array of {k!r}") for k, v in source.items()}
            return "arrays", lambda: self._from_streams({k: ArrayStream.of(v) for k, v in arrays.items()}, "arrays")
        if isinstance(source, np.ndarray):
            stream = {self._single("one array"): ArrayStream.of(cast(Array, source))}
            return "an array", lambda: self._from_streams(stream, "the array")
        if isinstance(source, Iterable):
            items = _Kept(source) if isinstance(source, Iterator) else source
            return "an iterable", lambda: self._from_items(items)
        raise CalibrationSourceError(
            f"{type(source).__name__} is no calibration data", hint=f"calibration data is {KINDS}"
        )

    def _open_path(self, path: Path) -> tuple[str, Callable[[], Iterator[tuple[Feeds, str]]]]:
        if path.is_dir():
            return self._open_folder(path)
        if not path.is_file():
            raise CalibrationSourceError(f"there is no calibration data {path}", hint=f"calibration data is {KINDS}")
        suffix = path.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            return f"the file {path.name}", lambda: self._from_file(path)
        if suffix in IMAGE_SUFFIXES:
            self._image_input()
            return f"the image {path.name}", lambda: self._from_images([path])
        raise CalibrationSourceError(f"{path} is of no known kind", hint=f"calibration data is {KINDS}")

    def _open_folder(self, path: Path) -> tuple[str, Callable[[], Iterator[tuple[Feeds, str]]]]:
        files = sorted(
            p for p in path.rglob("*")
            if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts)
        )  # fmt: skip
        arrays = [p for p in files if p.suffix.lower() in ARRAY_SUFFIXES]
        images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
        if arrays and images:
            raise CalibrationSourceError(
                f"{path} holds images ({images[0].name}) and arrays ({arrays[0].name})",
                hint="keep the calibration samples of one kind in a folder of their own",
            )
        if arrays:
            return f"the folder {path.name} of {len(arrays)} array files", lambda: (
                sample for file in arrays for sample in self._from_file(file)
            )
        if images:
            self._image_input()
            return f"the folder {path.name} of {len(images)} images", lambda: self._from_images(images)
        found = f"it has {len(files)} other files, such as {files[0].name}" if files else "it is empty"
        raise CalibrationSourceError(
            f"{path} holds no calibration samples: {found}",
            hint=f"looked for {', '.join(sorted(IMAGE_SUFFIXES))}, .npy and .npz files",
        )

    # ---------------------------------------------------------------------------------------------------------- samples
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
        for i in range(next(iter(counts.values()), 0)):
            feeds = {name: self._convert(name, plan.take(chosen[name]), place) for name, plan in plans.items()}
            yield feeds, f"sample {i} of {place}"

    def _from_items(self, items: Iterable[Any]) -> Iterator[tuple[Feeds, str]]:
        for i, item in enumerate(items):
            place = f"item {i}"
            if isinstance(item, Mapping):
                named = {str(k): _as_array(v, place) for k, v in item.items()}
            elif isinstance(item, (tuple, list)) and len(cast("Sequence[Any]", item)) == len(self.types):
                values = cast("Sequence[Any]", item)
                named = {name: _as_array(v, place) for name, v in zip(self.types, values, strict=True)}
            else:
                named = {self._single(place): _as_array(item, place)}
            yield from self._from_streams({k: ArrayStream.of(v) for k, v in named.items()}, place)

    def _from_images(self, paths: Sequence[Path]) -> Iterator[tuple[Feeds, str]]:
        name, preprocess = self._image_input()
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
        f"input {name!r} is {t}, its calibration data has shape {list(shape)}",
        place=place,
        hint="a sample has the input's shape; several samples lie along the first axis",
    )


def _fits(shape: Sequence[int], dims: Sequence[Dim]) -> bool:
    return len(shape) == len(dims) and all(
        not isinstance(want, int) or got == want for got, want in zip(shape, dims, strict=True)
    )
