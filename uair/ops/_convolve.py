"""NumPy kernels of convolution: matrix products for dense kernels, shifted adds for depthwise ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.lib.stride_tricks import as_strided

from uair.ir.dtype import Array
from uair.ops._precision import is_integral, product_type, rounded
from uair.ops._windows import inner_axes, padded

# What a step works on should stay in a core's second-level cache: a tile's gathered windows, a block of channels.
TILE_BYTES = 2 << 20
BLOCK_BYTES = 256 << 10


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
    result = _correlate(x.astype(compute, copy=False), w.astype(compute, copy=False), geometry)
    return _finish(result, bias, x)


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
    x = padded(x, geometry.begins, geometry.ends)
    out = np.empty((len(x), len(w), *geometry.extents), x.dtype)
    kernel = _depthwise if w.shape[1] == 1 and geometry.groups > 1 else _windowed
    for image, result in zip(x, out, strict=True):
        kernel(image, w, geometry, result)
    return out


def _pointwise(x: Array, w: Array, geometry: Geometry) -> Array:
    """A matrix product without gathering; with strides, of the elements that they meet."""
    if any(s != 1 for s in geometry.strides):
        x = x[inner_axes(slice(None, None, s) for s in geometry.strides)]
    n, groups = len(x), geometry.groups
    columns = np.ascontiguousarray(x).reshape(n, groups, w.shape[1], -1)
    out: Array = np.matmul(w.reshape(groups, len(w) // groups, w.shape[1]), columns)
    return out.reshape(n, len(w), *geometry.extents)


def _windowed(image: Array, w: Array, geometry: Geometry, result: Array) -> None:
    """Gather the windows of some rows (im2col) and multiply, tile by tile.

    image: [C, padded spatial...]; result: [M, extents...], written.
    """
    groups, per_group = geometry.groups, w.shape[1]
    depth = per_group * math.prod(geometry.kernel)
    row = math.prod(geometry.extents[1:])
    rows = min(max(TILE_BYTES // max(image.itemsize * groups * depth * row, 1), 1), geometry.extents[0])
    buffer = np.empty(groups * depth * rows * row, image.dtype)
    weights = w.reshape(groups, len(w) // groups, depth)
    flat = result.reshape(groups, len(w) // groups, -1)
    for first in range(0, geometry.extents[0], rows):
        count = min(rows, geometry.extents[0] - first)
        columns = buffer[: groups * depth * count * row]
        view = _windows(image[:, first * geometry.strides[0] :], geometry, count)
        np.copyto(columns.reshape(view.shape), view)
        np.matmul(
            weights, columns.reshape(groups, depth, count * row), out=flat[:, :, first * row : (first + count) * row]
        )


def _windows(image: Array, geometry: Geometry, rows: int) -> Array:
    """View [C, kernel..., rows, extents[1:]...] of the windows that start in the first rows of `image`."""
    steps = image.strides[1:]
    return as_strided(
        image,
        (len(image), *geometry.kernel, rows, *geometry.extents[1:]),
        (
            image.strides[0],
            *(step * d for step, d in zip(steps, geometry.dilations, strict=True)),
            *(step * s for step, s in zip(steps, geometry.strides, strict=True)),
        ),
        writeable=False,
    )


def _depthwise(image: Array, w: Array, geometry: Geometry, result: Array) -> None:
    """One tap of the kernel after the other, multiplied and added for all places of a block of channels at once.

    The image is split by the stride into phases, so that a tap is a contiguous run of the flattened phase; the run also
    covers the places between the end of one row of windows and the begin of the next, which are cut off at the end.
    """
    channels, multiplier = len(image), len(w) // len(image)
    phases = _phases(image, geometry.strides)
    space = phases.shape[len(geometry.strides) + 1 :]
    pitch = [math.prod(space[i + 1 :]) for i in range(len(space))]
    run = sum((extent - 1) * p for extent, p in zip(geometry.extents, pitch, strict=True)) + 1
    flat = phases.reshape(*geometry.strides, channels, 1, -1)
    held = geometry.extents[0] * pitch[0]
    weights = w.reshape(channels, multiplier, -1)
    block = min(max(BLOCK_BYTES // max(held * multiplier * image.itemsize, 1), 1), channels)
    total = np.empty((block, multiplier, held), image.dtype)
    term = np.empty((block, multiplier, run), image.dtype)
    crop = inner_axes(slice(0, extent) for extent in geometry.extents)
    target = result.reshape(channels, multiplier, *geometry.extents)
    for first in range(0, channels, block):
        last = min(first + block, channels)
        acc, product = total[: last - first], term[: last - first]
        for tap, offsets in enumerate(itertools.product(*(range(k) for k in geometry.kernel))):
            phase, start = _tap(offsets, geometry, pitch)
            source = flat[phase][first:last, :, start : start + run]
            factor = weights[first:last, :, tap, None]
            if tap == 0:
                np.multiply(source, factor, out=acc[:, :, :run])
            else:
                np.multiply(source, factor, out=product)
                acc[:, :, :run] += product
        target[first:last] = acc.reshape(last - first, multiplier, geometry.extents[0], *space[1:])[crop]


def _phases(image: Array, strides: Sequence[int]) -> Array:
    """Split image [C, space...] into [strides..., C, ceil(space/strides)...]: (p, c, i) is image[c, i*stride + p]."""
    if all(s == 1 for s in strides):
        return image.reshape(*strides, *image.shape)
    short = [-extent % s for extent, s in zip(image.shape[1:], strides, strict=True)]
    if any(short):
        image = np.pad(image, [(0, 0), *((0, extra) for extra in short)])
    split = [part for extent, s in zip(image.shape[1:], strides, strict=True) for part in (extent // s, s)]
    n = len(strides)
    axes = [*range(2, 2 * n + 1, 2), 0, *range(1, 2 * n + 1, 2)]
    return np.ascontiguousarray(image.reshape(len(image), *split).transpose(axes))


def _tap(offsets: Sequence[int], geometry: Geometry, pitch: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """The phase of a kernel tap and where its run starts in the flattened phase."""
    places = [o * d for o, d in zip(offsets, geometry.dilations, strict=True)]
    phase = tuple(place % s for place, s in zip(places, geometry.strides, strict=True))
    start = sum(place // s * p for place, s, p in zip(places, geometry.strides, pitch, strict=True))
    return phase, start


def convolve_transposed(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """Transposed convolution of x: [N, C, spatial...] with w: [C, M/groups, kernel...], plus bias: [M].

    One matrix product per tap of the kernel, added where the tap lands in the result.
    """
    compute = product_type(x, w, len(w) // geometry.groups * math.prod(geometry.kernel))
    groups, n, spatial = geometry.groups, len(x), x.shape[2:]
    per_group = w.shape[1]
    columns = x.astype(compute, copy=False).reshape(n, groups, len(w) // groups, -1)
    taps = w.astype(compute, copy=False).reshape(groups, len(w) // groups, per_group, -1).transpose(3, 0, 2, 1)
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
