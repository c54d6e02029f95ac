"""Calibration data: samples from files, folders, images or Python objects, read one at a time.

    samples = open_calibration("calib/", types, preprocess={"x": Preprocess(mean=127.5, std=127.5)}, limit=64)
    for feeds in samples: ...           # arrays by input name, of exactly the inputs' types

A source is recognised by what it is:

- a .npz file: arrays by input name, the first axis is the sample; a .npy file: the same for a model with one input;
- a .bin or .raw file: the numbers of an input of known size as they lie in memory, one sample after the other, of the
  input's type, or the 8-bit pixels of one sample for an input with a `Preprocess`;
- a folder of .npz, .npy, .bin or .raw files, in order of their names, read the same way (usually one sample a file);
- a folder of images, or one image, for a model with one image input, made by its `Preprocess`;
- a folder with one sub-folder for each input, named after it, of any of these, in the same order;
- a .txt file, as RKNN's tools take it: one sample a line, the files of all inputs separated by blanks;
- a .json file that holds the record of a calibration, see uair.quant.record;
- `file.py:function` or `package.module:function`: what that function returns when it is called;
- a mapping of arrays by input name, or one array: as a .npz or .npy file;
- any other iterable (a DataLoader among them): every item is a mapping by input name, a sequence in the inputs' order,
  or one array. What else an item holds, labels for instance, is left out.

An array fits an input when it has its shape; or lacks its batch axis of extent 1; or holds several samples along the
first axis, which are taken apart. Numbers of another type are converted when that loses nothing that matters (float64
to float32, integers to floats); an array of 8-bit pixels for an input with a `Preprocess` gets its mean and standard
deviation.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.preprocess import Preprocess
from uair.quant.errors import CalibrationDataError, CalibrationSourceError, EmptyCalibrationError
from uair.quant.looks import SampleLook, digest_of
from uair.quant.reader import KINDS, Feeds, Sample, SampleReader
from uair.quant.record import CalibrationRecord

__all__ = ["Calibration", "open_calibration"]


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
    known = {name: chosen.settled(types[name].shape or ()) for name, chosen in known.items()}
    reader = SampleReader(dict(types), known)
    record = _record_of(source)
    if record is not None:
        _require_inputs(record, reader.types, str(source))
        reader.preprocess |= _recorded_preprocess(record)
        kept = record.kept
        places = [f"kept sample {i} of {Path(source).name}" for i in range(len(kept))]
        return Calibration(
            record.source, reader, lambda: iter(zip(kept, places, strict=True)), limit, record=record, stands_alone=True
        )
    if isinstance(source, Calibration):
        again = source
        return Calibration(
            again.description, reader, lambda: ((feeds, again.description) for feeds in again), limit, again.record
        )
    description, samples = reader.open(source)
    return Calibration(description, reader, samples, limit)


def _record_of(source: Any) -> CalibrationRecord | None:
    """The record of a calibration that a source names; None when it is something else."""
    if not isinstance(source, (str, Path)) or Path(source).suffix.lower() != ".json" or not Path(source).is_file():
        return None
    return CalibrationRecord.load(source)


def _require_inputs(record: CalibrationRecord, types: Mapping[str, TensorType], place: str) -> None:
    """Refuse a record of other inputs.

    Raises:
        CalibrationDataError: naming the first difference.
    """
    expected = {name: str(t) for name, t in types.items()}
    found = {name: str(value.get("type")) for name, value in record.inputs.items()}
    if expected != found:
        raise CalibrationDataError(
            f"the calibration was made for the inputs {_listed(found)}, the model has {_listed(expected)}",
            place=Path(place).name,
            hint="calibrate again, or give the shapes that it was made with",
        )
    for sample in record.kept:
        for name, t in types.items():
            array = sample.get(name)
            if array is None or array.dtype != t.dtype.numpy or not _has_shape(array, t):
                raise CalibrationDataError(f"a kept sample does not fit {name!r}: {t}", place=Path(place).name)


def _listed(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in types.items())


def _has_shape(array: Array, t: TensorType) -> bool:
    dims = t.shape
    return dims is None or (
        array.ndim == len(dims)
        and all(not isinstance(d, int) or d == size for d, size in zip(dims, array.shape, strict=True))
    )


def _recorded_preprocess(record: CalibrationRecord) -> dict[str, Preprocess]:
    """How images became the inputs."""
    given = {name: value.get("preprocess") for name, value in record.inputs.items()}
    return {name: Preprocess.from_json(value) for name, value in given.items() if value is not None}


@attrs.define(eq=False)
class Calibration:
    """Samples, an iterable of arrays by input name. They can be iterated over again: what an iterator gave is kept.

    Attributes:
        description: what the source is, for reports.
        limit: how many samples are used at most.
        record: what these samples, or others that are lost, showed before; None when that is not known.
        stands_alone: whether there is nothing but the record, with the samples that it keeps.
        keep: how many samples are put into the record of this calibration; None when none is wanted.
        made: the record that was asked for, once it is made.
        count: number of samples of the last complete iteration; with a record alone, of those that it was made from.
        notes: what looks wrong about the data, in sentences; known after an iteration.
        first: the first sample, once one was read.
    """

    description: str
    _reader: SampleReader
    _samples: Callable[[], Iterator[tuple[Feeds, str]]]
    limit: int
    record: CalibrationRecord | None = None
    stands_alone: bool = False
    keep: int | None = None
    made: CalibrationRecord | None = None
    count: int = 0
    notes: list[str] = attrs.Factory(list[str])
    first: Feeds | None = None
    _digest: str = ""

    def __attrs_post_init__(self) -> None:
        if self.stands_alone and self.record is not None:
            self.count, self._digest = self.record.count, self.record.sha256
            self.notes = list(self.record.notes)

    def __iter__(self) -> Iterator[Sample]:
        digest, count = hashlib.sha256(), 0
        sample_look = SampleLook()
        looks = {name: self._reader.look(name) for name in self._reader.types}
        for feeds, place in itertools.islice(self._samples(), self.limit):
            for name in sorted(feeds):
                _check_finite(name, feeds[name], place)
                looks[name].see(feeds[name])
            of_sample = digest_of(feeds)
            sample_look.see(of_sample)
            digest.update(of_sample)
            if self.first is None:
                self.first = feeds
            count += 1
            yield Sample(feeds, place)
        if not count:
            raise self._empty()
        if self.stands_alone:
            return
        self.count, self._digest = count, digest.hexdigest()
        self.notes = [*(note for look in looks.values() for note in look.notes()), *sample_look.notes(count)]
        self.notes += self._reader.notes

    def _empty(self) -> EmptyCalibrationError:
        if self.stands_alone:
            return EmptyCalibrationError(
                "samples are needed here, and the saved calibration keeps none",
                hint="give the calibration data, or save the calibration with some samples in it",
            )
        return EmptyCalibrationError(f"{self.description} has no samples", hint=f"calibration data is {KINDS}")

    def digest(self) -> str:
        """sha256 over names, types, shapes and values of the samples used; reads them if that was not done yet."""
        if not self._digest:
            for _ in self:
                pass
        return self._digest

    def described_inputs(self) -> dict[str, dict[str, Any]]:
        """Type and preprocessing by input name, as plain data."""
        return {
            name: {"type": str(t)}
            | ({"preprocess": self._reader.preprocess[name].to_json()} if name in self._reader.preprocess else {})
            for name, t in self._reader.types.items()
        }


def _check_finite(name: str, array: Array, place: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        CalibrationDataError: naming the first such element.
    """
    if not DType.from_numpy(array.dtype).is_float or not array.size:
        return
    finite = np.isfinite(array.astype(np.float32, copy=False))
    if not finite.all():
        at = np.unravel_index(int(np.argmin(finite)), array.shape)
        raise CalibrationDataError(
            f"input {name!r} has NaN or infinite values: {array[at]} at [{', '.join(str(i) for i in at)}], "
            f"{int(finite.size - finite.sum())} of {finite.size} in all",
            place=place,
        )
