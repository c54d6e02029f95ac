"""Known values where frameworks differ, and onnxruntime's results on random operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import ml_dtypes
import numpy as np
import pytest
from onnx import helper

from tests.ops.oracle import run_onnx
from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ops import (
    Abs,
    Acos,
    Acosh,
    Add,
    ArgMax,
    ArgMin,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitShift,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Ceil,
    Celu,
    Clip,
    Concat,
    Conv2D,
    Cos,
    Cosh,
    CumSum,
    DepthToSpace,
    Div,
    Elu,
    Equal,
    Erf,
    Exp,
    Expand,
    Floor,
    Gather,
    GatherElements,
    GatherND,
    Gelu,
    Greater,
    GreaterEqual,
    Hardmax,
    HardSigmoid,
    HardSwish,
    Identity,
    IntDiv,
    IsInf,
    IsNaN,
    LeakyRelu,
    Less,
    LessEqual,
    Log,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    LogSoftmax,
    Maximum,
    Minimum,
    Mish,
    Mod,
    Mul,
    Neg,
    NonZero,
    OneHot,
    Pad,
    Pow,
    PRelu,
    Quantize,
    Range,
    Reciprocal,
    ReduceL1,
    ReduceL2,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    ReduceSumSquare,
    Relu,
    Reshape,
    Round,
    ScatterElements,
    ScatterND,
    Selu,
    ShapeOf,
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    SizeOf,
    Slice,
    Softmax,
    Softplus,
    Softsign,
    SpaceToDepth,
    Split,
    Sqrt,
    Squeeze,
    Sub,
    Swish,
    Tan,
    Tanh,
    ThresholdedRelu,
    Tile,
    TopK,
    Transpose,
    Unsqueeze,
    Where,
    _convolve,
)  # fmt: skip
from uair.ops.base import Operator

F32 = np.float32


def f32(*values: float) -> Array:
    return np.array(values, F32)


def one(op: Operator, *operands: Array | None) -> Array:
    (result,) = op.evaluate_all(operands)
    return result


# ------------------------------------------------------------------- known values
A, B = np.array([-7, 7, -7, 7], np.int32), np.array([2, 2, -2, -2], np.int32)
KNOWN: list[tuple[Operator, Sequence[Array], Any]] = [
    (IntDiv(), (A, B), [-3, 3, 3, -3]),
    (IntDiv(rounding="floor"), (A, B), [-4, 3, 3, -4]),
    (IntDiv(), (np.array([-128], np.int8), np.array([-1], np.int8)), [-128]),
    (IntDiv(), (A, np.zeros(4, np.int32)), [0, 0, 0, 0]),
    (Mod(), (A, B), [1, 1, -1, -1]),
    (Mod(sign="dividend"), (A, B), [-1, 1, -1, 1]),
    (Mod(), (f32(-7, 7, -7, 7), f32(2, 2, -2, -2)), [1, 1, -1, -1]),
    (Mod(sign="dividend"), (f32(-7, 7, -7, 7), f32(2, 2, -2, -2)), [-1, 1, -1, 1]),
    (Round(), (f32(0.5, 1.5, 2.5, -0.5, -1.5),), [0, 2, 2, 0, -2]),
    (Sign(), (f32(-3, 0, 5),), [-1, 0, 1]),
    (Pow(), (np.array([2, 3], np.int32), np.array([-1, 2], np.int32)), [0, 9]),
    (Pow(), (np.array([2, -3, 3], np.int8), f32(0.5, 3, 5)), [1, -27, -13]),
    (Pow(), (np.array([0, 0, -1], np.int32), np.array([-1, 0, -3], np.int32)), [-(2**31), 1, -1]),
    (Pow(), (np.array([0, 0, 4], np.int32), f32(-1, 0, -0.5)), [-(2**31), 1, 0]),
    (Clip(min=2.0, max=-1.0), (f32(-5, 0, 5),), [-1, -1, -1]),
    (Clip(min=0.5), (np.array([0, 1, 2], np.int32),), [1, 1, 2]),
    (Relu(), (f32(-1, 0, 2, math.nan),), [0, 0, 2, math.nan]),
    (Maximum(), (f32(1, math.nan), f32(math.nan, 1)), [math.nan, math.nan]),
    (Add(), (np.array([127], np.int8), np.array([1], np.int8)), [-128]),
    (Neg(), (np.array([-128], np.int8),), [-128]),
    (ReduceMax(), (f32(1, math.nan, 2),), [math.nan]),
    (ReduceMax(), (f32(),), [-math.inf]),
    (ReduceMin(), (np.array([], np.int32),), [2**31 - 1]),
    (ReduceMax(), (np.array([], DType.I4.numpy),), [-8]),
    (ReduceMin(), (np.array([], DType.I2.numpy),), [1]),
    (ReduceMax(), (np.array([], DType.F8E4M3.numpy),), [-448]),
    (ReduceMin(), (np.array([], DType.F8E5M2.numpy),), [math.inf]),
    (ReduceMin(), (np.array([], DType.F8E8M0.numpy),), [2.0**127]),
    (ReduceMean(), (np.array([-3, -4], np.int32),), [-3]),
    (ReduceSum(), (np.array([100, 100], np.int8),), [-56]),
    (ReduceLogSumExp(), (f32(1000, 1000),), [1000 + math.log(2)]),
    (ReduceLogSumExp(), (f32(-math.inf, -math.inf),), [-math.inf]),
    (ArgMax(), (f32(1, 3, 3, 2),), [1]),
    (ArgMax(select_last=True), (f32(1, 3, 3, 2),), [2]),
    (ArgMin(), (f32(1, 0, 0, 2),), [1]),
    (CumSum(exclusive=True), (f32(1, 2, 3),), [0, 1, 3]),
    (CumSum(reverse=True), (f32(1, 2, 3),), [6, 5, 3]),
    (CumSum(exclusive=True, reverse=True), (f32(1, 2, 3),), [5, 3, 0]),
    (HardSigmoid(), (f32(1),), [0.7]),
    (HardSigmoid(alpha=1 / 6), (f32(1),), [0.6666667]),
    (Gelu(), (f32(1),), [0.8413447]),
    (Gelu(approximate="tanh"), (f32(1),), [0.8411920]),
    (Gelu(approximate="quick"), (f32(1),), [1 / (1 + math.exp(-1.702))]),
    (LeakyRelu(), (f32(-1),), [-0.01]),
    (ThresholdedRelu(), (f32(1, 1.5),), [0, 1.5]),
    (Softplus(), (f32(100, -50, 0),), [100, math.exp(-50), math.log(2)]),
    (Softplus(beta=2.0), (f32(1),), [math.log(1 + math.exp(2)) / 2]),
    (Sigmoid(), (f32(-1000, 1000, 0),), [0, 1, 0.5]),
    (Softmax(), (f32(-math.inf, -math.inf),), [math.nan, math.nan]),
    (Softmax(), (f32(-math.inf, 0),), [0, 1]),
    (Hardmax(), (f32(1, 3, 3),), [0, 1, 0]),
    (Erf(), (f32(0.5, -2, math.inf, math.nan),), [0.5204999, -0.9953223, 1, math.nan]),
    (BitShift(), (np.array([1, 1], np.uint8), np.array([7, 8], np.uint8)), [128, 0]),
    (Range(), (np.array(2), np.array(9), np.array(3)), [2, 5, 8]),
    (Range(), (np.array(9), np.array(2), np.array(-3)), [9, 6, 3]),
    (Cast(to=DType.I8), (f32(300.7, -300.7, 1.9, -1.9),), [44, -44, 1, -1]),
    (Cast(to=DType.I32), (f32(math.nan, math.inf, -1e20),), [-(2**31)] * 3),
    (Cast(to=DType.U8), (np.array([-1, 256], np.int32),), [255, 0]),
    (Cast(to=DType.BOOL), (f32(0, -0.0, 0.1, math.nan),), [False, False, True, True]),
    (Cast(to=DType.I4), (np.array([7, 8, -9], np.int32),), [7, -8, 7]),
    (Cast(to=DType.STRING), (np.array([True, False]),), ["1", "0"]),
    (Cast(to=DType.STRING), (f32(1.5, math.nan, -math.inf),), ["1.5", "NaN", "-INF"]),
    (Cast(to=DType.F32), (np.array(["1e-5", "+INF", "nan"], object),), [1e-5, math.inf, math.nan]),
    (Cast(to=DType.U8), (np.array(["257", "-1"], object),), [1, 255]),
    (NonZero(), (np.array([[1, 0], [0, 2]]),), [[0, 1], [0, 1]]),
    (OneHot(), (np.array([0, -1, 5]), np.array(3), f32(0, 1)), [[1, 0, 0], [0, 0, 1], [0, 0, 0]]),
    (ScatterElements(reduction="add"), (f32(0, 0, 0), np.array([1, 1, -1]), f32(1, 2, 3)), [0, 3, 3]),
    (ScatterND(reduction="max"), (f32(5, 5), np.array([[0], [0]]), f32(7, 6)), [7, 5]),
    (Pad(pads=(2, 2), mode="reflect"), (f32(1, 2, 3),), [3, 2, 1, 2, 3, 2, 1]),
    (Pad(pads=(2, 2), mode="symmetric"), (f32(1, 2, 3),), [2, 1, 1, 2, 3, 3, 2]),
    (Pad(pads=(2, 2), mode="edge"), (f32(1, 2, 3),), [1, 1, 1, 2, 3, 3, 3]),
    (Pad(pads=(2, 2), mode="wrap"), (f32(1, 2, 3),), [2, 3, 1, 2, 3, 1, 2]),
    (Pad(pads=(-1, 2), value=9.0), (f32(1, 2, 3),), [2, 3, 9, 9]),
    (Slice(axes=(0,), starts=(-1,), ends=(-(2**63),), steps=(-2,)), (np.arange(6),), [5, 3, 1]),
    (Slice(axes=(0,), starts=(100,), ends=(2,), steps=(-1,)), (np.arange(6),), [5, 4, 3]),
    (Slice(axes=(0,), starts=(-100,), ends=(2**31 - 1,), steps=(3,)), (np.arange(6),), [0, 3]),
    (ShapeOf(start=-2), (np.zeros((2, 3, 4)),), [3, 4]),
    (SizeOf(), (np.zeros((2, 3, 4)),), 24),
]  # fmt: skip


@pytest.mark.parametrize(("op", "operands", "want"), KNOWN, ids=[f"{i}-{k[0]!r}" for i, k in enumerate(KNOWN)])
def test_known_value(op: Operator, operands: Sequence[Array], want: Any) -> None:
    got = one(op, *operands)
    if got.dtype.kind in "f":
        np.testing.assert_allclose(got, want, rtol=2e-7)
    else:
        assert got.tolist() == want if got.dtype != DType.I4.numpy else got.astype(int).tolist() == want


def test_topk_takes_the_lowest_index_of_equals() -> None:
    values, indices = TopK(k=3).evaluate(f32(1, 3, 3, 3, 2, 3))
    assert indices.tolist() == [1, 2, 3]
    assert values.tolist() == [3, 3, 3]
    values, indices = TopK(k=3, largest=False).evaluate(f32(1, 3, 1, 0, 2, 1))
    assert indices.tolist() == [3, 0, 2]
    values, indices = TopK(k=2).evaluate(f32(1, math.nan, math.inf))
    assert indices.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("to", "saturate", "want"),
    [
        (DType.F8E4M3, True, [448, -448, 448, math.nan, 16]),
        (DType.F8E4M3, False, [math.nan, math.nan, math.nan, math.nan, 16]),
        (DType.F8E5M2, True, [57344, -57344, 57344, math.nan, 16]),
        (DType.F8E5M2, False, [math.inf, -math.inf, math.inf, math.nan, 16]),
        (DType.F8E4M3FNUZ, True, [240, -240, 240, math.nan, 16]),
        (DType.F8E5M2FNUZ, False, [math.nan, math.nan, math.nan, math.nan, 16]),
    ],
)
def test_cast_to_float8(to: DType, saturate: bool, want: list[float]) -> None:
    got = one(Cast(to=to, saturate=saturate), f32(1e6, -1e6, math.inf, math.nan, 16.4))
    np.testing.assert_array_equal(got.astype(F32), f32(*want))


def test_cast_refuses_what_is_no_number() -> None:
    with pytest.raises(EvaluationError, match="'one'"):
        Cast(to=DType.F32).evaluate(np.array(["one"], object))
    with pytest.raises(EvaluationError, match=r"'NaN'"):
        Cast(to=DType.I32).evaluate(np.array(["NaN"], object))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_rounded_once(dtype: Any) -> None:
    """f16 sums of many small numbers would stop growing if they were accumulated in f16."""
    assert one(ReduceSum(), np.ones(4096, dtype) * dtype(0.25)).item() == 1024
    x = np.linspace(-4, 4, 1000).astype(dtype)
    for op in (Exp(), Sigmoid(), Gelu(), Softplus(), Erf()):
        np.testing.assert_array_equal(one(op, x), one(op, x.astype(F32)).astype(dtype))


def test_erf_is_exact_in_f32_and_good_in_f64() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-7, 7, 20000), np.logspace(-300, 0.8, 2000), -np.logspace(-20, 0.8, 2000)])
    want = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(one(Erf(), x), want, rtol=1e-15)
    narrow = x.astype(F32)
    want = np.array([math.erf(v) for v in narrow])
    np.testing.assert_array_max_ulp(one(Erf(), narrow), want.astype(F32), maxulp=1)


@pytest.mark.parametrize("op", [Gather(), GatherElements()])
def test_indices_out_of_range_are_errors(op: Operator) -> None:
    for index in (3, -4):
        with pytest.raises(EvaluationError, match=f"index {index} is out of range for extent 3"):
            op.evaluate(f32(1, 2, 3), np.array([index]))


def test_expand_is_a_view() -> None:
    filled = one(Expand(shape=(1000, 1000)), np.array(1, F32))
    assert filled.strides == (0, 0)
    assert not filled.flags.owndata


def test_reshape_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(EvaluationError, match=r"shape \[4\]"):
        Reshape().evaluate(f32(1, 2, 3), np.array([4]))
    with pytest.raises(EvaluationError, match="delta is 0"):
        Range().evaluate(np.array(0), np.array(1), np.array(0))
    with pytest.raises(EvaluationError, match="k is 4"):
        TopK().evaluate(f32(1, 2, 3), np.array([4]))


# --------------------------------------------------------------------- onnxruntime
Draw = Callable[[np.random.Generator], list[Array]]


@attrs.frozen(eq=False)
class Twin:
    """An operator and the ONNX node that means the same."""

    op: Operator
    kind: str
    draw: Draw
    attributes: dict[str, Any] = attrs.Factory(dict)
    extra: tuple[Array, ...] = ()
    opset: int = 20
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return f"{self.op!r}"


def floats(*shapes: tuple[int, ...], low: float = -3, high: float = 3) -> Draw:
    return lambda rng: [rng.uniform(low, high, s).astype(F32) for s in shapes]


def wholes(*shapes: tuple[int, ...], dtype: Any = np.int32, low: int = -20, high: int = 20) -> Draw:
    return lambda rng: [rng.integers(low, high, s).astype(dtype) for s in shapes]


def truths(*shapes: tuple[int, ...]) -> Draw:
    return lambda rng: [rng.integers(0, 2, s).astype(np.bool_) for s in shapes]


def special(rng: np.random.Generator) -> list[Array]:
    return [f32(0, -0.0, 1, math.nan, math.inf, -math.inf, 1e-30, 88, -88)]


X, Y = (4, 5), (5,)
I64 = np.int64
UNARY: dict[Operator, tuple[str, float, float]] = {
    Abs(): ("Abs", -3, 3), Neg(): ("Neg", -3, 3), Sign(): ("Sign", -3, 3), Ceil(): ("Ceil", -3, 3),
    Floor(): ("Floor", -3, 3),
    Round(): ("Round", -3, 3), Sqrt(): ("Sqrt", 0, 9), Reciprocal(): ("Reciprocal", 0.1, 3), Exp(): ("Exp", -9, 9),
    Log(): ("Log", 0.01, 9), Sin(): ("Sin", -6, 6), Cos(): ("Cos", -6, 6), Tan(): ("Tan", -1.4, 1.4),
    Asin(): ("Asin", -1, 1), Acos(): ("Acos", -1, 1), Atan(): ("Atan", -3, 3), Sinh(): ("Sinh", -3, 3),
    Cosh(): ("Cosh", -3, 3), Asinh(): ("Asinh", -3, 3), Acosh(): ("Acosh", 1.01, 3), Atanh(): ("Atanh", -0.9, 0.9),
    Erf(): ("Erf", -3, 3), Identity(): ("Identity", -3, 3), Relu(): ("Relu", -3, 3), Sigmoid(): ("Sigmoid", -9, 9),
    Tanh(): ("Tanh", -3, 3), HardSwish(): ("HardSwish", -5, 5), Mish(): ("Mish", -5, 5),
    Softsign(): ("Softsign", -3, 3),
    Softplus(): ("Softplus", -9, 9), Selu(): ("Selu", -3, 3), Gelu(): ("Gelu", -4, 4), Elu(): ("Elu", -3, 3),
    HardSigmoid(): ("HardSigmoid", -5, 5), Celu(): ("Celu", -3, 3), LeakyRelu(): ("LeakyRelu", -3, 3),
    ThresholdedRelu(): ("ThresholdedRelu", -3, 3),
}  # fmt: skip
twins = [Twin(op, kind, floats(X, low=low, high=high)) for op, (kind, low, high) in UNARY.items()]
EXACT_AT_SPECIAL = [Abs(), Neg(), Ceil(), Floor(), Round(), Sqrt(), Identity(), Sigmoid(), Tanh(), Softsign(), Atan()]
twins += [Twin(op, UNARY[op][0], special) for op in EXACT_AT_SPECIAL]
twins += [Twin(IsNaN(), "IsNaN", special), Twin(IsInf(), "IsInf", special)]
twins += [Twin(IsInf(detect_negative=False), "IsInf", special, {"detect_negative": 0})]
twins += [
    Twin(op, kind, draw(X, Y))
    for op, kind in ((Add(), "Add"), (Sub(), "Sub"), (Mul(), "Mul"), (Maximum(), "Max"), (Minimum(), "Min"))
    for draw in (floats, wholes)
]
twins += [
    Twin(op, kind, draw(X, Y))
    for op, kind in (
        (Equal(), "Equal"), (Less(), "Less"), (LessEqual(), "LessOrEqual"), (Greater(), "Greater"),
        (GreaterEqual(), "GreaterOrEqual"),
    )
    for draw in (floats, wholes)
]  # fmt: skip
twins += [
    Twin(op, kind, truths(X, Y))
    for op, kind in ((LogicalAnd(), "And"), (LogicalOr(), "Or"), (LogicalXor(), "Xor"), (Equal(), "Equal"))
]
twins += [
    Twin(LogicalNot(), "Not", truths(X)),
    Twin(Div(), "Div", floats(X, Y)),
    Twin(IntDiv(), "Div", wholes(X, Y, low=1)),
    Twin(IntDiv(), "Div", lambda rng: [A, B]),
    Twin(Mod(), "Mod", lambda rng: [A, B]),
    Twin(Mod(sign="dividend"), "Mod", lambda rng: [A, B], {"fmod": 1}),
    Twin(Mod(sign="dividend"), "Mod", floats(X, Y), {"fmod": 1}),
    Twin(Pow(), "Pow", floats(X, Y, low=0.1)),
    Twin(Pow(), "Pow", lambda rng: [rng.uniform(-2, 2, X).astype(F32), np.array([0, 1, 2, 3, -1], I64)]),
    Twin(Pow(), "Pow", lambda rng: [np.array([2, -3, 3, 5], np.int32), np.array([3, 3, 0, 2], np.int32)]),
    Twin(BitwiseAnd(), "BitwiseAnd", wholes(X, Y)),
    Twin(BitwiseOr(), "BitwiseOr", wholes(X, Y)),
    Twin(BitwiseXor(), "BitwiseXor", wholes(X, Y)),
    Twin(BitwiseNot(), "BitwiseNot", wholes(X)),
    Twin(BitShift(), "BitShift", wholes(X, Y, dtype=np.uint32, low=0), {"direction": "LEFT"}),
    Twin(BitShift(direction="right"), "BitShift", wholes(X, Y, dtype=np.uint8, low=0, high=7), {"direction": "RIGHT"}),
    Twin(Clip(min=-1.0, max=0.5), "Clip", floats(X), extra=(np.array(-1, F32), np.array(0.5, F32))),
    Twin(Where(), "Where", lambda rng: [*truths(X)(rng), *floats(Y, X)(rng)]),
    Twin(PRelu(), "PRelu", floats((2, 4, 3), (4, 1))),
    Twin(Elu(alpha=0.5), "Elu", floats(X), {"alpha": 0.5}),
    Twin(Celu(alpha=2.0), "Celu", floats(X), {"alpha": 2.0}),
    Twin(HardSigmoid(alpha=1 / 6), "HardSigmoid", floats(X, low=-5, high=5), {"alpha": 1 / 6}),
    Twin(Gelu(approximate="tanh"), "Gelu", floats(X), {"approximate": "tanh"}),
    Twin(Softmax(axis=1), "Softmax", floats((2, 3, 4)), {"axis": 1}),
    Twin(Softmax(), "Softmax", lambda rng: [f32(-math.inf, 0, 1e4)]),
    Twin(LogSoftmax(), "LogSoftmax", floats(X, low=-50, high=50)),
    Twin(Hardmax(axis=0), "Hardmax", wholes(X, dtype=F32, low=0, high=3), {"axis": 0}),
]
AXES = np.array([0, -1], I64)
REDUCTIONS: list[Any] = [
    ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare
]  # fmt: skip
twins += [
    Twin(reduction(axes=(0, -1), keepdims=bool(keep)), reduction.__name__, draw((2, 3, 4)), {"keepdims": keep}, (AXES,))
    for reduction in REDUCTIONS
    for keep in (0, 1)
    for draw in (floats, wholes)
    if draw is floats or reduction not in (ReduceL2, ReduceMean)
]
twins += [
    Twin(ReduceLogSumExp(), "ReduceLogSumExp", floats(X, low=-50, high=50)),
    Twin(ReduceMean(), "ReduceMean", floats(X)),
    Twin(ArgMax(axis=1), "ArgMax", wholes(X, low=0, high=3), {"axis": 1}),
    Twin(ArgMin(axis=0, keepdims=False), "ArgMin", wholes(X, low=0, high=3), {"axis": 0, "keepdims": 0}),
    Twin(ArgMax(select_last=True), "ArgMax", wholes(X, low=0, high=3), {"select_last_index": 1}),
]
twins += [
    Twin(CumSum(axis=1, exclusive=bool(e), reverse=bool(r)), "CumSum", floats(X), {"exclusive": e, "reverse": r},
         (np.array(1, I64),))
    for e in (0, 1)
    for r in (0, 1)
]  # fmt: skip


def vector(*values: int) -> Array:
    return np.array(values, I64)


def picks(shape: tuple[int, ...], extent: int) -> Draw:
    return lambda rng: [*floats(X)(rng), rng.integers(-extent, extent, shape)]


twins += [
    Twin(Reshape(shape=(2, -1)), "Reshape", floats(X), extra=(vector(2, -1),)),
    Twin(Expand(shape=(3, 1, 5)), "Expand", floats((4, 1)), extra=(vector(3, 1, 5),)),
    Twin(Transpose(perm=(2, 0, 1)), "Transpose", floats((2, 3, 4)), {"perm": [2, 0, 1]}),
    Twin(Squeeze(axes=(0, 2)), "Squeeze", floats((1, 3, 1)), extra=(vector(0, 2),)),
    Twin(Unsqueeze(axes=(0, 3)), "Unsqueeze", floats((2, 3)), extra=(vector(0, 3),)),
    Twin(Concat(axis=1), "Concat", floats((2, 3), (2, 1)), {"axis": 1}),
    Twin(Tile(repeats=(2, 3)), "Tile", floats((2, 3)), extra=(vector(2, 3),)),
    Twin(ShapeOf(start=1, end=-1), "Shape", floats((2, 3, 4, 5)), {"start": 1, "end": -1}),
    Twin(SizeOf(), "Size", floats((2, 3))),
    Twin(Range(), "Range", lambda rng: [np.array(v, I64) for v in (3, -5, -3)]),
    Twin(Range(), "Range", lambda rng: [np.array(v, F32) for v in (0, 2.1, 0.3)]),
    Twin(DepthToSpace(block=2), "DepthToSpace", floats((2, 8, 2, 3)), {"blocksize": 2}),
    Twin(DepthToSpace(block=2, mode="CRD"), "DepthToSpace", floats((2, 8, 2, 3)), {"blocksize": 2, "mode": "CRD"}),
    Twin(SpaceToDepth(block=2), "SpaceToDepth", floats((2, 3, 4, 6)), {"blocksize": 2}),
    Twin(Gather(axis=1), "Gather", picks((2, 3), 5), {"axis": 1}),
    Twin(GatherElements(axis=1), "GatherElements", picks((4, 2), 5), {"axis": 1}),
    Twin(GatherND(), "GatherND", picks((3, 2), 4)),
    Twin(GatherND(batch_dims=1), "GatherND", picks((4, 1), 5), {"batch_dims": 1}),
    Twin(NonZero(), "NonZero", wholes(X, low=-1, high=2)),
    Twin(OneHot(axis=0), "OneHot", lambda rng: [vector(0, -1, 2, 7), vector(3), f32(2, 5)], {"axis": 0}),
    Twin(ScatterElements(axis=1), "ScatterElements",
         lambda rng: [*floats(X)(rng), np.array([[0, -1]]), f32(7, 8).reshape(1, 2)], {"axis": 1}),
    Twin(ScatterND(), "ScatterND", lambda rng: [*floats(X)(rng), np.array([[1], [-1]]), *floats((2, 5))(rng)]),
]  # fmt: skip


def written_at(indices: Array) -> Draw:
    return lambda rng: [*floats((3,))(rng), indices, *floats((3,))(rng)]


twins += [
    Twin(op, kind, written_at(indices), {"reduction": r})
    for r in ("add", "mul", "max", "min")
    for op, kind, indices in (
        (ScatterElements(reduction=r), "ScatterElements", np.array([1, 1, 0])),
        (ScatterND(reduction=r), "ScatterND", np.array([[1], [1], [0]])),
    )
]  # fmt: skip
twins += [
    Twin(Pad(pads=pads, mode=mode), "Pad", floats((3, 4)), {"mode": mode}, (vector(*pads),))
    for mode in ("constant", "reflect", "edge", "wrap")
    for pads in ((1, 2, 0, 3), (0, 1, 2, 0))
] + [Twin(Pad(pads=(-1, 2, 0, -2), value=3.0), "Pad", floats((3, 4)), {}, (vector(-1, 2, 0, -2), np.array(3, F32)))]
BOUNDS = [
    ((1, 4, 1), (0, 99, 2)), ((-2, 99, 1), (-99, -1, 1)), ((99, -99, -1), (3, 0, -2)), ((4, 1, 1), (0, 2**62, 3)),
    ((-1, -(2**62), -1), (-3, -1, 1)), ((2, 2, 1), (0, 0, -1)), ((0, -9, -1), (7, 9, 1)),
]  # fmt: skip
for first, second in BOUNDS:
    starts, ends, steps = zip(first, second, strict=True)
    twins.append(
        Twin(Slice(axes=(0, 1), starts=starts, ends=ends, steps=steps), "Slice", floats((5, 6)), {},
             (vector(*starts), vector(*ends), vector(0, 1), vector(*steps)))
    )  # fmt: skip


@pytest.mark.parametrize("twin", twins, ids=[f"{i}-{t}" for i, t in enumerate(twins)])
def test_onnxruntime_agrees(twin: Twin) -> None:
    operands = twin.draw(np.random.default_rng(0))
    (want,) = run_onnx(twin.kind, [*operands, *twin.extra], opset=twin.opset, **twin.attributes)
    got = one(twin.op, *operands)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=twin.tolerance, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("largest", [True, False])
def test_onnxruntime_agrees_on_topk(largest: bool) -> None:
    x = np.random.default_rng(0).integers(0, 4, (3, 9)).astype(F32)
    want = run_onnx("TopK", [x, vector(5)], outputs=2, axis=1, largest=int(largest))
    for a, b in zip(TopK(k=5, axis=1, largest=largest).evaluate_all([x]), want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_onnxruntime_agrees_on_split() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(F32)
    want = run_onnx("Split", [x, vector(1, 3, 2)], outputs=3, axis=1)
    for a, b in zip(Split(axis=1, sizes=(1, 3, 2)).evaluate_all([x]), want, strict=True):
        np.testing.assert_array_equal(a, b)


NUMBERS = [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("to", NUMBERS)
@pytest.mark.parametrize("source", NUMBERS)
def test_onnxruntime_agrees_on_casts(source: Any, to: Any) -> None:
    values = np.array([0, 1, 2.7, -2.7, 100.5, -100.5, 300, 70000])
    fits = [v for v in values if abs(v) <= (np.iinfo(source).max if np.issubdtype(source, np.integer) else 60000)]
    x = np.array(fits).astype(source) if source != np.uint8 else np.abs(np.array(fits)).astype(source)
    (want,) = run_onnx("Cast", [x], to=int(run_type(to)))
    got = one(Cast(to=DType.from_numpy(to)), x)
    in_range = np.ones(x.shape, bool)
    if np.issubdtype(to, np.integer) and x.dtype.kind == "f":  # what does not fit is not specified by ONNX
        wide = x.astype(np.float64)
        in_range = (wide >= np.iinfo(to).min) & (wide <= np.iinfo(to).max)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got[in_range], want[in_range])


def run_type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def test_swish_and_prelu_of_torch_defaults() -> None:
    np.testing.assert_allclose(one(Swish(), f32(1)), 1 / (1 + math.exp(-1)), rtol=1e-6)
    np.testing.assert_allclose(one(Swish(alpha=1.702), f32(1)), one(Gelu(approximate="quick"), f32(1)), rtol=1e-6)
    assert one(Atanh(), f32(1)).tolist() == [math.inf]


@pytest.mark.parametrize("op", [Relu(), Clip(min=0.0, max=6.0), Clip(min=-6.0, max=0.0), Clip(min=0.0), HardSigmoid()])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_bounds_of_zero_give_positive_zeros_and_let_nan_pass(op: Operator, dtype: Any) -> None:
    result = op.evaluate(np.array([-0.0, 0.0, -9.0, 9.0, math.nan], dtype))
    assert not np.signbit(result[result == 0]).any()
    assert np.isnan(result).tolist() == [False] * 4 + [True]


@pytest.mark.parametrize(("dtype", "least"), [(DType.I8, -128), (DType.U8, 0), (DType.I16, -(2**15)), (DType.I4, -8)])
def test_nan_is_quantized_to_the_least_integer(dtype: DType, least: int) -> None:
    x = f32(math.nan, 1e9, -1e9, 1, math.inf)
    got = Quantize(dtype=dtype).evaluate(x, np.array(0.5, np.float32)).astype(np.int64)
    assert got.tolist() == [least, dtype.range[1], least, 2, dtype.range[1]]


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 0, 1)])
@pytest.mark.parametrize(("groups", "filters"), [(1, 4), (6, 6), (3, 6), (6, 12)])
def test_convolution_does_not_depend_on_the_tiles(
    monkeypatch: pytest.MonkeyPatch, pads: tuple[int, ...], groups: int, filters: int
) -> None:
    """Whole numbers: all sums are exact, whatever their order."""
    rng = np.random.default_rng(groups)
    x, w = (rng.integers(-9, 9, s).astype(np.float32) for s in ((2, 6, 9, 7), (filters, 6 // groups, 3, 2)))
    op = Conv2D(pads=pads, groups=groups, dilations=(2, 1), strides=(1, 2))
    want = op.evaluate(x, w)
    for tile in (1, 300, 1000, 4000):
        monkeypatch.setattr(_convolve, "TILE_BYTES", tile)
        assert np.array_equal(op.evaluate(x, w), want)
