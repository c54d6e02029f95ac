"""NaN, infinities, signed zeros, the ends of integer types: every elementwise operator against onnx's evaluator.

Where onnx leaves the result open (a divisor of zero), what UAIR says stands here too.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.frontends.onnx.models import imported, interpreted, model, one
from uair.ir import Array

FLOATS = (np.float16, np.float32, np.float64)
SIGNED = (np.int8, np.int16, np.int32, np.int64)
UNSIGNED = (np.uint8, np.uint16, np.uint32, np.uint64)
ALL = (*FLOATS, *SIGNED, *UNSIGNED)
HARD = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 2.5, -2.5, 0.5, -0.5, 1.5, -1.5, 1e-45, 3.4e38, -3.4e38)


def hard(dtype: Any) -> Array:
    """The values of a type that break things."""
    if dtype in FLOATS:
        with np.errstate(over="ignore"):
            return np.array(HARD).astype(dtype)
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, 0, 1, 7, 2, 3, *([-1, -7, -2, info.min + 1] if info.min else [])], dtype)


def pairs(dtype: Any) -> dict[str, Array]:
    """All pairs of them."""
    a, b = np.meshgrid(hard(dtype), hard(dtype), indexing="ij")
    return {"a": a.reshape(-1), "b": b.reshape(-1)}


def dividing(dtype: Any) -> dict[str, Array]:
    """The pairs whose quotient onnx defines."""
    feeds = pairs(dtype)
    kept = feeds["b"] != 0
    return {name: value[kept] for name, value in feeds.items()}


def evaluated(proto: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    """The output by onnx's evaluator."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        results: Any = ReferenceEvaluator(proto).run(None, feeds)
    return np.asarray(results[0])


def agree(node: Any, feeds: dict[str, Array], opset: int = 20, *, zeros: bool = True) -> None:
    """The same bits as onnx's evaluator (any NaN for a NaN); without `zeros`, 0 and -0 count as equal."""
    proto = model([node], feeds, opset=opset, ir_version=10)
    (got,) = interpreted(imported(proto), feeds)
    want = evaluated(proto, feeds)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    if zeros and got.dtype.kind == "f":
        numbers = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", ["Add", "Sub", "Mul"])
def test_arithmetic(name: str, dtype: Any) -> None:
    agree(one(name, "a", "b"), pairs(dtype))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_comparison(name: str, dtype: Any) -> None:
    agree(one(name, "a", "b"), pairs(dtype))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", ["Max", "Min"])
def test_extremes(name: str, dtype: Any) -> None:
    """NaN is the result where there is one; which of 0 and -0 is the greater is left open."""
    agree(one(name, "a", "b"), pairs(dtype), zeros=False)


@pytest.mark.parametrize("dtype", ALL)
def test_division(dtype: Any) -> None:
    """Integers truncate; the least one by -1 is itself."""
    agree(one("Div", "a", "b"), pairs(dtype) if dtype in FLOATS else dividing(dtype))


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
def test_division_by_zero(dtype: Any) -> None:
    """What onnx leaves open is 0, for quotients and remainders alike."""
    feeds = {"a": hard(dtype), "b": np.zeros(1, dtype)}
    for node in (one("Div", "a", "b"), one("Mod", "a", "b"), one("Mod", "a", "b", fmod=1)):
        (got,) = interpreted(imported(model([node], feeds)), feeds)
        np.testing.assert_array_equal(got, np.zeros_like(feeds["a"]))


@pytest.mark.parametrize("fmod", [0, 1])
@pytest.mark.parametrize("dtype", ALL)
def test_remainder(dtype: Any, fmod: int) -> None:
    if dtype in FLOATS:
        agree(one("Mod", "a", "b", fmod=fmod), pairs(dtype), opset=28 if not fmod else 20)
    else:
        agree(one("Mod", "a", "b", fmod=fmod), dividing(dtype))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
