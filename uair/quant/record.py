"""What calibration samples showed, as a file: the pass over them is made once, for all targets.

`calibration.json` says which model and which samples it is of, and holds for every activation its least and greatest
value and its histogram, found again by the fingerprint of how the activation is computed (`uair.ir.fingerprint`), so
that it serves every target that computes the same value. It may keep a few of the samples, for what cannot be told from
histograms: how far the outputs of a quantized model are from the float model's.

    {"format": "uair calibration 1",
     "model": {"name": "resnet18", "sha256": "..."},
     "inputs": {"x": {"type": "f32[1,3,224,224]", "preprocess": {"mean": [127.5], ...}}},
     "samples": {"count": 64, "sha256": "...", "source": "the folder images of 64 images", "kept": [...]},
     "tensors": [{"name": "conv1", "fingerprint": "...", "min": -1.5, "max": 2.25, "values": 802816,
                  "used": [-3.0, null], "bins": {"exponent": -9, "first": -768, "counts": "..."}}, ...],
     "channels": [{"name": "conv1", "fingerprint": "...", "axis": 1, "values": 12544, "samples": 64,
                   "low": "...", "high": "...", "energy": "...", "parts": "..."}, ...]}

`used` is there where values beyond a range count as its end, because the users of the activation cannot tell them
apart (null: without end). `counts` are the numbers of values in the bins [i * 2^exponent, (i + 1) * 2^exponent), from
i = first on: 64-bit little-endian integers, deflated (zlib), in base64; `values` is their sum. Kept samples are packed
the same way.

`channels` has what `uair.quant.channel_range` knows of the channels of what layers with weights read and give: 64-bit
little-endian floats, packed as the counts are. Files of earlier versions do not have it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from uair.atomic import atomic_file
from uair.ir.dtype import Array, DType
from uair.quant.channel_range import ChannelRange
from uair.quant.errors import CalibrationDataError
from uair.quant.observers import BINS, RangeObserver

FORMAT = "uair calibration 1"
SUFFIX = ".json"
MOST_BYTES = 1 << 31
"""Of one kept array: more is no sample but an attack."""
EXPONENTS = range(-200, 200)

Key: TypeAlias = tuple[str, float, float]
"""Fingerprint, and the range beyond which values count as its ends."""
NamedChannels: TypeAlias = tuple[str, ChannelRange]
"""What channels showed, and a name of the value for people."""
CHANNEL_PARTS = ("low", "high", "energy", "parts")
MOST_CHANNELS = 1 << 24
"""Bytes of one of these."""
UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, AttributeError, binascii.Error, zlib.error)
"""What damaged content raises."""


@attrs.define(eq=False)
class CalibrationRecord:
    """What calibration samples showed.

    Attributes:
        model: `name`, and `sha256` of the file it was read from where there was one.
        inputs: `type` and, where images were made into it, `preprocess`, by input name.
        source: what the samples were, in words.
        count: number of samples.
        sha256: of the samples.
        observers: by fingerprint and used range.
        channels: by fingerprint, what the channels of some values showed.
        kept: some of the samples, the first one among them.
        notes: what looked wrong about the samples.
    """

    model: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, Any]]
    source: str
    count: int
    sha256: str
    observers: dict[Key, RangeObserver]
    kept: list[dict[str, Array]] = attrs.Factory(list[dict[str, Array]])
    notes: list[str] = attrs.Factory(list[str])
    channels: dict[str, NamedChannels] = attrs.Factory(dict[str, NamedChannels])

    def find(self, fingerprint: str, least: float = -math.inf, greatest: float = math.inf) -> RangeObserver | None:
        """The statistics of a value whose users cannot tell what lies outside of a range; None when there are none."""
        found = self.observers.get((fingerprint, least, greatest))
        if found is None:
            whole = self.observers.get((fingerprint, -math.inf, math.inf))
            found = None if whole is None else whole.clipped(least, greatest)
        return found

    def digest(self) -> str:
        """sha256 of the content, however the file is laid out."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    # ------------------------------------------------------------------------------------------------------------ files
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_file(path) as file:
            file.write(json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> CalibrationRecord:
        """Read a file.

        Raises:
            CalibrationDataError: it cannot be read, is no calibration record, or is damaged.
        """
        place = Path(path).name
        try:
            value = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CalibrationDataError(f"{place} cannot be read as JSON: {error}", place=place) from error
        given = cast("dict[str, Any]", value).get("format") if isinstance(value, dict) else None
        if given != FORMAT:
            raise CalibrationDataError(
                f"{place} is no record of a calibration: its format is {given!r}, not {FORMAT!r}",
                place=place,
                hint="such files are written by `uair quantize --save-calibration`",
            )
        try:
            return CalibrationRecord.from_json(cast("dict[str, Any]", value))
        except UNREADABLE as error:
            raise CalibrationDataError(
                f"{place} is damaged: {type(error).__name__}: {error}", place=place, hint="calibrate again"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "format": FORMAT,
            "model": dict(self.model),
            "inputs": {name: dict(value) for name, value in self.inputs.items()},
            "samples": {
                "count": self.count,
                "sha256": self.sha256,
                "source": self.source,
                "kept": [{name: _packed_array(array) for name, array in sample.items()} for sample in self.kept],
            },
            "notes": list(self.notes),
            "tensors": [_observer_json(key, observer) for key, observer in self.observers.items()],
            **({"channels": [_channels_json(k, *v) for k, v in self.channels.items()]} if self.channels else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> CalibrationRecord:
        """The inverse of `to_json`; what is wrong raises one of `UNREADABLE`."""
        samples = value["samples"]
        count = _integer(samples["count"], 1, 2**62)
        return CalibrationRecord(
            model={str(k): str(v) for k, v in value["model"].items()},
            inputs={str(k): dict(v) for k, v in value["inputs"].items()},
            source=str(samples["source"]),
            count=count,
            sha256=str(samples["sha256"]),
            observers=dict(_observer(each) for each in value["tensors"]),
            kept=[{str(k): _unpacked_array(v) for k, v in sample.items()} for sample in samples["kept"]],
            notes=[str(note) for note in value["notes"]],
            channels={str(each["fingerprint"]): _channels(each) for each in value.get("channels", ())},
        )


# ---------------------------------------------------------------------------------------------------------- histograms
def _observer_json(key: Key, observer: RangeObserver) -> dict[str, Any]:
    fingerprint, least, greatest = key
    used = {} if math.isinf(least) and math.isinf(greatest) else {"used": [_end(least), _end(greatest)]}
    seen = {"min": observer.minimum, "max": observer.maximum} if observer.count else {}
    return {
        "name": observer.name,
        "fingerprint": fingerprint,
        **used,
        **seen,
        "values": observer.count,
        "bins": {
            "exponent": observer.exponent,
            "first": observer.first,
            "counts": _packed(observer.counts.astype("<i8").tobytes()),
        },
    }


def _observer(value: Mapping[str, Any]) -> tuple[Key, RangeObserver]:
    least, greatest = value.get("used", (None, None))
    key = (
        str(value["fingerprint"]),
        -math.inf if least is None else _number(least),
        math.inf if greatest is None else _number(greatest),
    )
    count, bins = _integer(value["values"], 0, 2**62), value["bins"]
    counts = np.frombuffer(_unpacked(bins["counts"], 8 * BINS), "<i8").astype(np.int64)
    if (counts < 0).any() or int(counts.sum()) != count or (count > 0) != bool(counts.size):
        raise ValueError(f"the histogram of {value['name']!r} does not hold its {count} values")
    observer = RangeObserver(
        str(value["name"]),
        count=count,
        exponent=_integer(bins["exponent"], EXPONENTS.start, EXPONENTS.stop),
        first=_integer(bins["first"], -(2**62), 2**62),
        counts=counts,
    )
    if count:
        observer.minimum, observer.maximum = _number(value["min"]), _number(value["max"])
        if not observer.is_consistent():
            raise ValueError(f"the range of {observer.name!r} is not that of its histogram")
    return key, observer


# ------------------------------------------------------------------------------------------------------------ channels
def _channels_json(fingerprint: str, name: str, seen: ChannelRange) -> dict[str, Any]:
    parts = {part: _packed(getattr(seen, part).astype("<f8").tobytes()) for part in CHANNEL_PARTS}
    counts = {"axis": seen.axis, "values": seen.count, "samples": seen.samples}
    return {"name": name, "fingerprint": fingerprint, **counts, **parts}


def _channels(value: Mapping[str, Any]) -> NamedChannels:
    name = str(value["name"])
    low, high, energy, parts = (
        np.frombuffer(_unpacked(value[part], MOST_CHANNELS), "<f8").astype(np.float64) for part in CHANNEL_PARTS
    )
    size = len(low)
    every = np.concatenate([-low, high, energy, parts])
    if (
        not size
        or {len(high), len(energy), len(parts) / 2} != {size}
        or not np.isfinite(every).all()
        or every.min() < 0
    ):
        raise ValueError(f"the channels of {name!r} do not fit together")
    axis, samples = _integer(value["axis"], 0, 2**10), _integer(value["samples"], 1, 2**62)
    count = _integer(value["values"], 1, 2**62)
    return name, ChannelRange(axis, low, high, energy, parts.reshape(2, size), count, samples)


def _end(value: float) -> float | None:
    return None if math.isinf(value) else value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _integer(value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
    return value


# --------------------------------------------------------------------------------------------------------------- bytes
def _packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 6)).decode()


def _unpacked(text: Any, most: int) -> bytes:
    """The bytes behind a text; not more than `most` are made.

    Raises:
        ValueError, zlib.error, binascii.Error: there are more, or it is damaged.
    """
    machine = zlib.decompressobj()
    raw = machine.decompress(base64.b64decode(text, validate=True), most + 1)
    if len(raw) > most or not machine.eof:
        raise ValueError("packed numbers are too many or cut off")
    return raw


def _packed_array(array: Array) -> dict[str, Any]:
    content = np.ascontiguousarray(array)
    return {
        "type": str(DType.from_numpy(content.dtype)),
        "shape": list(content.shape),
        "data": _packed(content.reshape(-1).view(np.uint8).tobytes()),
    }


def _unpacked_array(value: Mapping[str, Any]) -> Array:
    dtype, shape = DType(value["type"]).numpy, cast("Sequence[Any]", value["shape"])
    sizes = tuple(_integer(size, 0, MOST_BYTES) for size in shape)
    nbytes = math.prod(sizes) * dtype.itemsize
    if dtype.hasobject or nbytes > MOST_BYTES:
        raise ValueError(f"a sample of {nbytes} bytes of {dtype}")
    return np.frombuffer(_unpacked(value["data"], nbytes), dtype).reshape(sizes)
