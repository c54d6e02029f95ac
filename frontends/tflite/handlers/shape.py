"""Shapes: other views of the same elements, joining, cutting apart, padding, repeating."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uair.frontends.tflite import schema
from uair.frontends.tflite.node import Complex, Family, Result, TfliteNode, Value
from uair.ir.dims import Dim, Shape
from uair.ir.graph import Tensor
from uair.ops import (
    Concat,
    Expand,
    Flip,
    Pad,
    Reshape,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
)

FAMILY = Family()


def _viewed(n: TfliteNode, view: Callable[[Tensor, int], Tensor]) -> Value:
    """Operand 0 seen by `view`, which gets the tensor and its number of axes.

    Complex numbers are seen as their pairs; the axis of a pair is the last one and does not count.
    """
    value = n.value(0)
    if isinstance(value, Complex):
        return Complex(view(value.pairs, n.rank(value.pairs) - 1))
    return view(n[0], n.rank(n[0]))


@FAMILY.op("RESHAPE")
def _reshape(n: TfliteNode) -> Result:
    """The shape is an operand, or where that is left out an option."""
    pair = (2,) if isinstance(n.value(0), Complex) else ()
    dims = n.dims(n.raw(1)) if n.has(1) else n.options.integers("new_shape")
    if dims is None and not pair:
        return n(Reshape(), n[0], n.i64(n.raw(1)))
    if dims is None:
        n.refuse("complex numbers in a shape that is known only when the model runs", "fix the shapes of the inputs")
    return _viewed(n, lambda x, _: n.reshaped(x, (*dims, *pair)))


@FAMILY.op("TRANSPOSE")
def _transpose(n: TfliteNode) -> Result:
    x = n[0]
    return n.transposed(x, n.axes(n.integers(n.raw(1), "the order of the axes"), n.rank(x)))


@FAMILY.op("SQUEEZE")
def _squeeze(n: TfliteNode) -> Result:
    axes = n.options.integers("squeeze_dims")
    return _viewed(n, lambda x, rank: n(Squeeze(axes=n.axes(axes, rank) if axes else None), x))


@FAMILY.op("EXPAND_DIMS")
def _expand_dims(n: TfliteNode) -> Result:
    axes = n.integers(n.raw(1), "the axis")
    return _viewed(n, lambda x, rank: n(Unsqueeze(axes=n.axes(axes, rank + 1)), x))


@FAMILY.op("CONCATENATION")
def _concatenation(n: TfliteNode) -> Result:
    parts = n.operands
    axis = n.axis(n.options.integer("axis"), n.rank(parts[0]))
    return n.activated(n(Concat(axis=axis), *parts))


@FAMILY.op("PACK")
def _pack(n: TfliteNode) -> Result:
    parts = n.operands
    axis = n.axis(n.options.integer("axis"), n.rank(parts[0]) + 1)
    return n(Concat(axis=axis), *(n(Unsqueeze(axes=(axis,)), part) for part in parts))


@FAMILY.op("UNPACK")
def _unpack(n: TfliteNode) -> Result:
    x = n[0]
    axis = n.axis(n.options.integer("axis"), n.rank(x))
    count = len(n.operator.outputs)
    if count != n.extent(x, axis):
        n.refuse(f"{count} results for an axis of extent {n.extent(x, axis)}")
    parts = n.all(Split(axis=axis, sizes=(1,) * count), x)
    return [n(Squeeze(axes=(axis,)), part) for part in parts]


@FAMILY.op("SPLIT")
def _split(n: TfliteNode) -> Result:
    """Operands: the axis, then the tensor, which is cut into equal parts."""
    x, count = n[1], len(n.operator.outputs)
    axis = n.axis(*_one(n, 0, n.rank(x)))
    extent = n.extent(x, axis)
    if not isinstance(extent, int) or extent % count:
        n.refuse(f"an axis of extent {extent} in {count} equal parts")
    return n.all(Split(axis=axis, sizes=(extent // count,) * count), x)


@FAMILY.op("SPLIT_V")
def _split_v(n: TfliteNode) -> Result:
    """Operands: the tensor, the extents of the parts, of which one may be -1, and the axis."""
    x = n[0]
    axis = n.axis(*_one(n, 2, n.rank(x)))
    sizes = list(n.integers(n.raw(1), "the sizes"))
    if -1 in sizes:
        extent: Dim = n.extent(x, axis)
        whole: list[Dim] = [*sizes]
        whole[sizes.index(-1)] = extent - (sum(sizes) + 1)
        return n.all(Split(axis=axis, sizes=tuple(whole)), x)
    return n.all(Split(axis=axis, sizes=tuple(sizes)), x)


def _one(n: TfliteNode, i: int, rank: int) -> tuple[int, int]:
    numbers = n.integers(n.raw(i), "the axis")
    if len(numbers) != 1:
        n.refuse(f"one axis is needed, got {list(numbers)}")
    return numbers[0], rank


@FAMILY.op("PAD")
def _pad(n: TfliteNode) -> Result:
    return _padded(n, "constant", None)


@FAMILY.op("PADV2")
def _pad_v2(n: TfliteNode) -> Result:
    return _padded(n, "constant", n.single(n[2]))


@FAMILY.op("MIRROR_PAD")
def _mirror_pad(n: TfliteNode) -> Result:
    return _padded(n, n.options.choice("mode", schema.MIRROR_MODES).lower(), None)


def _padded(n: TfliteNode, mode: str, value: Tensor | None) -> Tensor:
    """Paddings [rank, 2]: in front of and behind each axis."""
    x, paddings = n[0], n.raw(1)
    known = n.value_of(paddings)
    if known is None:
        flat = n(Reshape(shape=(-1,)), n(Transpose(perm=(1, 0)), n.i64(paddings)))
        operands = [x, flat] if value is None else [x, flat, value]
        return n(Pad(mode=_mode(mode), value=0.0 if value is None else None), *operands)
    pads: Shape = tuple(int(v) if isinstance(v, int) else v for v in known.T.reshape(-1).tolist())
    if len(pads) != 2 * n.rank(x):
        n.refuse(f"{len(pads)} numbers for {n.rank(x)} axes")
    if value is None:
        return n(Pad(pads=pads, mode=_mode(mode)), x)
    return n(Pad(pads=pads, mode=_mode(mode), value=None), x, None, value)


def _mode(text: str) -> Any:
    return text


@FAMILY.op("TILE")
def _tile(n: TfliteNode) -> Result:
    x, repeats = n[0], n.dims(n.raw(1))
    return n(Tile(), x, n.i64(n.raw(1))) if repeats is None else n(Tile(repeats=repeats), x)


@FAMILY.op("REVERSE_V2")
def _reverse(n: TfliteNode) -> Result:
    x = n[0]
    return n(Flip(axes=n.axes(n.integers(n.raw(1), "the axes"), n.rank(x))), x)


@FAMILY.op("STABLEHLO_CONCATENATE")
def _hlo_concatenate(n: TfliteNode) -> Result:
    return n(Concat(axis=n.options.integer("dimension")), *n.operands)


@FAMILY.op("STABLEHLO_TRANSPOSE")
def _hlo_transpose(n: TfliteNode) -> Result:
    x = n[0]
    return n.transposed(x, n.axes(n.options.integers("permutation"), n.rank(x)))


@FAMILY.op("STABLEHLO_RESHAPE")
def _hlo_reshape(n: TfliteNode) -> Result:
    return n.reshaped(n[0], _declared(n))


@FAMILY.op("STABLEHLO_BROADCAST_IN_DIM")
def _hlo_broadcast(n: TfliteNode) -> Result:
    """Axis i of the operand is axis broadcast_dimensions[i] of the result."""
    x, wanted = n[0], _declared(n)
    places = n.options.integers("broadcast_dimensions")
    if len(places) != n.rank(x) or list(places) != sorted(set(places)) or any(not 0 <= p < len(wanted) for p in places):
        n.refuse(f"the axes {list(places)} of an operand of {n.rank(x)} axes in a result of {len(wanted)}")
    own = dict(zip(places, n.shape(x), strict=True))
    apart = n.reshaped(x, tuple(own.get(i, 1) for i in range(len(wanted))))
    return n(Expand(shape=wanted), apart)


@FAMILY.op("STABLEHLO_PAD")
def _hlo_pad(n: TfliteNode) -> Result:
    """Negative numbers crop; nothing can be put between the elements."""
    o = n.options
    if any(o.integers("interior_padding")):
        n.refuse("padding between the elements is not supported")
    pads = (*o.integers("edge_padding_low"), *o.integers("edge_padding_high"))
    return n(Pad(pads=pads, value=None), n[0], None, n.single(n[1]))


def _declared(n: TfliteNode) -> tuple[int, ...]:
    """The shape of the result as the file declares it.

    Raises:
        SourceOperatorError: an extent is open.
    """
    info = n.result_info()
    if info.signature is not None:
        n.refuse(f"the result has the open shape {list(info.signature)}")
    return info.shape
