"""Activation functions, with their decompositions. Parameters are explicit: frameworks differ in their defaults.

Types narrower than f32 are computed in f32 and rounded once. NaN stays NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType
from uair.ops._compute import FLOATS, REALS, clipped, compute, require_dtype, scalar
from uair.ops._erf import erf
from uair.ops.base import Operator, Sample, bad, broadcast_shapes, case, normalize_axis, operator, require, same_dtype
from uair.ops.comparison import Equal, Greater, Less
from uair.ops.elementwise import (
    Abs,
    Add,
    Cast,
    Clip,
    Div,
    Erf,
    Exp,
    Log,
    Log1p,
    Minimum,
    Mul,
    Reciprocal,
    Sub,
    Unary,
    Where,
)
from uair.ops.reduction import ArgMax, ReduceMax, ReduceSum

FAMILY = "activation"
_SELU_ALPHA = 1.67326319217681884765625  # the f32 constants of ONNX Selu
_SELU_GAMMA = 1.05070102214813232421875
_QUICK = 1.702


def _sigmoid(x: Array) -> Any:
    """1 / (1 + exp(-x)); exp overflows to infinity for very negative x, which gives the right 0."""
    return 1 / (1 + np.exp(-x))


def _softplus(x: Array) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# ------------------------------------------------------------- without parameters
@operator(inputs="x", family=FAMILY)
class Relu(Unary):
    """max(x, 0); NaN for NaN (ONNX, PyTorch, TensorFlow). ReLU6 is Clip."""

    allowed = REALS

    def compute(self, x: Array) -> Any:
        return clipped(x, x.dtype.type(0), x.dtype.type(np.inf)) if x.dtype.kind == "f" else np.maximum(x, 0)


@operator(inputs="x", family=FAMILY)
class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    def compute(self, x: Array) -> Any:
        return _sigmoid(x)

    def decompose(self, x: Tensor) -> Tensor:
        return Reciprocal()(Add()(Exp()(Sub()(scalar(0, x), x)), scalar(1, x)))


@operator(inputs="x", family=FAMILY)
class Tanh(Unary):
    """The hyperbolic tangent."""

    def compute(self, x: Array) -> Any:
        return np.tanh(x)


@operator(inputs="x", family=FAMILY)
class HardSwish(Unary):
    """x * min(max(x / 6 + 1/2, 0), 1). Source: Howard et al., "Searching for MobileNetV3", arXiv 1905.02244."""

    def compute(self, x: Array) -> Any:
        gate = np.asarray(x * x.dtype.type(1 / 6))
        gate += x.dtype.type(0.5)
        np.clip(gate, x.dtype.type(0), x.dtype.type(1), out=gate)
        gate *= x
        return gate

    def decompose(self, x: Tensor) -> Tensor:
        return Mul()(x, HardSigmoid(alpha=1 / 6, beta=0.5)(x))


@operator(inputs="x", family=FAMILY)
class Mish(Unary):
    """x * tanh(softplus(x)). Source: Misra, "Mish: a self regularized non-monotonic activation", arXiv 1908.08681."""

    def compute(self, x: Array) -> Any:
        return x * np.tanh(_softplus(x))

    def decompose(self, x: Tensor) -> Tensor:
        return Mul()(x, Tanh()(Softplus()(x)))


@operator(inputs="x", family=FAMILY)
class Softsign(Unary):
    """x / (1 + |x|)."""

    def compute(self, x: Array) -> Any:
        return x / (1 + np.abs(x))

    def decompose(self, x: Tensor) -> Tensor:
        return Div()(x, Add()(Abs()(x), scalar(1, x)))


# ---------------------------------------------------------------- with parameters
@operator(inputs="x", family=FAMILY)
class LeakyRelu(Unary):
    """x where x >= 0, alpha * x below.

    Defaults elsewhere: 0.01 in ONNX and PyTorch, 0.3 in Keras 3, 0.2 in tf.nn; a frontend writes the one it read.
    """

    alpha: float = 0.01

    def compute(self, x: Array) -> Any:
        return np.where(x < 0, x * x.dtype.type(self.alpha), x)

    def decompose(self, x: Tensor) -> Tensor:
        return Where()(Less()(x, scalar(0, x)), Mul()(x, scalar(self.alpha, x)), x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=0.3), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class Elu(Unary):
    """x where x >= 0, alpha * (exp(x) - 1) below."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Any:
        return np.where(x < 0, np.expm1(np.minimum(x, 0)) * x.dtype.type(self.alpha), x)

    def decompose(self, x: Tensor) -> Tensor:
        zero = scalar(0, x)
        below = Mul()(Sub()(Exp()(Minimum()(x, zero)), scalar(1, x)), scalar(self.alpha, x))
        return Where()(Less()(x, zero), below, x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=0.5), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class Selu(Unary):
    """gamma * Elu(x, alpha). Source of the constants: Klambauer et al., arXiv 1706.02515; rounded to f32 as in ONNX."""

    alpha: float = _SELU_ALPHA
    gamma: float = _SELU_GAMMA

    def compute(self, x: Array) -> Any:
        kind = x.dtype.type
        return kind(self.gamma) * np.where(x < 0, np.expm1(np.minimum(x, 0)) * kind(self.alpha), x)

    def decompose(self, x: Tensor) -> Tensor:
        return Mul()(Elu(alpha=self.alpha)(x), scalar(self.gamma, x))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=2.0, gamma=3.0), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class Celu(Unary):
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0). Source: Barron, arXiv 1704.07483."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Any:
        alpha = x.dtype.type(self.alpha)
        return np.maximum(x, 0) + np.minimum(alpha * np.expm1(x / alpha), 0)

    def decompose(self, x: Tensor) -> Tensor:
        alpha = scalar(self.alpha, x)
        return Mul()(Elu()(Div()(x, alpha)), alpha)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=2.0), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class ThresholdedRelu(Unary):
    """x where x > alpha, 0 elsewhere (so NaN gives 0, as ONNX defines it)."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Any:
        return np.where(x > x.dtype.type(self.alpha), x, x.dtype.type(0))

    def decompose(self, x: Tensor) -> Tensor:
        return Where()(Greater()(x, scalar(self.alpha, x)), x, scalar(0, x))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=0.1), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class HardSigmoid(Unary):
    """min(max(alpha * x + beta, 0), 1).

    alpha = 0.2 is ONNX's default (0.7 at x = 1); PyTorch and Keras 3 have 1/6 (0.6667 at x = 1). beta = 0.5 in all.
    """

    alpha: float = 0.2
    beta: float = 0.5

    def compute(self, x: Array) -> Any:
        kind = x.dtype.type
        return clipped(x * kind(self.alpha) + kind(self.beta), kind(0), kind(1))

    def decompose(self, x: Tensor) -> Tensor:
        return Clip(min=0.0, max=1.0)(Add()(Mul()(x, scalar(self.alpha, x)), scalar(self.beta, x)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=1 / 6), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class Gelu(Unary):
    """x times the standard normal distribution function of x, or an approximation. Source: Hendrycks, arXiv 1606.08415.

    approximate "none": x (1 + erf(x / sqrt 2)) / 2, 0.84134 at 1 (the default of PyTorch, Keras and TensorFlow).
    "tanh": x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, 0.84119 at 1 (FastGelu).
    "quick": x sigmoid(1.702 x) (QuickGelu, CLIP).
    """

    approximate: Literal["none", "tanh", "quick"] = "none"

    def compute(self, x: Array) -> Any:
        kind = x.dtype.type
        if self.approximate == "quick":
            return x * _sigmoid(kind(_QUICK) * x)
        if self.approximate == "tanh":
            inner = kind(math.sqrt(2 / math.pi)) * (x + kind(0.044715) * x * x * x)
            return kind(0.5) * x * (1 + np.tanh(inner))
        return kind(0.5) * x * (1 + erf(x / math.sqrt(2)).astype(x.dtype))

    def decompose(self, x: Tensor) -> Tensor:
        if self.approximate == "quick":
            return Mul()(x, Sigmoid()(Mul()(x, scalar(_QUICK, x))))
        if self.approximate == "tanh":
            cube = Mul()(Mul()(Mul()(x, x), x), scalar(0.044715, x))
            inner = Tanh()(Mul()(Add()(x, cube), scalar(math.sqrt(2 / math.pi), x)))
        else:
            # divided, as exporters write it: rknn-toolkit2 sees no Gelu in a product, and runs Erf on the CPU
            inner = Erf()(Div()(x, scalar(math.sqrt(2), x)))
        return Mul()(Mul()(x, scalar(0.5, x)), Add()(inner, scalar(1, x)))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 8 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield from (case(cls(approximate=a), f"{d}[2,3]") for a in ("tanh", "quick") for d in ("f32", "f16"))


@operator(inputs="x", family=FAMILY)
class Swish(Unary):
    """x * sigmoid(alpha * x); SiLU for alpha = 1."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Any:
        return x * _sigmoid(x.dtype.type(self.alpha) * x)

    def decompose(self, x: Tensor) -> Tensor:
        scaled = x if self.alpha == 1.0 else Mul()(x, scalar(self.alpha, x))
        return Mul()(x, Sigmoid()(scaled))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(alpha=1.5), "f32[2,3]")


