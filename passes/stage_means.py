"""Means over images too large for one window, in stages of depthwise convolutions.

    GlobalAvgPool(x [N, C, 3, 96])  ->  Conv2D 3x6, Conv2D 1x4, Conv2D 1x4, each of equal weights, one for each window

rknn-toolkit2 2.5.0 does the same to a mean over more than 7 rows or columns, after it was quantized: between its stages
it rounds to steps of the operand, which are many times those of a mean. Measured on means over 16 x 16, results were
off by 1.5 steps (standard deviation), of the stages written here by none. Stages in the model have ranges of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Conv2D, GlobalAvgPool, ReduceMean, Squeeze
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of

IMAGE = (2, 3)
"""Axes of rows and columns."""


@attrs.frozen
class StageMeans(RulePass):
    """Take means over large images in stages.

    Attributes:
        kernel: longest window; smaller images are left alone. Strides are as long.
    """

    kernel: int = 7

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([StageMean(self.kernel)])


class StageMean(Rule):
    """A mean over the rows and columns of an image is a mean of means over windows.

    Where no such windows fill the image, the last ones reach over its end and add zeros; the last stage divides by as
    much less.
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.kernel = kernel

    def pattern(self) -> Any:
        """A mean."""
        return of(GlobalAvgPool, ReduceMean)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It is over exactly the rows and columns of an image larger than the window."""
        x = node.inputs[0]
        assert x is not None
        if x.type.dtype is not DType.F32 or x.type.shape is None or len(x.type.shape) != 4:
            return no("its operand is no f32 tensor of four axes", node)
        channels, rows, columns = x.type.dims[1:]
        if not is_static((channels, rows, columns)):
            return no("its channels, rows or columns are not static", node)
        if isinstance(node.op, ReduceMean) and _axes(node.op) != IMAGE:
            return no("it is over other axes than rows and columns", node)
        if 0 in x.type.dims:
            return no("its operand is empty", node)
        return max(static((rows, columns))) > self.kernel or no(f"it is over {self.kernel} or fewer of each", node)

    def rewrite(self, node: Node) -> Tensor:
        """The stages, and the axes that the mean leaves."""
        x = node.inputs[0]
        assert x is not None
        channels, *extents = static(x.type.dims[1:])
        by_axis = [windows(extent, self.kernel) for extent in extents]
        stages = list(itertools.zip_longest(*by_axis, fillvalue=1))
        missing = math.prod(map(math.prod, stages)) / math.prod(extents)
        y, left = x, list(extents)
        for i, kernel in enumerate(stages):
            pads = [-extent % size for extent, size in zip(left, kernel, strict=True)]
            weight = (missing if i == len(stages) - 1 else 1.0) / math.prod(kernel)
            w = constant(np.full((channels, 1, *kernel), weight, np.float32))
            y = Conv2D(strides=kernel, pads=(0, 0, *pads), groups=channels)(y, w)
            left = [-(-extent // size) for extent, size in zip(left, kernel, strict=True)]
        kept = not isinstance(node.op, ReduceMean) or node.op.keepdims
        return y if kept else Squeeze(axes=IMAGE)(y)


def _axes(op: ReduceMean) -> tuple[int, ...] | None:
    return None if op.axes is None else tuple(sorted(axis % 4 for axis in op.axes))


def windows(extent: int, longest: int) -> Sequence[int]:
    """Lengths of windows whose product is an extent, or where there are none the least product above it.

    As few as possible, none longer than `longest`; of several the one with the longest.
    """
    count, reach = 1, longest
    while reach < extent:
        count, reach = count + 1, reach * longest
    sizes = range(longest, 0, -1)
    products = ((math.prod(each), each) for each in itertools.combinations_with_replacement(sizes, count))
    return max((-product, each) for product, each in products if product >= extent)[1]
