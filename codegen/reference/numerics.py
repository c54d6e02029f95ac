"""The numeric check: after every pass the module must still compute what it computed before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.bisection import Culprit, Fault, find_application
from uair.codegen.reference.feeds import random_feeds
from uair.codegen.reference.interpreter import run
from uair.errors import UairError
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops.random import repeated
from uair.pipeline import Instrument, Pass


class NumericsChanged(UairError):
    """A pass changed what the module computes by more than the tolerance.

    The message names the output, the error, and the application of a rule that did it; the hint is the command that
    cuts out the smallest module that shows it.
    """

    code = "UAIR-E0410"
    title = "A pass changed the numbers"


class NotComparable(UairError):
    """Numbers cannot be compared: inputs are needed, for open sizes or values that are no tensors, or it is random."""

    code = "UAIR-E0413"
    title = "Numbers cannot be compared"


def drawn_feeds(graph: Graph) -> dict[str, Array]:
    """Random inputs for a graph.

    Raises:
        NotComparable: an input has open sizes, or is no tensor.
    """
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if not tensor.type.is_tensor:
            raise NotComparable(f"input {name!r} is no tensor, so no numbers can be drawn for it", hint="give inputs")
        if not tensor.type.is_static:
            raise NotComparable(
                f"input {name!r} has open sizes, so no numbers can be drawn for it",
                hint=f"fix them, --shape {name}=1,3,224,224, or give inputs",
            )
    return random_feeds(graph)


@attrs.frozen(eq=False)
class SameNumbers:
    """A judge: a module is right when it verifies, runs, and gives these outputs within the tolerance.

    Operators that draw random numbers draw the same ones in every run, as long as they run in the same order.

    Attributes:
        expected: outputs by name.
        feeds: inputs by name; given in the module's own types where a pass narrowed those of its inputs.
        tolerance: greatest error allowed, relative to the greatest magnitude in the output.
    """

    expected: Mapping[str, Any]
    feeds: Mapping[str, Any]
    tolerance: float

    @staticmethod
    def of(module: Module, feeds: Mapping[str, Any], tolerance: float) -> SameNumbers:
        """The judge that holds modules against this one.

        Raises:
            UairError: the module does not run on these inputs.
        """
        return SameNumbers(_outputs(module, feeds), feeds, tolerance)

    def errors(self, module: Module) -> dict[str, float]:
        """The error of every output, see `value_error`.

        Raises:
            UairError: the module does not run.
        """
        actual = _outputs(module, self.feeds)
        return {name: value_error(value, actual.get(name)) for name, value in self.expected.items()}

    def __call__(self, module: Module) -> Fault | None:
        """What is wrong; None for nothing."""
        try:
            verify(module)
            errors = self.errors(module)
        except Exception as error:  # noqa: BLE001  whatever a broken module does, that is what is wrong with it
            return Fault.of(error)
        return self.fault(errors)

    def fault(self, errors: Mapping[str, float]) -> Fault | None:
        """What errors of outputs say; None when all are within the tolerance."""
        wrong = {name: error for name, error in errors.items() if not error <= self.tolerance}
        if not wrong:
            return None
        worst = max(wrong, key=lambda name: math.inf if math.isnan(wrong[name]) else wrong[name])
        more = f"; so do {len(wrong) - 1} of the other outputs" if len(wrong) > 1 else ""
        return Fault(f"{changed_by(worst, wrong[worst], self.tolerance)}{more}", None, wrong[worst], worst)


def changed_by(name: str, error: float, tolerance: float) -> str:
    """An error in words."""
    if math.isfinite(error):
        return f"output {name!r} changes by {error:.3g} of its greatest magnitude, {tolerance:g} is allowed"
    return f"output {name!r} has another type, other sizes, or other values that are no numbers"


def _outputs(module: Module, feeds: Mapping[str, Any]) -> dict[str, Any]:
    with repeated():
        return run(module, fitting(module.main, feeds))


def fitting(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The feeds, arrays of numbers in the element types of the inputs: some passes narrow those."""
    fitted = dict(feeds)
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        value = fitted.get(name)
        if isinstance(value, np.ndarray) and value.dtype.type is np.void:  # what .npz files make of bf16 and the like
            value = fitted[name] = value.view(tensor.type.dtype.numpy)
        if isinstance(value, np.ndarray) and tensor.type.is_tensor and value.dtype.kind not in "OUST":
            fitted[name] = value.astype(tensor.type.dtype.numpy, copy=False)
    return fitted


