"""How far results are from what they should be: sums over samples, and the figures that follow from them."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.quant.parameters import decibels

FLOOR = 1e-3
"""Part of the mean energy (or variance) of a result's channels that a weaker channel is taken to have, so that noise is
not divided by next to nothing."""
AT_ONCE = 1 << 16
"""Elements that are compared at a time: in f64 they fit into a cache, and a large output is not there three times."""
MOST_GROUPS = 16
"""Groups that the channels of an output are judged in."""


@attrs.define(eq=False)
class ErrorSums:
    """What is kept of a tensor's values while samples go by; memory does not depend on their number or size.

    Attributes:
        count: elements that were compared.
        signal: sum of the squares of the expected values.
        energy: of the actual ones.
        noise: of the differences.
        product: sum of expected times actual.
        shift: sum of actual minus expected.
        largest: greatest expected magnitude.
        max_abs: greatest difference.
        not_finite: elements of which only one is a number, or that are different infinities; they are in no sum.
    """

    count: int = 0
    signal: float = 0.0
    energy: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    shift: float = 0.0
    largest: float = 0.0
    max_abs: float = 0.0
    not_finite: int = 0

    def add(self, expected: Array, actual: Array) -> None:
        """Take in the values of one sample, numbers in arrays of one shape."""
        a, b = _flat(expected), _flat(actual)
        for start in range(0, a.size, AT_ONCE):
            some = slice(start, start + AT_ONCE)
            self._add(a[some].astype(np.float64), b[some].astype(np.float64))

    def _add(self, a: Array, b: Array) -> None:
        """Take in some numbers of f64."""
        signal, energy = float(a @ a), float(b @ b)
        if not math.isfinite(signal + energy):
            a, b = self._finite(a, b)
            signal, energy = float(a @ a), float(b @ b)
        difference = b - a
        self.count += a.size
        self.signal += signal
        self.energy += energy
        self.noise += float(difference @ difference)
        self.product += float(a @ b)
        self.shift += float(difference.sum())
        self.largest = max(self.largest, greatest_magnitude(a))
        self.max_abs = max(self.max_abs, greatest_magnitude(difference))

    def _finite(self, a: Array, b: Array) -> tuple[Array, Array]:
        """The elements that are numbers in both; those that are in only one of them are counted."""
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        self.not_finite += int(np.count_nonzero(~finite & ~same))
        return a[finite], b[finite]

    @property
    def sqnr(self) -> float:
        """10 log10(signal / noise), in dB: infinite without noise, minus infinity where not all are numbers."""
        return -math.inf if self.not_finite else decibels(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between expected and actual values; 1 when all are 0."""
        norm = math.sqrt(self.signal) * math.sqrt(self.energy)
        return self.product / norm if norm else float(self.signal == self.energy)

    @property
    def mean_shift(self) -> float:
        """Mean difference, relative to the root mean square of the expected values."""
        return self.shift / max(math.sqrt(self.signal * self.count), 1e-30) if self.shift else 0.0

    @property
    def relative(self) -> float:
        """Greatest difference, relative to the greatest expected magnitude; infinite where not all are numbers."""
        return math.inf if self.not_finite else self.max_abs / max(self.largest, 1e-30)

    def to_json(self) -> dict[str, Any]:
        """As plain data: `sqnr_db` is None where there is no noise, and where not all are numbers (`not_finite`)."""
        return {
            "sqnr_db": round(self.sqnr, 2) if math.isfinite(self.sqnr) else None,
            "cosine": round(self.cosine, 6),
            "max_abs": self.max_abs,
            "relative": self.relative if math.isfinite(self.relative) else None,
            "mean_shift": self.mean_shift,
            "not_finite": self.not_finite,
        }


@attrs.define(eq=False)
class OutputErrors:
    """How far an output is off, whole and in parts: what an output holds (boxes and scores) may differ in its errors.

    Attributes:
        name: the output's.
        errors: over all samples.
        axis: along which the groups lie; None for a scalar.
        groups: errors of up to 16 groups of neighbouring channels, by their first channel.
    """

    name: str
    errors: ErrorSums = attrs.Factory(ErrorSums)
    axis: int | None = None
    groups: dict[int, ErrorSums] = attrs.Factory(dict[int, ErrorSums])

    def add(self, expected: Array, actual: Array) -> None:
        """Take in one sample."""
        self.errors.add(expected, actual)
        if self.axis is None:
            self.axis = channel_axis(expected.shape)
        if self.axis is None or self.axis >= expected.ndim:
            return
        extent = expected.shape[self.axis]
        step = -(-extent // MOST_GROUPS) or 1
        for start in range(0, extent, step):
            part = (slice(None),) * self.axis + (slice(start, start + step),)
            self.groups.setdefault(start, ErrorSums()).add(expected[part], actual[part])

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        groups = [{"from": i, **e.to_json()} for i, e in self.groups.items()]
        return {"name": self.name, **self.errors.to_json(), "axis": self.axis, "groups": groups}


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis that tells what an output's elements are: of those behind the first the one with fewest, two or more."""
    found = [(extent, i) for i, extent in enumerate(shape) if extent > 1 and (i or len(shape) == 1)]
    return min(found)[1] if found else None


def greatest_magnitude(array: Array) -> float:
    """The greatest absolute value; 0 of nothing."""
    return max(float(array.max()), -float(array.min())) if array.size else 0.0


def _flat(array: Array) -> Array:
    """The elements, of complex numbers both parts."""
    if array.dtype.kind == "c":
        array = np.stack([np.real(array), np.imag(array)])
    return array.reshape(-1)
