"""Pooling over one, two and three spatial axes, channels first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from uair.ir import dims
from uair.ir.dims import is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._compute import converted, mean
from uair.ops._precision import rounded, widened
from uair.ops._windows import AutoPad, WindowOperator, inner_axes, output_extent, padded
from uair.ops.base import Ints, Operator, Sample, bad, case, operator, ranked, require


class _Pool(WindowOperator):
    """What the poolings of all ranks share."""

    kernel: Ints
    ceil_mode: bool

    def infer(self, x: TensorType) -> TensorType:
        n = self.spatial_rank
        shape = ranked(x, "x", n + 2)
        self.require_dtype(x.dtype)
        require(len(self.kernel) == n, "kernel has {} numbers, {} needs {}", len(self.kernel), self.op_type, n)
        require(min(self.kernel) >= 1, "kernel must be at least 1, got {}", list(self.kernel))
        self.require_window()
        for i, (k, d) in enumerate(zip(self.kernel, self.dilations, strict=True)):
            span = d * (k - 1) + 1
            require(
                max(self.pads[i], self.pads[n + i]) < span,
                "padding {}, {} of spatial axis {} holds a whole window of {}",
                self.pads[i],
                self.pads[n + i],
                i,
                span,
                hint="padding must be less than the window, or a window would see nothing of x",
            )
        extents = self.window_extents(shape[2:], self.kernel, ceil_mode=self.ceil_mode)
        return inferred(x.dtype, (*shape[:2], *extents))

    def require_dtype(self, dtype: DType) -> None:
        """Refuse element types that cannot be pooled."""
        require(dtype.is_float or dtype.is_integer, "element type {} cannot be pooled", dtype, hint="insert a Cast")

    def extents_and_pads(self, spatial: Sequence[int]) -> tuple[Ints, Ints]:
        """Extents of the result, and the padding that the windows of `x` with these extents meet."""
        n = self.spatial_rank
        pads = self.explicit_pads(spatial, self.kernel)
        ceil_mode = self.ceil_mode and self.auto_pad == "notset"
        extents = static(
            output_extent(
                d, self.kernel[i], self.strides[i], self.dilations[i], (pads[i], pads[n + i]), ceil_mode=ceil_mode
            )
            for i, d in enumerate(spatial)
        )
        return tuple(max(extent, 0) for extent in extents), pads

    def reduce_windows(self, x: Array, reduce: Callable[..., Array], neutral: Any) -> Array:
        """`reduce` every window, with `neutral` in the padding: axis by axis, tap by tap, for all places at once."""
        n = self.spatial_rank
        extents, pads = self.extents_and_pads(x.shape[2:])
        reach = [
            (extent - 1) * s + d * (k - 1) + 1
            for extent, s, d, k in zip(extents, self.strides, self.dilations, self.kernel, strict=True)
        ]
        after = [max(r - pads[i] - x.shape[2 + i], 0) for i, r in enumerate(reach)]
        result = padded(x, pads[:n], after, neutral)
        for i, extent in enumerate(extents):
            result = self._reduce_axis(result, i, extent, reduce)
        return result

    def _reduce_axis(self, x: Array, i: int, extent: int, reduce: Callable[..., Array]) -> Array:
        stride, dilation = self.strides[i], self.dilations[i]
        if self.kernel[i] == 1 and stride == 1 and x.shape[2 + i] == extent:
            return x
        lead = [slice(None)] * i
        steps = (
            slice(tap, tap + (extent - 1) * stride + 1, stride) for tap in range(0, self.kernel[i] * dilation, dilation)
        )
        views = [x[inner_axes((*lead, step))] for step in steps]
        if len(views) == 1:
            return np.ascontiguousarray(views[0])
        result = reduce(views[0], views[1])
        for view in views[2:]:
            reduce(result, view, out=result)
        return result

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return results[0].size * int(np.prod(self.kernel))


class _MaxPool(_Pool):
    """Maximum of every window; padding never wins, NaN does."""

    def evaluate(self, x: Array) -> Array:
        dtype = DType.from_numpy(x.dtype)
        if dtype.is_integer:
            return self.reduce_windows(x, np.maximum, dtype.range[0])
        return rounded(self.reduce_windows(widened(x), np.maximum, -np.inf), x.dtype)


class _AvgPool(_Pool):
    """Mean of every window."""

    count_include_pad: bool

    def require_dtype(self, dtype: DType) -> None:
        require(dtype.is_float, "element type {} has no mean", dtype, hint="insert a Cast to a floating-point type")

    def evaluate(self, x: Array) -> Array:
        total = self.reduce_windows(widened(x), np.add, 0)
        return rounded(total / self.counts(x.shape[2:]).astype(total.dtype), x.dtype)

    def counts(self, spatial: Sequence[int]) -> Array:
        """The number of elements of every window that counts, i64."""
        extents, pads = self.extents_and_pads(spatial)
        divisor: Array = np.ones((), np.int64)
        for i, count in enumerate(extents):
            before, after = (pads[i], pads[self.spatial_rank + i]) if self.count_include_pad else (0, 0)
            starts = np.arange(count) * self.strides[i] - pads[i]
            places = starts[:, None] + np.arange(self.kernel[i]) * self.dilations[i]
            counts = ((places >= -before) & (places < spatial[i] + after)).sum(axis=1)
            divisor = divisor[..., None] * counts
        return divisor

    def decompose(self, x: Tensor) -> Tensor | None:
        """With dilations, which few targets have: the sum as a convolution with ones, by channel, over the counts.

        Without, a target that refuses the mean has no use for a convolution of its extent.
        """
        from uair.ops.convolution import Conv1D, Conv2D, Conv3D
        from uair.ops.elementwise import Div
        from uair.ops.shape import Reshape

        shape, n = x.type.shape, self.spatial_rank
        dilated = any(d != 1 for d in self.dilations)
        if not dilated or shape is None or not is_static(shape[2:]) or dims.product(shape) == 0:
            return None
        spatial = static(shape[2:])
        extents, pads = self.extents_and_pads(spatial)
        after = tuple(
            max((extent - 1) * s + d * (k - 1) + 1 - pads[i] - spatial[i], 0)
            for i, (extent, s, d, k) in enumerate(zip(extents, self.strides, self.dilations, self.kernel, strict=True))
        )
        conv = (Conv1D, Conv2D, Conv3D)[n - 1](
            strides=self.strides, pads=(*pads[:n], *after), dilations=self.dilations, auto_pad="notset", groups=1
        )
        wide = DType.F64 if x.type.dtype is DType.F64 else DType.F32
        planes = Reshape(shape=(dims.product(shape[:2]), 1, *spatial))(x)
        ones = constant(np.ones((1, 1, *self.kernel), wide.numpy))
        total = conv(converted(planes, wide), ones)
        mean = Div()(total, constant(self.counts(spatial).astype(wide.numpy)))
        return Reshape(shape=(*shape[:2], *extents))(converted(mean, x.type.dtype))


@operator(inputs="x", family="pooling")
class MaxPool1D(_MaxPool):
    """1-D maximum pooling. x: [N, C, L]; attributes as for MaxPool2D; pads are (begin, end)."""

    spatial_rank: ClassVar[int] = 1
    kernel: Ints = (1,)
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    ceil_mode: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(3,), strides=(2,), pads=(1, 0)), "f32[2,3,8]")
        yield bad(cls(kernel=(3,)), "f32[2,3,8,8]", because="x must have rank 3")


@operator(inputs="x", family="pooling")
class MaxPool2D(_MaxPool):
    """2-D maximum pooling. x: [N, C, H, W]; result: [N, C, H', W'].

    The padding never wins; a NaN in the window does. H' = floor((H + top + bottom - d_h*(kH-1) - 1) / s_h) + 1, W'
    likewise; ceil_mode rounds up, but drops a window that would start in the bottom or right padding. pads are (top,
    left, bottom, right) and less than the window. Source: ONNX MaxPool, torch.nn.MaxPool2d.
    """

    spatial_rank: ClassVar[int] = 2
    kernel: Ints = (1, 1)
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    ceil_mode: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(2, 2), strides=(2, 2)), "f32[1,3,8,8]")
        yield case(cls(kernel=(3, 2), strides=(2, 2), pads=(1, 0, 0, 1), ceil_mode=True), "f32[2,3,8,7]")
        yield case(cls(kernel=(3, 3), dilations=(2, 1)), "f16[1,2,7,5]")
        yield case(cls(kernel=(2, 2), pads=(1, 1, 1, 1)), "i8[1,2,4,4]")
        yield case(cls(kernel=(3, 3), strides=(2, 2), auto_pad="same_upper"), "f32[1,2,5,6]")
        yield bad(cls(kernel=(2,)), "f32[1,3,8,8]", because="kernel has 1 numbers")
        yield bad(cls(kernel=(2, 2), pads=(2, 0, 0, 0)), "f32[1,3,8,8]", because="holds a whole window")
        yield bad(cls(kernel=(9, 2)), "f32[1,3,8,8]", because="does not fit")
        yield bad(cls(kernel=(2, 2)), "bool[1,3,8,8]", because="cannot be pooled")


@operator(inputs="x", family="pooling")
class MaxPool3D(_MaxPool):
    """3-D maximum pooling. x: [N, C, D, H, W]; attributes as for MaxPool2D."""

    spatial_rank: ClassVar[int] = 3
    kernel: Ints = (1, 1, 1)
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    ceil_mode: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(2, 3, 2), strides=(2, 1, 2)), "f32[1,2,4,5,6]")
        yield bad(cls(kernel=(2, 2, 2)), "f32[1,2,4,5]", because="x must have rank 5")


@operator(inputs="x", family="pooling")
class AvgPool1D(_AvgPool):
    """1-D mean pooling. x: [N, C, L]; attributes as for AvgPool2D; pads are (begin, end)."""

    spatial_rank: ClassVar[int] = 1
    kernel: Ints = (1,)
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    ceil_mode: bool = False
    count_include_pad: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(3,), strides=(2,), pads=(1, 1)), "f32[2,3,8]")
        yield bad(cls(kernel=(3,)), "f32[2,3]", because="x must have rank 3")


@operator(inputs="x", family="pooling")
class AvgPool2D(_AvgPool):
    """2-D mean pooling. x: [N, C, H, W]; result: [N, C, H', W'] with the extents of MaxPool2D.

    The sum of the window's elements is divided by the number of those inside x, with count_include_pad also of those in
    the padding; what ceil_mode adds beyond the padding never counts. Source: ONNX AveragePool, torch.nn.AvgPool2d.
    """

    spatial_rank: ClassVar[int] = 2
    kernel: Ints = (1, 1)
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(2, 2), strides=(2, 2)), "f32[1,3,8,8]")
        yield case(cls(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1), ceil_mode=True), "f32[1,2,6,7]")
        yield case(cls(kernel=(3, 2), pads=(1, 0, 1, 1), count_include_pad=True), "bf16[1,2,5,5]")
        yield case(cls(kernel=(3, 3), strides=(2, 2), auto_pad="same_lower"), "f32[1,2,5,6]")
        yield case(cls(kernel=(2, 2), dilations=(2, 3), pads=(1, 1, 0, 1), ceil_mode=True), "f32[1,2,6,7]")
        yield case(cls(kernel=(2, 2), strides=(2, 1), dilations=(2, 2), count_include_pad=True), "f16[1,2,6,7]")
        yield bad(cls(kernel=(2, 2)), "i8[1,3,8,8]", because="has no mean")


@operator(inputs="x", family="pooling")
class AvgPool3D(_AvgPool):
    """3-D mean pooling. x: [N, C, D, H, W]; attributes as for AvgPool2D."""

    spatial_rank: ClassVar[int] = 3
    kernel: Ints = (1, 1, 1)
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = False
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(2, 3, 2), strides=(2, 1, 2), pads=(1, 1, 0, 0, 1, 1)), "f32[1,2,4,5,6]")
        yield bad(cls(kernel=(2, 2, 2)), "f32[1,2,4,5]", because="x must have rank 5")


class _GlobalPool(Operator):
    """What the global poolings share."""

    def infer(self, x: TensorType) -> TensorType:
        shape = ranked(x)
        require(len(shape) >= 3, "x must have spatial axes behind N and C, has shape {}", list(shape))
        require(
            x.dtype.is_float, "element type {} cannot be pooled", x.dtype, hint="insert a Cast to a floating-point type"
        )
        require(0 not in shape[2:], "x has no elements to pool, its shape is {}", list(shape))
        return inferred(x.dtype, (*shape[:2], *(1 for _ in shape[2:])))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        assert x is not None
        return x.size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,4,5]")
        yield case(cls(), "f16[1,3,7]")
        yield case(cls(), "f32[0,3,4]")
        yield bad(cls(), "f32[2,3]", because="spatial axes")
        yield bad(cls(), "i32[2,3,4]", because="cannot be pooled")


@operator(inputs="x", family="pooling")
class GlobalAvgPool(_GlobalPool):
    """Mean over all spatial axes. x: [N, C, spatial...]; result: [N, C, 1...]. Source: ONNX GlobalAveragePool."""

    def evaluate(self, x: Array) -> Array:
        return rounded(mean(widened(x), tuple(range(2, x.ndim))), x.dtype)


@operator(inputs="x", family="pooling")
class GlobalMaxPool(_GlobalPool):
    """Maximum over all spatial axes, NaN when one is NaN. x: [N, C, spatial...]; result: [N, C, 1...].

    Source: ONNX GlobalMaxPool.
    """

    def evaluate(self, x: Array) -> Array:
        result: Array = widened(x).max(axis=tuple(range(2, x.ndim)), keepdims=True)
        return rounded(result, x.dtype)


@operator(inputs="x", outputs="y indices", family="pooling")
class MaxPoolIndices(Operator):
    """MaxPool1D, MaxPool2D or MaxPool3D (as many numbers as kernel has), and where each maximum was found.

    indices: i64 of y's shape; the place of the element in x taken as one row, n * C * D1 * ... + c * D1 * ... + its
    place in the image, which is row-major, or with column_major such that the first spatial axis varies fastest. Of
    equal elements the first in the window counts; a NaN exceeds all others. An empty list of strides, pads or dilations
    stands for ones, zeros and ones. Source: ONNX MaxPool (12), onnxruntime; PyTorch counts within a plane.
    """

    kernel: Ints = (1, 1)
    strides: Ints = ()
    pads: Ints = ()
    dilations: Ints = ()
    ceil_mode: bool = False
    auto_pad: AutoPad = "notset"
    column_major: bool = False

    def plain(self) -> _MaxPool:
        """The pooling that gives the maxima."""
        n = len(self.kernel)
        require(n in _MAX, "kernel has {} numbers, there are poolings over 1, 2 and 3 axes", n)
        made: _MaxPool = _MAX[n](
            kernel=self.kernel,
            strides=self.strides or (1,) * n,
            pads=self.pads or (0,) * (2 * n),
            dilations=self.dilations or (1,) * n,
            ceil_mode=self.ceil_mode,
            auto_pad=self.auto_pad,
        )
        return made

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        y = self.plain().infer(x)
        return y, y.with_dtype(DType.I64)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        plain, spatial = self.plain(), x.shape[2:]
        n, dtype = len(spatial), DType.from_numpy(x.dtype)
        extents, pads = plain.extents_and_pads(spatial)
        after = [
            max((extent - 1) * s + d * (k - 1) + 1 - pads[i] - spatial[i], 0)
            for i, (extent, s, d, k) in enumerate(
                zip(extents, plain.strides, plain.dilations, self.kernel, strict=True)
            )
        ]
        wide = x if dtype.is_integer else widened(x)
        elements = padded(wide, pads[:n], after)
        order: Any = "F" if self.column_major else "C"
        place = np.arange(int(np.prod(spatial))).reshape(spatial, order=order)
        places = np.pad(place, list(zip(pads[:n], after, strict=True)), constant_values=-1)
        best = np.zeros((*x.shape[:2], *extents), wide.dtype)
        where = np.full(best.shape, -1)
        for tap in itertools.product(*map(range, self.kernel)):
            view = inner_axes(
                slice(t * d, t * d + (extent - 1) * s + 1, s)
                for t, d, s, extent in zip(tap, plain.dilations, plain.strides, extents, strict=True)
            )
            seen, here = elements[view], places[view[2:]]
            better = (here >= 0) & ((where < 0) | (seen > best) | ((seen != seen) & (best == best)))  # noqa: PLR0124
            np.copyto(best, seen, where=better)
            np.copyto(where, np.broadcast_to(here, where.shape), where=better)
        planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * n) * place.size
        return best.astype(x.dtype), where + planes

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return results[0].size * int(np.prod(self.kernel))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(kernel=(2, 2), strides=(2, 2)), "f32[2,3,6,8]")
        yield case(cls(kernel=(3, 2), strides=(2, 2), pads=(1, 0, 0, 1), ceil_mode=True), "f32[2,3,8,7]")
        yield case(cls(kernel=(2, 2), dilations=(2, 1), column_major=True), "f32[1,2,5,4]")
        yield case(cls(kernel=(3,), auto_pad="same_lower"), "f16[1,2,5]")
        yield case(cls(kernel=(2, 1, 2), strides=(1, 2, 1)), "f32[1,2,3,3,4]")
        yield bad(cls(kernel=(2,)), "f32[1,3,8,8]", because="rank 3")
        yield bad(cls(kernel=()), "f32[1,3,8,8]", because="1, 2 and 3 axes")
        yield bad(cls(kernel=(2, 2), strides=(1,)), "f32[1,3,8,8]", because="strides has 1 numbers")


_MAX: dict[int, Any] = {1: MaxPool1D, 2: MaxPool2D, 3: MaxPool3D}
