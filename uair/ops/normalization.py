"""Normalizations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uair.ir.dims import InferredShape, floor_div, normal, product
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._compute import converted, mean, scalar
from uair.ops._precision import rounded, widened
from uair.ops.base import (
    Ints,
    Operator,
    Sample,
    bad,
    case,
    normalize_axis,
    operator,
    ranked,
    require,
    same_dtype,
    unify_extents,
)


def _floating(**operands: TensorType | None) -> None:
    """Refuse element types that differ or are not floating-point."""
    dtype = same_dtype(**operands)
    require(
        dtype.is_float, "element type {} cannot be normalized", dtype, hint="insert a Cast to a floating-point type"
    )


def _require_channels(shape: InferredShape, **parameters: TensorType | None) -> None:
    """Every parameter is [C]."""
    for name, t in parameters.items():
        if t is not None:
            (extent,) = ranked(t, name, 1)
            require(unify_extents(extent, shape[1]), "{} has {} elements, x has {} channels", name, extent, shape[1])


def _channelwise(parameter: Array, rank: int) -> Array:
    """[C] shaped to broadcast with [N, C, spatial...]."""
    return widened(parameter).reshape(-1, *(1,) * (rank - 2))


def _channelwise_tensor(parameter: Tensor, rank: int) -> Tensor:
    """The tensor [C] as [C, 1...]."""
    from uair.ops.shape import Reshape

    return Reshape(shape=(*parameter.type.dims, *(1,) * (rank - 2)))(parameter)


def _normalize(x: Array, axes: Ints, epsilon: float) -> Array:
    """(x - mean) / sqrt(variance + epsilon) over `axes`, in a new array."""
    result: Array = x - mean(x, axes)
    variance = mean(np.square(result), axes)
    result /= np.sqrt(variance + x.dtype.type(epsilon))
    return result


def _normalized_tensor(x: Tensor, axes: Ints, epsilon: float) -> Tensor:
    """What `_normalize` computes, in simpler operators."""
    from uair.ops.elementwise import Add, Div, Mul, Sqrt, Sub
    from uair.ops.reduction import ReduceMean

    mean = ReduceMean(axes=axes)
    centred = Sub()(x, mean(x))
    variance = mean(Mul()(centred, centred))
    return Div()(centred, Sqrt()(Add()(variance, scalar(epsilon, x))))


def _affine_tensor(x: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
    from uair.ops.elementwise import Add, Mul

    if scale is not None:
        x = Mul()(x, scale)
    return x if bias is None else Add()(x, bias)


def _affine(result: Array, scale: Array | None, bias: Array | None, dtype: np.dtype[Any]) -> Array:
    """Compute result * scale + bias in place, rounded once."""
    if scale is not None:
        result *= scale
    if bias is not None:
        result += bias
    return rounded(result, dtype)


@operator(inputs="x scale bias mean var", family="normalization")
class BatchNorm(Operator):
    """Inference batch normalization: y = (x - mean) / sqrt(var + epsilon) * scale + bias per channel.

    x: [N, C, spatial...] (spatial axes may be absent); scale, bias, mean, var: [C]. Source: ONNX BatchNormalization
    with training_mode 0, torch.nn.BatchNorm2d.eval(); Keras' default epsilon is 1e-3.
    """

    epsilon: float = 1e-5

    def infer(
        self, x: TensorType, scale: TensorType, bias: TensorType, mean: TensorType, var: TensorType
    ) -> TensorType:
        _floating(x=x, scale=scale, bias=bias, mean=mean, var=var)
        shape = ranked(x)
        require(len(shape) >= 2, "x must have axes N and C, has shape {}", list(shape))
        _require_channels(shape, scale=scale, bias=bias, mean=mean, var=var)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
        centre, spread, factor, offset = (_channelwise(p, x.ndim) for p in (mean, var, scale, bias))
        result = widened(x) - centre
        return _affine(result, factor / np.sqrt(spread + spread.dtype.type(self.epsilon)), offset, x.dtype)

    def decompose(self, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        from uair.ops.elementwise import Add, Div, Sqrt, Sub

        rank = x.type.rank
        factor = Div()(scale, Sqrt()(Add()(var, scalar(self.epsilon, x))))
        centred = Sub()(x, _channelwise_tensor(mean, rank))
        return _affine_tensor(centred, _channelwise_tensor(factor, rank), _channelwise_tensor(bias, rank))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 2 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        var = np.array([0.5, 1.0, 2.0], np.float32)
        yield case(cls(), "f32[2,3,4,5]", "f32[3]", "f32[3]", "f32[3]", var)
        yield case(cls(epsilon=1e-3), "f32[2,3]", "f32[3]", "f32[3]", "f32[3]", var)
        yield case(cls(), "f16[1,3,4]", "f16[3]", "f16[3]", "f16[3]", var.astype(np.float16))
        yield bad(cls(), "f32[2,4,5]", "f32[3]", "f32[3]", "f32[3]", "f32[3]", because="scale has 3 elements, x has 4")
        yield bad(cls(), "f32[3]", "f32[3]", "f32[3]", "f32[3]", "f32[3]", because="axes N and C")


@operator(inputs="x scale? bias?", family="normalization")
class LayerNorm(Operator):
    """Normalization over the axes axis..rank-1: y = (x - mean) / sqrt(variance + epsilon) * scale + bias.

    The variance is the biased one; scale and bias broadcast to x.shape[axis:]. Source: ONNX LayerNormalization,
    torch.nn.LayerNorm; Keras' default epsilon is 1e-3.
    """

    axis: int = -1
    epsilon: float = 1e-5

    def infer(self, x: TensorType, scale: TensorType | None = None, bias: TensorType | None = None) -> TensorType:
        _floating(x=x, scale=scale, bias=bias)
        shape = ranked(x)
        _require_trailing(shape, normalize_axis(self.axis, len(shape)), scale=scale, bias=bias)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, scale: Array | None = None, bias: Array | None = None) -> Array:
        result = _normalize(widened(x), tuple(range(self.axis % x.ndim, x.ndim)), self.epsilon)
        factor, offset = (None if p is None else widened(p) for p in (scale, bias))
        return _affine(result, factor, offset, x.dtype)

    def decompose(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        rank = x.type.rank
        return _affine_tensor(_normalized_tensor(x, tuple(range(self.axis % rank, rank)), self.epsilon), scale, bias)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 7 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,8]", "f32[8]", "f32[8]")
        yield case(cls(axis=1, epsilon=1e-3), "f32[2,3,8]", "f32[3,8]")
        yield case(cls(), "bf16[2,8]", None, "bf16[8]")
        yield bad(cls(), "f32[2,3,8]", "f32[3]", because="scale of shape [3]")
        yield bad(cls(axis=3), "f32[2,3,8]", because="axis 3 is out of range")
        yield bad(cls(), "i32[2,8]", because="cannot be normalized")


def _require_trailing(shape: InferredShape, axis: int, **parameters: TensorType | None) -> None:
    """Every parameter broadcasts to the trailing axes."""
    normalized = shape[axis:]
    for name, t in parameters.items():
        if t is None:
            continue
        given = ranked(t, name)
        fits = len(given) <= len(normalized) and all(
            extent == 1 or unify_extents(extent, want)
            for extent, want in zip(given[::-1], normalized[::-1], strict=False)
        )
        require(
            fits, "{} of shape {} does not broadcast to the normalized axes {}", name, list(given), list(normalized)
        )


@operator(inputs="x scale?", family="normalization")
class RMSNorm(Operator):
    """Root-mean-square normalization over the axes axis..rank-1: y = x / sqrt(mean(x^2) + epsilon) * scale.

    scale broadcasts to x.shape[axis:]. Source: ONNX RMSNormalization, torch.nn.RMSNorm, onnxruntime's
    SimplifiedLayerNormalization.
    """

    axis: int = -1
    epsilon: float = 1e-5

    def infer(self, x: TensorType, scale: TensorType | None = None) -> TensorType:
        _floating(x=x, scale=scale)
        shape = ranked(x)
        _require_trailing(shape, normalize_axis(self.axis, len(shape)), scale=scale)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, scale: Array | None = None) -> Array:
        wide = widened(x)
        axes = tuple(range(self.axis % x.ndim, x.ndim))
        mean_square = mean(np.square(wide), axes)
        result = wide / np.sqrt(mean_square + wide.dtype.type(self.epsilon))
        return _affine(result, None if scale is None else widened(scale), None, x.dtype)

    def decompose(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        from uair.ops.elementwise import Add, Div, Mul, Sqrt
        from uair.ops.reduction import ReduceMean

        rank, dtype = x.type.rank, x.type.dtype
        wide = converted(x, DType.F32) if dtype in (DType.F16, DType.BF16) else x  # squares leave the range of f16
        mean_square = ReduceMean(axes=tuple(range(self.axis % rank, rank)))(Mul()(wide, wide))
        result = Div()(wide, Sqrt()(Add()(mean_square, scalar(self.epsilon, wide))))
        return _affine_tensor(converted(result, dtype), scale, None)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 4 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,8]", "f32[8]")
        yield case(cls(axis=-2, epsilon=1e-6), "f16[2,3,8]", "f16[3,8]")
        yield case(cls(), "f32[2,8]")
        yield bad(cls(), "f32[2,3,8]", "f32[2]", because="scale of shape [2]")


def _require_spatial(shape: InferredShape) -> None:
    require(len(shape) >= 3, "x must have spatial axes behind N and C, has shape {}", list(shape))


@operator(inputs="x scale? bias?", family="normalization")
class InstanceNorm(Operator):
    """Normalization of every channel of every image over its spatial axes. x: [N, C, spatial...]; scale, bias: [C].

    y = (x - mean) / sqrt(variance + epsilon) * scale + bias, with the biased variance.
    Source: ONNX InstanceNormalization, torch.nn.InstanceNorm2d.
    """

    epsilon: float = 1e-5

    def infer(self, x: TensorType, scale: TensorType | None = None, bias: TensorType | None = None) -> TensorType:
        _floating(x=x, scale=scale, bias=bias)
        shape = ranked(x)
        _require_spatial(shape)
        _require_channels(shape, scale=scale, bias=bias)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, scale: Array | None = None, bias: Array | None = None) -> Array:
        result = _normalize(widened(x), tuple(range(2, x.ndim)), self.epsilon)
        factor, offset = (None if p is None else _channelwise(p, x.ndim) for p in (scale, bias))
        return _affine(result, factor, offset, x.dtype)

    def decompose(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        rank = x.type.rank
        factor, offset = (None if p is None else _channelwise_tensor(p, rank) for p in (scale, bias))
        return _affine_tensor(_normalized_tensor(x, tuple(range(2, rank)), self.epsilon), factor, offset)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 7 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,4,5]", "f32[3]", "f32[3]")
        yield case(cls(epsilon=1e-3), "f16[2,3,8]")
        yield bad(cls(), "f32[2,3,4,5]", "f32[4]", "f32[4]", because="scale has 4 elements, x has 3 channels")
        yield bad(cls(), "f32[2,3]", because="spatial axes")


@operator(inputs="x scale? bias?", family="normalization")
class GroupNorm(Operator):
    """Normalization of groups of channels of every image. x: [N, C, spatial...]; scale, bias: [C].

    Mean and biased variance are over the C/groups (a whole number) channels of a group and the spatial axes.
    Source: ONNX GroupNormalization (opset 21), torch.nn.GroupNorm.
    """

    groups: int = 1
    epsilon: float = 1e-5

    def infer(self, x: TensorType, scale: TensorType | None = None, bias: TensorType | None = None) -> TensorType:
        _floating(x=x, scale=scale, bias=bias)
        shape = ranked(x)
        require(len(shape) >= 2, "x must have axes N and C, has shape {}", list(shape))
        require(self.groups >= 1, "groups must be at least 1, got {}", self.groups)
        require(
            not isinstance(shape[1], int) or shape[1] % self.groups == 0,
            "{} channels cannot be divided into {} groups",
            shape[1],
            self.groups,
        )
        _require_channels(shape, scale=scale, bias=bias)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, scale: Array | None = None, bias: Array | None = None) -> Array:
        wide = widened(x)
        result = _normalize(
            wide.reshape(len(x), self.groups, math.prod(x.shape[1:]) // self.groups), (2,), self.epsilon
        ).reshape(x.shape)
        factor, offset = (None if p is None else _channelwise(p, x.ndim) for p in (scale, bias))
        return _affine(result, factor, offset, x.dtype)

    def decompose(self, x: Tensor, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        from uair.ops.shape import Reshape

        rank, shape = x.type.rank, x.type.dims
        length = normal(floor_div(shape[1], self.groups) * product(shape[2:]))
        grouped = Reshape(shape=(shape[0], self.groups, length))(x)
        result = Reshape(shape=shape)(InstanceNorm(epsilon=self.epsilon)(grouped))
        factor, offset = (None if p is None else _channelwise_tensor(p, rank) for p in (scale, bias))
        return _affine_tensor(result, factor, offset)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 7 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(groups=2), "f32[2,4,3,3]", "f32[4]", "f32[4]")
        yield case(cls(groups=4), "f32[1,4,5]")
        yield case(cls(groups=2), "f32[0,4,5]")
        yield case(cls(groups=1, epsilon=1e-3), "f16[2,4,3]", "f16[4]", "f16[4]")
        yield bad(cls(groups=3), "f32[2,4,3,3]", because="cannot be divided into 3 groups")


@operator(inputs="x", family="normalization")
class LRN(Operator):
    """Local response normalization across channels. x: [N, C, spatial...].

    y[c] = x[c] / (bias + alpha/size * sum of x[i]^2)^beta, i from c - floor((size-1)/2) to c + ceil((size-1)/2)
    within C. alpha is divided by size, as in ONNX LRN and torch.nn.LocalResponseNorm (TensorFlow does not divide).
    """

    size: int = 1
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0

    def infer(self, x: TensorType) -> TensorType:
        _floating(x=x)
        shape = ranked(x)
        require(len(shape) >= 2, "x must have axes N and C, has shape {}", list(shape))
        require(self.size >= 1, "size must be at least 1, got {}", self.size)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array) -> Array:
        wide = widened(x)
        before, channels = (self.size - 1) // 2, x.shape[1]
        squares = np.zeros((len(x), channels + self.size - 1, *x.shape[2:]), wide.dtype)
        np.square(wide, out=squares[:, before : before + channels])
        total = squares[:, :channels].copy()
        for i in range(1, self.size):
            total += squares[:, i : i + channels]
        total *= wide.dtype.type(self.alpha / self.size)
        total += wide.dtype.type(self.bias)
        return rounded(wide / total ** wide.dtype.type(self.beta), x.dtype)

    def decompose(self, x: Tensor) -> Tensor | None:
        from uair.ops.elementwise import Add, Div, Mul, Pow
        from uair.ops.pooling import AvgPool2D, AvgPool3D
        from uair.ops.shape import Squeeze, Unsqueeze

        rank = x.type.rank
        if rank not in (3, 4) or 0 in x.type.dims:
            return None
        pool_class = AvgPool2D if rank == 3 else AvgPool3D
        before, after, flat = (self.size - 1) // 2, self.size // 2, (0,) * (rank - 2)
        ones = (1,) * (rank - 2)
        pool = pool_class(kernel=(self.size, *ones), pads=(before, *flat, after, *flat), count_include_pad=True)
        mean = Squeeze(axes=(1,))(pool(Unsqueeze(axes=(1,))(Mul()(x, x))))
        base = Add()(Mul()(mean, scalar(self.alpha, x)), scalar(self.bias, x))
        return Div()(x, Pow()(base, scalar(self.beta, x)))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return (self.size + 5) * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(size=3), "f32[1,5,4,4]")
        yield case(cls(size=4, alpha=0.5, beta=0.5, bias=2.0), "f32[2,3,4]")
        yield case(cls(size=7), "f16[1,3,2,2]")
        yield bad(cls(size=0), "f32[1,5,4,4]", because="size must be at least 1")


@operator(inputs="x", family="normalization")
class LpNormalize(Operator):
    """x divided by its p-norm along one axis: y = x / max(norm, epsilon), norm = sum(|x|) or sqrt(sum(x^2)).

    Source: torch.nn.functional.normalize; ONNX LpNormalization has no epsilon and leaves zero vectors zero, as any
    positive epsilon does.
    """

    axis: int = -1
    p: int = 2
    epsilon: float = 1e-12

    def infer(self, x: TensorType) -> TensorType:
        _floating(x=x)
        shape = ranked(x)
        normalize_axis(self.axis, len(shape))
        require(self.p in (1, 2), "p must be 1 or 2, got {}", self.p)
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array) -> Array:
        wide = widened(x)
        if self.p == 1:
            norm = np.abs(wide).sum(axis=self.axis, keepdims=True)
        else:
            norm = np.sqrt(np.square(wide).sum(axis=self.axis, keepdims=True))
        return rounded(wide / np.maximum(norm, wide.dtype.type(self.epsilon)), x.dtype)

    def decompose(self, x: Tensor) -> Tensor | None:
        from uair.ops.elementwise import Div, Maximum
        from uair.ops.reduction import ReduceL1, ReduceL2

        if self.epsilon > 0 and not x.type.dtype.numpy.type(self.epsilon):
            return None  # the element type has no number that small: a zero vector would become NaN
        axes = (self.axis % x.type.rank,)
        norm = ReduceL1(axes=axes)(x) if self.p == 1 else ReduceL2(axes=axes)(x)
        return Div()(x, Maximum()(norm, scalar(self.epsilon, x)))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 3 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,8]")
        yield case(cls(axis=1, p=1), "f32[2,3,8]")
        yield case(cls(), np.zeros((2, 3), np.float32))
        yield bad(cls(p=3), "f32[2,3]", because="p must be 1 or 2")
        yield bad(cls(axis=2), "f32[2,3]", because="axis 2 is out of range")
