"""NumPy kernels of convolution: everything is matrix products, over elements that are gathered tile by tile.

What costs least depends on the shapes:

    pointwise   one tap: nothing is gathered
    by tap      few filters of many channels: a product per tap over whole images, added up where the tap lands
    banded      a filter per channel: neighbours are gathered along rows only, and a band of rows is one product
    windowed    all others: whole windows are gathered (im2col)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
from numpy.lib.stride_tricks import as_strided

from uair.ir.dtype import Array
from uair.ops._precision import is_integral, product_type, rounded
from uair.ops._windows import inner_axes

# The gathered windows of a tile should stay in a core's second-level cache.
TILE_BYTES = 1 << 20
BAND = 4
"""Rows of the result that one product makes where every channel has a filter of its own: more gather less, and multiply
more zeros."""
FEW = 4
"""Channels for one filter from which on adding up results costs less than gathering channels."""


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
        kernel = _by_tap if _has_few_filters(w, geometry) else _banded if _is_depthwise(x, w, geometry) else _windowed
        kernel(x, w, geometry, out)
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


def _strided(array: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """A view of a contiguous array from its first element on; `as_strided` takes eight times as long."""
    view: Array = np.ndarray(shape, array.dtype, array, 0, strides)
    return view


def _has_few_filters(w: Array, geometry: Geometry) -> bool:
    """Whether a step of 1 lets images be multiplied as they lie, and adding up the results costs little."""
    return geometry.groups == 1 and FEW * len(w) <= w.shape[1] and all(s == 1 for s in geometry.strides)


def _by_tap(x: Array, w: Array, geometry: Geometry, out: Array) -> None:
    """A matrix product per tap over padded images that lie flat, begun where the tap does; `out` is written.

    Where a row ends, a product goes on in the next one: those columns are left out in the end.
    """
    filters, depth = w.shape[:2]
    taps = np.ascontiguousarray(w.reshape(filters, depth, -1).transpose(2, 0, 1))
    offsets = list(itertools.product(*(range(k) for k in geometry.kernel)))
    for image, _, windows in _padded_blocks(np.ascontiguousarray(x)[:, None], 1, geometry):
        steps = windows.strides[-len(geometry.extents) :]
        row = steps[0] // x.itemsize
        last = sum((e - 1) * s for e, s in zip(geometry.extents[1:], steps[1:], strict=True)) // x.itemsize + 1
        rows = min(max(TILE_BYTES // (x.itemsize * (2 * filters + depth) * row), 1), geometry.extents[0])
        room = np.empty((2, filters * rows * row), x.dtype)
        for first in range(0, geometry.extents[0], rows):
            count = min(rows, geometry.extents[0] - first)
            length = (count - 1) * row + last
            total, term = (r[: filters * length].reshape(filters, length) for r in room)
            at: tuple[Any, ...] = (slice(None), *offsets[0], slice(first, None))
            begin = windows[at]
            strides = (*windows.strides[1 : 1 + len(geometry.kernel)], begin.strides[0], x.itemsize)
            flat = as_strided(begin, (*geometry.kernel, depth, length), strides, writeable=False)
            for tap, offset in zip(taps, offsets, strict=True):
                np.matmul(tap, flat[offset], out=term if any(offset) else total)
                if any(offset):
                    total += term
            extents = (count, *geometry.extents[1:])
            out[image, :, first : first + count] = as_strided(total, (filters, *extents), (total.strides[0], *steps))


def _is_depthwise(x: Array, w: Array, geometry: Geometry) -> bool:
    """Whether every channel of images has one filter, bands share rows, and products with zero are zero."""
    if len(geometry.kernel) != 2 or w.shape[1] != 1 or not geometry.groups == len(w) > 1 or x.dtype.kind != "f":
        return False
    height, width = geometry.kernel
    shares = height > 2 and width > 1 and 2 * geometry.strides[0] <= height + 1 and geometry.extents[1] > 1
    return shares and _is_finite(x)


def _is_finite(x: Array) -> bool:
    """Whether no element is infinite or NaN; False also where squares overflow."""
    flat = x.reshape(-1)
    with np.errstate(all="ignore"):
        return math.isfinite(float(flat @ flat))


def _banded(x: Array, w: Array, geometry: Geometry, out: Array) -> None:
    """Make BAND rows of a channel by one product; `out` is written.

    Of all rows that these rows see, the elements are gathered that each tap along the row sees. A matrix [BAND, those
    rows x taps] has the filter in each of its rows, beginning where the row's window does, and zeros beside it. Bands
    see rows of each other, so a row is gathered once where windows gather it for each tap of the other axis.
    """
    stride, rows, columns, width = geometry.strides[0], *geometry.extents, geometry.kernel[1]
    reach = (geometry.kernel[0] - 1) * geometry.dilations[0] + 1
    band = min(BAND, rows)
    bands = np.zeros((len(w), band, (band - 1) * stride + reach, width), x.dtype)
    for i in range(band):
        bands[:, i, i * stride : i * stride + reach : geometry.dilations[0]] = w[:, 0]
    bands = bands.reshape(len(w), 1, band, -1)
    row_bytes = x.itemsize * width * columns
    taken = min(max(TILE_BYTES // (row_bytes * stride * band), 1) * band, rows)
    held = (taken - 1) * stride + reach
    block = min(max(TILE_BYTES // (row_bytes * held), 1), len(w))
    gathered = np.zeros((block, held, width, columns), x.dtype)
    for image, result in zip(x, out, strict=True):
        for channel in range(0, len(w), block):
            some = image[channel : channel + block]
            for first in range(0, rows, taken):
                _gather_rows(some, gathered[: len(some)], first * stride, geometry)
                made = result[channel : channel + block, first : first + taken]
                _multiply_bands(bands[channel : channel + block], gathered[: len(some)], made, stride)


def _gather_rows(channels: Array, gathered: Array, start: int, geometry: Geometry) -> None:
    """Set gathered[c, r, t, q]: what tap t sees in row `start` + r of padded channels [C, height, width] for column q.

    Columns in which a tap sees padding are never written.
    """
    (top, left), stride, dilation = geometry.begins, geometry.strides[1], geometry.dilations[1]
    low = min(max(top - start, 0), gathered.shape[1])
    high = min(max(top + channels.shape[1] - start, low), gathered.shape[1])
    gathered[:, :low] = 0
    gathered[:, high:] = 0
    inside = channels[:, start + low - top : start + high - top]
    for tap in range(geometry.kernel[1]):
        at = tap * dilation - left
        first = max(-(at // stride), 0)
        count = min((channels.shape[2] - 1 - at) // stride + 1, geometry.extents[1]) - first
        if count > 0:
            begin = at + first * stride
            columns = inside[:, :, begin : begin + (count - 1) * stride + 1 : stride]
            gathered[:, low:high, tap, first : first + count] = columns


def _multiply_bands(bands: Array, gathered: Array, result: Array, stride: int) -> None:
    """Set the result [C, rows, columns] to products of bands [C, 1, BAND, K] with gathered rows; see `_banded`."""
    channels, _, band, depth = bands.shape
    width, columns = gathered.shape[2:]
    whole, left = divmod(result.shape[1], band)
    if whole:
        s = gathered.strides
        shape = (channels, whole, depth, columns)
        tiles = _strided(gathered, shape, (s[0], band * stride * s[1], *s[2:]))
        np.matmul(bands, tiles, out=result[:, : whole * band].reshape(channels, whole, band, columns))
    if left:
        rows = depth // width - (band - left) * stride
        rest = gathered[:, whole * band * stride :][:, :rows].reshape(channels, rows * width, columns)
        np.matmul(bands[:, 0, :left, : rows * width], rest, out=result[:, whole * band :])


def convolve_transposed(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
    """Transposed convolution of x: [N, C, spatial...] with w: [C, M/groups, kernel...], plus bias: [M].

    One matrix product per tap of the kernel, added where the tap lands in the result; set where no other tap does.
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
    lands_once = all(
        k == s and d == 1 for k, s, d in zip(geometry.kernel, geometry.strides, geometry.dilations, strict=True)
    )
    is_filled = lands_once and all(c == e * s for c, e, s in zip(covered, spatial, geometry.strides, strict=True))
    full = (np.empty if is_filled else np.zeros)((n, groups * per_group, *covered), compute)
    for tap, offsets in enumerate(itertools.product(*(range(k) for k in geometry.kernel))):
        landing = inner_axes(
            slice(o * d, o * d + (extent - 1) * s + 1, s)
            for o, d, s, extent in zip(offsets, geometry.dilations, geometry.strides, spatial, strict=True)
        )
        term = np.matmul(taps[tap], columns)
        term = term.reshape(n, groups * per_group, *spatial)
        if lands_once:
            full[landing] = term
        else:
            full[landing] += term
    kept = inner_axes(slice(b, b + out) for b, out in zip(geometry.begins, geometry.extents, strict=True))
    return _finish(np.ascontiguousarray(full[kept]), bias, x)