def test_shifts(dtype: Any, direction: str) -> None:
    """By less than the width, the width and more, and by negative numbers."""
    bits = np.iinfo(dtype).bits
    shifts = np.array([0, 1, bits - 1, bits, bits + 1, 100, *([-1, np.iinfo(dtype).min] if dtype in SIGNED else [])])
    a, b = np.meshgrid(hard(dtype), shifts.astype(dtype), indexing="ij")
    agree(one("BitShift", "a", "b", direction=direction), {"a": a, "b": b}, opset=28)


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
@pytest.mark.parametrize("name", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(name: str, dtype: Any) -> None:
    agree(one(name, "a", "b"), pairs(dtype))
    agree(one("BitwiseNot", "x"), {"x": hard(dtype)})


@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, np.int64])
@pytest.mark.parametrize("power", [*FLOATS, np.int32, np.int64, np.uint8])
def test_powers(dtype: Any, power: Any) -> None:
    """Whole numbers wrap around; of an integer only non-negative whole powers are defined."""
    base = hard(dtype)
    exponents = hard(power) if dtype in FLOATS else np.array([0, 1, 2, 3, 5], power)
    if dtype in FLOATS:
        exponents = exponents[~np.isnan(exponents.astype(np.float64))]
    elif power in FLOATS:
        base, exponents = base[np.abs(base.astype(np.float64)) < 100], np.array([0, 1, 2], power)
    a, b = np.meshgrid(base, exponents, indexing="ij")
    if dtype == np.float16 or (dtype == np.float32 and power == np.float64):
        agree_closely(one("Pow", "a", "b"), {"a": a, "b": b})
    else:
        agree(one("Pow", "a", "b"), {"a": a, "b": b})


def agree_closely(node: Any, feeds: dict[str, Array]) -> None:
    """As `agree`, within the last digit of the type: the evaluator rounds the exponent first, or computes in f64."""
    proto = model([node], feeds, opset=20, ir_version=10)
    (got,) = interpreted(imported(proto), feeds)
    want = evaluated(proto, feeds)
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=2e-3)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, d) for name in ("Abs", "Sign") for d in ALL),
        *((n, d) for n in ("Neg", "Relu") for d in (*FLOATS, *SIGNED)),
    ],
)
def test_unary(name: str, dtype: Any) -> None:
    """The least integer is its own absolute value and negative; the sign of NaN is NaN."""
    agree(one(name, "x"), {"x": hard(dtype)}, zeros=name != "Relu")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["Ceil", "Floor", "Round", "Sqrt", "Reciprocal", "IsNaN", "IsInf"])
def test_real_numbers(name: str, dtype: Any) -> None:
    agree(one(name, "x"), {"x": hard(dtype)})


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", ALL)
def test_clip(dtype: Any, known: bool) -> None:
    """A least bound above the greatest gives the greatest; NaN passes; a bound left out does not bind."""
    bounds = [(1, 3), (3, 1), (None, 2), (2, None)] + ([(np.nan, 1), (np.inf, -np.inf)] if dtype in FLOATS else [])
    for low, high in bounds:
        given = {n: np.array(v, dtype) for n, v in (("low", low), ("high", high)) if v is not None}
        node = one("Clip", "x", *("low" if low is not None else "", "high" if high is not None else ""))
        feeds = {"x": hard(dtype), **({} if known else given)}
        proto = model([node], feeds, constants=given if known else {}, ir_version=8)
        (got,) = interpreted(imported(proto), feeds)
        want = evaluated(proto, feeds)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "ArgMax", "ArgMin"])
def test_reductions(name: str, dtype: Any) -> None:
    """NaN is the extreme; sums and products of integers wrap around."""
    values = hard(dtype)
    x = np.stack([np.resize(np.roll(values, -k), 4) for k in range(len(values))])
    if name.startswith("Arg"):
        agree(one(name, "x", axis=1), {"x": x})
        return
    proto = model([one(name, "x", "axes")], {"x": x}, constants={"axes": np.array([1])}, opset=20, ir_version=10)
    (got,) = interpreted(imported(proto), {"x": x})
    want = evaluated(proto, {"x": x}).astype(dtype)
    np.testing.assert_allclose(
        got.astype(np.float64), want.astype(np.float64), rtol=1e-3 if dtype == np.float16 else 1e-6
    )
