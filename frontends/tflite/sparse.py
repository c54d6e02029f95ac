"""Sparse weights: the dense tensor of stored values and the indices that say where they lie.

A level of a sparse tensor is an axis, or an axis inside of a block; the levels are nested in `order`. A dense level has
all its places; a sparse one has, below every place of the level around it, those that its segments and indices list.
Source: TensorFlow Lite, SparsityParameters in schema.fbs, which follows TACO (Kjolstad et al., 2017).
"""

from __future__ import annotations

import math

import numpy as np

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tflite.model import Sparsity
from uair.ir.dtype import Array

LARGEST = 1 << 28
"""Elements of the largest sparse tensor that is filled up."""


def extents(sparsity: Sparsity, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Extents of the axes, those in a block last; an axis with blocks counts its blocks.

    Raises:
        SourceFileError: blocks do not divide the tensor.
    """
    sizes = list(shape) + [0] * len(sparsity.block_map)
    place = {level: i for i, level in enumerate(sparsity.order)}
    for i, axis in enumerate(sparsity.block_map):
        inside = sparsity.dimensions[place[len(shape) + i]].dense_size
        if inside < 1 or sizes[axis] % inside:
            raise SourceFileError(f"a sparse tensor of shape {list(shape)} has blocks of {inside} along axis {axis}")
        sizes[len(shape) + i] = inside
        sizes[axis] //= inside
    return tuple(sizes)


def positions(sparsity: Sparsity, shape: tuple[int, ...], stored: int) -> Array:
    """The place of every stored value in the flat dense tensor.

    Args:
        sparsity: how the values lie.
        shape: of the dense tensor.
        stored: number of values.

    Raises:
        SourceFileError: the indices contradict each other or leave the tensor.
    """
    sizes = extents(sparsity, shape)
    if math.prod(shape) > LARGEST:
        raise SourceFileError(f"a sparse tensor of shape {list(shape)} is too large")
    listed = sum(_count(d.segments) + _count(d.indices) for d in sparsity.dimensions)
    coordinates: list[Array] = []
    count = 1
    for level, dimension in zip(sparsity.order, sparsity.dimensions, strict=True):
        if dimension.segments is None or dimension.indices is None:
            inside = dimension.dense_size
            if inside != sizes[level]:
                raise SourceFileError(f"an axis of extent {sizes[level]} has {inside} places in a sparse tensor")
            if count * inside > stored + listed:  # every place holds a value, or has a list of those below it
                raise SourceFileError(f"a sparse tensor has more than {stored + listed} places for {stored} values")
            parents = np.repeat(np.arange(count), inside)
            own = np.tile(np.arange(inside), count)
        else:
            parents, own = _listed(dimension.segments, dimension.indices, count, sizes[level])
        count = len(own)
        coordinates = [c[parents] for c in coordinates] + [own]
    if count != stored:
        raise SourceFileError(f"a sparse tensor has {count} places for {stored} values")
    by_level = dict(zip(sparsity.order, coordinates, strict=True))
    full = [by_level[axis] for axis in range(len(shape))]
    for i, axis in enumerate(sparsity.block_map):
        full[axis] = full[axis] * sizes[len(shape) + i] + by_level[len(shape) + i]
    return np.ravel_multi_index(tuple(full), shape)


def _count(numbers: Array | None) -> int:
    return 0 if numbers is None else len(numbers)


def _listed(segments: Array, indices: Array, count: int, size: int) -> tuple[Array, Array]:
    """For every place of a sparse level: the place around it, and its index."""
    bounds = segments.astype(np.int64)
    places = indices.astype(np.int64)
    if len(bounds) != count + 1 or bounds[0] != 0 or bounds[-1] != len(places) or np.any(np.diff(bounds) < 0):
        raise SourceFileError(f"the segments of a sparse tensor do not split {len(places)} indices into {count} lists")
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < size:
        raise SourceFileError(f"an index of a sparse tensor is not below {size}")
    return np.repeat(np.arange(count), np.diff(bounds)), places


def dense(values: Array, places: Array, shape: tuple[int, ...]) -> Array:
    """The tensor with the values at their places and 0 elsewhere."""
    result = np.zeros(math.prod(shape), values.dtype)
    result[places] = values.reshape(-1)
    return result.reshape(shape)
