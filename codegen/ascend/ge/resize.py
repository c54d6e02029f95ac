"""Resizing of images: TensorFlow's two operators where they compute the same, otherwise products and Gather by axes."""

from __future__ import annotations

from typing import Any, cast

import attrs
import numpy as np

from uair.codegen.ascend.ge.ir import Value
from uair.codegen.ascend.ge.table import Emission, GeEmitters, NoGeForm
from uair.ir.dtype import Array, DType
from uair.ops import Resize

EMITTERS = GeEmitters()
MODES = ((False, True), (False, False), (True, False))
"""align_corners and half_pixel_centers."""


@EMITTERS.of(Resize)
def resize(e: Emission, op: Resize) -> None:
    """ResizeBilinearV2 or ResizeNearestNeighborV2 with the modes whose weights are those of every axis."""
    if op.roi is not None or any(e.given(i) and not e.tensor(i).is_constant for i in range(1, len(e.node.inputs))):
        raise NoGeForm("sizes of Resize must be known when the file is written")
    shape = e.shape()
    size = [d for d in e.y.dims if isinstance(d, int)]
    scales = op.targets(shape)[1]
    matrices = [weights(op, old, new, scale) for old, new, scale in zip(shape, size, scales, strict=True)]
    images = len(shape) == 4 and size[:2] == list(shape[:2])
    taps = tap_nearest if op.mode == "nearest" else tap_linear
    for corners, half in MODES if images and op.mode != "cubic" and e.type().dtype.is_float else ():
        made = [taps(shape[axis], size[axis], corners, half) for axis in (2, 3)]
        if all(np.allclose(m, matrices[axis], atol=1e-6) for m, axis in zip(made, (2, 3), strict=True)):
            name = "ResizeNearestNeighborV2" if op.mode == "nearest" else "ResizeBilinearV2"
            more: dict[str, Any] = {} if op.mode == "nearest" else {"dtype": DType.F32}
            operands = [e.x(), e.literal(size[2:], DType.I32)]
            e.results(name, operands, align_corners=corners, half_pixel_centers=half, **more)
            return
    by_axes(e, op, matrices)


def weights(op: Resize, old: int, new: int, scale: float) -> Array:
    """What an axis' elements contribute to the resized ones: [old, new]."""
    along = attrs.evolve(cast(Any, op), sizes=(old, new), scales=(1.0, scale), axes=None, aspect="stretch")
    result: Array = along.evaluate(np.eye(old, dtype=np.float32))
    return result


def tap_linear(old: int, new: int, corners: bool, half: bool) -> Array:
    """TensorFlow's linear interpolation of an axis: [old, new]."""
    at = np.maximum(positions(old, new, corners, half), 0.0)
    low = np.minimum(np.floor(at).astype(int), old - 1)
    high = np.minimum(low + 1, old - 1)
    fraction = (at - low).astype(np.float32)
    matrix = np.zeros((old, new), np.float32)
    np.add.at(matrix, (low, np.arange(new)), 1 - fraction)
    np.add.at(matrix, (high, np.arange(new)), fraction)
    return matrix


def tap_nearest(old: int, new: int, corners: bool, half: bool) -> Array:
    """TensorFlow's choice of the nearest element of an axis: [old, new]."""
    at = positions(old, new, corners, half)
    index = np.floor(at + 0.5) if corners or half else np.floor(at)
    matrix = np.zeros((old, new), np.float32)
    matrix[np.clip(index.astype(int), 0, old - 1), np.arange(new)] = 1
    return matrix


def positions(old: int, new: int, corners: bool, half: bool) -> Array:
    """Where the new elements lie among the old ones."""
    if corners:
        return np.arange(new, dtype=np.float64) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    scale = old / new
    return (np.arange(new) + 0.5) * scale - 0.5 if half else np.arange(new) * scale


def by_axes(e: Emission, op: Resize, matrices: list[Array]) -> None:
    """Each axis that changes: a Gather for nearest, otherwise a product with its weights."""
    value = e.x()
    for axis, matrix in enumerate(matrices):
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
            continue
        value = along_axis(e, op, value, axis, matrix)
    e.same(value)


def along_axis(e: Emission, op: Resize, value: Value, axis: int, matrix: Array) -> Value:
    """One axis."""
    shape = list(value.type.dims)
    rank = len(shape)
    shape[axis] = matrix.shape[1]
    result = value.type.with_shape(tuple(shape))
    if op.mode == "nearest" and not np.isin(matrix, (0, 1)).all():
        raise NoGeForm("a picture that is extended beyond its edges is not written")
    if op.mode == "nearest":
        return e.op("GatherV2D", [value, e.literal(matrix.argmax(axis=0), DType.I64)], result, axis=axis)
    if not value.type.dtype.is_float or rank < 2:
        raise NoGeForm(f"interpolation of {value.type} is not written")
    order = [*(i for i in range(rank) if i != axis), axis]
    moved = value if axis == rank - 1 else turned(e, value, order)
    product_type = moved.type.with_shape((*moved.type.dims[:-1], matrix.shape[1]))
    product = e.op(
        "BatchMatMulV2",
        [moved, e.literal(matrix, value.type.dtype)],
        product_type,
        adj_x1=False,
        adj_x2=False,
        offset_x=0,
    )
    return product if axis == rank - 1 else turned(e, product, [order.index(i) for i in range(rank)])


def turned(e: Emission, value: Value, perm: list[int]) -> Value:
    """A value with its axes in another order."""
    return e.op("TransposeD", [value], value.type.with_shape(tuple(value.type.dims[p] for p in perm)), perm=perm)
