"""Weights of 8 bits, stated so that rknn-toolkit2 takes them over as they are.

The toolkit makes floats of a dequantized weight and quantizes these again. Its scale is that of the whole range of i8,
which is one step longer below 0, made symmetric: 128/127 of the scale in the file. Of integers q that are stated as
they are it makes round(q * 127/128), most of which stand for another number than before: noise like that of a second
quantization to 8 bits. Measured with rknn-toolkit2 2.5.0: of a convolution's results 6 % were a step off its exact
arithmetic, none with weights in the form that is written here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, constant
from uair.ops import Dequantize, MatMul, Quantize, Relu
from uair.passes.fusion import affine

WEIGHTED = (*affine.WEIGHTED, MatMul)
TOOLKIT = 128 / 127
"""The toolkit's scale of a weight by the scale in the file."""
LEAST, GREATEST = -127, 126
"""Integers that round(q * 128/127) has room for in i8."""


def state_weights(graph: Graph) -> None:
    """Divide the scales of weights by 128/127, and multiply their integers.

    The toolkit's own rounding then gives the integers that the module has: |round(q * 128/127) * 127/128 - q| < 1/2. In
    other tools the file's weights are off by up to half a step. A channel that uses 127 or -128 is left as it is: its
    integers are those of a model that came quantized.
    """
    for node in weights(graph):
        integers, scale, *zero = (t for t in node.inputs if t is not None)
        stated = restated(integers.numpy(), scale.numpy(), node.op.axis if isinstance(node.op, Dequantize) else None)
        new = [constant(array, tensor.name) for array, tensor in zip(stated, (integers, scale), strict=True)]
        for i, tensor in enumerate((*new, *zero)):
            node.set_input(i, tensor)


def weights(graph: Graph) -> Iterator[Node]:
    """The Dequantize nodes of constant symmetric i8 weights that only nodes with quantized results read."""
    for node in graph:
        if not isinstance(node.op, Dequantize) or node.op.block_size:
            continue
        integers, scale = node.inputs[:2]
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        if integers is None or scale is None or not (integers.is_constant and scale.is_constant):
            continue
        symmetric = zero is None or (zero.is_constant and not np.any(zero.numpy()))
        users = node.output.uses
        if integers.type.dtype is DType.I8 and symmetric and all(_is_weight(user, i) for user, i in users):
            yield node


def _is_weight(user: Node, i: int) -> bool:
    """Whether it is the weight of a node that the toolkit computes on integers: one with a quantized result.

    Others it computes in float16, with the numbers that the file's integers stand for.
    """
    return isinstance(user.op, WEIGHTED) and i == 1 and _is_quantized(user)


def _is_quantized(node: Node) -> bool:
    users = node.output.users
    return any(isinstance(user.op, Quantize) or (isinstance(user.op, Relu) and _is_quantized(user)) for user in users)


def restated(integers: Array, scale: Array, axis: int | None) -> tuple[Array, Array]:
    """Integers and scales as the file has them.

    Args:
        integers: i8.
        scale: f32, a scalar or one for each index of `axis`.
        axis: of the scales.
    """
    per_channel = scale.ndim > 0 and axis is not None
    others = tuple(i for i in range(integers.ndim) if not per_channel or i != (axis or 0) % integers.ndim)
    low = integers.min(axis=others, initial=0, keepdims=True)
    high = integers.max(axis=others, initial=0, keepdims=True)
    fits = (low >= LEAST) & (high <= GREATEST)
    longer = np.rint(integers * TOOLKIT).astype(np.int8)
    narrower = (scale.astype(np.float64) / TOOLKIT).astype(scale.dtype)
    return np.where(fits, longer, integers), np.where(fits.reshape(scale.shape), narrower, scale)
