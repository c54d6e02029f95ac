"""What decides about stages: noise on samples that nothing was learned from, sample by sample, and when it is less."""

from __future__ import annotations

import math
import statistics
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.passes.quantization.choose import NodeResult
from uair.passes.quantization.parking import Place, Store, Stored
from uair.passes.quantization.trial import Energies, Study, has_channels
from uair.quant.comparison import FLOOR

Samples: TypeAlias = Sequence[Mapping[str, Array]]

DOUBT = 2.0
"""Standard errors of the mean gain that are taken off it. With one, the recognizer's ranges for RK3588 changed (a gain
of 1.56 dB, known to 0.83) and its biases with them, and the features of other lines had 9 dB more noise. Of the gain of
the samples' sum, which the noisiest samples decide, half as many are taken off: its error is several times as great."""


class StoredSample(Stored[str]):
    """A sample whose arrays lie in a file for as long as it is needed."""

    def __init__(self, store: Store, sample: Mapping[str, Array]) -> None:
        places = {name: store.put(array) for name, array in sample.items()}
        super().__init__(store, places)
        weakref.finalize(self, _free, store, list(places.values()))


def _free(store: Store, places: Sequence[Place]) -> None:
    for place in places:
        store.free(place)


@attrs.frozen
class Noise:
    """Noise by signal at the outputs, of every sample, each judged by what was learned from others.

    Attributes:
        losses: always of the same samples in the same order, so that two can be compared sample by sample.
    """

    losses: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Geometric, so that no single sample decides."""
        return math.exp(sum(map(_log, self.losses)) / len(self.losses))

    @property
    def worst(self) -> float:
        """The arithmetic mean, in which the worst samples count most."""
        return sum(self.losses) / len(self.losses)

    def is_better(self, other: Noise, convincing: float = 1.0) -> bool:
        """Whether it is less than another by more than chance, on most samples and in their sum.

        The gain of every sample is the logarithm of before by after. Half of the samples must gain, their mean must be
        positive with `DOUBT` standard errors taken off, and as great as a shrinking to the part `convincing`; the sum
        over the samples, which is what the noise of outputs is measured by, must have shrunk with half as many
        standard errors taken off (of the ratio of two means, to first order).
        """
        gains = [_log(b) - _log(a) for a, b in zip(self.losses, other.losses, strict=True)]
        mean = statistics.fmean(gains)
        is_certain = statistics.median(gains) > 0 and mean - DOUBT * _standard_error(gains) > 0
        parts = [
            b / max(other.worst, 1e-30) - a / max(self.worst, 1e-30)
            for a, b in zip(self.losses, other.losses, strict=True)
        ]
        in_sum = _log(other.worst) - _log(self.worst) - DOUBT / 2 * _standard_error(parts)
        return is_certain and mean >= -_log(convincing) and in_sum > 0


def _standard_error(values: Sequence[float]) -> float:
    """Of their mean; 0 of a single one."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _log(loss: float) -> float:
    return math.log(max(loss, 1e-30))


@attrs.frozen
class Stage:
    """What became of a stage.

    Attributes:
        name: of the stage.
        changed: activations, weights or biases that it changed.
        before: the noise without it.
        after: the noise with it.
        convincing: what the noise must shrink to, as a part of what it was.
        is_downhill: whether it stays unless it is noisier by more than chance: of a stage whose short steps made the
            noise less on the samples that it learned from, and that of fresh ones in nearly all cases.
    """

    name: str
    changed: int
    before: Noise
    after: Noise
    convincing: float = 1.0
    is_downhill: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether it made the noise less; of one that goes downhill, whether it did not make it more."""
        if self.is_downhill:
            return self.changed > 0 and not self.before.is_better(self.after)
        return self.changed > 0 and self.after.is_better(self.before, self.convincing)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.name,
            "changed": self.changed,
            "before": round(self.before.mean, 8),
            "after": round(self.after.mean, 8),
            "worst_before": round(self.before.worst, 8),
            "worst_after": round(self.after.worst, 8),
            "kept": self.is_kept,
        }


@attrs.define(eq=False)
class Judge:
    """What the float model makes of samples where it counts (`Study.references`), in a file.

    Attributes:
        samples: the samples.
        signal: the mean signal of every tensor, of each channel where it has some. Noise is measured by that and not
            by the signal of its own sample: where two classes are level nothing would count but their difference.
    """

    samples: Samples
    signal: dict[Tensor, Array | float]
    _places: list[dict[Tensor, Place]]
    _store: Store

    @staticmethod
    def of(study: Study, samples: Samples, store: Store) -> Judge:
        """Run the float model on the samples."""
        sums: dict[Tensor, Energies] = {}
        places: list[dict[Tensor, Place]] = []
        for sample in samples:
            found = study.on([sample]).references()[0]
            for tensor, values in found.items():
                sums.setdefault(tensor, Energies(has_channels(tensor))).add(values, values)
            places.append({tensor: store.put(values) for tensor, values in found.items()})
        return Judge(samples, {t: e.signal / len(samples) for t, e in sums.items()}, places, store)

    def losses(self, study: Study, results: list[NodeResult], chosen: Sequence[int]) -> list[float]:
        """Noise by signal of the quantized model on some of the samples, by their numbers."""
        found: list[float] = []
        with study.quantized_copy(results) as (copy, tensors):
            watched = {tensors[t]: t for t in self.signal}
            interpreter = study.run(copy)
            for i in chosen:
                noises: list[float] = []

                def observe(tensor: Tensor, values: Array, noises: list[float] = noises, i: int = i) -> None:
                    original = watched.get(tensor)
                    if original is not None:
                        noises.append(self._noise(original, i, values))

                interpreter.run(self.samples[i], observe=observe)
                found.append(float(np.mean(noises)) if noises else 0.0)
        return found

    def _noise(self, tensor: Tensor, i: int, values: Array) -> float:
        """The mean over the channels of a tensor in one sample."""
        energies = Energies(has_channels(tensor))
        energies.add(self._store.get(self._places[i][tensor]), values)
        signal = self.signal[tensor]
        return float(np.mean(energies.noise / (signal + FLOOR * np.mean(signal) + 1e-30)))

    def slope(self, tensor: Tensor, i: int, values: Array) -> Array:
        """The gradient of the noise by signal in sample `i` by a tensor's values, of their shape."""
        expected = self._store.get(self._places[i][tensor])
        signal = np.asarray(self.signal[tensor])
        weight = 2 / (signal + FLOOR * np.mean(signal) + 1e-30) / (signal.size * len(self.signal))
        if has_channels(tensor):
            weight = weight.reshape(-1, *(1,) * (expected.ndim - 2))
        return np.asarray((values - expected) * weight, np.float32)

    def close(self) -> None:
        """Leave the places in the file to others."""
        for places in self._places:
            _free(self._store, list(places.values()))
        self._places.clear()
