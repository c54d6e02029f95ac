"""Resampling of images and feature maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, InferredShape, Shape, floor_div, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._precision import rounded, widened
from uair.ops._resample import CoordinateMode, Mode, NearestMode, Sampling, nearest_indices, source_coordinates, taps
from uair.ops.base import Floats, Ints, Operator, Sample, bad, case, normalize_axis, operator, ranked, require

_EXACT_DENOMINATOR = 256


def scaled_extent(extent: Dim | None, scale: float) -> Dim | None:
    """floor(extent * scale), the product in f32 as ONNX says; unknown for a symbolic extent and an uneven scale."""
    if isinstance(extent, int):
        return int(np.floor(np.float32(extent) * np.float32(scale)))
    numerator, denominator = float(scale).as_integer_ratio()
    if extent is None or denominator > _EXACT_DENOMINATOR:
        return None
    return floor_div(extent * numerator, denominator)


@operator(inputs="x sizes? scales? roi?", family="resize")
class Resize(Operator):
    """Resampling of x to other extents. sizes (i64) and scales (f32) cover all axes of x; result: x's element type.

    The extents are `sizes`, or floor(extent * scale). A result element at place i along an axis has the input
    coordinate (i + 0.5) / scale - 0.5 (half_pixel), i / scale (asymmetric), i * (X - 1) / (Y - 1) (align_corners),
    half_pixel but 0 for a result extent of 1 (pytorch_half_pixel), half_pixel about the input's centre
    (half_pixel_symmetric), (i + 0.5) / scale (tf_half_pixel_for_nn), or start * (X - 1) + i * (end - start) * (X - 1)
    / (Y - 1) (tf_crop_and_resize; for a result extent of 1 the middle of start and end), where what lies outside of x
    is `extrapolation` and roi (f32) holds the starts for all axes of x, then the ends. `scales` decides coordinates
    where given, also beside `sizes`; otherwise scale is Y / X. Y is scale * X, a fraction when the scale is uneven.

    nearest takes one element, chosen by nearest_mode; linear and cubic (kernel parameter cubic_a) weight 2 and 4
    elements per axis. Outside of x its border continues, or with exclude_outside those elements are left out and the
    other weights scaled to sum 1. antialias stretches the kernel when an axis shrinks (Pillow and torch: with
    exclude_outside). In linear and cubic mode integers are truncated towards zero after saturation. Axes of scale 1
    are left alone. With aspect "not_larger" ("not_smaller") there is one scale for all of `axes` (None: all), the least
    (greatest) that their sizes ask for; their extents are rounded, halves upwards, and other axes stay. Operands serve
    values that are known only at run time; they take the attribute's place.

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
    roi: Floats | None = None
    extrapolation: float = 0.0
    aspect: Literal["stretch", "not_larger", "not_smaller"] = "stretch"
    axes: Ints | None = None

    def infer(
        self,
        x: TensorType,
        sizes: TensorType | None = None,
        scales: TensorType | None = None,
        roi: TensorType | None = None,
    ) -> TensorType:
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
        self._require_crop(len(shape), roi)
        self._require_aspect(len(shape), scales)
        return inferred(x.dtype, self._result_shape(shape, sizes is not None, scales is not None))

    def _require_crop(self, rank: int, roi: TensorType | None) -> None:
        _require_operand(roi, "roi", 2 * rank, DType.F32)
        has_roi = self.roi is not None or roi is not None
        crops = self.coordinate_mode == "tf_crop_and_resize"
        require(has_roi == crops, "roi and coordinate_mode tf_crop_and_resize need each other")
        require(self.roi is None or len(self.roi) == 2 * rank, "roi has {} numbers, x needs {}", len(self.roi or ()),
                2 * rank)  # fmt: skip
        require(not (crops and self.antialias), "a crop has no antialias")

    def _require_aspect(self, rank: int, scales: TensorType | None) -> None:
        stretches = self.aspect == "stretch"
        require(stretches or (self.scales is None and scales is None), "aspect {} is for sizes", self.aspect)
        require(self.axes is None or not stretches, "axes are for an aspect that is kept")
        for axis in self.axes or ():
            normalize_axis(axis, rank)

    def _require_sizes(self) -> None:
        require(
            self.sizes is None or all(not isinstance(d, int) or d >= 0 for d in self.sizes),
            "sizes must not be negative, got {}",
            list(self.sizes or ()),
        )

    def _result_shape(self, shape: InferredShape, sizes_at_run_time: bool, scales_at_run_time: bool) -> InferredShape:
        if sizes_at_run_time:
            return (None,) * len(shape)
        if self.aspect != "stretch" and self.sizes is not None:
            static_sizes = is_static(shape) and is_static(self.sizes)
            return self.kept(static(shape), static(self.sizes))[0] if static_sizes else (None,) * len(shape)
        if self.sizes is not None:
            for axis, (d, y) in enumerate(zip(shape, self.sizes, strict=True)):
                require(d != 0 or y == 0 or not isinstance(y, int), "x has nothing to resample along axis {}", axis)
            return self.sizes
        if scales_at_run_time or self.scales is None:
            return (None,) * len(shape)
        return tuple(scaled_extent(d, s) for d, s in zip(shape, self.scales, strict=True))

    def kept(self, shape: Sequence[int], sizes: Sequence[int]) -> tuple[Ints, Floats]:
        """Extents and scales of the result when the aspect ratio of `axes` is kept."""
        axes = [a % len(shape) for a in (range(len(shape)) if self.axes is None else self.axes)]
        ratios = [sizes[a] / max(shape[a], 1) for a in axes]
        scale = (min if self.aspect == "not_larger" else max)(ratios, default=1.0)
        extents = (math.floor(scale * d + 0.5) if a in axes else d for a, d in enumerate(shape))
        return tuple(extents), tuple(scale if a in axes else 1.0 for a in range(len(shape)))

    def targets(
        self, shape: Sequence[int], sizes: Array | None = None, scales: Array | None = None
    ) -> tuple[Ints, Floats]:
        """Extents of the result, and the scale of every axis, for x of this shape."""
        factors = self.scales if scales is None else tuple(float(s) for s in scales)
        if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
            raise EvaluationError(f"Resize: scales must be positive, they are {scales.tolist()}")
        target: Sequence[int | Dim | None] | None = self.sizes if sizes is None else [int(d) for d in sizes]
        if target is None:
            assert factors is not None
            target = [scaled_extent(d, s) for d, s in zip(shape, factors, strict=True)]
        extents = tuple(d for d in target if isinstance(d, int))
        if self.aspect != "stretch":
            return self.kept(shape, extents)
        if factors is None:
            # The quotient is rounded to f32 before it is used, as runtimes that are given sizes do.
            factors = tuple(float(np.float32(y) / np.float32(max(d, 1))) for y, d in zip(extents, shape, strict=True))
        return extents, factors

    def evaluate(
        self, x: Array, sizes: Array | None = None, scales: Array | None = None, roi: Array | None = None
    ) -> Array:
        extents, factors = self.targets(x.shape, sizes, scales)
        if 0 in (*x.shape, *extents):
            return self._without_elements(x, extents)
        dtype = DType.from_numpy(x.dtype)
        real = x
        if self.mode != "nearest":
            real = x.astype(np.float32) if dtype.is_integer else widened(x)
        changes = list(self.changes(x.shape, extents, factors, roi))
        if self.mode == "nearest":  # in any order: whole rows are taken sooner than single elements
            changes.reverse()
        for axis, extent, scale, part in changes:
            real = self.along_axis(real, axis, extent, scale, part)
        if self.mode != "nearest" and dtype.is_integer:
            least, greatest = dtype.range
            real = np.clip(np.trunc(real.astype(np.float64)), least, greatest)
        return rounded(real, x.dtype)

    def changes(
        self, shape: Sequence[int], extents: Ints, factors: Floats, roi: Array | None = None
    ) -> Iterator[tuple[int, int, float, tuple[float, float]]]:
        """The axes that are resampled, each with the arguments of `along_axis`; `targets` gives extents and factors."""
        rank = len(shape)
        whole = (0.0,) * rank + (1.0,) * rank
        corners = [float(v) for v in (roi if roi is not None else self.roi or whole)]
        for axis, (extent, scale) in enumerate(zip(extents, factors, strict=True)):
            part = corners[axis], corners[axis + rank]
            if extent != shape[axis] or scale != 1 or part != (0, 1):
                yield axis, extent, scale, part

    def _without_elements(self, x: Array, extents: Ints) -> Array:
        if any(y and not d for d, y in zip(x.shape, extents, strict=True)):
            raise EvaluationError(f"Resize: x of shape {list(x.shape)} has nothing to make {list(extents)} of")
        return np.zeros(extents, x.dtype)

    def along_axis(self, x: Array, axis: int, extent: int, scale: float, roi: tuple[float, float]) -> Array:
        """One axis of x, floating-point unless nearest, with another extent."""
        old = x.shape[axis]
        place = source_coordinates(old, extent, scale, self.coordinate_mode, roi)
        outside = (place < 0) | (place > old - 1)
        crops = self.coordinate_mode == "tf_crop_and_resize" and bool(outside.any())
        if crops:
            place = np.where(outside, 0, place).astype(np.float32)
        if self.mode == "nearest":
            result = _taken(x, axis, nearest_indices(place, old, self.nearest_mode))
        else:
            sampling = Sampling(
                self.mode, self.coordinate_mode, self.nearest_mode, self.cubic_a, self.exclude_outside, self.antialias
            )
            result = _weighted(x, axis, *taps(place, old, scale, sampling))
        if crops:
            result = np.array(result)
            result[(slice(None),) * axis + (outside,)] = self._fill(x.dtype)
        return result

    def _fill(self, dtype: np.dtype[Any]) -> Any:
        """The extrapolation value as an element."""
        if dtype.kind == "O":
            return ""
        return cast(np.array(self.extrapolation, np.float32), DType.from_numpy(dtype))

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
        crop = (0.0, 0.0, 0.25, -0.2, 1.0, 1.0, 0.75, 1.1)
        for mode in ("nearest", "linear", "cubic"):
            yield case(cls(sizes=(1, 2, 3, 5), mode=mode, coordinate_mode="tf_crop_and_resize", roi=crop,
                           extrapolation=7.0), "f32[1,2,6,4]")  # fmt: skip
        yield case(cls(coordinate_mode="tf_crop_and_resize", sizes=(1, 4)), "i8[2,6]", None, None,
                   np.array([0.5, 0.9, 1, 0.1], np.float32))  # fmt: skip
        yield case(cls(sizes=(1, 2, 7, 9), aspect="not_larger", axes=(2, 3), mode="linear"), "f32[1,2,4,6]")
        yield case(cls(sizes=(7, 9), aspect="not_smaller"), "f32[4,6]")
        yield case(cls(aspect="not_larger", axes=(-1,)), "f32[4,6]", np.array([1, 9]))
        yield case(cls(scales=(0.6, 0.6), mode="linear", coordinate_mode="align_corners"), "f32[4,7]")
        yield bad(cls(), "f32[1,2,4,4]", because="neither sizes nor scales")
        yield bad(cls(sizes=(8, 8)), "f32[1,2,4,4]", because="sizes has 2 numbers")
        yield bad(cls(scales=(1, 1, 0, 1)), "f32[1,2,4,4]", because="must be positive")
        yield case(cls(sizes=(0, 2, 8, 0), mode="cubic"), "f32[0,1,4,0]")
        yield bad(cls(sizes=(1, -2)), "f32[1,4]", because="sizes must not be negative")
        yield bad(cls(sizes=(1, 4)), "f32[0,4]", because="x has nothing to resample along axis 0")
        yield bad(cls(sizes=(2, 2), mode="linear"), "bool[4,4]", because="cannot be interpolated")
        yield bad(cls(), "f32[4,4]", "i32[2]", because="sizes must be i64")
        yield bad(cls(sizes=(2, 2), roi=(0, 0, 1, 1)), "f32[4,4]", because="need each other")
        yield bad(cls(scales=(2, 2), aspect="not_larger"), "f32[4,4]", because="aspect not_larger is for sizes")


