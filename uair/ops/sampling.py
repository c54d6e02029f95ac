"""Reading images at computed places: GridSample, and the convolution whose taps move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uair.ir.dims import Dim, InferredShape, is_static, product, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._compute import converted
from uair.ops._precision import is_integral, rounded, widened
from uair.ops._sampling import SampleMode, SamplePadding, pixel_coordinates, sample
from uair.ops._sampling_parts import sampled, scaled
from uair.ops._windows import output_extent, require_window
from uair.ops.base import (
    Ints,
    Operator,
    Sample,
    bad,
    case,
    operator,
    ranked,
    require,
    require_shape,
    same_dtype,
    unify_extents,
)
from uair.ops.elementwise import Add, Cast, Clip, Mul, Trunc
from uair.ops.indexing import Gather
from uair.ops.linear import MatMul
from uair.ops.shape import Concat, Reshape, Slice

FAMILY = "sampling"


def saturated(result: Array, dtype: DType) -> Array:
    """A real result in the element type `dtype`; for integers truncated towards zero and clamped to their range."""
    if dtype.is_integer:
        least, greatest = dtype.range
        with np.errstate(invalid="ignore"):  # NaN has no integer
            return np.clip(np.trunc(result.astype(np.float64)), least, greatest).astype(dtype.numpy)
    return rounded(result, dtype.numpy)


def _wide(t: Tensor) -> Tensor:
    """A floating-point tensor in the type it is computed in."""
    return converted(t, DType.F32) if t.type.dtype.bits < 32 else t


@operator(inputs="x grid", family=FAMILY)
class GridSample(Operator):
    """x read at the places of a grid. x: [N, C, D1..Dr]; grid: [N, P1..Pr, r]; result: [N, C, P1..Pr], x's type.

    grid[n, p..., k] is the coordinate along the k-th axis from the last (x before y), from -1 to 1: those are the
    centres of the outer elements with align_corners, their outer edges without: coordinate = (g + 1) / 2 * (D - 1), or
    ((g + 1) * D - 1) / 2. nearest takes the element that the coordinate rounds to (halves to even), linear and cubic
    (Keys' kernel, a = -0.75) weight 2^r and 4^r elements. Elements outside of x are 0 (zeros), those of the border,
    or mirrored at the border: the outer elements' centres with align_corners, their edges without. border and
    reflection move the coordinate itself inside, too, but border not in cubic mode. Integers are interpolated as real
    numbers, then truncated and saturated.

    Source: ONNX GridSample (22), onnxruntime, torch.nn.functional.grid_sample; ONNX's reference moves the coordinate
    inside in cubic mode with border, too.
    """

    mode: SampleMode = "linear"
    padding: SamplePadding = "zeros"
    align_corners: bool = False

    def infer(self, x: TensorType, grid: TensorType) -> TensorType:
        require(grid.dtype.is_float, "grid must be floating-point, is {}", grid.dtype, hint="insert a Cast")
        known = x.dtype.is_float or x.dtype.is_integer or x.dtype in (DType.C64, DType.C128)
        require(self.mode == "nearest" or known, "element type {} cannot be interpolated", x.dtype)
        shape, places = ranked(x), ranked(grid, "grid")
        require(len(shape) >= 3, "x must have spatial axes behind N and C, has shape {}", list(shape))
        require(
            len(places) == len(shape),
            "grid must have rank {} as x has, its shape is {}",
            len(shape),
            list(places),
            hint="one axis for N, one for every spatial axis of the result, and the last for the coordinates",
        )
        require(unify_extents(places[-1], len(shape) - 2), "grid has {} coordinates a place, x {} spatial axes",
                places[-1], len(shape) - 2)  # fmt: skip
        require(unify_extents(shape[0], places[0]), "x has {} images, grid {}", shape[0], places[0])
        require(0 not in shape[2:], "x has no elements to read, its shape is {}", list(shape))
        batch = shape[0] if shape[0] is not None else places[0]
        return inferred(x.dtype, (batch, shape[1], *places[1:-1]))

    def evaluate(self, x: Array, grid: Array) -> Array:
        places = widened(grid).reshape(grid.shape[0], math.prod(grid.shape[1:-1]), grid.shape[-1])
        coordinates = [
            pixel_coordinates(places[:, :, -1 - axis], extent, self.align_corners)
            for axis, extent in enumerate(x.shape[2:])
        ]
        dtype = DType.from_numpy(x.dtype)
        real = x
        if self.mode != "nearest":
            real = x.astype(np.float32 if dtype.bits <= 16 else np.float64) if is_integral(x) else widened(x)
            kind = np.promote_types(places.dtype, np.finfo(real.dtype).dtype)
            coordinates = [c.astype(kind, copy=False) for c in coordinates]
        result = sample(real, coordinates, self.mode, self.padding, self.align_corners)
        result = result.reshape(*x.shape[:2], *grid.shape[1:-1])
        return result if self.mode == "nearest" else saturated(result, dtype)

    def decompose(self, x: Tensor, grid: Tensor) -> Tensor | None:
        shape, places = x.type.dims, grid.type.dims
        complex_numbers = x.type.dtype in (DType.C64, DType.C128)
        if not is_static(shape[2:]) or (complex_numbers and self.mode != "nearest"):
            return None
        rank, dtype = len(shape) - 2, x.type.dtype
        count = product(places[1:-1])
        rows = Reshape(shape=(places[0], count, rank))(_wide(grid))
        coordinates: list[Tensor] = []
        for axis, extent in enumerate(static(shape[2:])):
            place = Gather(axis=2)(rows, constant(np.array(rank - 1 - axis)))
            factor = (extent - 1) / 2 if self.align_corners else extent / 2
            coordinates.append(scaled(scaled(place, 1, 1), factor, 0 if self.align_corners else -0.5))
        real = x
        if self.mode != "nearest":
            real = Cast(to=DType.F32 if dtype.bits <= 16 else DType.F64)(x) if dtype.is_integer else _wide(x)
            coordinates = [converted(c, real.type.dtype) for c in coordinates]
        y = Reshape(shape=(*shape[:2], *places[1:-1]))(
            sampled(real, coordinates, self.mode, self.padding, self.align_corners)
        )
        if y.type.dtype is dtype:
            return y
        if dtype.is_integer:
            y = Clip(min=float(dtype.range[0]), max=float(dtype.range[1]))(Trunc()(y))
        return Cast(to=dtype)(y)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        taps = {"nearest": 0, "linear": 2, "cubic": 4}[self.mode] ** (len(results[0].dims) - 2)
        return int(2 * taps * results[0].size)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        modes: tuple[SampleMode, ...] = ("nearest", "linear", "cubic")
        paddings: tuple[SamplePadding, ...] = ("zeros", "border", "reflection")
        for mode in modes:
            for padding in paddings:
                yield case(cls(mode=mode, padding=padding), "f32[2,3,4,5]", "f32[2,2,3,2]")
            yield case(cls(mode=mode, padding="reflection", align_corners=True), "f32[1,2,3,4]", "f32[1,3,2,2]")
        yield case(cls(), "f16[1,2,3,4]", "f16[1,2,2,2]")
        yield case(cls(align_corners=True), "f32[1,2,3,4,5]", "f32[1,2,2,3,3]")
        yield case(cls(mode="nearest"), "f32[1,1,2,3,4]", "f32[1,2,2,2,3]")
        yield case(cls(padding="border"), "f32[1,2,1,1]", "f32[1,2,0,2]")
        yield bad(cls(), "f32[1,2,3,4]", "f32[1,2,2,3]", because="3 coordinates")
        yield bad(cls(), "f32[1,2,3,4]", "f32[2,2,2,2]", because="1 images")
        yield bad(cls(), "f32[1,2,3,4]", "f32[1,2,2]", because="grid must have rank 4")
        yield bad(cls(), "f32[1,2,3,4]", "i64[1,2,2,2]", because="must be floating-point")
        yield bad(cls(), "bool[1,2,3,4]", "f32[1,2,2,2]", because="cannot be interpolated")
        yield bad(cls(), "f32[1,2,0,4]", "f32[1,2,2,2]", because="no elements to read")


@operator(inputs="x w offset bias? mask?", family=FAMILY)
class DeformConv(Operator):
    """Convolution whose taps are moved by an offset of their own at every place; over any number r of spatial axes.

    x: [N, C, D1..Dr]; w: [M, C/groups, k1..kr]; bias: [M]; offset: [N, G * K * r, O1..Or] with G = offset_groups and K
    = k1 * ... * kr; mask: [N, G * K, O1..Or]; result: [N, M, O1..Or]. As Conv2D, but tap t of the channels of offset
    group g reads x at i * stride - pad + t * dilation + offset[n, (g, t, axis), i], between elements by linear
    interpolation, outside of x zero, and what it reads is multiplied by mask[n, (g, t), i]. Offset groups divide the
    input channels. An empty list of strides, pads or dilations stands for ones, zeros and ones. Source: ONNX
    DeformConv, torchvision.ops.deform_conv2d.
    """

    strides: Ints = ()
    pads: Ints = ()
    dilations: Ints = ()
    groups: int = 1
    offset_groups: int = 1

    def window(self, rank: int) -> tuple[Ints, Ints, Ints]:
        """Strides, pads and dilations of `rank` spatial axes."""
        return self.strides or (1,) * rank, self.pads or (0,) * (2 * rank), self.dilations or (1,) * rank

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        offset: TensorType,
        bias: TensorType | None = None,
        mask: TensorType | None = None,
    ) -> TensorType:
        dtype = same_dtype(x=x, w=w, offset=offset, bias=bias, mask=mask)
        require(dtype.is_float, "element type {} has no places between elements", dtype, hint="insert a Cast")
        shape = ranked(x)
        rank = len(shape) - 2
        require(rank >= 1, "x must have spatial axes behind N and C, has shape {}", list(shape))
        weight, moved = ranked(w, "w", rank + 2), ranked(offset, "offset", rank + 2)
        require_window(*self.window(rank), rank)
        require(min(self.groups, self.offset_groups) >= 1, "groups and offset_groups must be at least 1")
        kernel = tuple(d for d in weight[2:] if isinstance(d, int))
        require(len(kernel) == rank, "the kernel extents of w must be known, w has shape {}", list(weight))
        self._require_channels(shape, weight, bias)
        taps = self.offset_groups * int(np.prod(kernel))
        require(unify_extents(shape[0], moved[0]), "x has {} images, offset {}", shape[0], moved[0])
        require(unify_extents(moved[1], taps * rank), "offset has {} channels, needs {}", moved[1], taps * rank)
        require_shape(mask, "mask", moved[0], taps, *moved[2:])
        return inferred(dtype, (shape[0], weight[0], *self._extents(shape[2:], kernel, moved[2:])))

    def _require_channels(self, shape: InferredShape, weight: InferredShape, bias: TensorType | None) -> None:
        expected = None if weight[1] is None else weight[1] * self.groups
        require(unify_extents(expected, shape[1]), "weight expects {} input channels, x has {}", expected, shape[1])
        for name, channels, parts in (("output", weight[0], self.groups), ("input", shape[1], self.offset_groups)):
            divides = not isinstance(channels, int) or channels % parts == 0
            require(divides, "{} {} channels cannot be divided into {} groups", channels, name, parts)
        if bias is not None:
            (extent,) = ranked(bias, "bias", 1)
            require(unify_extents(extent, weight[0]), "bias has {} elements for {} channels", extent, weight[0])

    def _extents(self, spatial: InferredShape, kernel: Ints, given: InferredShape) -> list[Dim | None]:
        rank = len(kernel)
        strides, pads, dilations = self.window(rank)
        result: list[Dim | None] = []
        for i, extent in enumerate(spatial):
            count = output_extent(extent, kernel[i], strides[i], dilations[i], (pads[i], pads[rank + i]))
            require(not isinstance(count, int) or count >= 1, "the window does not fit into axis {} of x", i + 2)
            require(unify_extents(count, given[i]), "offset is for {} places along axis {}, there are {}", given[i],
                    i + 2, count)  # fmt: skip
            result.append(count if count is not None else given[i])
        return result

    def evaluate(
        self, x: Array, w: Array, offset: Array, bias: Array | None = None, mask: Array | None = None
    ) -> Array:
        wide, weight = widened(x), widened(w)
        n, c, places = x.shape[0], x.shape[1], offset.shape[2:]
        kernel, g = w.shape[2:], self.offset_groups
        taps, count = math.prod(kernel), math.prod(places)
        columns = np.empty((n, c, taps, count), wide.dtype)
        base = self._places(kernel, places)
        moved = widened(offset).reshape(n, g, taps, len(kernel), count)
        for group in range(g):
            channels = slice(group * (c // g), (group + 1) * (c // g))
            coordinates = [(base[i] + moved[:, group, :, i]).reshape(n, taps * count) for i in range(len(kernel))]
            columns[:, channels] = sample(wide[:, channels], coordinates).reshape(n, c // g, taps, count)
        if mask is not None:
            factor = np.repeat(widened(mask).reshape(n, g, 1, taps, count), c // g, axis=2)
            columns *= factor.reshape(columns.shape)
        rows = c // self.groups * taps
        grouped = columns.reshape(n, self.groups, rows, count)
        result: Array = np.matmul(weight.reshape(self.groups, w.shape[0] // self.groups, rows), grouped)
        result = result.reshape(n, w.shape[0], *places)
        if bias is not None:
            result = result + widened(bias).reshape(-1, *(1 for _ in places))
        return rounded(result, x.dtype)

    def decompose(
        self, x: Tensor, w: Tensor, offset: Tensor, bias: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor | None:
        shape, weight, moved = x.type.dims, w.type.dims, offset.type.dims
        if not is_static((*shape[1:], *weight, *moved[2:])):
            return None
        n, (c, *_), (m, *_), g = shape[0], static(shape[1:]), static(weight[:1]), self.offset_groups
        kernel, places = static(weight[2:]), static(moved[2:])
        rank, taps, count = len(kernel), int(np.prod(kernel)), int(np.prod(places))
        wide, offsets = _wide(x), Reshape(shape=(n, g, taps, rank, count))(_wide(offset))
        base = [b.astype(wide.type.dtype.numpy) for b in self._places(kernel, places)]
        columns: list[Tensor] = []
        for group in range(g):
            part = Slice(axes=(1,), starts=(group * (c // g),), ends=((group + 1) * (c // g),), steps=(1,))(wide)
            own = Gather(axis=1)(offsets, constant(np.array(group)))
            coordinates = [
                Reshape(shape=(n, taps * count))(
                    Add()(Gather(axis=2)(own, constant(np.array(axis))), constant(base[axis]))
                )
                for axis in range(rank)
            ]
            columns.append(sampled(part, coordinates, "linear", "zeros", align_corners=True))
        read = columns[0] if g == 1 else Concat(axis=1)(*columns)
        if mask is not None:
            apart = Reshape(shape=(n, g, c // g, taps * count))(read)
            read = Mul()(apart, Reshape(shape=(n, g, 1, taps * count))(_wide(mask)))
        grouped = Reshape(shape=(n, self.groups, c // self.groups * taps, count))(read)
        factors = Reshape(shape=(self.groups, m // self.groups, c // self.groups * taps))(_wide(w))
        y = Reshape(shape=(n, m, *places))(MatMul()(factors, grouped))
        if bias is not None:
            y = Add()(y, Reshape(shape=(m, *(1 for _ in places)))(_wide(bias)))
        return converted(y, x.type.dtype)

    def _places(self, kernel: Sequence[int], places: Sequence[int]) -> list[Array]:
        """Coordinate of every tap at every place without its offset, [taps, places], for every spatial axis."""
        rank = len(kernel)
        strides, pads, dilations = self.window(rank)
        grids: list[Any] = []
        for i in range(rank):
            tap = np.arange(kernel[i]).reshape(-1, *(1,) * (rank - 1 - i)) * dilations[i]
            start = np.arange(places[i]).reshape(-1, *(1,) * (rank - 1 - i)) * strides[i] - pads[i]
            taps = np.broadcast_to(tap, kernel).reshape(-1, 1)
            starts = np.broadcast_to(start, places).reshape(1, -1)
            grids.append((taps + starts).astype(np.float32))
        return grids

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x, w = operands[0], operands[1]
        assert x is not None
        assert w is not None
        rank = len(w.dims) - 2
        taps = TensorType(w.dtype, w.dims[2:]).size
        read = results[0].size // max(results[0].with_shape(results[0].dims[1:2]).size, 1)
        channels = x.with_shape(x.dims[1:2]).size
        return int(2 * taps * (2**rank * read * channels + results[0].size * channels // self.groups))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[1,2,4,5]", "f32[3,2,2,3]", "f32[1,12,3,3]")
        yield case(
            cls(strides=(2, 1), pads=(1, 0, 1, 2), dilations=(1, 2), groups=2, offset_groups=2),
            "f32[2,4,5,6]", "f32[6,2,3,2]", "f32[2,24,3,6]", "f32[6]", "f32[2,12,3,6]",
        )  # fmt: skip
        yield case(cls(), "f16[1,1,3,3]", "f16[1,1,2,2]", "f16[1,8,2,2]", "f16[1]")
        yield case(cls(pads=(1, 1, 1, 1)), "f32[1,2,3,3]", "f32[2,2,3,3]", "f32[1,18,3,3]", None, "f32[1,9,3,3]")
        yield bad(cls(), "f32[1,2,4,5]", "f32[3,2,2,3]", "f32[1,6,3,3]", because="offset has 6 channels, needs 12")
        yield bad(cls(), "f32[1,2,4,5]", "f32[3,2,2,3]", "f32[1,12,3,4]", because="offset is for 4 places")
        yield bad(cls(), "f32[2,2,4,5]", "f32[3,2,2,3]", "f32[1,12,3,3]", because="x has 2 images, offset 1")
        yield bad(
            cls(), "f32[1,2,4,5]", "f32[3,2,2,3]", "f32[1,12,3,3]", None, "f32[1,6,3,1]", because="mask has shape"
        )
        yield bad(cls(), "f32[1,3,4,5]", "f32[3,2,2,3]", "f32[1,12,3,3]", because="weight expects 2 input channels")
        yield bad(cls(strides=(1,)), "f32[1,2,4,5]", "f32[3,2,2,3]", "f32[1,12,3,3]", because="strides has 1 numbers")
