"""Convolutions with long kernels over one axis, as convolutions with short kernels over blocks of samples.

The kernels of audio models have hundreds of taps and read one channel; the units of an NPU take dozens of channels and
a few taps at a time. Cut the signal into blocks of `s * b` samples (s: the stride), let the position in the block be a
channel, and let each step give b results: the same sums over the same products, with a kernel of a few blocks.

    x [N, C, 1, L] -> [N, C * s * b, 1, blocks] -> Conv2D w [M * b, C * s * b, 1, taps] -> [N, M * b, 1, steps]
    w'[m, r; c, p; q] = w[m, c, j]  for  j + r * s = q * s * b + p,  else 0

rknn-toolkit2 2.5.0 needs this: it cuts a kernel of 256 taps into dozens of convolutions, over which its own rules do
not come to an end.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from uair.ir.data import SplatData, derive
from uair.ir.dims import is_static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Conv1D, Conv2D, Pad, Reshape, Slice, Transpose
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of, optional

LARGEST_WEIGHT = 64 << 20
"""Bytes that a folded weight may have: it holds a copy of the kernel for each result of a step."""


@attrs.frozen
class FoldLongConvolutions(RulePass):
    """Fold convolutions over one axis whose kernels or strides are too long for an NPU into blocks of channels.

    Attributes:
        kernel: longest kernel that is left alone; folded ones are no longer either.
        stride: longest stride that is left alone.
        channels: input channels that the target's units take at a time; narrower convolutions are widened to them.
    """

    kernel: int = 31
    stride: int = 7
    channels: int = 32

    def rules(self) -> RuleSet:
        """The one rule, with this pass's limits."""
        return RuleSet([FoldLongConvolution(self.kernel, self.stride, self.channels)])


@attrs.frozen
class Fold:
    """How one convolution is folded. Lengths are in samples unless said otherwise.

    Attributes:
        inputs: channels of the input.
        outputs: channels of the result.
        kernel: taps of the original kernel.
        stride: original stride.
        begin: padding in front.
        length: of the input.
        results: length of the result.
        per_step: results per step (b).
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    begin: int
    length: int
    results: int
    per_step: int

    @property
    def block(self) -> int:
        """Samples per block."""
        return self.stride * self.per_step

    @property
    def taps(self) -> int:
        """Kernel in blocks."""
        return -(-(self.kernel + (self.per_step - 1) * self.stride) // self.block)

    @property
    def steps(self) -> int:
        """Length of the folded result, in steps."""
        return -(-self.results // self.per_step)

    @property
    def blocks(self) -> int:
        """Length of the folded input, in blocks."""
        return self.steps + self.taps - 1

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Of the folded weight."""
        return self.outputs * self.per_step, self.inputs * self.block, 1, self.taps

    def weight(self, w: Array) -> Array:
        """The folded weight: [outputs * per_step, inputs * block, 1, taps]."""
        flat = w.reshape(self.outputs, self.inputs, self.kernel)
        shape = (self.outputs, self.per_step, self.inputs, self.taps * self.block)
        placed = np.zeros(shape, w.dtype)
        for r in range(self.per_step):
            placed[:, r, :, r * self.stride : r * self.stride + self.kernel] = flat
        blocks = placed.reshape(*shape[:3], self.taps, self.block).transpose(0, 1, 2, 4, 3)
        return np.ascontiguousarray(blocks).reshape(self.weight_shape)