def _require_operand(t: TensorType | None, name: str, rank: int, dtype: DType) -> None:
    if t is not None:
        require(t.dtype is dtype, "{} must be {}, is {}", name, dtype, t.dtype, hint="insert a Cast")
        (extent,) = ranked(t, name, 1)
        require(not isinstance(extent, int) or extent == rank, "{} has {} numbers, x has {} axes", name, extent, rank)


def _taken(x: Array, axis: int, indices: Array) -> Array:
    """The elements at `indices` along one axis."""
    factor = len(indices) // max(x.shape[axis], 1)
    if len(indices) == x.shape[axis] * factor and np.array_equal(indices, np.arange(len(indices)) // max(factor, 1)):
        return _repeated(x, axis, factor)
    return np.take(x, indices, axis)


def _repeated(x: Array, axis: int, factor: int) -> Array:
    """`np.repeat`, which takes three times as long where single elements are repeated."""
    result = np.empty((*x.shape[: axis + 1], factor, *x.shape[axis + 1 :]), x.dtype)
    for i in range(factor):
        result[(slice(None),) * (axis + 1) + (i,)] = x
    return result.reshape((*x.shape[:axis], factor * x.shape[axis], *x.shape[axis + 1 :]))


def _weighted(x: Array, axis: int, indices: Array, weights: Array) -> Array:
    """Sum of the taken elements times their weights along one axis."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    result: Array = np.take(x, indices[0], axis) * weights[0].reshape(shape).astype(x.dtype)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        term = np.take(x, index, axis)
        term *= weight.reshape(shape).astype(x.dtype)
        result += term
    return result
