"""Boxes and crops."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Cast,
    Concat,
    Expand,
    Gather,
    GridSample,
    Mul,
    NonMaxSuppression,
    Reshape,
    ShapeOf,
    Slice,
    Squeeze,
    Sub,
    Transpose,
    Unsqueeze,
)  # fmt: skip

FAMILY = Family()


def _selected(n: TfNode, threshold: Tensor | None) -> Tensor:
    """The boxes that remain, best first."""
    boxes, scores = n(Unsqueeze(axes=(0,)), n[0]), n(Unsqueeze(axes=(0, 1)), n[1])
    limit = n.cast(n[2], DType.I64)
    iou = n[3] if len(n) > 3 else n.of(n.number("iou_threshold", 0.5), DType.F32)
    found = n(NonMaxSuppression(), boxes, scores, limit, n.single(iou), threshold)
    return n(Squeeze(axes=(1,)), n(Slice(axes=(1,), starts=(2,), ends=(3,), steps=(1,)), found))


@FAMILY.op("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3")
def _nms(n: TfNode) -> Result:
    threshold = n.single(n[4]) if len(n) > 4 else None
    return n(Cast(to=DType.I32), _selected(n, threshold))


@FAMILY.several("selected_indices valid_outputs", "NonMaxSuppressionV4")
def _nms_v4(n: TfNode) -> Result:
    """The indices are filled up with zeros when pad_to_max_output_size is set."""
    found = n(Cast(to=DType.I32), _selected(n, n.single(n[4])))
    count = n.cast(n(ShapeOf(), found), DType.I32)
    return [_filled(n, found) if n.flag("pad_to_max_output_size") else found, n(Reshape(shape=()), count)]


@FAMILY.several("selected_indices selected_scores valid_outputs", "NonMaxSuppressionV5")
def _nms_v5(n: TfNode) -> Result:
    if n.scalar(5, "soft_nms_sigma"):
        n.refuse("soft suppression (soft_nms_sigma above 0) is not supported", "set soft_nms_sigma to 0")
    found = n(Cast(to=DType.I32), _selected(n, n.single(n[4])))
    scores = n(Gather(axis=0), n[1], found)
    count = n(Reshape(shape=()), n.cast(n(ShapeOf(), found), DType.I32))
    if n.flag("pad_to_max_output_size"):
        found, scores = _filled(n, found), _filled(n, scores)
    return [found, scores, count]


def _filled(n: TfNode, x: Tensor) -> Tensor:
    """A list filled up with zeros to the limit."""
    (limit,) = n.numbers(2, "max_output_size")
    rest = n(Expand(shape=(limit,)), n.like(0, x))
    return n(Slice(axes=(0,), starts=(0,), ends=(limit,), steps=(1,)), n(Concat(axis=0), x, rest))


@FAMILY.op("CropAndResize")
def _crop_and_resize(n: TfNode) -> Result:
    """Boxes (y1, x1, y2, x2) in parts of the image, each sampled at equal distances with its corners.

    A result place i has the coordinate y1 * (H - 1) + i * (y2 - y1) * (H - 1) / (h - 1), the middle of the box when h
    is 1; what lies outside of the image is `extrapolation_value`, for which only 0 is supported.
    """
    height, width = n.numbers(3, "crop_size")
    if n.number("extrapolation_value"):
        n.refuse("extrapolation_value must be 0")
    image, boxes = n(Gather(axis=0), n[0], n[2]), n[1]
    mode = n.choice("method", "bilinear", ("bilinear", "nearest"))

    def coordinates(low: int, high: int, count: int) -> Tensor:
        """[boxes, count] in [-1, 1] from the first to the last pixel."""
        places = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
        first, last = (n(Gather(axis=1), boxes, n.of([i])) for i in (low, high))
        weighted = n.of(2 * (1 - places), DType.F32), n.of(2 * places, DType.F32)
        both = n(Add(), n(Mul(), first, weighted[0]), n(Mul(), last, weighted[1]))
        return n(Sub(), both, n.of(1, DType.F32))

    rows, columns = coordinates(0, 2, height), coordinates(1, 3, width)
    count = n.extent(boxes, 0)
    size = (count, height, width, 1)
    grid = n(
        Concat(axis=3),
        n(Expand(shape=size), n(Unsqueeze(axes=(1, 3)), columns)),
        n(Expand(shape=size), n(Unsqueeze(axes=(2, 3)), rows)),
    )
    x = n(Transpose(perm=(0, 3, 1, 2)), n.cast(image, DType.F32))
    op = GridSample(mode="linear" if mode == "bilinear" else "nearest", padding="zeros", align_corners=True)
    return n(Transpose(perm=(0, 2, 3, 1)), n(op, x, grid))
