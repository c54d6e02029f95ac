"""Scales, zero points, weights and biases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uair.ir.dtype import DType
from uair.quant.errors import QuantizationError, SchemeError
from uair.quant.parameters import (
    Parameters,
    activation_parameters,
    bias_room,
    decibels,
    product_scale,
    quantize_bias,
    quantize_weight,
    sqnr,
    weight_parameters,
    widen_for_bias,
)
from uair.quant.scheme import FLOAT_EPSILON, Scheme
from uair.targets import description_names, load_description

SCHEMES = [Scheme(activation=d, symmetric=s) for d in (DType.I8, DType.U8) for s in (False, True)]
ENDS = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(ENDS, ENDS, st.sampled_from(SCHEMES))
def test_activation_parameters(a: float, b: float, scheme: Scheme) -> None:
    low, high = min(a, b), max(a, b)
    assume(low == high == 0 or max(-low, high) > 1e-4)
    p = activation_parameters(low, high, scheme)
    scale = float(p.scale)
    assert p.scale.dtype == np.float32
    assert scale >= FLOAT_EPSILON
    zero = np.zeros(1, np.float32)
    assert p.rounded(zero)[0] == 0  # the real 0 is exact
    assert p.quantize(zero)[0] == p.zero_point
    if scheme.symmetric:
        assert int(p.zero_point) == scheme.zero_point
    ends = np.array([low, high], np.float32)
    assert np.abs(p.rounded(ends) - ends).max() <= scale * 0.51 + 1e-6 * abs(ends).max()


def test_parameters_of_an_asymmetric_range() -> None:
    p = activation_parameters(-1.0, 4.1, Scheme())
    assert float(p.scale) == np.float32(5.1 / 255)
    assert int(p.zero_point) == -78
    assert p.range == pytest.approx((-1.0, 4.1), abs=1e-2)
    assert int(activation_parameters(2.0, 4.0, Scheme()).zero_point) == -128  # the range is widened to hold 0
    assert int(activation_parameters(-3.0, -1.0, Scheme(activation=DType.U8)).zero_point) == 255


def test_a_tensor_that_is_always_zero() -> None:
    for scheme in SCHEMES:
        p = activation_parameters(0.0, 0.0, scheme)
        assert float(p.scale) == 1
        assert p.rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_tiny_and_huge_ranges() -> None:
    assert float(activation_parameters(0.0, 255 * FLOAT_EPSILON / 15, Scheme()).scale) == np.float32(FLOAT_EPSILON)
    for scheme in SCHEMES:
        with pytest.raises(QuantizationError, match="'t' takes values from 0 to 1e-30, too small for the least scale"):
            activation_parameters(0.0, 1e-30, scheme, name="t")
    with pytest.raises(QuantizationError, match=r"'t' takes values from 0 to 1e\+12.*the target allows 8e\+06"):
        activation_parameters(0.0, 1e12, Scheme(scale_max=8e6), name="t")
    with pytest.raises(QuantizationError, match="from nan"):
        activation_parameters(float("nan"), 1.0, Scheme())


def test_weights_per_channel() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 3, 3, 3)).astype(np.float32) * np.array([1e-3, 1, 100, 0]).reshape(4, 1, 1, 1)
    for search in (False, True):
        p = weight_parameters(w, 0, Scheme(), search=search)
        q = quantize_weight(w, p)
        assert p.scale.shape == (4,)
        assert not p.zero_point.any()
        assert q.min() >= -127
        assert (q[3] == 0).all()
        assert p.scale[3] == np.float32(np.median(p.scale[:3]))  # the scale of its bias stays as fine as the others'
        assert min(sqnr(w[i], p.dequantize(q)[i]) for i in range(3)) > 35
    p = weight_parameters(w, 0, Scheme(), search=False)
    assert p.scale[1] == np.float32(np.abs(w[1]).max() / 127)


def test_searched_scales_have_less_error() -> None:
    w = np.random.default_rng(1).uniform(-0.8, 0.8, size=(4, 40000)).astype(np.float32)
    w[:, 0] = 1
    errors = []
    for search in (False, True):
        p = weight_parameters(w, 0, Scheme(), search=search)
        errors.append(np.square(p.dequantize(quantize_weight(w, p)) - w).sum(axis=1))
    assert (errors[1] <= errors[0]).all()
    assert errors[1].sum() < 0.95 * errors[0].sum()


def test_importance_moves_the_scale() -> None:
    w = np.array([[1.0, 0.305, 0.305, 0.305]], np.float32)
    importance = np.array([0.0, 1.0, 1.0, 1.0])
    plain = weight_parameters(w, 0, Scheme(), search=False)
    weighted = weight_parameters(w, 0, Scheme(), importance=importance)
    small = w[0, 1:]
    assert np.abs(weighted.rounded(w)[0, 1:] - small).max() <= np.abs(plain.rounded(w)[0, 1:] - small).max()
    assert weighted.scale[0] < plain.scale[0]


def test_weights_per_tensor_and_of_zeros() -> None:
    p = weight_parameters(np.zeros((2, 3), np.float32), None, Scheme())
    assert p.scale.shape == ()
    assert float(p.scale) > 0
    assert weight_parameters(np.zeros((2, 3), np.float32), 1, Scheme()).scale.shape == (3,)


def test_tiny_weights() -> None:
    w = np.array([[1.0, -0.5], [1e-5, 3e-6], [1e-9, 0], [0, 0], [0.5, 0.25]], np.float32)
    p = weight_parameters(w, 0, Scheme(), search=False)
    np.testing.assert_allclose(p.scale, [1 / 127, FLOAT_EPSILON, 0.5 / 127, 0.5 / 127, 0.5 / 127], rtol=1e-6)
    assert quantize_weight(w, p)[1].tolist() == [84, 25]  # in the steps that there are
    with pytest.raises(QuantizationError, match="'w' is at most 1e-09, which the least scale .* rounds to 0"):
        weight_parameters(w[2:4], 0, Scheme(), name="w")


def test_weights_that_are_not_finite() -> None:
    with pytest.raises(QuantizationError, match="'w' has values that are not finite"):
        weight_parameters(np.array([[np.inf]], np.float32), 0, Scheme(), name="w")


def parameters(scale: float | list[float], zero: int = 0) -> Parameters:
    array = np.asarray(scale, np.float32)
    return Parameters(array, np.full(array.shape, zero, np.int8), DType.I8, 0 if array.ndim else None)


def test_biases() -> None:
    x, w = parameters(0.1), parameters([0.5, 0.25])
    scale = product_scale(x, w)
    assert scale.dtype == np.float32
    assert scale.tolist() == [np.float32(0.1) * np.float32(0.5), np.float32(0.1) * np.float32(0.25)]
    assert product_scale(x, w, 2).shape == (4,)
    q = quantize_bias(np.array([1.0, -1.0], np.float32), scale)
    assert q.dtype == np.int32
    assert q.tolist() == [20, -40]
    with pytest.raises(QuantizationError, match="does not fit i32"):
        quantize_bias(np.array([1e9], np.float32), np.array([1e-3], np.float32))


def test_scales_grow_where_a_bias_would_overflow() -> None:
    x, w = parameters(1e-4), parameters([1e-6, 1e-3])
    bias = np.array([50.0, 0.5], np.float32)
    room = bias_room(9, x, Scheme())
    assert room == 2**31 - 1 - 9 * 128 * 127
    wider, grown = widen_for_bias(w, bias, x, room, Scheme())
    assert grown == 1
    assert wider.scale[1] == w.scale[1]
    integers = quantize_bias(bias, product_scale(x, wider)).astype(np.int64)
    assert 0.999 * room < abs(integers[0]) <= room
    assert np.abs(integers).max() + 9 * 128 * 127 <= 2**31 - 1


def test_bias_scales_of_grouped_transposed_convolutions_repeat() -> None:
    wider, grown = widen_for_bias(
        parameters([1e-9, 1.0]), np.array([0, 0.5, 99, 0.5], np.float32), parameters(1e-3), 1000, Scheme()
    )
    assert grown == 1
    assert wider.scale[0] == pytest.approx(99 / (1000 * 1e-3), rel=1e-4)


def test_sums_that_exceed_32_bits() -> None:
    assert bias_room(200_000, parameters(0.1), Scheme()) == 0
    with pytest.raises(QuantizationError, match="may exceed 32 bits"):
        widen_for_bias(parameters([1.0]), np.zeros(1, np.float32), parameters(0.1), 0, Scheme(), name="fc")


def test_decibels() -> None:
    assert sqnr(np.ones(3, np.float32), np.ones(3, np.float32)) == np.inf
    assert decibels(0, 1) == -np.inf
    assert decibels(100, 1) == pytest.approx(20)


# ------------------------------------------------------------------------------------------------------------- schemes
def test_schemes_as_plain_data() -> None:
    for scheme in SCHEMES:
        assert Scheme.from_mapping(scheme.to_mapping()) == scheme
    assert Scheme.from_mapping({"activation": "u8", "bias": None, "operators": ["Linear"]}).operators == ("Linear",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"colour": 1}, "has no 'colour'"),
        ({"activation": "f32"}, "activations are i8, u8 or i16"),
        ({"activation": "i9"}, "no element type 'i9'"),
        ({"bias": "i16"}, "biases are i32 or float"),
        ({"rounding": "up"}, "no rounding 'up'"),
        ({"placement": "some"}, "no placement 'some'"),
        ({"operators": "Conv2D"}, "list of operator names"),
        ({"operators": [1]}, "expected operator names"),
        ({"scale_min": 2.0, "scale_max": 1.0}, "are no range"),
        ({"bias_limit": 2**31}, "does not fit i32"),
        ({"scale_min": "small"}, "of the wrong type"),
    ],
)
def test_wrong_schemes(value: dict[str, object], words: str) -> None:
    with pytest.raises(SchemeError, match=words):
        Scheme.from_mapping(value)


def test_the_targets_schemes() -> None:
    schemes = {n: q.scheme for n in description_names() if (q := load_description(n).quantization) is not None}
    assert schemes["cpu"].placement == "compute"
    assert "Linear" not in schemes["ascend310"].per_channel
    assert schemes["rk3588"].placement == "all"


@pytest.mark.parametrize("filled", [1, 2, 3, 4])
def test_a_channel_of_zeros_takes_the_median_scale(filled: int) -> None:
    w = np.zeros((filled + 2, 3), np.float32)
    w[1 : filled + 1] = np.array([5.0, 1.0, 9.0, 2.0], np.float32)[:filled, None]
    scale = weight_parameters(w, 0, Scheme(), search=False).scale
    assert scale[0] == scale[-1] == np.float32(np.median(scale[1 : filled + 1].astype(np.float64)))
