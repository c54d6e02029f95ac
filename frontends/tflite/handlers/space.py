"""Elements moved between the channels, the batch and the spatial axes."""

from __future__ import annotations

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import Dim, Shape, floor_div
from uair.ops import DepthToSpace, Pad, Reshape, Slice, SpaceToDepth, Transpose

FAMILY = Family()


@FAMILY.op("DEPTH_TO_SPACE")
def _depth_to_space(n: TfliteNode) -> Result:
    op = DepthToSpace(block=n.options.integer("block_size"), mode="DCR")
    return channels_last(n, n(op, channels_first(n, n[0])))


@FAMILY.op("SPACE_TO_DEPTH")
def _space_to_depth(n: TfliteNode) -> Result:
    op = SpaceToDepth(block=n.options.integer("block_size"))
    return channels_last(n, n(op, channels_first(n, n[0])))


def _block(n: TfliteNode) -> tuple[int, ...]:
    block = n.integers(n.raw(1), "the block")
    if not block or min(block) < 1 or len(block) >= n.rank(n[0]):
        n.refuse(f"blocks of {list(block)} in a tensor of {n.rank(n[0])} axes")
    return block


def _pairs(n: TfliteNode, block: tuple[int, ...], what: str) -> list[tuple[int, int]]:
    """Numbers in front of and behind each spatial axis."""
    known = n.value_of(n.raw(2))
    if known is None or known.shape != (len(block), 2):
        n.refuse(f"{what} must be known when the model is read, two for each of {len(block)} axes")
    return [(int(a), int(b)) for a, b in known.tolist()]


@FAMILY.op("SPACE_TO_BATCH_ND")
def _space_to_batch(n: TfliteNode) -> Result:
    """The place inside of a block, row-major, becomes the outer part of the batch's index."""
    x, block = n[0], _block(n)
    count, rank = len(block), n.rank(x)
    pads = _pairs(n, block, "the paddings")
    behind = (0,) * (rank - count - 1)
    if any(map(any, pads)):
        x = n(Pad(pads=(0, *(a for a, _ in pads), *behind, 0, *(b for _, b in pads), *behind)), x)
    shape = n.shape(x)
    apart: list[Dim] = [shape[0]]
    for extent, b in zip(shape[1:], block, strict=False):
        apart += [floor_div(extent, b), b]
    split = n(Reshape(shape=(*apart, *shape[1 + count :])), x)
    order = (*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, rank + count))
    moved = n(Transpose(perm=order), split)
    batch: Dim = shape[0]
    for b in block:
        batch = batch * b
    result: Shape = (batch, *(apart[1 + 2 * i] for i in range(count)), *shape[1 + count :])
    return n(Reshape(shape=result), moved)


@FAMILY.op("BATCH_TO_SPACE_ND")
def _batch_to_space(n: TfliteNode) -> Result:
    """The inverse of SPACE_TO_BATCH_ND, with what was padded cropped."""
    x, block = n[0], _block(n)
    count, rank = len(block), n.rank(x)
    crops = _pairs(n, block, "the crops")
    shape = n.shape(x)
    total = 1
    for b in block:
        total *= b
    batch = floor_div(shape[0], total)
    split = n(Reshape(shape=(*block, batch, *shape[1:])), x)
    order = [count]
    for i in range(count):
        order += [count + 1 + i, i]
    moved = n(Transpose(perm=(*order, *range(2 * count + 1, rank + count))), split)
    whole: tuple[Dim, ...] = tuple(d * b for d, b in zip(shape[1:], block, strict=False))
    joined = n(Reshape(shape=(batch, *whole, *shape[1 + count :])), moved)
    if not any(map(any, crops)):
        return joined
    op = Slice(
        axes=tuple(range(1, count + 1)),
        starts=tuple(a for a, _ in crops),
        ends=tuple(d - b for d, (_, b) in zip(whole, crops, strict=True)),
        steps=(1,) * count,
    )
    return n(op, joined)
