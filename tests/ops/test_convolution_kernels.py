"""The forms of the convolution kernel against the definition, and what must not depend on the form."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from uair.ir.dtype import Array
from uair.ops import Conv1D, Conv2D, Conv3D, IntegerConv2D, _convolve


def defined(x: Array, w: Array, op: Conv1D | Conv2D | Conv3D) -> Array:
    """Window by window in f64."""
    rank = w.ndim - 2
    before, after = op.pads[:rank], op.pads[rank:]
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *zip(before, after, strict=True)])
    spans = [d * (k - 1) + 1 for d, k in zip(op.dilations, w.shape[2:], strict=True)]
    extents = [(e - s) // step + 1 for e, s, step in zip(padded.shape[2:], spans, op.strides, strict=True)]
    per_group, filters = w.shape[1], len(w) // op.groups
    result = np.zeros((len(x), len(w), *extents))
    for m, at in itertools.product(range(len(w)), itertools.product(*map(range, extents))):
        first = m // filters * per_group
        places = zip(at, op.strides, spans, op.dilations, strict=True)
        window: list[Any] = [slice(i * step, i * step + span, d) for i, step, span, d in places]
        seen = padded[tuple([slice(None), slice(first, first + per_group), *window])]
        place: list[Any] = [slice(None), m, *at]
        result[tuple(place)] = (seen * w[m].astype(np.float64)).reshape(len(x), -1).sum(axis=1)
    return result


@attrs.frozen
class Case:
    """A convolution and the form that it is computed by."""

    form: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    op: Conv1D | Conv2D | Conv3D


CASES = [
    Case("_by_tap", (2, 8, 5, 7), (2, 8, 3, 3), Conv2D(pads=(1, 1, 1, 1))),
    Case("_by_tap", (1, 8, 9, 4), (1, 8, 3, 2), Conv2D(pads=(1, 2, 0, 3), dilations=(2, 1))),
    Case("_by_tap", (1, 4, 6), (1, 4, 3), Conv1D(pads=(2, 0), dilations=(2,))),
    Case("_by_tap", (1, 4, 4, 5, 3), (1, 4, 2, 3, 1), Conv3D(pads=(1, 0, 0, 0, 1, 2))),
    Case("_by_tap", (1, 4, 5, 5), (1, 4, 2, 2), Conv2D()),
    Case("_banded", (2, 3, 9, 7), (3, 1, 3, 3), Conv2D(groups=3, pads=(1, 1, 1, 1))),
    Case("_banded", (1, 5, 11, 6), (5, 1, 5, 2), Conv2D(groups=5, pads=(0, 3, 4, 1), strides=(3, 2))),
    Case("_banded", (1, 3, 13, 9), (3, 1, 3, 4), Conv2D(pads=(1, 2, 0, 3), dilations=(2, 1), groups=3, strides=(2, 3))),
    Case("_banded", (1, 2, 1, 3), (2, 1, 3, 3), Conv2D(groups=2, pads=(4, 6, 3, 6))),
    Case("_windowed", (1, 4, 6, 7), (4, 2, 3, 3), Conv2D(groups=2, pads=(1, 1, 1, 1))),
    Case("_windowed", (1, 3, 9, 1), (3, 1, 3, 1), Conv2D(groups=3)),
    Case("_windowed", (1, 3, 9, 9), (3, 1, 3, 3), Conv2D(groups=3, strides=(3, 3))),
]


@pytest.fixture
def forms(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the forms that run."""
    seen: list[str] = []

    def watched(name: str, form: Callable[..., None]) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            seen.append(name)
            form(*arguments)

        return run

    for name in ("_by_tap", "_banded", "_windowed"):
        monkeypatch.setattr(_convolve, name, watched(name, getattr(_convolve, name)))
    return seen


def drawn(case: Case, dtype: Any) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in (case.x, case.w))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.form}{list(c.w)}")
def test_every_form_is_what_convolution_means(
    case: Case, dtype: Any, forms: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, w = drawn(case, dtype)
    want = defined(x, w, case.op)
    tolerance = 1e-5 if dtype is np.float32 else 1e-13
    for tile in (1, 300, 1000, 1 << 20):
        monkeypatch.setattr(_convolve, "TILE_BYTES", tile)
        for given in (x, np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)):
            np.testing.assert_allclose(case.op.evaluate(given, w), want, rtol=tolerance, atol=tolerance)
    assert set(forms) == {case.form}


@pytest.mark.parametrize("case", [c for c in CASES if c.form == "_banded"], ids=lambda c: str(list(c.w)))
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_reaches_only_the_windows_that_see_it(case: Case, value: float) -> None:
    """A product that has zeros for what a window does not see would make NaN of an infinity there."""
    x, w = drawn(case, np.float32)
    x[0, 1, x.shape[2] // 2, 1] = value
    with np.errstate(all="ignore"):
        want, got = defined(x, w, case.op), case.op.evaluate(x, w)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert np.isfinite(got).any()


def test_weights_that_are_not_finite_reach_only_their_channel(forms: list[str]) -> None:
    x, w = drawn(CASES[5], np.float32)
    w[1, 0, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        want, got = defined(x, w, CASES[5].op), CASES[5].op.evaluate(x, w)
    assert forms == ["_banded"]
    assert np.array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [CASES[0], CASES[5], CASES[9]], ids=lambda c: c.form)
def test_integers_are_exact_in_every_form(case: Case, forms: list[str]) -> None:
    rng = np.random.default_rng(3)
    x, w = (np.asarray(rng.integers(-128, 128, shape)).astype(np.int8) for shape in (case.x, case.w))
    op = IntegerConv2D(groups=case.op.groups, pads=case.op.pads)
    assert np.array_equal(op.evaluate(x, w), defined(x, w, case.op))
    assert forms == [case.form]
