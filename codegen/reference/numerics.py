"""The numeric check: after every pass the module must still compute what it computed before."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from uair.codegen.reference.feeds import random_feeds
from uair.codegen.reference.interpreter import run
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass


class NumericsChanged(UairError):
    """A pass changed what the module computes by more than the tolerance; the message names pass, output and error."""

    code = "UAIR-E0410"
    title = "A pass changed the numbers"


@attrs.define(eq=False)
class CheckNumerics(Instrument):
    """Runs the module in the interpreter after every pass that changed it and compares with the outputs before.

    A module with open sizes is checked from the pass on that binds them.

    Attributes:
        tolerance: greatest error allowed, relative to the greatest magnitude in the output.
        feeds: inputs by name; drawn with a fixed seed when not given.
        errors: the error of each pass, in order, for reports.
    """

    tolerance: float = 1e-4
    feeds: Mapping[str, Array] | None = None
    errors: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    _expected: dict[str, Array] | None = None

    def begin(self, module: Module) -> None:
        """Compute the reference."""
        self._learn(module)

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Compare.

        Raises:
            NumericsChanged: an output differs by more than the tolerance.
        """
        if self._expected is None or self.feeds is None:
            self._learn(module)
            return
        if not changed:
            return
        actual = run(module, self.feeds)
        for name, expected in self._expected.items():
            error = relative_error(expected, actual[name])
            self.errors.append((pass_.spec, error))
            if not error <= self.tolerance:
                raise NumericsChanged(
                    f"output {name!r} changed by {error:.3g} of its greatest magnitude, {self.tolerance:g} is allowed",
                    hint=f"`uair dump -p` with the passes up to {pass_.name} shows the module before it",
                )

    def _learn(self, module: Module) -> None:
        if not all(t.type.is_static for t in module.main.inputs):
            return
        if self.feeds is None:
            self.feeds = random_feeds(module.main)
        self._expected = run(module, self.feeds)


def relative_error(expected: Array, actual: Array) -> float:
    """Greatest difference relative to the greatest magnitude; infinite when types, shapes or infinities differ."""
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return np.inf
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "OUSb":
        return 0.0 if np.array_equal(expected, actual) else np.inf
    a, b = expected.astype(np.float64), actual.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.all(np.isfinite(b[finite])):
        return np.inf
    largest = np.max(np.abs(a[finite]), initial=0.0)
    difference = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    return difference / float(largest) if largest else difference
