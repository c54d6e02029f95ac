"""Regions of interest and boxes: pooling of regions, and which of overlapping boxes to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import InferredShape, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._compute import converted
from uair.ops._precision import rounded, widened
from uair.ops._sampling_parts import sampled, scaled
from uair.ops.base import Operator, Sample, bad, case, operator, ranked, require, same_dtype, unify_extents
from uair.ops.comparison import Greater, Less, LogicalOr
from uair.ops.elementwise import Add, Mul, Sub, Where
from uair.ops.indexing import Gather
from uair.ops.reduction import ReduceMean
from uair.ops.shape import Expand, Reshape, Slice, Unsqueeze

FAMILY = "detection"

BLOCK = 256
"""Boxes that NonMaxSuppression holds against each other at once."""

FARTHEST = 1 << 30
"""A corner of a region beyond this is this far: no image reaches there."""

MOST_SAMPLES = 1 << 14
"""Samples along one axis of a region: a region that asks for more is no region of an image."""


def _require_regions(x: TensorType, rois: TensorType, columns: int, output: tuple[int, int]) -> InferredShape:
    """The shape of x; refuse types and shapes that are not images and their regions."""
    dtype = same_dtype(x=x, rois=rois)
    require(
        dtype.is_float, "element type {} cannot be pooled here", dtype, hint="insert a Cast to a floating-point type"
    )
    shape, regions = ranked(x, "x", 4), ranked(rois, "rois", 2)
    require(unify_extents(regions[1], columns), "rois must have {} columns, has {}", columns, regions[1])
    require(min(output) >= 1, "the pooled extents must be at least 1, got {}", list(output))
    require(0 not in shape[2:], "x has no elements to pool, its shape is {}", list(shape))
    return shape


def _images(indices: Array, count: int, owner: str) -> list[int]:
    """The image of every region.

    Raises:
        EvaluationError: there is no such image.
    """
    found = [int(i) for i in indices]
    for i in found:
        if not 0 <= i < count:
            raise EvaluationError(f"{owner}: a region is of image {i}, there are {count}")
    return found


@operator(inputs="x rois batch_indices", family=FAMILY)
class RoiAlign(Operator):
    """Regions of images, each cut into height x width cells that are pooled between the elements of x.

    x: [N, C, H, W]; rois: [R, 4], (x1, y1, x2, y2); batch_indices: [R] i64, the image of each; result: [R, C, height,
    width]. Corners are multiplied by spatial_scale; half_pixel then subtracts 0.5, without it regions are at least 1 x
    1. A cell is read at sampling_ratio x sampling_ratio places at equal distances (0: as many as its extent, rounded
    up), by linear interpolation, a coordinate in [-1, 0) being 0 and one in (H - 1, H] H - 1; further outside all is
    0. mode avg: the mean of what is read; max: the greatest product of an element and its weight. Source: ONNX
    RoiAlign (22) and its reference; torchvision.ops.roi_align (aligned is half_pixel; avg only).
    """

    mode: Literal["avg", "max"] = "avg"
    height: int = 1
    width: int = 1
    sampling_ratio: int = 0
    spatial_scale: float = 1.0
    half_pixel: bool = True

    def infer(self, x: TensorType, rois: TensorType, batch_indices: TensorType) -> TensorType:
        shape = _require_regions(x, rois, 4, (self.height, self.width))
        require(batch_indices.dtype is DType.I64, "batch_indices must be i64, is {}", batch_indices.dtype)
        (count,) = ranked(batch_indices, "batch_indices", 1)
        regions = ranked(rois, "rois", 2)[0]
        require(unify_extents(count, regions), "batch_indices has {} numbers for {} regions", count, regions)
        require(self.sampling_ratio >= 0, "sampling_ratio must not be negative, is {}", self.sampling_ratio)
        return inferred(x.dtype, (count if regions is None else regions, shape[1], self.height, self.width))

    def evaluate(self, x: Array, rois: Array, batch_indices: Array) -> Array:
        wide = widened(x)
        result = np.zeros((len(rois), x.shape[1], self.height, self.width), wide.dtype)
        corners = widened(rois) * wide.dtype.type(self.spatial_scale)
        if self.half_pixel:
            corners = corners - wide.dtype.type(0.5)
        for i, image in enumerate(_images(batch_indices, len(x), self.op_type)):
            x1, y1, x2, y2 = corners[i]
            rows = self._taps(y1, y2, self.height, x.shape[2])
            columns = self._taps(x1, x2, self.width, x.shape[3])
            result[i] = (_mean if self.mode == "avg" else _greatest)(wide[image], rows, columns, result[i].shape)
        return rounded(result, x.dtype)

    def _taps(self, start: Array, end: Array, cells: int, extent: int) -> tuple[Array, Array]:
        """Indices and weights [2, cells * samples] of the elements that the samples along one axis lie between.

        Raises:
            EvaluationError: a corner is not a number, or the region is beyond all measure.
        """
        kind = start.dtype.type
        size = end - start
        if not self.half_pixel:
            size = max(size, kind(1))
        cell = size / kind(cells)
        if not np.isfinite(cell):
            raise EvaluationError(f"RoiAlign: a region reaches from {start} to {end}")
        samples = self.sampling_ratio if self.sampling_ratio > 0 else max(int(np.ceil(cell)), 0)
        if samples > MOST_SAMPLES:
            raise EvaluationError(f"RoiAlign: a region from {start} to {end} takes {samples} samples a cell")
        within = (np.arange(samples, dtype=cell.dtype) + kind(0.5)) * cell / kind(max(samples, 1))
        place = (start + np.arange(cells, dtype=cell.dtype)[:, None] * cell + within).reshape(-1)
        outside = (place < -1) | (place > extent)
        place = np.clip(place, 0, extent - 1)
        low = np.minimum(place.astype(np.int64), extent - 1)
        beyond = place - low
        weights = np.stack([1 - beyond, beyond])
        weights[:, outside] = 0
        return np.stack([low, np.minimum(low + 1, extent - 1)]), weights

    def decompose(self, x: Tensor, rois: Tensor, batch_indices: Tensor) -> Tensor | None:
        """Samples of the image of every region, then their means; not where the regions say how many samples."""
        shape, count = x.type.dims, rois.type.dims[0]
        if self.mode != "avg" or self.sampling_ratio < 1 or not self.half_pixel or not is_static(shape[2:]):
            return None
        wide = DType.F32 if x.type.dtype.bits < 32 else x.type.dtype
        images, corners = converted(x, wide), converted(rois, wide)
        images = Gather(axis=0)(images, batch_indices)
        lengths = self.height * self.sampling_ratio, self.width * self.sampling_ratio
        places: list[Tensor] = []
        outside: list[Tensor] = []
        for axis, (length, extent) in enumerate(zip(lengths, static(shape[2:]), strict=True)):
            first, last = (scaled(_column(corners, 1 - axis + 2 * i), self.spatial_scale, -0.5) for i in (0, 1))
            steps = ((np.arange(length) + 0.5) / length).astype(images.type.dtype.numpy)
            line = Add()(first, Mul()(Sub()(last, first), constant(steps)))
            plane = Unsqueeze(axes=(2 - axis,))(line)
            place = Reshape(shape=(count, lengths[0] * lengths[1]))(Expand(shape=(count, *lengths))(plane))
            kind = images.type.dtype.numpy
            outside += [Less()(place, constant(np.array(-1, kind))), Greater()(place, constant(np.array(extent, kind)))]
            places.append(place)
        read = sampled(images, places, "linear", "border", align_corners=True)
        either = outside[0]
        for other in outside[1:]:
            either = LogicalOr()(either, other)
        beyond = Unsqueeze(axes=(1,))(either)
        kept = Where()(beyond, constant(np.zeros((), images.type.dtype.numpy)), read)
        apart = (count, shape[1], self.height, self.sampling_ratio, self.width, self.sampling_ratio)
        mean = ReduceMean(axes=(3, 5), keepdims=False)(Reshape(shape=apart)(kept))
        return converted(mean, x.type.dtype)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return results[0].size * 8 * max(self.sampling_ratio, 1) ** 2

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        rois = np.array([[0.3, 0.6, 4.2, 3.1], [-3, -2, 9, 1.5], [2, 2, 2, 2], [3, 3, 1, 2]], np.float32)
        images = np.array([1, 0, 1, 0])
        yield case(cls(height=2, width=3, sampling_ratio=2), "f32[2,3,5,6]", rois, images)
        yield case(cls(height=3, width=2, spatial_scale=0.5), "f32[2,2,5,6]", rois, images)
        yield case(cls(height=2, width=2, half_pixel=False), "f32[2,2,5,6]", rois, images)
        yield case(cls(height=2, width=2, sampling_ratio=1), "f16[2,1,5,6]", rois.astype(np.float16), images)
        yield case(cls(), "f32[1,2,3,3]", np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        yield bad(cls(), "f32[1,2,3,3]", "f32[2,5]", "i64[2]", because="4 columns")
        yield bad(cls(), "f32[1,2,3,3]", "f32[2,4]", "i64[3]", because="3 numbers for 2 regions")
        yield bad(cls(), "f32[1,2,3,3]", "f32[2,4]", "i32[2]", because="batch_indices must be i64")
        yield bad(cls(height=0), "f32[1,2,3,3]", "f32[2,4]", "i64[2]", because="at least 1")
        yield bad(cls(), "i32[1,2,3,3]", "i32[2,4]", "i64[2]", because="cannot be pooled")


def _column(t: Tensor, i: int) -> Tensor:
    """One column of a matrix, as a matrix."""
    return Slice(axes=(1,), starts=(i,), ends=(i + 1,), steps=(1,))(t)


def _mean(x: Array, rows: tuple[Array, Array], columns: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
    """Mean of every cell of a region, interpolated along the rows, then along the columns. x: [C, H, W]."""
    channels, height, width = shape
    if not rows[0].shape[1] or not columns[0].shape[1]:
        return np.zeros(shape, x.dtype)
    (top, bottom), (upper, lower) = rows[0], rows[1][:, :, None]
    first = columns[0].min()
    x = x[:, :, first : columns[0].max() + 1]
    lines = (x[:, top] * upper + x[:, bottom] * lower).reshape(channels, height, len(top) // height, x.shape[2])
    lines = lines.mean(axis=2)
    (left, right), (before, behind) = columns[0] - first, columns[1]
    cells = lines[:, :, left] * before + lines[:, :, right] * behind
    mean: Array = cells.reshape(channels, height, width, len(left) // width).mean(axis=3)
    return mean


def _greatest(x: Array, rows: tuple[Array, Array], columns: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
    """Greatest product of an element with its weight in every cell of a region."""
    channels, height, width = shape
    if not rows[0].shape[1] or not columns[0].shape[1]:
        return np.zeros(shape, x.dtype)
    best: Array | None = None
    for row, upper in zip(*rows, strict=True):
        for column, before in zip(*columns, strict=True):
            product = x[:, row[:, None], column] * (upper[:, None] * before)
            best = product if best is None else np.maximum(best, product)
    assert best is not None
    cells = best.reshape(channels, height, rows[0].shape[1] // height, width, columns[0].shape[1] // width)
    greatest: Array = cells.max(axis=(2, 4))
    return greatest


@operator(inputs="x rois", family=FAMILY)
class MaxRoiPool(Operator):
    """Regions of images, each cut into height x width cells of whole elements; the greatest element of every cell.

    x: [N, C, H, W]; rois: [R, 5], (image, x1, y1, x2, y2); result: [R, C, height, width]. Corners are multiplied by
    spatial_scale and rounded, halves away from 0; a region holds its last row and column and is at least 1 x 1. Cell i
    begins at floor(i * extent / height) and ends before ceil((i + 1) * extent / height), so that neighbours may share
    elements; what lies outside of x counts for nothing, a cell without elements is 0. Source: ONNX MaxRoiPool,
    onnxruntime, Fast R-CNN.
    """

    height: int = 1
    width: int = 1
    spatial_scale: float = 1.0

    def infer(self, x: TensorType, rois: TensorType) -> TensorType:
        shape = _require_regions(x, rois, 5, (self.height, self.width))
        return inferred(x.dtype, (rois.dims[0], shape[1], self.height, self.width))

    def evaluate(self, x: Array, rois: Array) -> Array:
        wide = widened(x)
        regions = widened(rois)
        if not np.isfinite(regions).all():
            raise EvaluationError("MaxRoiPool: an image or a corner of a region is not a number")
        scaled = regions[:, 1:] * regions.dtype.type(self.spatial_scale)
        scaled = np.clip(scaled, -FARTHEST, FARTHEST)
        corners = np.trunc(scaled + np.copysign(regions.dtype.type(0.5), scaled)).astype(np.int64)
        result = np.zeros((len(rois), x.shape[1], self.height, self.width), wide.dtype)
        for i, image in enumerate(_images(regions[:, 0], len(x), self.op_type)):
            x1, y1, x2, y2 = (int(v) for v in corners[i])
            rows = _cells(y1, y2, self.height, x.shape[2])
            columns = _cells(x1, x2, self.width, x.shape[3])
            lines = _maxima(wide[image], rows, 1)
            pooled = _maxima(lines, columns, 2)
            empty = (rows[0] >= rows[1])[:, None] | (columns[0] >= columns[1])
            result[i] = np.where(empty, 0, pooled)
        return rounded(result, x.dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        rois = np.array([[1, 0.4, 0.6, 4.2, 3.1], [0, -3, -2, 9, 1.5], [1, 2, 2, 2, 2], [0, 9, 9, 12, 12]], np.float32)
        yield case(cls(height=2, width=3), "f32[2,3,5,6]", rois)
        yield case(cls(height=3, width=2, spatial_scale=0.5), "f32[2,2,5,6]", rois)
        yield case(cls(height=2, width=2), "f16[2,2,5,6]", rois.astype(np.float16))
        yield bad(cls(), "f32[1,2,3,3]", "f32[2,4]", because="5 columns")
        yield bad(cls(width=0), "f32[1,2,3,3]", "f32[2,5]", because="at least 1")
        yield bad(cls(), "f32[1,2,3]", "f32[2,5]", because="x must have rank 4")


def _cells(first: int, last: int, cells: int, extent: int) -> tuple[Array, Array]:
    """First element of every cell along one axis, and the first behind it, within the axis."""
    size = np.float32(max(last - first + 1, 1)) / np.float32(cells)
    steps = np.arange(cells + 1, dtype=np.float32) * size
    starts = np.floor(steps[:-1]).astype(np.int64) + first
    ends = np.ceil(steps[1:]).astype(np.int64) + first
    return np.clip(starts, 0, extent), np.clip(ends, 0, extent)


def _maxima(x: Array, ranges: tuple[Array, Array], axis: int) -> Array:
    """Maximum of x over ranges of one axis; of an empty range -infinity."""
    lines = np.moveaxis(x, axis, 0)
    parts = [lines[start:end].max(axis=0, initial=-np.inf) for start, end in zip(*ranges, strict=True)]
    return np.stack(parts, axis=axis)


@operator(inputs="boxes scores limit? iou_threshold? score_threshold?", outputs="selected", family=FAMILY)
class NonMaxSuppression(Operator):
    """The boxes of every class of every image that remain when those that overlap better ones are dropped.

    boxes: [N, B, 4] f32, two opposite corners (y1, x1, y2, x2) in any order, or with center (x, y, width, height);
    scores: [N, K, B] f32; limit: i64, the most boxes a class and image (left out: 0); iou_threshold, score_threshold:
    f32 (left out: 0, and no threshold); all three scalars or of one element. Result: [S, 3] i64, (image, class, box),
    by image, then class, then falling score; of equal scores the first box. A box is taken when its score exceeds
    score_threshold, and no box taken before overlaps it by an intersection over union above iou_threshold; boxes
    without area overlap nothing. Source: ONNX NonMaxSuppression (11).
    """

    center: bool = False

    def infer(
        self,
        boxes: TensorType,
        scores: TensorType,
        limit: TensorType | None = None,
        iou_threshold: TensorType | None = None,
        score_threshold: TensorType | None = None,
    ) -> TensorType:
        given = {"boxes": boxes, "scores": scores, "iou_threshold": iou_threshold, "score_threshold": score_threshold}
        for name, t in given.items():
            require(
                t is None or t.dtype is DType.F32, "{} must be f32, is {}", name, t and t.dtype, hint="insert a Cast"
            )
        require(limit is None or limit.dtype is DType.I64, "limit must be i64, is {}", limit and limit.dtype)
        for name, t in (("limit", limit), ("iou_threshold", iou_threshold), ("score_threshold", score_threshold)):
            known: InferredShape = () if t is None or t.shape is None else t.shape
            require(len(known) < 2 and all(unify_extents(d, 1) for d in known), "{} must be one number, is {}", name, t)
        places, shown = ranked(boxes, "boxes", 3), ranked(scores, "scores", 3)
        require(unify_extents(places[2], 4), "boxes must have 4 numbers a box, has {}", places[2])
        require(unify_extents(places[0], shown[0]), "boxes are of {} images, scores of {}", places[0], shown[0])
        require(unify_extents(places[1], shown[2]), "{} boxes have {} scores", places[1], shown[2])
        return inferred(DType.I64, (None, 3))

    def evaluate(
        self,
        boxes: Array,
        scores: Array,
        limit: Array | None = None,
        iou_threshold: Array | None = None,
        score_threshold: Array | None = None,
    ) -> Array:
        most = 0 if limit is None else max(int(limit.reshape(())), 0)
        threshold = np.zeros((), np.float32) if iou_threshold is None else iou_threshold.reshape(())
        corners = _corners(boxes, self.center)
        found: list[Array] = []
        for image, classes in enumerate(scores):
            for kind, score in enumerate(classes):
                order = np.argsort(-score, kind="stable")
                if score_threshold is not None:
                    order = order[score[order] > score_threshold.reshape(())]
                taken = _kept(corners[image], order, most, threshold)
                found.append(np.stack([np.full_like(taken, image), np.full_like(taken, kind), taken], axis=1))
        return np.concatenate(found) if found else np.zeros((0, 3), np.int64)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        boxes = np.array(
            [[0, 0, 1, 1], [0, 0.1, 1, 1.1], [1, 0.9, 0, -0.1], [0, 10, 1, 11], [0, 10, 1, 10], [0, 100, 1, 101]],
            np.float32,
        )[None]
        scores = np.array([[[0.9, 0.75, 0.9, 0.95, 0.5, 0.3], [0, 0.1, 0.2, 0.3, 0.4, 0.5]]], np.float32)
        numbers = [np.array(3), np.array([0.5], np.float32), np.array(0.4, np.float32)]
        yield case(cls(), boxes, scores, *numbers)
        yield case(cls(center=True), boxes, scores, *numbers[:2])
        yield case(cls(), boxes, scores, np.array([9]))
        yield case(cls(), "f32[1,4,4]", "f32[1,2,4]")
        yield bad(cls(), "f32[1,4,4]", "f32[1,2,5]", because="4 boxes have 5 scores")
        yield bad(cls(), "f32[1,4,5]", "f32[1,2,4]", because="4 numbers a box")
        yield bad(cls(), "f32[2,4,4]", "f32[1,2,4]", because="scores of 1")
        yield bad(cls(), "f32[1,4,4]", "f32[1,2,4]", "i32[]", because="limit must be i64")
        yield bad(cls(), "f32[1,4,4]", "f32[1,2,4]", "i64[2]", because="limit must be one number")


def _corners(boxes: Array, center: bool) -> Array:
    """Boxes as (x1, y1, x2, y2), x1 <= x2 and y1 <= y2; where a width or height is negative the box has no area."""
    if center:
        half = boxes[..., 2:] / np.float32(2)
        return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
    flipped = boxes[..., [1, 0, 3, 2]]
    low = np.minimum(flipped[..., :2], flipped[..., 2:])
    return np.concatenate([low, np.maximum(flipped[..., :2], flipped[..., 2:])], axis=-1)


def _kept(corners: Array, order: Array, most: int, threshold: Array) -> Array:
    """Of the boxes in `order` those that no better one suppresses, at most `most`.

    In blocks: a block is held against the boxes kept before, then the boxes that are left against each other.
    """
    kept = np.zeros(0, np.int64)
    for start in range(0, len(order), BLOCK):
        if len(kept) >= most:
            break
        block = order[start : start + BLOCK]
        block = block[~_overlaps(corners[kept], corners[block], threshold).any(axis=0)]
        suppresses = _overlaps(corners[block], corners[block], threshold)
        alive = np.ones(len(block), np.bool_)
        for i in range(len(block)):
            if alive[i]:
                alive[i + 1 :] &= ~suppresses[i, i + 1 :]
        kept = np.concatenate([kept, block[alive]])
    return kept[:most]


def _overlaps(some: Array, others: Array, threshold: Array) -> Array:
    """Whether the intersection over union of each of some boxes with each of others exceeds the threshold."""
    x1, y1, x2, y2 = (some[:, i, None] for i in range(4))
    u1, v1, u2, v2 = (others[:, i] for i in range(4))
    width = np.minimum(x2, u2) - np.maximum(x1, u1)
    height = np.minimum(y2, v2) - np.maximum(y1, v1)
    shared = width * height
    area, areas = (x2 - x1) * (y2 - y1), (u2 - u1) * (v2 - v1)
    union = area + areas - shared
    valid = (width > 0) & (height > 0) & (shared > 0) & (area > 0) & (areas > 0) & (union > 0)
    overlaps: Array = valid & (shared / np.where(valid, union, 1) > threshold)
    return overlaps
