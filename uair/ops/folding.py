"""Overlapping blocks put back into the image that they were cut from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Shape, floor_div, is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._forms import numbers, one_form, vector_length
from uair.ops._precision import is_integral, rounded, widened
from uair.ops._windows import inner_axes, require_window
from uair.ops.base import Ints, Operator, Sample, bad, case, operator, ranked, require, unify_extents
from uair.ops.convolution import ConvTranspose1D, ConvTranspose2D, ConvTranspose3D
from uair.ops.shape import Reshape

_TRANSPOSED: dict[int, Any] = {1: ConvTranspose1D, 2: ConvTranspose2D, 3: ConvTranspose3D}


@operator(inputs="x extents? kernel?", family="folding")
class Fold(Operator):
    """Blocks summed up at the places of an image where they lie. x: [N, C * K, L]; result: [N, C, D1..Dr].

    K = k1 * ... * kr elements a block, in row-major order behind their channel; L blocks, in row-major order of the
    places where a window of `kernel` with these strides, pads (begins, then ends) and dilations lies over an image of
    `extents`: per axis floor((D + begin + end - dilation * (k - 1) - 1) / stride) + 1. What lies on the padding is
    dropped. An empty list of strides, pads or dilations stands for ones, zeros and ones. The operands serve values
    that are known only at run time; they take the attribute's place. Source: ONNX Col2Im (18), torch.nn.Fold.
    """

    extents: Shape | None = None
    kernel: Ints | None = None
    strides: Ints = ()
    pads: Ints = ()
    dilations: Ints = ()

    def window(self, rank: int) -> tuple[Ints, Ints, Ints]:
        """Strides, pads and dilations of `rank` spatial axes."""
        return self.strides or (1,) * rank, self.pads or (0,) * (2 * rank), self.dilations or (1,) * rank

    def infer(self, x: TensorType, extents: TensorType | None = None, kernel: TensorType | None = None) -> TensorType:
        require(x.dtype.is_float or x.dtype.is_integer, "element type {} has no sums", x.dtype, hint="insert a Cast")
        one_form(self.extents, extents, "extents")
        one_form(self.kernel, kernel, "kernel")
        lengths = (
            len(self.extents) if self.extents is not None else vector_length(extents),
            len(self.kernel) if self.kernel is not None else vector_length(kernel),
        )
        rank = next((n for n in lengths if n is not None), None)
        n, columns, blocks = ranked(x, "x", 3)
        if rank is None:
            return inferred(x.dtype, None)
        require(unify_extents(*lengths), "extents has {} numbers, kernel {}", *lengths)
        require_window(*self.window(rank), rank)
        require(min(self.kernel or (1,)) >= 1, "the kernel must have extents of at least 1")
        spatial = self.extents if self.extents is not None else (None,) * rank
        if self.kernel is None:
            return inferred(x.dtype, (n, None, *spatial))
        taps = int(np.prod(self.kernel))
        divides = not isinstance(columns, int) or columns % taps == 0
        require(divides, "{} elements a place cannot be divided into blocks of {}", columns, taps)
        if is_static(spatial):
            count = int(np.prod(self.counts(static(spatial), self.kernel)))
            require(unify_extents(blocks, count), "x has {} blocks, {} fit into the image", blocks, count)
        return inferred(x.dtype, (n, None if columns is None else floor_div(columns, taps), *spatial))

    def counts(self, extents: Sequence[int], kernel: Sequence[int]) -> Ints:
        """Number of blocks along every axis."""
        strides, pads, dilations = self.window(len(kernel))
        return tuple(
            max((d + pads[i] + pads[len(kernel) + i] - dilations[i] * (k - 1) - 1) // strides[i] + 1, 0)
            for i, (d, k) in enumerate(zip(extents, kernel, strict=True))
        )

    def evaluate(self, x: Array, extents: Array | None = None, kernel: Array | None = None) -> Array:
        spatial, taps = numbers(self, self.extents, extents), numbers(self, self.kernel, kernel)
        rank = len(taps)
        strides, pads, dilations = self.window(rank)
        counts = self.counts(spatial, taps)
        if len(spatial) != rank or min((*spatial, *taps), default=0) < 1 or len(strides) != rank:
            raise EvaluationError(f"Fold: extents {list(spatial)} and kernel {list(taps)} do not fit together")
        size = int(np.prod(taps))
        if x.shape[1] % size or x.shape[2] != int(np.prod(counts)):
            raise EvaluationError(f"Fold: x of shape {list(x.shape)} is not {list(counts)} blocks of {list(taps)}")
        wide = x.astype(np.int64) if is_integral(x) else widened(x)
        columns = wide.reshape(x.shape[0], x.shape[1] // size, size, *counts)
        padded = [d + pads[i] + pads[rank + i] for i, d in enumerate(spatial)]
        image = np.zeros((x.shape[0], columns.shape[1], *padded), wide.dtype)
        for i, tap in enumerate(itertools.product(*map(range, taps))):
            places = tuple(
                slice(t * d, t * d + (count - 1) * s + 1, s)
                for t, d, s, count in zip(tap, dilations, strides, counts, strict=True)
            )
            image[inner_axes(places)] += columns[:, :, i]
        inner = inner_axes(slice(begin, begin + d) for begin, d in zip(pads[:rank], spatial, strict=True))
        return rounded(np.ascontiguousarray(image[inner]), x.dtype)

    def decompose(self, x: Tensor, extents: Tensor | None = None, kernel: Tensor | None = None) -> Tensor | None:
        """A transposed convolution, one group a channel, whose weights put every element at its place in the block."""
        shape = x.type.shape
        if self.extents is None or self.kernel is None or not is_static(self.extents) or shape is None:
            return None
        rank, size = len(self.kernel), int(np.prod(self.kernel))
        columns, spatial = shape[1], static(self.extents)
        if rank not in _TRANSPOSED or not isinstance(columns, int) or not columns or not x.type.dtype.is_float:
            return None
        strides, pads, dilations = self.window(rank)
        counts = self.counts(spatial, self.kernel)
        extra = tuple(
            spatial[i] + pads[i] + pads[rank + i] - ((count - 1) * strides[i] + dilations[i] * (k - 1) + 1)
            for i, (count, k) in enumerate(zip(counts, self.kernel, strict=True))
        )
        weight = np.tile(np.eye(size, dtype=x.type.dtype.numpy), (columns // size, 1))
        op = _TRANSPOSED[rank](
            strides=strides, pads=pads, dilations=dilations, groups=columns // size, output_padding=extra
        )
        blocks = Reshape(shape=(shape[0], columns, *counts))(x)
        result: Tensor = op(blocks, constant(weight.reshape(columns, 1, *self.kernel)))
        return result

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        assert x is not None
        return x.size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(extents=(4, 5), kernel=(2, 3)), "f32[2,12,9]")
        yield case(
            cls(extents=(5, 5), kernel=(2, 2), strides=(2, 1), pads=(1, 0, 1, 2), dilations=(1, 2)), "f32[1,8,15]"
        )
        yield case(cls(extents=(3, 3, 2), kernel=(2, 1, 2)), "f16[1,4,6]")
        yield case(cls(extents=(5,), kernel=(2,), strides=(2,)), "f32[1,4,2]")
        yield case(cls(), "f32[1,4,4]", np.array([3, 3]), np.array([2, 2]))
        yield case(cls(kernel=(2, 2)), "f32[1,4,4]", np.array([3, 3]))
        yield bad(cls(extents=(4, 5), kernel=(2, 3)), "f32[2,12,8]", because="8 blocks, 9 fit")
        yield bad(cls(extents=(4, 5), kernel=(2, 3)), "f32[2,11,9]", because="blocks of 6")
        yield bad(cls(extents=(4, 5), kernel=(2,)), "f32[2,12,9]", because="extents has 2 numbers, kernel 1")
        yield bad(cls(extents=(4, 5)), "f32[2,12,9]", because="kernel is neither")
        yield bad(cls(extents=(4, 5), kernel=(2, 3), strides=(1,)), "f32[2,12,9]", because="strides has 1 numbers")
