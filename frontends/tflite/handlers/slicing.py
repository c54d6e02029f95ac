"""Parts of tensors: begin and size, or begin, end and stride with the masks of Python's slices."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import Dim
from uair.ir.graph import Tensor
from uair.ops import Add, Equal, Slice, Squeeze, Unsqueeze, Where

FAMILY = Family()

END = (1 << 63) - 1
"""A bound that means the very end."""


@FAMILY.op("SLICE")
def _slice(n: TfliteNode) -> Result:
    """A size of -1 reaches to the end."""
    x = n[0]
    axes = tuple(range(n.rank(x)))
    begin, size = n.dims(n.raw(1)), n.dims(n.raw(2))
    if begin is not None and size is not None:
        ends = tuple(END if s == -1 else b + s for b, s in zip(begin, size, strict=True))
        return n(Slice(axes=axes, starts=begin, ends=ends, steps=(1,) * len(axes)), x)
    starts, sizes = n.i64(n.raw(1)), n.i64(n.raw(2))
    ends_ = n(Where(), n(Equal(), sizes, n.like(-1, sizes)), n.like(END, sizes), n(Add(), starts, sizes))
    return n(Slice(axes=axes, steps=(1,) * len(axes)), x, starts, ends_)


@attrs.define
class _Plan:
    """What a strided slice does: along which axes it cuts, by which entry; which it drops; which it puts in."""

    axes: list[int] = attrs.Factory(list[int])
    entries: list[int] = attrs.Factory(list[int])
    dropped: list[int] = attrs.Factory(list[int])
    new: list[int] = attrs.Factory(list[int])


def _plan(n: TfliteNode, count: int, rank: int) -> _Plan:
    """Walk over the entries; an ellipsis stands for as many whole axes as are left."""
    o = n.options
    ellipsis, new, shrink = (o.integer(f"{name}_mask") for name in ("ellipsis", "new_axis", "shrink_axis"))
    plan = _Plan()
    axis = place = 0
    for i in range(count):
        bit = 1 << i
        if ellipsis & bit:
            behind = sum(not new & (1 << j) for j in range(i + 1, count))
            skipped = rank - axis - behind
            axis, place = axis + skipped, place + skipped
        elif new & bit:
            plan.new.append(place)
            place += 1
        else:
            plan.axes.append(axis)
            plan.entries.append(i)
            if shrink & bit:
                plan.dropped.append(axis)
            else:
                place += 1
            axis += 1
    if axis > rank:
        n.refuse(f"{count} bounds for a tensor of {rank} axes")
    return plan


@FAMILY.op("STRIDED_SLICE")
def _strided_slice(n: TfliteNode) -> Result:
    """Begin and end count from the end where they are negative; a mask's bit stands for a bound left out."""
    x = n[0]
    steps = n.integers(n.raw(3), "the strides")
    plan = _plan(n, len(steps), n.rank(x))
    taken = tuple(steps[i] for i in plan.entries)
    if 0 in taken:
        n.refuse("a stride is 0")
    begin, end = n.dims(n.raw(1)), n.dims(n.raw(2))
    if plan.axes:
        if begin is None or end is None:
            starts, ends = _computed(n, plan, taken)
            x = n(Slice(axes=tuple(plan.axes), steps=taken), x, starts, ends)
        else:
            bounds = [_bounds(n, i, begin, end, steps[i]) for i in plan.entries]
            op = Slice(
                axes=tuple(plan.axes), starts=tuple(b for b, _ in bounds), ends=tuple(e for _, e in bounds), steps=taken
            )
            x = n(op, x)
    if plan.dropped:
        x = n(Squeeze(axes=tuple(plan.dropped)), x)
    return n(Unsqueeze(axes=tuple(plan.new)), x) if plan.new else x


def _bounds(n: TfliteNode, i: int, begin: Sequence[Dim], end: Sequence[Dim], step: int) -> tuple[Dim, Dim]:
    """Start and end of entry `i` when they are known."""
    o = n.options
    bit = 1 << i
    if o.integer("shrink_axis_mask") & bit:
        return begin[i], END if begin[i] == -1 else begin[i] + 1
    start = (0 if step > 0 else END) if o.integer("begin_mask") & bit else begin[i]
    stop = end[i] + begin[i] if o.flag("offset") else end[i]
    if o.integer("end_mask") & bit:
        stop = END if step > 0 else -END
    return start, stop


def _computed(n: TfliteNode, plan: _Plan, steps: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Starts and ends as tensors, with constants where a mask says so."""
    o = n.options
    if len(plan.entries) != len(n.integers(n.raw(3), "the strides")):
        n.refuse("computed bounds together with an ellipsis or a new axis are not supported")
    begin, end = n.i64(n.raw(1)), n.i64(n.raw(2))
    if o.flag("offset"):
        end = n(Add(), begin, end)
    shrink = _bits(o.integer("shrink_axis_mask"), plan.entries)
    ends = end
    if any(shrink):
        last = n(Equal(), begin, n.like(-1, begin))
        behind = n(Where(), last, n.like(END, begin), n(Add(), begin, n.like(1, begin)))
        ends = n(Where(), n.stored(np.array(shrink)), behind, ends)
    open_ = _bits(o.integer("end_mask") & ~o.integer("shrink_axis_mask"), plan.entries)
    if any(open_):
        limits = n.stored(np.array([END if s > 0 else -END for s in steps], np.int64))
        ends = n(Where(), n.stored(np.array(open_)), limits, ends)
    first = _bits(o.integer("begin_mask") & ~o.integer("shrink_axis_mask"), plan.entries)
    if any(first):
        limits = n.stored(np.array([0 if s > 0 else END for s in steps], np.int64))
        begin = n(Where(), n.stored(np.array(first)), limits, begin)
    return begin, ends


def _bits(mask: int, entries: Sequence[int]) -> list[bool]:
    return [bool(mask & (1 << i)) for i in entries]


@FAMILY.op("STABLEHLO_SLICE")
def _hlo_slice(n: TfliteNode) -> Result:
    o = n.options
    starts, steps = o.integers("start_indices"), o.integers("strides")
    op = Slice(axes=tuple(range(len(starts))), starts=starts, ends=o.integers("limit_indices"), steps=steps)
    return n(op, n[0])
