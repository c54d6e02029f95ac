"""Comparison and logic. Results are bool in every framework UAIR reads (in TFLite too)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType
from uair.ops import _symbolic
from uair.ops._compute import ANY, BOOLS, FLOATS, REALS, broadcast, compute, require_dtype
from uair.ops.base import Operator, Sample, bad, case, operator, same_dtype

FAMILY = "comparison"
_BOOL = DType.BOOL.numpy


# -------------------------------------------------------------------------- bases
class Comparison(Operator):
    """Two operands of one element type, broadcast; the result is bool. Comparisons with NaN are false."""

    elementwise = True
    shape_arithmetic = True
    allowed: ClassVar[frozenset[DType]] = REALS

    def compute(self, a: Array, b: Array) -> Any:
        """The result for arrays of machine numbers."""
        raise NotImplementedError

    def size(self, a: Any, b: Any) -> bool:
        """The result for two sizes or strings."""
        raise NotImplementedError

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_dtype(a, self.allowed, "a")
        same_dtype(a=a, b=b)
        return broadcast(DType.BOOL, a, b)

    def evaluate(self, a: Array, b: Array) -> Array:
        if _symbolic.is_symbolic(a, b):
            return _symbolic.truth(self.size, a, b)
        return compute(self.compute, a, b, dtype=_BOOL)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3]", "f32[2,3]")
        yield case(cls(), "i64[2,1,4]", "i64[3,1]")
        yield case(cls(), "f32[]", "f32[0,3]")
        yield from (case(cls(), f"{d}[4]", f"{d}[4]") for d in ("f16", "bf16", "i8", "u4"))
        yield case(cls(), np.array([1, np.nan, np.inf, -0.0], np.float32), np.array([1, np.nan, 1, 0], np.float32))
        yield bad(cls(), "f32[2]", "i32[2]", because="b is i32")
        yield bad(cls(), "f32[2]", "f32[3]", because="do not broadcast")
        if cls.allowed is REALS:
            yield bad(cls(), "bool[2]", "bool[2]", because="a must be")
        else:
            yield case(cls(), "bool[2]", "bool[2]")
            yield case(cls(), np.array(["a", "b"], object), np.array(["a", "c"], object))


class Logical(Operator):
    """Two bool operands, broadcast."""

    elementwise = True
    commutative = True
    shape_arithmetic = True

    def compute(self, a: Array, b: Array) -> Any:
        """The result for bool arrays."""
        raise NotImplementedError

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_dtype(a, BOOLS, "a")
        require_dtype(b, BOOLS, "b")
        return broadcast(DType.BOOL, a, b)

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.asarray(self.compute(a.astype(np.bool_, copy=False), b.astype(np.bool_, copy=False)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "bool[4]", "bool[4]")
        yield case(cls(), np.array([[True], [False]]), np.array([True, False]))
        yield case(cls(), "bool[]", "bool[0,3]")
        yield bad(cls(), "bool[2]", "i32[2]", because="b must be bool")
        yield bad(cls(), "bool[2]", "bool[3]", because="do not broadcast")


class FloatTest(Operator):
    """A question to every element of a floating-point operand."""

    elementwise = True

    def compute(self, x: Array) -> Any:
        """The answers."""
        raise NotImplementedError

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, FLOATS, "x")
        return TensorType(DType.BOOL, x.shape)

    def evaluate(self, x: Array) -> Array:
        return compute(self.compute, x, dtype=_BOOL)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), np.array([[0, np.nan, np.inf], [-np.inf, 1, -0.0]], np.float32))
        yield from (case(cls(), f"{d}[3]") for d in ("f16", "bf16", "f64", "f8e4m3"))
        yield case(cls(), "f32[]")
        yield bad(cls(), "i32[2]", because="x must be floating-point")


# --------------------------------------------------------------------- comparison
@operator(inputs="a b", family=FAMILY)
class Equal(Comparison):
    """a == b, for any element type; NaN equals nothing."""

    commutative = True
    allowed = ANY

    def compute(self, a: Array, b: Array) -> Any:
        return np.equal(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return _symbolic.equal(a, b)


@operator(inputs="a b", family=FAMILY)
class NotEqual(Comparison):
    """a != b, for any element type; NaN differs from everything."""

    commutative = True
    allowed = ANY

    def compute(self, a: Array, b: Array) -> Any:
        return np.not_equal(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return not _symbolic.equal(a, b)

    def decompose(self, a: Tensor, b: Tensor) -> Tensor:
        return LogicalNot()(Equal()(a, b))


@operator(inputs="a b", family=FAMILY)
class Less(Comparison):
    """a < b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.less(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return _symbolic.less(a, b)


@operator(inputs="a b", family=FAMILY)
class LessEqual(Comparison):
    """a <= b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.less_equal(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return not _symbolic.less(b, a)

    def decompose(self, a: Tensor, b: Tensor) -> Tensor:
        return LogicalOr()(Less()(a, b), Equal()(a, b))


@operator(inputs="a b", family=FAMILY)
class Greater(Comparison):
    """a > b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.greater(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return _symbolic.less(b, a)


@operator(inputs="a b", family=FAMILY)
class GreaterEqual(Comparison):
    """a >= b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.greater_equal(a, b)

    def size(self, a: Any, b: Any) -> bool:
        return not _symbolic.less(a, b)

    def decompose(self, a: Tensor, b: Tensor) -> Tensor:
        return LogicalOr()(Greater()(a, b), Equal()(a, b))


# -------------------------------------------------------------------------- logic
@operator(inputs="a b", family=FAMILY)
class LogicalAnd(Logical):
    """a and b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.logical_and(a, b)


@operator(inputs="a b", family=FAMILY)
class LogicalOr(Logical):
    """a or b."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.logical_or(a, b)


@operator(inputs="a b", family=FAMILY)
class LogicalXor(Logical):
    """a or b, not both."""

    def compute(self, a: Array, b: Array) -> Any:
        return np.logical_xor(a, b)


@operator(inputs="x", family=FAMILY)
class LogicalNot(Operator):
    """Not x."""

    elementwise = True
    shape_arithmetic = True

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, BOOLS, "x")
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return np.logical_not(x.astype(np.bool_, copy=False))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from (case(cls(), t) for t in ("bool[2,3]", "bool[]", "bool[0]"))
        yield bad(cls(), "i32[2]", because="x must be bool")


@operator(inputs="x", family=FAMILY)
class IsNaN(FloatTest):
    """Whether x is not a number."""

    def compute(self, x: Array) -> Any:
        return np.isnan(x)

    def decompose(self, x: Tensor) -> Tensor:
        return LogicalNot()(Equal()(x, x))


@operator(inputs="x", family=FAMILY)
class IsInf(FloatTest):
    """Whether x is an infinity of a sign that is asked for."""

    detect_positive: bool = True
    detect_negative: bool = True

    def compute(self, x: Array) -> Any:
        positive = np.isposinf(x) if self.detect_positive else np.zeros(x.shape, np.bool_)
        return positive | np.isneginf(x) if self.detect_negative else positive

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        x = np.array([0, np.nan, np.inf, -np.inf], np.float32)
        yield case(cls(detect_positive=False), x)
        yield case(cls(detect_negative=False), x)
        yield case(cls(detect_positive=False, detect_negative=False), x)