@operator(inputs="x", family=FAMILY)
class Softplus(Unary):
    """log(1 + exp(beta * x)) / beta, computed as max(x, 0) + log1p(exp(-|beta * x|)) / beta, which does not overflow.

    torch's threshold (linear above beta * x = 20) changes the result by less than 3e-9 and is not modelled.
    """

    beta: float = 1.0

    def compute(self, x: Array) -> Any:
        beta = x.dtype.type(self.beta)
        return _softplus(beta * x) / beta

    def decompose(self, x: Tensor) -> Tensor:
        scaled = x if self.beta == 1.0 else Mul()(x, scalar(self.beta, x))
        tail = Log1p()(Exp()(Sub()(scalar(0, x), Abs()(scaled))))
        result = Add()(Relu()(scaled), tail)
        return result if self.beta == 1.0 else Mul()(result, scalar(1 / self.beta, x))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(beta=2.0), "f32[2,3]")


@operator(inputs="x slope", family=FAMILY)
class PRelu(Operator):
    """x where x >= 0, slope * x below. slope is broadcast to x's shape, aligned at the last axis, as in ONNX.

    PyTorch's slope per channel (axis 1) and Keras's shared axes get their unit axes in the frontend: [C] -> [C, 1, 1].
    """

    elementwise = True

    def infer(self, x: TensorType, slope: TensorType) -> TensorType:
        require_dtype(x, REALS, "x")
        dtype = same_dtype(x=x, slope=slope)
        if x.shape is not None and slope.shape is not None and x.shape != slope.shape:
            fits = len(slope.shape) <= len(x.shape) and all(
                s == 1 or not (isinstance(s, int) and isinstance(d, int)) or s == d
                for s, d in zip(reversed(slope.shape), reversed(x.shape), strict=False)
            )
            require(
                fits,
                "slope of shape {} does not broadcast to x of shape {}",
                list(slope.shape),
                list(x.shape),
                hint="a slope per channel of [N, C, H, W] has shape [C, 1, 1]",
            )
            broadcast_shapes(x.shape, slope.shape)
        return TensorType(dtype, x.shape)

    def evaluate(self, x: Array, slope: Array) -> Array:
        return compute(lambda x, slope: np.where(x < 0, x * slope, x), x, slope)

    def decompose(self, x: Tensor, slope: Tensor) -> Tensor:
        return Where()(Less()(x, scalar(0, x)), Mul()(x, slope), x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,4,3,3]", "f32[4,1,1]")
        yield case(cls(), "f32[2,3]", "f32[]")
        yield case(cls(), "f16[2,3]", "f16[3]")
        yield case(cls(), "i32[2,3]", "i32[2,3]")
        yield bad(cls(), "f32[2,3]", "f32[4,2,3]", because="slope of shape [4, 2, 3]")
        yield bad(cls(), "f32[1,3]", "f32[2,3]", because="does not broadcast")
        yield bad(cls(), "f32[2]", "f16[2]", because="slope is f16")


