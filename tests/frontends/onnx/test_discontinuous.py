"""Operators whose results jump where operands differ in the last bits: given the same bits, onnxruntime's own results.

A comparison of whole models cannot tell a wrong jump from one that rounding in front of it sets off; these can.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontends.onnx.models import imported, interpreted, model, one, onnxruntime_outputs
from uair.ir.dtype import Array


def both(
    op_type: str, x: Array, outputs: list[str], *more: Array, **attributes: object
) -> tuple[list[Array], list[Array]]:
    """The interpreter's results and onnxruntime's."""
    feeds = {"x": x, **{f"c{i}": c for i, c in enumerate(more)}}
    proto = model([one(op_type, *feeds, outputs=outputs, **attributes)], feeds, outputs, opset=17)
    return interpreted(imported(proto), feeds), onnxruntime_outputs(proto, feeds)


@pytest.mark.parametrize("seed", range(20))
def test_dynamic_quantization_to_the_bit(seed: int) -> None:
    """Ranges of one sign and of both, and values halfway between two steps."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=4000) * 10.0 ** rng.integers(-6, 6) + rng.choice([0, 3, -3])).astype(np.float32)
    if seed % 2:
        step = np.float32((max(x.max(), 0) - min(x.min(), 0)) / 255)
        x[: len(x) // 2] = (np.round(x[: len(x) // 2] / step) + np.float32(0.5)) * step
    got, want = both("DynamicQuantizeLinear", x, ["y", "scale", "zero"])
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("k", [1, 7, 300, 2000])
def test_the_first_of_equal_values_comes_first(k: int, largest: int) -> None:
    """2,000 scores of 12 values, as a detector has them on noise."""
    x = np.random.default_rng(k).integers(0, 12, (2, 2000)).astype(np.float32) / 7
    got, want = both("TopK", x, ["values", "indices"], np.array([k]), axis=1, largest=largest)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_small_scores_keep_their_digits() -> None:
    """Sigmoid far from 0, where onnxruntime's own is right to 1e-7 of 1 only, which makes such scores equal."""
    x = np.linspace(-80, 0, 4001, dtype=np.float32)
    got, theirs = both("Sigmoid", x, ["y"])
    exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.max(np.abs(got[0] - exact) / exact) < 1e-6
    np.testing.assert_allclose(theirs[0], got[0], atol=2e-7)
