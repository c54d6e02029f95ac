"""Quantization for any numbers: the distance to the real number, blocks, integer sums."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uair.ir import Array, DType
from uair.ops import Dequantize, DynamicQuantize, IntegerMatMul, Quantize

INTEGERS = st.sampled_from([d for d in DType if d.is_integer and d.bits <= 16])
NUMBERS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8)
SCALES = st.floats(2.0**-20, 2.0**10, width=32)


def nearest_even(value: Fraction) -> int:
    """Python rounds halves to even, too."""
    return round(value)


@given(NUMBERS, SCALES, INTEGERS, st.data())
def test_the_integer_is_the_nearest(numbers: list[float], scale: float, dtype: DType, data: st.DataObject) -> None:
    """Of the f32 quotient, as exact arithmetic tells, moved by the zero point and into the range."""
    least, greatest = dtype.range
    zero = data.draw(st.integers(least, greatest))
    x, s = np.array(numbers, np.float32), np.array(scale, np.float32)
    got = Quantize(dtype=dtype).evaluate(x, s, np.array(zero).astype(dtype.numpy))
    assert got.dtype == dtype.numpy
    quotients = [Fraction(float(q)) for q in x / s]
    want = [min(max(nearest_even(q) + zero, least), greatest) if abs(q) < 2**22 else None for q in quotients]
    for value, expected in zip(got.astype(np.int64).tolist(), want, strict=True):
        assert expected is None or value == expected


@given(NUMBERS, SCALES, INTEGERS)
def test_back_and_forth_stays_within_half_a_unit(numbers: list[float], scale: float, dtype: DType) -> None:
    x, s = np.array(numbers, np.float32), np.array(scale, np.float32)
    least, greatest = dtype.range
    back = Dequantize().evaluate(Quantize(dtype=dtype).evaluate(x, s), s)
    inside = np.clip(x, np.float32(least) * s, np.float32(greatest) * s)
    assert np.all(np.abs(back - inside) <= s * np.float32(0.5001))
    again = Dequantize().evaluate(Quantize(dtype=dtype).evaluate(back, s), s)
    np.testing.assert_array_equal(again, back)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2), st.integers(0, 1 << 30))
def test_a_block_is_a_tensor_of_its_own(extent: int, block: int, axis: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [2, 3, 2]
    shape[axis] = extent
    x = rng.normal(0, 3, shape).astype(np.float32)
    parameters = list(shape)
    parameters[axis] = -(-extent // block)
    s = rng.uniform(0.01, 1, parameters).astype(np.float32)
    z = rng.integers(-9, 9, parameters).astype(np.int8)
    q = Quantize(axis=axis, block_size=block).evaluate(x, s, z)
    y = Dequantize(axis=axis, block_size=block).evaluate(q, s, z)
    for place in np.ndindex(*shape):
        where = tuple(p // block if i == axis else p for i, p in enumerate(place))
        single = Quantize().evaluate(x[place], s[where], z[where])
        assert q[place] == single
        assert y[place] == Dequantize().evaluate(single, s[where], z[where])


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100),
        max_size=8,
    )
)
def test_the_range_of_dynamic_quantization(numbers: list[float]) -> None:
    """It holds 0, the zero point stands for it exactly, and every number is within a unit."""
    x = np.array(numbers, np.float32)
    y, scale, zero = DynamicQuantize().evaluate(x)
    assert y.dtype == zero.dtype == np.dtype(np.uint8)
    assert scale.dtype == np.dtype(np.float32)
    assert scale >= 0
    back: Array = Dequantize().evaluate(y, scale, zero)
    assert np.all(np.abs(back - x) <= scale * np.float32(1.001) + np.float32(1e-37))
    nothing, _, _ = DynamicQuantize().evaluate(np.array([0, *numbers], np.float32))
    assert nothing[0] == zero


@given(st.data())
def test_integer_sums_are_exact(data: st.DataObject) -> None:
    rows, depth, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    byte = st.integers(0, 255)
    a = np.array(data.draw(st.lists(byte, min_size=rows * depth, max_size=rows * depth)), np.uint8).reshape(rows, depth)
    count = depth * columns
    b = np.array(data.draw(st.lists(byte, min_size=count, max_size=count)), np.uint8).reshape(depth, columns)
    za, zb = data.draw(byte), data.draw(byte)
    got = IntegerMatMul().evaluate(a, b, np.array(za, np.uint8), np.array(zb, np.uint8))
    assert got.dtype == np.int32
    for i in range(rows):
        for j in range(columns):
            assert got[i, j] == sum((int(a[i, k]) - za) * (int(b[k, j]) - zb) for k in range(depth))