# ------------------------------------------------------------------ along one axis
class AlongAxis(Operator):
    """A function of each vector along one axis; ONNX's older form over several axes is wrapped in Reshape on import."""

    axis: int = -1

    def compute(self, x: Array) -> Any:
        """The result in the working type."""
        raise NotImplementedError

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, FLOATS, "x")
        if x.shape is not None:
            require(x.shape, "x has no axis: its rank is 0")
            normalize_axis(self.axis, len(x.shape))
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return compute(self.compute, x) if x.size else x

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 5 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        make: Any = cls  # its attributes are those of the subclasses
        yield case(make(), "f32[2,3,4]")
        yield case(make(axis=1), "f32[2,3,4]")
        yield case(make(axis=0), "f32[5]")
        yield from (case(make(), f"{d}[3,4]") for d in ("f16", "bf16", "f64"))
        yield case(make(), "f32[2,0]")
        yield case(make(axis=1), "f32[0,3]")
        yield case(make(), np.array([[1e4, 1e4 - 1], [-1e4, 0], [0, -np.inf]], np.float32))
        yield bad(make(axis=2), "f32[2,3]", because="axis 2 is out of range")
        yield bad(make(), "i32[2,3]", because="x must be floating-point")
        yield bad(make(), "f32[]", because="x has no axis")