@attrs.define(eq=False)
class CheckNumerics(Instrument):
    """Runs the module in the interpreter after every pass that changed it and compares with the outputs before.

    A module with open sizes is checked from the pass on that binds them; one that keeps them is refused at the end.

    Attributes:
        tolerance: greatest error allowed, relative to the greatest magnitude in the output.
        feeds: inputs by name; drawn with a fixed seed when not given.
        replay: the command that bisects the passes, for the hint.
        errors: the error of each pass, in order, for reports.
    """

    tolerance: float = 1e-4
    feeds: Mapping[str, Any] | None = None
    replay: str = ""
    errors: list[tuple[str, float]] = attrs.Factory(list[tuple[str, float]])
    _judge: SameNumbers | None = None
    _before: Module | None = None

    def begin(self, module: Module) -> None:
        """Compute the reference."""
        self._learn(module)

    def end(self, module: Module) -> None:
        """See that the module was checked.

        Raises:
            NotComparable: it never had inputs that numbers could be drawn for.
        """
        if self._judge is None:
            drawn_feeds(module.main)

    def before(self, pass_: Pass, module: Module) -> None:
        """Keep a copy, which shares the weights: the wrong change is searched from there."""
        self._before = module.clone()

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Compare.

        Raises:
            NumericsChanged: an output differs by more than the tolerance.
        """
        if self._judge is None:
            self._learn(module)
            return
        if not changed:
            return
        errors = self._judge.errors(module)
        self.errors += [(pass_.spec, error) for error in errors.values()]
        fault = self._judge.fault(errors)
        if fault is not None:
            raise self._error(pass_, fault)

    def _error(self, pass_: Pass, fault: Fault) -> NumericsChanged:
        """The error, with the change that did it, which is searched from the copy made before the pass."""
        hint = f"`{self.replay}`" if self.replay else "uair.bisect(module, passes)"
        hint += " cuts out the smallest module that shows it"
        if self._before is None or self._judge is None:
            return NumericsChanged(fault.text, hint=hint)
        culprit = find_application(pass_, self._before, self._judge)
        made = culprit.application
        error = NumericsChanged(f"{fault.text}: {describe(culprit)}", hint=hint, place=made.location if made else "")
        error.node = culprit.node
        error.rule_name = made.rule if made is not None and made.rule != pass_.name else ""
        return error

    def _learn(self, module: Module) -> None:
        if self.feeds is None:
            try:
                self.feeds = drawn_feeds(module.main)
            except NotComparable:  # until a pass has bound the sizes
                return
        self._judge = SameNumbers.of(module, self.feeds, self.tolerance)


def describe(culprit: Culprit) -> str:
    """A culprit in one line: rule, node, number of the application."""
    made = culprit.application
    if made is None and culprit.number:
        return f"it raises after {culprit.total} changes"
    if made is None:
        return f"{culprit.pass_.name} does it without a change that could be numbered"
    what = made.rule if made.rule == culprit.pass_.name else f"rule {made.rule}"
    return f"{what} at {made.node}, change {culprit.number} of {culprit.total}"


def value_error(expected: Any, actual: Any) -> float:
    """The greatest `relative_error` in a value: an array, a list or dict of values, or None for nothing."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        if list(expected) != list(actual):
            return np.inf
        expected, actual = list(expected.values()), list(actual.values())
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return np.inf
        return max((value_error(a, b) for a, b in zip(expected, actual, strict=True)), default=0.0)
    if isinstance(expected, (list, Mapping)) or isinstance(actual, (list, Mapping)):
        return np.inf
    if expected is None or actual is None:
        return 0.0 if expected is actual else np.inf
    return relative_error(np.asarray(expected), np.asarray(actual))


def relative_error(expected: Array, actual: Array) -> float:
    """Greatest difference relative to the greatest magnitude; infinite when types, shapes or infinities differ.

    Floats of two widths are compared as numbers.
    """
    both_floats = _is_float(expected) and _is_float(actual)
    if expected.shape != actual.shape or (expected.dtype != actual.dtype and not both_floats):
        return np.inf
    if expected.size == 0:
        return 0.0
    if expected.dtype.kind in "OUSTb":
        return 0.0 if np.array_equal(expected, actual) else np.inf
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    a, b = expected.astype(wide), actual.astype(wide)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.all(np.isfinite(b[finite])):
        return np.inf
    largest = np.max(np.abs(a[finite]), initial=0.0)
    difference = float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))
    return difference / float(largest) if largest else difference


def _is_float(array: Array) -> bool:
    return array.dtype.kind in "fV" and DType.from_numpy(array.dtype).is_float
