"""NumPy kernels of convolution: everything is matrix products, over windows that are gathered tile by tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import attrs
import numpy as np
from numpy.lib.stride_tricks import as_strided

from uair.ir.dtype import Array
from uair.ops._precision import is_integral, product_type, rounded
from uair.ops._windows import inner_axes

# The gathered windows of a tile should stay in a core's second-level cache.
TILE_BYTES = 1 << 20


@attrs.frozen
class Geometry:
    """How a kernel slides: per spatial axis strides, dilations, kernel and result extents; pads begins then ends."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    kernel: tuple[int, ...]
    extents: tuple[int, ...]
    groups: int

    @property
    def begins(self) -> tuple[int, ...]:
        """Padding before each axis."""
        return self.pads[: len(self.kernel)]

    @property
    def ends(self) -> tuple[int, ...]:
        """Padding behind each axis."""
        return self.pads[len(self.kernel) :]

    @property
    def is_pointwise(self) -> bool:
        """Whether each result element sees exactly one element per channel."""
        return all(k == 1 for k in self.kernel) and not any(self.pads)


def convolve(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """Cross-correlation of x: [N, C, spatial...] with w: [M, C/groups, kernel...], plus bias: [M]."""
    compute = product_type(x, w, math.prod(w.shape[1:]))
    filters = w[:1] if _repeats(w, geometry) else w
    result = _correlate(x.astype(compute, copy=False), filters.astype(compute, copy=False), geometry)
    if len(filters) < len(w):
        result = np.repeat(result, len(w), axis=1)
    return _finish(result, bias, x)


def _repeats(w: Array, geometry: Geometry) -> bool:
    """Whether all filters are one, as in models whose weights are one repeated value.

    All channels are computed as one then: a matrix product may round equal rows differently.
    """
    return geometry.groups == 1 and len(w) > 1 and w.strides[0] == 0


def _finish(result: Array, bias: Array | None, x: Array) -> Array:
    """Add the bias and round once to the type of x; integer sums wrap around."""
    if bias is not None and is_integral(x):
        result = result.astype(np.int64)
    if bias is not None:
        result += bias.astype(result.dtype, copy=False).reshape(-1, *(1,) * (result.ndim - 2))
    return rounded(result, x.dtype)


def _correlate(x: Array, w: Array, geometry: Geometry) -> Array:
    if geometry.is_pointwise:
        return _pointwise(x, w, geometry)
    out = np.empty((len(x), len(w), *geometry.extents), x.dtype)
    if out.size:
        _windowed(x, w, geometry, out)
    return out


def _pointwise(x: Array, w: Array, geometry: Geometry) -> Array:
    """A matrix product without gathering; with strides, of the elements that they meet."""
    if any(s != 1 for s in geometry.strides):
        x = x[inner_axes(slice(None, None, s) for s in geometry.strides)]
    n, groups = len(x), geometry.groups
    columns = np.ascontiguousarray(x).reshape(n, groups, w.shape[1], math.prod(geometry.extents))
    out: Array = np.matmul(w.reshape(groups, len(w) // groups, w.shape[1]), columns)
    return out.reshape(n, len(w), *geometry.extents)


def _windowed(x: Array, w: Array, geometry: Geometry, out: Array) -> None:
    """Gather the windows of some groups and rows (im2col) and multiply, tile by tile; `out` is written."""
    groups, per_group = geometry.groups, w.shape[1]
    depth, row = per_group * math.prod(geometry.kernel), math.prod(geometry.extents[1:])
    row_bytes = max(x.itemsize * depth * row, 1)
    rows = min(max(TILE_BYTES // row_bytes, 1), geometry.extents[0])
    block = min(max(TILE_BYTES // (row_bytes * rows), 1), groups)
    buffer = np.empty(block * depth * rows * row, x.dtype)
    weights = w.reshape(groups, len(w) // groups, depth)
    flat = out.reshape(len(x), groups, len(w) // groups, -1)
    taps = (slice(None),) * (1 + len(geometry.kernel))
    channels = x.reshape(len(x), groups, per_group, *x.shape[2:])
    for image, group, windows in _padded_blocks(channels, block, geometry):
        taken = min(block, groups - group)
        for first in range(0, geometry.extents[0], rows):
            count = min(rows, geometry.extents[0] - first)
            tile = (*taps, slice(first, first + count))
            view = windows[tile]
            columns = buffer[: view.size]
            np.copyto(columns.reshape(view.shape), view)
            np.matmul(
                weights[group : group + taken],
                columns.reshape(taken, depth, count * row),
                out=flat[image, group : group + taken, :, first * row : (first + count) * row],
            )


def _padded_blocks(channels: Array, block: int, geometry: Geometry) -> Iterator[tuple[int, int, Array]]:
    """For every image and every `block` groups: both numbers, and the windows, see `_windows`.

    Padded channels lie in one place, each block over the last: what is around them stays zero.

    Args:
        channels: [N, groups, C/groups, spatial...].
        block: groups at a time.
        geometry: how the kernel slides.
    """
    n, groups, per_group, *spatial = channels.shape
    if not any(geometry.pads):
        for image in range(n):
            windows = _windows(channels[image].reshape(groups * per_group, *spatial), geometry)
            for group in range(0, groups, block):
                yield image, group, windows[group * per_group : (group + block) * per_group]
        return
    extents = (b + d + e for b, d, e in zip(geometry.begins, spatial, geometry.ends, strict=True))
    room = np.zeros((block, per_group, *extents), channels.dtype)
    inside = room[inner_axes(slice(b, b + d) for b, d in zip(geometry.begins, spatial, strict=True))]
    windows = _windows(room.reshape(block * per_group, *room.shape[2:]), geometry)
    for image in range(n):
        for group in range(0, groups, block):
            taken = min(block, groups - group)
            inside[:taken] = channels[image, group : group + taken]
            yield image, group, windows[: taken * per_group]


def _windows(image: Array, geometry: Geometry) -> Array:
    """View [C, kernel..., extents...] of all windows of a padded image [C, spatial...]."""
    steps = image.strides[1:]
    return as_strided(
        image,
        (len(image), *geometry.kernel, *geometry.extents),
        (
            image.strides[0],
            *(step * d for step, d in zip(steps, geometry.dilations, strict=True)),
            *(step * s for step, s in zip(steps, geometry.strides, strict=True)),
        ),
        writeable=False,
    )


def convolve_transposed(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """Transposed convolution of x: [N, C, spatial...] with w: [C, M/groups, kernel...], plus bias: [M].

    One matrix product per tap of the kernel, added where the tap lands in the result.
    """
    compute = product_type(x, w, len(w) // geometry.groups * math.prod(geometry.kernel))
    groups, n, spatial = geometry.groups, len(x), x.shape[2:]
    per_group = w.shape[1]
    columns = x.astype(compute, copy=False).reshape(n, groups, len(w) // groups, math.prod(spatial))
    taps = (
        w.astype(compute, copy=False)
        .reshape(groups, len(w) // groups, per_group, math.prod(geometry.kernel))
        .transpose(3, 0, 2, 1)
    )
    taps = np.ascontiguousarray(taps)
    covered = [
        max((extent - 1) * s + d * (k - 1) + 1, begin + out)
        for extent, s, d, k, begin, out in zip(
            spatial,
            geometry.strides,
            geometry.dilations,
            geometry.kernel,
            geometry.begins,
            geometry.extents,
            strict=True,
        )
    ]
    full = np.zeros((n, groups * per_group, *covered), compute)
    for tap, offsets in enumerate(itertools.product(*(range(k) for k in geometry.kernel))):
        landing = inner_axes(
            slice(o * d, o * d + (extent - 1) * s + 1, s)
            for o, d, s, extent in zip(offsets, geometry.dilations, geometry.strides, spatial, strict=True)
        )
        term = np.matmul(taps[tap], columns)
        full[landing] += term.reshape(n, groups * per_group, *spatial)
    kept = inner_axes(slice(b, b + out) for b, out in zip(geometry.begins, geometry.extents, strict=True))
    return _finish(np.ascontiguousarray(full[kept]), bias, x)
