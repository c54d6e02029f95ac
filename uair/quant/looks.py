"""What calibration data look like, and what looks wrong about it: mistakes that no error shows, only a bad model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.types import TensorType
from uair.preprocess import Preprocess

FEW_SAMPLES = 8
BRIGHT = 64
"""Whole numbers beyond it look like pixels."""
HARDLY = 1 / 16
"""Values that vary less than this part of their magnitude look normalised twice."""
CLEARLY = 5.0
"""Standard errors by which two channels' means must differ before a colour order is doubted."""
LEVELS = 3.0
"""And by how many of 255 levels."""


@attrs.define(eq=False)
class SampleLook:
    """What samples look like, all inputs together: which of them are the same."""

    seen: dict[bytes, int] = attrs.Factory(dict[bytes, int])
    repeated: int = 0

    def see(self, digest: bytes) -> None:
        """Take in the hash of a sample's values."""
        self.repeated += digest in self.seen
        self.seen.setdefault(digest, len(self.seen))

    def notes(self, count: int) -> Iterator[str]:
        """What looks wrong."""
        if self.repeated:
            yield f"{self.repeated} of the {count} calibration samples repeat others"
        if count < FEW_SAMPLES:
            yield f"only {count} calibration sample{'s' * (count > 1)}: 32 or more give steadier ranges"


@attrs.define(eq=False)
class InputLook:
    """What an input's calibration data look like.

    Attributes:
        name: of the input.
        type: its type.
        preprocess: how images become it.
        from_files: whether the data were image files, whose colour order is known.
    """

    name: str
    type: TensorType
    preprocess: Preprocess | None = None
    from_files: bool = False
    low: float = math.inf
    high: float = -math.inf
    whole: bool = True
    _count: int = 0
    _values: int = 0
    _sum: float = 0.0
    _squares: float = 0.0
    _means: Array = attrs.Factory(lambda: np.zeros(3))
    _differences: list[float] = attrs.Factory(list[float])

    def see(self, array: Array) -> None:
        """Take in one sample."""
        if not array.size or array.dtype.kind not in "fiu":
            return
        values = array.astype(np.float64)
        flat = values.reshape(-1)
        self.low, self.high = min(self.low, float(array.min())), max(self.high, float(array.max()))
        self.whole = self.whole and bool((flat == np.floor(flat)).all())
        self._count += 1
        self._values += values.size
        self._sum += float(values.sum())
        self._squares += float(flat @ flat)
        axis = self._channel_axis()
        if axis is not None and array.ndim == 4:
            means = self._levels(values.mean(axis=tuple(i for i in range(4) if i != axis)))
            self._means += means
            self._differences.append(float(means[0] - means[2]))

    def notes(self) -> Iterator[str]:
        """What looks wrong, in sentences."""
        if not self.type.dtype.is_float or self.low > self.high:
            return
        if self.low == self.high:
            if self._count > 1:
                yield f"input {self.name!r} is {self.low:g} in all samples"
            return
        scale = list(self._scale())
        yield from scale
        if not scale:
            yield from self._colours()

    # --------------------------------------------------------------------------------------------------------- scale
    def _scale(self) -> Iterator[str]:
        """Values of another scale than a model expects."""
        span = f"from {self.low:.4g} to {self.high:.4g}"
        if self.whole and self.low >= 0 and BRIGHT < self.high <= 255 and not self.from_files:
            if self.preprocess is None:
                yield (
                    f"input {self.name!r} gets whole numbers {span}: if they are pixels that the model expects scaled, "
                    "give their preprocessing"
                )
            elif self._changes_scale():
                yield (
                    f"input {self.name!r} gets whole numbers {span} as floats, which are taken as they are: "
                    "preprocessing is for images and for pixels given as uint8"
                )
        if not self._is_image():
            return
        mean = self._sum / self._values
        spread = math.sqrt(max(self._squares / self._values - mean * mean, 0.0))
        if spread < HARDLY * abs(mean):
            yield f"input {self.name!r} hardly varies, {span}: are its values normalised twice?"
        elif self.low >= 0 and self.high <= 1.01 / 255 and self._count > 1:
            yield f"input {self.name!r} gets values {span}: are they divided by 255 twice?"

    def _changes_scale(self) -> bool:
        assert self.preprocess is not None
        mean, std = self.preprocess.per_channel()
        return any(mean) or any(s != 1 for s in std)

    def _is_image(self) -> bool:
        return self.type.shape is not None and len(self.type.dims) == 4

    # ------------------------------------------------------------------------------------------------------- colours
    def _channel_axis(self) -> int | None:
        """Where three colours lie; None when the input is no colour image."""
        if not self._is_image() or (self.preprocess is not None and self.preprocess.channels != 3):
            return None
        axes = (1, 3) if self.preprocess is None else (1,) if self.preprocess.layout == "NCHW" else (3,)
        return next((axis for axis in axes if self.type.dims[axis] == 3), None)

    def _levels(self, means: Array) -> Array:
        """Means of channels as pixels, where the preprocessing tells what they were."""
        if self.preprocess is None:
            return means
        mean, std = self.preprocess.per_channel()
        levels: Array = means * np.asarray(std) + np.asarray(mean)
        return levels

    def _colours(self) -> Iterator[str]:
        """A colour order that does not go with the data.

        Photographs have more red than blue, on average; that is also why the usual means of preprocessing fall from red
        to blue. What is unusual is only worth a question.
        """
        if len(self._differences) < FEW_SAMPLES:
            return
        differences = np.asarray(self._differences)
        difference = float(differences.mean())
        error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
        unit = 1.0 if self.preprocess is not None or self.high > BRIGHT else 1 / 255
        if abs(difference) < LEVELS * unit or abs(difference) < CLEARLY * error:
            return
        shown = "/".join(f"{m:.4g}" for m in self._means / self._count)
        mean = (0.0,) if self.preprocess is None else self.preprocess.per_channel()[0]
        if mean[0] != mean[-1]:
            if difference * (mean[0] - mean[-1]) < 0:
                expected = "/".join(f"{m:.4g}" for m in mean)
                yield (
                    f"the channels of input {self.name!r} have the means {shown}, the preprocessing subtracts "
                    f"{expected}: is one of them in the other colour order?"
                )
        elif not self.from_files and (self.preprocess is not None or self.low >= 0):
            color = "rgb" if self.preprocess is None else self.preprocess.color
            if (difference < 0) == (color == "rgb"):
                first, last = ("red", "blue") if color == "rgb" else ("blue", "red")
                yield (
                    f"the channels of input {self.name!r} have the means {shown}, in photographs red is mostly "
                    f"brighter than blue: is the first channel {first} and the last one {last}?"
                )


def digest_of(feeds: Mapping[str, Array]) -> bytes:
    """sha256 of a sample's values."""
    digest = hashlib.sha256()
    for name in sorted(feeds):
        digest.update(f"{name} {feeds[name].dtype} {feeds[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(feeds[name]).reshape(-1).view(np.uint8).data)
    return digest.digest()
