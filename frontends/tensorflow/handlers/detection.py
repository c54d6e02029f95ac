"""Suppression of boxes for all images and classes at once."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Clip,
    Concat,
    Expand,
    Gather,
    GatherElements,
    Greater,
    IntDiv,
    Mod,
    Mul,
    NonMaxSuppression,
    ReduceSum,
    ScatterND,
    Slice,
    Squeeze,
    TopK,
    Transpose,
    Unsqueeze,
    Where,
)

FAMILY = Family()


@FAMILY.several("nmsed_boxes nmsed_scores nmsed_classes valid_detections", "CombinedNonMaxSuppression")
def _combined(n: TfNode) -> Result:
    """The best boxes of every image among those that remain in each class, filled up with zeros.

    Boxes are [images, boxes, 1 or classes, 4], scores [images, boxes, classes]. What remains is written into a table of
    all scores, of which the best are taken: equal scores come in the order of the classes.
    """
    (most,), (total,) = n.numbers(2, "max_output_size_per_class"), n.numbers(3, "max_total_size")
    boxes, scores = n[0], n(Transpose(perm=(0, 2, 1)), n[1])
    images, classes, count = n.shape(scores)
    if not isinstance(classes, int) or not isinstance(count, int):
        n.refuse("the number of boxes or of classes is not known", "give the model's inputs fixed shapes")
    shared = n.extent(boxes, 2) == 1
    if n.flag("pad_per_class"):
        total = min(total, most * classes)
    table = _remaining(n, boxes, scores, most, shared)
    length = min(total, classes * count)
    values, places = n.all(TopK(axis=-1, k=length), n.reshaped(table, (images, classes * count)))
    zero = n.like(0, values)
    taken = n(Greater(), values, n.of(-np.inf, DType.F32))
    boxed, kinds = n(Mod(), places, n.of(count)), n(IntDiv(), places, n.of(count))
    corners = _corners(n, boxes, places if not shared else boxed, (images, length), shared, classes)
    corners = n(Where(), n(Unsqueeze(axes=(2,)), taken), corners, zero)
    if n.flag("clip_boxes", True):
        corners = n(Clip(min=0.0, max=1.0), corners)
    found = [corners, n(Where(), taken, values, zero), n(Where(), taken, n.cast(kinds, DType.F32), zero)]
    valid = n(ReduceSum(axes=(1,), keepdims=False), n.cast(taken, DType.I32))
    return [*(_filled(n, t, total - length) for t in found), valid]


def _remaining(n: TfNode, boxes: Tensor, scores: Tensor, most: int, shared: bool) -> Tensor:
    """The scores [images, classes, boxes] of what remains in each class, and minus infinity."""
    images, classes, count = n.shape(scores)
    limits = n.of(most), n.single(n[4]), n.single(n[5])
    flat = (images, classes, count)
    if shared:
        boxes = n(Squeeze(axes=(2,)), boxes)
    else:  # the classes become images of their own
        flat = (images * classes, 1, count)
        boxes = n.reshaped(n(Transpose(perm=(0, 2, 1, 3)), boxes), (images * classes, count, 4))
        scores = n.reshaped(scores, flat)
    found = n(NonMaxSuppression(), boxes, scores, *limits)
    never = n(Expand(shape=flat), n.of(-np.inf, DType.F32))
    rows = [n(Slice(axes=(1,), starts=(i,), ends=(i + 1,), steps=(1,)), found) for i in range(3)]
    line = n.reshaped(scores, (-1,))
    indices = _line(n, [n(Squeeze(axes=(1,)), r) for r in rows], flat)
    return n.reshaped(n(ScatterND(), never, found, n(Gather(axis=0), line, indices)), (images, classes, count))


def _line(n: TfNode, rows: list[Tensor], shape: tuple[Dim, ...]) -> Tensor:
    """Places in an array of three axes as places in the line of its elements."""
    image, kind, box = rows
    steps = shape[1], shape[2]
    assert isinstance(steps[0], int) and isinstance(steps[1], int)
    first = n(Add(), n(Mul(), image, n.of(steps[0])), kind)
    return n(Add(), n(Mul(), first, n.of(steps[1])), box)


def _corners(n: TfNode, boxes: Tensor, places: Tensor, shape: tuple[Dim, int], shared: bool, classes: int) -> Tensor:
    """The boxes at some places of each image, [images, length, 4]."""
    images, length = shape
    if shared:
        boxes = n(Squeeze(axes=(2,)), boxes)
    else:
        count = n.extent(boxes, 1)
        boxes = n.reshaped(n(Transpose(perm=(0, 2, 1, 3)), boxes), (images, count * classes, 4))
    return n(GatherElements(axis=1), boxes, n(Expand(shape=(images, length, 4)), n(Unsqueeze(axes=(2,)), places)))


def _filled(n: TfNode, x: Tensor, missing: int) -> Tensor:
    """A result with zeros behind it along axis 1."""
    if not missing:
        return x
    images, _, *rest = n.shape(x)
    return n(Concat(axis=1), x, n(Expand(shape=(images, missing, *rest)), n.like(0, x)))