class FoldLongConvolution(Rule):
    """A convolution over one axis with a long kernel or stride reads blocks of samples as channels."""

    def __init__(self, kernel: int, stride: int, channels: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.channels = channels

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """A convolution over one or two axes."""
        return of(Conv1D, Conv2D)(x, w, optional(b)).named("conv")

    def check(self, w: Tensor, b: Tensor | None, conv: Node) -> bool | NoMatch:
        """It is long in one axis, has extent 1 in the other, and its sizes and weights are known."""
        fold = self._fold(conv)
        if isinstance(fold, NoMatch):
            return fold
        if not w.is_constant or not (b is None or b.is_constant):
            return no("its weight or bias is not a constant", conv)
        if fold.kernel <= self.kernel and fold.stride <= self.stride:
            return no("neither kernel nor stride is long", conv)
        if fold.taps > self.kernel or (fold.taps >= fold.kernel and fold.stride == 1):
            return no("the folded kernel would not be shorter", conv)
        too_large = math.prod(fold.weight_shape) * w.type.dtype.bits // 8 > LARGEST_WEIGHT
        return not too_large or no(f"the folded weight would have more than {LARGEST_WEIGHT} bytes", w)

    def rewrite(self, x: Tensor, w: Tensor, b: Tensor | None, conv: Node) -> Tensor:
        """Blocks to channels, the short convolution, and its results back in a row."""
        fold = self._fold(conv)
        assert not isinstance(fold, NoMatch)
        batch = x.type.dims[0]
        bias = None if b is None else _repeated(b, fold.per_step)
        y = Conv2D()(self._to_blocks(x, fold), _folded_weight(w, fold), bias)
        result = conv.output.type.shape
        if fold.per_step == 1:
            return Reshape(shape=result)(y)
        y = Reshape(shape=(batch, fold.outputs, fold.per_step, fold.steps))(y)
        y = Transpose(perm=(0, 1, 3, 2))(y)
        total = fold.steps * fold.per_step
        y = Reshape(shape=(batch, fold.outputs, 1, total))(y)
        if total > fold.results:
            y = Slice(axes=(3,), starts=(0,), ends=(fold.results,), steps=(1,))(y)
        return y if y.type.shape == result else Reshape(shape=result)(y)

    @staticmethod
    def _to_blocks(x: Tensor, fold: Fold) -> Tensor:
        """[N, inputs * block, 1, blocks]."""
        batch, needed = x.type.dims[0], fold.blocks * fold.block
        row = (batch, fold.inputs, 1, fold.length)
        y = x if x.type.shape == row else Reshape(shape=row)(x)
        end = needed - fold.begin - fold.length
        if end < 0:
            y = Slice(axes=(3,), starts=(0,), ends=(needed - fold.begin,), steps=(1,))(y)
        if fold.begin or end > 0:
            y = Pad(pads=(0, 0, 0, fold.begin, 0, 0, 0, max(end, 0)))(y)
        if fold.inputs == 1:
            y = Reshape(shape=(batch, 1, fold.blocks, fold.block))(y)
            return Transpose(perm=(0, 3, 1, 2))(y)
        y = Reshape(shape=(batch, fold.inputs, fold.blocks, fold.block))(y)
        y = Transpose(perm=(0, 1, 3, 2))(y)
        return Reshape(shape=(batch, fold.inputs * fold.block, 1, fold.blocks))(y)

    def _fold(self, conv: Node) -> Fold | NoMatch:
        """The fold of a convolution, whether it pays or not."""
        op: Any = conv.op
        x, w = conv.inputs[0], conv.inputs[1]
        assert x is not None and w is not None
        if x.type.shape is None or not is_static(x.type.dims[1:]) or not w.type.is_static:
            return no("its sizes are not known", conv)
        if op.groups != 1 or any(d != 1 for d in op.dilations) or op.auto_pad != "notset":
            return no("it has groups, dilations or padding that depends on the input", conv)
        axis = _long_axis(op, x, w)
        if axis is None:
            return no("it works along two axes", conv)
        outputs, inputs = int(w.type.dims[0]), int(w.type.dims[1])  # type: ignore[arg-type]
        kernel, stride = int(w.type.dims[2 + axis]), int(op.strides[axis])  # type: ignore[arg-type]
        length, results = int(x.type.dims[2 + axis]), int(conv.output.type.dims[2 + axis])  # type: ignore[arg-type]
        widening = self.channels // (stride * inputs)
        shortening = -(-(kernel - stride) // ((self.kernel - 1) * stride))
        per_step = max(1, min(max(widening, shortening), results))
        return Fold(inputs, outputs, kernel, stride, int(op.pads[axis]), length, results, per_step)


def _long_axis(op: Conv1D | Conv2D, x: Tensor, w: Tensor) -> int | None:
    """The spatial axis along which a convolution works; None when it works along two."""
    if isinstance(op, Conv1D):
        return 0
    for axis, other in ((1, 0), (0, 1)):
        if (
            x.type.dims[2 + other] == 1
            and w.type.dims[2 + other] == 1
            and not op.pads[other]
            and not op.pads[2 + other]
        ):
            return axis
    return None


def _folded_weight(w: Tensor, fold: Fold) -> Tensor:
    assert w.data is not None
    return constant(derive(fold.weight, (w.data,), w.type.dtype, fold.weight_shape), w.name)


def _repeated(bias: Tensor, times: int) -> Tensor:
    """The bias of each of `times` results of a step."""
    if isinstance(bias.data, SplatData):
        return constant(SplatData(bias.data.value, bias.type.dtype, (bias.data.shape[0] * times,)), bias.name)
    return constant(np.repeat(bias.numpy(), times), bias.name)