@operator(inputs="x", family=FAMILY)
class Softmax(AlongAxis):
    """exp(x - m) / sum(exp(x - m)) along `axis`, m the greatest element; a vector of nothing but -inf gives NaN.

    NaN for the fully masked vector is what PyTorch, TensorFlow and onnxruntime compute. Types narrower than f32 round
    the exponentials and their sum too, as ONNX's definition in terms of Exp, ReduceSum and Div does (but a sum that
    the type cannot hold stays what it is).
    """

    axis: int = -1

    def evaluate(self, x: Array) -> Array:
        narrow = x.dtype

        def steps(wide: Array) -> Array:
            e: Array = np.exp(wide - np.max(wide, axis=self.axis, keepdims=True))
            if narrow != wide.dtype:
                e = e.astype(narrow).astype(wide.dtype)
            total = np.sum(e, axis=self.axis, keepdims=True)
            if narrow != wide.dtype:
                held = total.astype(narrow).astype(wide.dtype)
                total = np.where(np.isfinite(held), held, total)
            e /= total
            return e

        return compute(steps, x) if x.size else x

    def decompose(self, x: Tensor) -> Tensor:
        e = Exp()(Sub()(x, ReduceMax(axes=(self.axis,))(x)))
        return Div()(e, ReduceSum(axes=(self.axis,))(e))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(), np.array([[-np.inf, -np.inf], [0, np.nan]], np.float32))


@operator(inputs="x", family=FAMILY)
class LogSoftmax(AlongAxis):
    """x - m - log(sum(exp(x - m))) along `axis`, m the greatest element."""

    axis: int = -1

    def compute(self, x: Array) -> Any:
        shifted = x - np.max(x, axis=self.axis, keepdims=True)
        return shifted - np.log(np.sum(np.exp(shifted), axis=self.axis, keepdims=True))

    def decompose(self, x: Tensor) -> Tensor:
        shifted = Sub()(x, ReduceMax(axes=(self.axis,))(x))
        return Sub()(shifted, Log()(ReduceSum(axes=(self.axis,))(Exp()(shifted))))


@operator(inputs="x", family=FAMILY)
class Hardmax(AlongAxis):
    """1 at the first greatest element along `axis`, 0 elsewhere."""

    axis: int = -1

    def compute(self, x: Array) -> Any:
        result = np.zeros_like(x)
        np.put_along_axis(result, np.argmax(x, axis=self.axis, keepdims=True), x.dtype.type(1), axis=self.axis)
        return result

    def decompose(self, x: Tensor) -> Tensor | None:
        extent = None if x.type.shape is None else x.type.dims[self.axis]
        if not isinstance(extent, int) or extent == 0:
            return None
        following = (-1 - self.axis) % x.type.rank
        places = np.arange(extent, dtype=np.int64).reshape(-1, *(1,) * following)
        return Cast(to=x.type.dtype)(Equal()(ArgMax(axis=self.axis)(x), constant(places)))
