"""Layers that move elements: reshaping, cropping, padding, repeating, enlarging."""

from __future__ import annotations

from typing import Any, cast

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dims import Dim, floor_div, product
from uair.ir.graph import Tensor

FAMILY = Family()


@FAMILY.op("Reshape")
def _reshape(n: KerasNode) -> Result:
    """The batch stays; -1 is what remains."""
    x = n.x
    target = n.integers_of(n.get("target_shape"), "target_shape")
    n.require(target.count(-1) <= 1 and all(d >= -1 for d in target), f"target_shape is {list(target)}")
    shape = n.shape(x)
    known: tuple[Dim, ...] = target
    if -1 in target:
        rest: Dim = 1
        for d in target:
            rest = rest * (1 if d == -1 else d)
        n.require(rest != 0, "what remains for -1 is not known beside an extent of 0")
        known = tuple(floor_div(product(shape[1:]), rest) if d == -1 else d for d in target)
    return n.reshaped(x, (shape[0], *known))


@FAMILY.op("Flatten")
def _flatten(n: KerasNode) -> Result:
    """All axes but the batch in one. channels_first reads them as if the channels were last."""
    x = n.x
    rank = n.rank(x)
    if rank == 1:
        return n.reshaped(x, (*n.shape(x), 1))
    if not n.channels_last and rank > 2:
        x = n.transposed(x, (0, *range(2, rank), 1))
    shape = n.shape(x)
    return n.reshaped(x, (shape[0], product(shape[1:])))


@FAMILY.op("Permute")
def _permute(n: KerasNode) -> Result:
    """Its axes count from 1, the batch left out."""
    x = n.x
    dims = n.integers_of(n.get("dims"), "dims", n.rank(x) - 1)
    n.require(sorted(dims) == list(range(1, n.rank(x))), f"dims are {list(dims)}")
    return n.transposed(x, (0, *dims))


@FAMILY.op("RepeatVector")
def _repeat_vector(n: KerasNode) -> Result:
    x, count = n.x, n.integer("n")
    batch, features = n.shape(x)
    return n(ops.Expand(shape=(batch, count, features)), n(ops.Unsqueeze(axes=(1,)), x))


def _pairs(n: KerasNode, name: str, rank: int) -> list[tuple[int, int]]:
    """What an entry says for the begin and end of each axis: one number, one for each axis, or pairs."""
    given: Any = n.get(name, 1)
    if isinstance(given, int):
        return [(given, given)] * rank
    items = list(cast("list[Any]", given))
    if rank == 1 and len(items) == 2 and all(isinstance(i, int) for i in items):
        return [(items[0], items[1])]
    n.require(len(items) == rank, f"{name} is {given!r}, {rank} axes need as many entries")
    pairs = [(i, i) if isinstance(i, int) else tuple(n.integers_of(i, name, 2)) for i in items]
    return [(a, b) for a, b in pairs]


@FAMILY.op("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def _zero_padding(n: KerasNode) -> Result:
    rank = int(n.op_type[-2])
    pairs = _pairs(n, "padding", rank)
    x = n.image(n.x, rank)
    n.require(all(p >= 0 for pair in pairs for p in pair), f"padding is {pairs}")
    begins, ends = (0, 0, *(a for a, _ in pairs)), (0, 0, *(b for _, b in pairs))
    return n.picture(n(ops.Pad(pads=begins + ends, mode="constant", value=0.0), x))


@FAMILY.op("Cropping1D", "Cropping2D", "Cropping3D")
def _cropping(n: KerasNode) -> Result:
    rank = int(n.op_type[-2])
    x = n.image(n.x, rank)
    pairs = _pairs(n, "cropping", rank)
    n.require(all(p >= 0 for pair in pairs for p in pair), f"cropping is {pairs}")
    for extent, (a, b) in zip(n.shape(x)[2:], pairs, strict=True):
        n.require(not isinstance(extent, int) or a + b < extent, f"cropping {pairs} leaves nothing of {n.shape(x)[2:]}")
    cut = [(axis, a, b) for axis, (a, b) in enumerate(pairs, 2) if a or b]
    if not cut:
        return n.picture(x)
    shape = n.shape(x)
    op = ops.Slice(
        axes=tuple(axis for axis, _, _ in cut),
        starts=tuple(a for _, a, _ in cut),
        steps=(1,) * len(cut),
        ends=tuple(_end(shape[axis], b) for axis, _, b in cut),
    )
    return n.picture(n(op, x))


def _end(extent: Dim, left_out: int) -> int:
    """Where a slice ends that leaves out the last elements of an axis."""
    return extent - left_out if isinstance(extent, int) else -left_out or 2**31 - 1


@FAMILY.op("UpSampling1D", "UpSampling2D", "UpSampling3D")
def _up_sampling(n: KerasNode) -> Result:
    """Every element repeated along each axis; in two axes also by interpolation at half-pixel centres."""
    rank = int(n.op_type[-2])
    size = n.tuple_of("size", rank, 2)
    n.require(min(size) >= 1, f"size is {list(size)}")
    x = n.image(n.x, rank)
    mode = str(n.get("interpolation", "nearest"))
    scales = (1.0, 1.0, *map(float, size))
    if mode == "nearest":
        op = ops.Resize(scales=scales, mode="nearest", coordinate_mode="asymmetric", nearest_mode="floor")
        return n.picture(n(op, x))
    return n.picture(n(_interpolation(n, mode, scales=scales), x))


def resized(n: KerasNode, x: Tensor, size: tuple[Dim, ...], mode: str, antialias: bool = False) -> Tensor:
    """X [N, C, H, W] resampled to other extents, as tf.image.resize does: nearest takes floor((i + 0.5) * scale)."""
    sizes = (*n.shape(x)[:2], *size)
    if mode == "nearest":
        op = ops.Resize(sizes=sizes, mode="nearest", coordinate_mode="tf_half_pixel_for_nn", nearest_mode="floor")
        return n(op, x)
    return n(_interpolation(n, mode, antialias=antialias, sizes=sizes), x)


def _interpolation(n: KerasNode, mode: str, *, antialias: bool = False, **extents: Any) -> ops.Resize:
    """Resampling at half-pixel centres; bicubic has the kernel parameter -0.5 and leaves out what is outside."""
    if mode == "bilinear":
        return ops.Resize(
            **extents, mode="linear", coordinate_mode="half_pixel", antialias=antialias, exclude_outside=antialias
        )
    if mode == "bicubic":
        return ops.Resize(
            **extents,
            mode="cubic",
            coordinate_mode="half_pixel",
            cubic_a=-0.5,
            exclude_outside=True,
            antialias=antialias,
        )
    n.refuse(f"interpolation {mode!r} is not expressed", "use nearest, bilinear or bicubic")
