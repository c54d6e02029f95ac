"""Resampling of images and feature maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from uair.ir.dims import Dim, InferredShape, Shape, floor_div
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._precision import is_integral, rounded, widened
from uair.ops._resample import CoordinateMode, Mode, NearestMode, Sampling, nearest_indices, source_coordinates, taps
from uair.ops.base import Floats, Operator, Sample, bad, case, operator, ranked, require

_EXACT_DENOMINATOR = 256


def scaled_extent(extent: Dim | None, scale: float) -> Dim | None:
    """floor(extent * scale), the product in f32 as ONNX says; unknown for a symbolic extent and an uneven scale."""
    if isinstance(extent, int):
        return int(np.floor(np.float32(extent) * np.float32(scale)))
    numerator, denominator = float(scale).as_integer_ratio()
    if extent is None or denominator > _EXACT_DENOMINATOR:
        return None
    return floor_div(extent * numerator, denominator)


@operator(inputs="x sizes? scales?", family="resize")
class Resize(Operator):
    """Resampling of x to other extents. sizes (i64) and scales (f32) cover all axes of x; result: x's element type.

    The extents are `sizes`, or floor(extent * scale). A result element at place i along an axis has the input
    coordinate (i + 0.5) / scale - 0.5 (half_pixel), i / scale (asymmetric), i * (X - 1) / (Y - 1) (align_corners),
    half_pixel but 0 for a result extent of 1 (pytorch_half_pixel), half_pixel about the input's centre
    (half_pixel_symmetric), or (i + 0.5) / scale (tf_half_pixel_for_nn). `scales` decides coordinates where given,
    also beside `sizes`; otherwise scale is Y / X. nearest takes one element, chosen by nearest_mode; linear and cubic
    (kernel parameter cubic_a) weight 2 and 4 elements per axis. Outside of x its border continues, or with
    exclude_outside those elements are left out and the other weights scaled to sum 1. antialias stretches the kernel
    when an axis shrinks (Pillow and torch: with exclude_outside). In linear and cubic mode integers are truncated
    towards zero after saturation. Axes of scale 1 are left alone. Operands serve values that are known only at run
    time; they take the attribute's place.

    Source: ONNX Resize (19), onnxruntime; torch.nn.functional.interpolate is half_pixel or align_corners (its nearest:
    asymmetric with floor), TensorFlow 1 asymmetric, TensorFlow 2 half_pixel with cubic_a = -0.5.
    """

    sizes: Shape | None = None
    scales: Floats | None = None
    mode: Mode = "nearest"
    coordinate_mode: CoordinateMode = "half_pixel"
    nearest_mode: NearestMode = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False

    def infer(self, x: TensorType, sizes: TensorType | None = None, scales: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        given = {"sizes": self.sizes, "scales": self.scales}
        for name, values in given.items():
            require(
                values is None or len(values) == len(shape),
                "{} has {} numbers, x has shape {}",
                name,
                len(values or ()),
                list(shape),
                hint=f"give one of {name} per axis of x, also for the axes that stay",
            )
        require(self.scales is None or min(self.scales, default=1) > 0, "scales must be positive, got {}", self.scales)
        self._require_sizes()
        require(
            self.mode == "nearest" or x.dtype.is_float or x.dtype.is_integer,
            "element type {} cannot be interpolated",
            x.dtype,
            hint="insert a Cast, or use mode nearest",
        )
        _require_operand(sizes, "sizes", len(shape), DType.I64)
        _require_operand(scales, "scales", len(shape), DType.F32)
        known = self.sizes is not None or self.scales is not None or sizes is not None or scales is not None
        require(known, "neither sizes nor scales are given")
        return inferred(x.dtype, self._result_shape(shape, sizes is not None, scales is not None))

    def _require_sizes(self) -> None:
        require(
            self.sizes is None or all(not isinstance(d, int) or d >= 1 for d in self.sizes),
            "sizes must be at least 1, got {}",
            list(self.sizes or ()),
        )

    def _result_shape(self, shape: InferredShape, sizes_at_run_time: bool, scales_at_run_time: bool) -> InferredShape:
        if sizes_at_run_time:
            return (None,) * len(shape)
        if self.sizes is not None:
            return self.sizes
        if scales_at_run_time or self.scales is None:
            return (None,) * len(shape)
        return tuple(scaled_extent(d, s) for d, s in zip(shape, self.scales, strict=True))

    def evaluate(self, x: Array, sizes: Array | None = None, scales: Array | None = None) -> Array:
        factors = self.scales if scales is None else tuple(float(s) for s in scales)
        target: Sequence[int | Dim | None] | None = self.sizes if sizes is None else [int(d) for d in sizes]
        if target is None:
            assert factors is not None
            target = [scaled_extent(d, s) for d, s in zip(x.shape, factors, strict=True)]
        extents = [d for d in target if isinstance(d, int)]
        if factors is None:
            # The quotient is rounded to f32 before it is used, as runtimes that are given sizes do.
            factors = tuple(float(np.float32(y) / np.float32(d)) for y, d in zip(extents, x.shape, strict=True))
        if self.mode == "nearest":
            return self._nearest(x, extents, factors)
        return self._interpolated(x, extents, factors)

    def _nearest(self, x: Array, extents: Sequence[int], scales: Floats) -> Array:
        for axis, (extent, scale) in enumerate(zip(extents, scales, strict=True)):
            old = x.shape[axis]
            if extent == old and scale == 1:
                continue
            place = source_coordinates(old, extent, scale, self.coordinate_mode)
            indices = nearest_indices(place, old, self.nearest_mode)
            factor = extent // max(old, 1)
            if extent == old * factor and np.array_equal(indices, np.arange(extent) // factor):
                x = np.repeat(x, factor, axis)
            else:
                x = np.take(x, indices, axis)
        return x

    def _interpolated(self, x: Array, extents: Sequence[int], scales: Floats) -> Array:
        dtype = x.dtype
        result = x.astype(np.float32) if is_integral(x) else widened(x)
        sampling = Sampling(
            self.mode, self.coordinate_mode, self.nearest_mode, self.cubic_a, self.exclude_outside, self.antialias
        )
        for axis, (extent, scale) in enumerate(zip(extents, scales, strict=True)):
            if extent != result.shape[axis] or scale != 1:
                result = _along_axis(result, axis, *taps(result.shape[axis], extent, scale, sampling))
        if is_integral(x):
            least, greatest = DType.from_numpy(dtype).range
            result = np.clip(np.trunc(result.astype(np.float64)), least, greatest)
        return rounded(result, dtype)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        assert x is not None
        resized = sum(a != b for a, b in zip(x.dims, results[0].dims, strict=True))
        per_axis = {"nearest": 0, "linear": 3, "cubic": 7}[self.mode]
        return results[0].size * per_axis * resized

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(scales=(1, 1, 2, 2), coordinate_mode="asymmetric", nearest_mode="floor"), "f32[1,2,3,4]")
        yield case(cls(sizes=(1, 2, 5, 3)), "i8[1,2,4,4]")
        yield case(cls(sizes=(1, 2, 7, 5), mode="linear"), "f32[1,2,4,4]")
        yield case(cls(sizes=(1, 2, 3, 3), mode="linear", coordinate_mode="align_corners"), "f16[1,2,4,4]")
        yield case(cls(scales=(1, 1, 0.6, 1.7), mode="cubic", exclude_outside=True), "f32[1,2,5,5]")
        yield case(cls(sizes=(1, 1, 3, 4), mode="linear", antialias=True), "f32[1,1,9,8]")
        yield case(cls(sizes=(1, 1, 3, 3), scales=(1, 1, 0.8, 0.8), mode="linear"), "f32[1,1,4,4]")
        yield case(cls(mode="linear"), "f32[1,2,4,4]", np.array([1, 2, 6, 3], np.int64))
        yield case(cls(), "f32[1,2,4,4]", None, np.array([1, 1, 1.5, 2], np.float32))
        yield bad(cls(), "f32[1,2,4,4]", because="neither sizes nor scales")
        yield bad(cls(sizes=(8, 8)), "f32[1,2,4,4]", because="sizes has 2 numbers")
        yield bad(cls(scales=(1, 1, 0, 1)), "f32[1,2,4,4]", because="must be positive")
        yield bad(cls(sizes=(1, 2, 0, 4)), "f32[1,2,4,4]", because="sizes must be at least 1")
        yield bad(cls(sizes=(2, 2), mode="linear"), "bool[4,4]", because="cannot be interpolated")
        yield bad(cls(), "f32[4,4]", "i32[2]", because="sizes must be i64")


def _require_operand(t: TensorType | None, name: str, rank: int, dtype: DType) -> None:
    if t is not None:
        require(t.dtype is dtype, "{} must be {}, is {}", name, dtype, t.dtype, hint="insert a Cast")
        (extent,) = ranked(t, name, 1)
        require(not isinstance(extent, int) or extent == rank, "{} has {} numbers, x has {} axes", name, extent, rank)


def _along_axis(x: Array, axis: int, indices: Array, weights: Array) -> Array:
    """Sum of the taken elements times their weights along one axis."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    result: Array = np.take(x, indices[0], axis) * weights[0].reshape(shape).astype(x.dtype)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        term = np.take(x, index, axis)
        term *= weight.reshape(shape).astype(x.dtype)
        result += term
    return result
