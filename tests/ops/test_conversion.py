"""Conversion between all pairs of element types against onnx's own conversion, bit by bit."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference.ops.op_cast import cast_to

from uair.codegen.onnx.schema import ONNX_TYPE
from uair.ir import Array, DType
from uair.ir.data import pack_bytes, unpack_bytes
from uair.ops import BitCast, Cast

NUMBERS = [d for d in DType if d not in (DType.STRING, DType.C64, DType.C128)]
HARD = (
    0.0, -0.0, math.nan, math.inf, -math.inf, 0.5, 1.5, 2.5, -0.5, 448, 449, 464, 465, 480, 57344, 61440, 61441, 240,
    248, 65504, 65519, 65520, 1e-8, -1e-8, 2**-9, 2**-10, 2**-10 * 1.01, 3.5, 5, 5.01, 7, 6, -6.5, 1e38, 1e-40,
)  # fmt: skip


def values(dtype: DType) -> Array:
    """All values of a type up to 16 bits, hard and random ones of the others."""
    rng = np.random.default_rng(0)
    if dtype is DType.BOOL:
        return np.array([False, True])
    if dtype.bits <= 16:
        codes = np.arange(1 << dtype.bits, dtype=np.uint8 if dtype.bits <= 8 else np.uint16)
        return unpack_bytes(pack_bytes(codes, dtype), dtype, codes.shape) if dtype.bits < 8 else codes.view(dtype.numpy)
    if dtype.is_integer:
        least, greatest = dtype.range
        some = rng.integers(0, 1 << 63, 200, np.uint64, endpoint=True).view(np.int64)
        return np.concatenate([np.array([least, greatest, 0, 1, least + 1], dtype.numpy), some.astype(dtype.numpy)])
    spread = np.exp(rng.normal(0, 8, 500)) * rng.choice([-1, 1], 500)
    return np.concatenate([np.array(HARD), spread]).astype(dtype.numpy)


def onnx_cast(x: Array, to: DType, saturate: bool) -> Array:
    """What onnx converts to; types that it cannot convert from go by way of f32 or i8, which hold all their values."""
    source = DType.from_numpy(x.dtype)
    if source.bits < 8 or source is DType.F8E8M0:
        x = x.astype(np.int8 if source.is_integer else np.float32)
    return np.asarray(cast_to(x, cast(Any, ONNX_TYPE[to]), saturate))


def left_open(x: Array, to: DType) -> Array:
    """Where ONNX does not say what the result is: floating-point numbers outside of an integer type."""
    if not DType.from_numpy(x.dtype).is_float or not to.is_integer:
        return np.zeros(x.shape, bool)
    least, greatest = to.range
    whole = np.trunc(x.astype(np.float64))
    return ~((whole >= least) & (whole < greatest + 1))


def same_bits(got: Array, want: Array) -> Array:
    """Where two arrays hold the same bits, or both NaN."""
    if got.dtype == np.bool_ or DType.from_numpy(got.dtype).is_integer:
        return np.equal(got, want)
    size = got.dtype.itemsize
    equal = np.equal(np.ascontiguousarray(got).view(f"u{size}"), np.ascontiguousarray(want).view(f"u{size}"))
    both: Array = np.isnan(got.astype(np.float64)) & np.isnan(want.astype(np.float64))
    return np.asarray(equal | both)


@pytest.mark.parametrize("source", NUMBERS, ids=str)
def test_every_pair(source: DType) -> None:
    x = values(source)
    for to in NUMBERS:
        if to in (source, DType.F8E8M0):
            continue
        for saturate in (True, False) if to.is_float and to.bits <= 8 else (True,):
            got = Cast(to=to, saturate=saturate).evaluate(x)
            assert got.dtype == to.numpy
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", RuntimeWarning)
                right = same_bits(got, onnx_cast(x, to, saturate)) | left_open(x, to)
            assert right.all(), f"to {to}, saturate={saturate}: {x[~right][:5]} gave {got[~right][:5]}"


@pytest.mark.parametrize("saturate", [True, False])
@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two_against_onnxruntime(mode: Any, saturate: bool) -> None:
    hard = [0, -0.0, math.nan, math.inf, -math.inf, 1.25, 1.5, 1.75, 2**-127, 1.5 * 2**-127, 2**-128, 2**-129 * 1.5,
            2.0**127, 1.2 * 2**127, 1.6 * 2**127, 3.4e38, -1.5]  # fmt: skip
    x = np.concatenate([hard, np.exp(np.random.default_rng(0).normal(0, 20, 500))]).astype(np.float32)
    to: dict[str, Any] = {"to": TensorProto.FLOAT8E8M0, "round_mode": mode, "saturate": int(saturate)}
    nodes = [helper.make_node("Cast", ["x"], ["p"], **to), helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [len(x)]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = Cast(to=DType.F8E8M0, saturate=saturate, round_mode=mode).evaluate(x)
    np.testing.assert_array_equal(got.astype(np.float32), session.run(None, {"x": x})[0])


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.bits < 8], ids=str)
def test_packed_bytes_are_those_of_onnx(dtype: DType) -> None:
    for count in (0, 1, 2, 3, 5, 8, 63):
        x = np.resize(values(dtype), count)
        raw = bytes(pack_bytes(x, dtype))
        assert raw == onnx.numpy_helper.from_array(x).raw_data
        back = unpack_bytes(raw, dtype, x.shape)
        assert back.dtype == x.dtype
        assert same_bits(back, x).all()


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_bits_are_kept(dtype: DType) -> None:
    """To every type of the width and back; bool is made of bits only when they are those of a bool."""
    x = values(dtype)
    for to in NUMBERS:
        if to.bits != dtype.bits or DType.BOOL in (to, dtype):
            continue
        there = BitCast(to=to).evaluate(x)
        assert there.dtype == to.numpy
        assert pack_bytes(there, to) == pack_bytes(x, dtype)
        with np.errstate(invalid="ignore"):  # NaNs that signal
            assert same_bits(BitCast(to=dtype).evaluate(there), x).all()


@given(st.floats(width=32))
def test_text_of_a_number_reads_back(value: float) -> None:
    x = np.array([value], np.float32)
    text = Cast(to=DType.STRING).evaluate(x)
    np.testing.assert_array_equal(Cast(to=DType.F32).evaluate(text), x)


@pytest.mark.parametrize(
    ("text", "dtype", "want"),
    [("+INF", DType.F32, math.inf), ("-inf", DType.F16, -math.inf), ("nAn", DType.F64, math.nan),
     ("1E8", DType.F32, 1e8), ("1e-5", DType.F64, 1e-5), ("100.5", DType.I32, 100), ("300", DType.U8, 44),
     ("18446744073709551615", DType.U64, 2**64 - 1), ("-9223372036854775808", DType.I64, -(2**63)),
     ("2", DType.BOOL, True), ("0", DType.BOOL, False), ("3", DType.I2, -1), ("9", DType.F4E2M1, 6.0),
     ("0.3", DType.BF16, 0.30078125)],
)  # fmt: skip
def test_numbers_from_text(text: str, dtype: DType, want: Any) -> None:
    got = Cast(to=dtype).evaluate(np.array([text], object))
    assert got.dtype == dtype.numpy
    assert got[0] == want or (math.isnan(want) and np.isnan(got[0]))


@pytest.mark.parametrize(
    ("x", "want"),
    [(np.array([0.1, 1e-7, 300, 1e20, -0.0], np.float32), ["0.1", "1e-07", "300.0", "1e+20", "-0.0"]),
     (np.array([math.nan, math.inf, -math.inf], np.float16), ["NaN", "INF", "-INF"]),
     (np.array([True, False]), ["1", "0"]), (np.array([-3, 7], DType.I4.numpy), ["-3", "7"]),
     (np.array([2**64 - 1], np.uint64), ["18446744073709551615"]),
     (np.array([0.3, 1.5], DType.BF16.numpy), ["0.30078125", "1.5"]),
     (np.array([0.5, -6], DType.F4E2M1.numpy), ["0.5", "-6.0"])],
)  # fmt: skip
def test_numbers_as_text(x: Array, want: list[str]) -> None:
    assert Cast(to=DType.STRING).evaluate(x).tolist() == want
