"""How far results are from what they should be: sums over samples, and the figures that follow from them."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.quant.parameters import decibels


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
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            self.not_finite += int(np.count_nonzero(~finite & ~same))
            a, b = a[finite], b[finite]
        difference = b - a
        self.count += a.size
        self.signal += float(a @ a)
        self.energy += float(b @ b)
        self.noise += float(difference @ difference)
        self.product += float(a @ b)
        self.shift += float(difference.sum())
        self.largest = max(self.largest, float(np.max(np.abs(a), initial=0.0)))
        self.max_abs = max(self.max_abs, float(np.max(np.abs(difference), initial=0.0)))

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


def _flat(array: Array) -> Array:
    """The elements in f64, of complex numbers both parts."""
    if array.dtype.kind == "c":
        array = np.stack([np.real(array), np.imag(array)])
    return array.reshape(-1).astype(np.float64)
